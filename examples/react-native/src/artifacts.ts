/**
 * Artifacts in the app's storage: which are there, bring one, open one, remove one.
 *
 * Knows nothing about the screen.
 */

import { type DownloadProgress, downloadArtifact, expoFiles, load, type Model } from "@edgelora/runtime/react-native";
import * as crypto from "expo-crypto";
import * as fileSystem from "expo-file-system";
import { fetch } from "expo/fetch";

const files = expoFiles(fileSystem, crypto, { background: true });
const shelf = new fileSystem.Directory(fileSystem.Paths.cache, "artifacts"); // what can be had again is in no backup

/** Names of the artifacts that are whole: their manifest was written last. */
export function listArtifacts(): string[] {
  if (!shelf.exists) return [];
  const folders = shelf.list().filter((entry) => entry instanceof fileSystem.Directory);
  return folders.filter((folder) => new fileSystem.File(folder, "manifest.json").exists).map((folder) => folder.name);
}

/** Download the artifact at `address`, or the rest of it; returns its name. */
export async function bringArtifact(
  address: string,
  signal: AbortSignal,
  onProgress: (progress: DownloadProgress) => void,
): Promise<string> {
  const name = nameOf(address);
  await downloadArtifact(address, folderOf(name), { files, fetch, signal, onProgress });
  return name;
}

export function openArtifact(name: string, { signal }: { readonly signal: AbortSignal }): Promise<Model> {
  return load(folderOf(name), { files, signal });
}

export function removeArtifact(name: string): void {
  new fileSystem.Directory(shelf, name).delete();
}

function folderOf(name: string): string {
  return new fileSystem.Directory(shelf, name).uri;
}

/** The last part of an address, as a name that every file system takes. */
function nameOf(address: string): string {
  const last =
    address
      .replace(/[?#].*$/, "")
      .replace(/\/+$/, "")
      .split("/")
      .pop() ?? "";
  return last.replace(/[^A-Za-z0-9._-]/g, "-") || "artifact";
}
