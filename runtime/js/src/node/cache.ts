/**
 * Where Node keeps artifacts of servers.
 *
 * Knows nothing about downloads.
 */

import { homedir } from "node:os";
import { join } from "node:path";
import { type AddressOptions, HUB } from "../core/address.js";
import { StoredModels } from "../core/stored-models.js";
import { disk } from "./disk.js";

/** EDGELORA_CACHE of the environment, else a folder where the system keeps what can be had again. */
export function cacheFolder(): string {
  const { EDGELORA_CACHE, XDG_CACHE_HOME, LOCALAPPDATA } = process.env;
  if (EDGELORA_CACHE) return EDGELORA_CACHE;
  if (process.platform === "win32" && LOCALAPPDATA) return join(LOCALAPPDATA, "edgelora", "artifacts");
  if (process.platform === "darwin") return join(homedir(), "Library", "Caches", "edgelora", "artifacts");
  return join(XDG_CACHE_HOME || join(homedir(), ".cache"), "edgelora", "artifacts");
}

const kept = new Map<string, StoredModels>();

/** The artifacts in a folder; the same object for the same folder, so that it knows which are open. */
export function modelsIn(folder: string = cacheFolder()): StoredModels {
  const known = kept.get(folder) ?? new StoredModels(disk, folder, hubOptions);
  kept.set(folder, known);
  return known;
}

/** What the environment says of the hub, in the words of the hub's own library: HF_ENDPOINT, HF_TOKEN. */
export function hubOptions(address: string, { hub, headers }: AddressOptions): AddressOptions {
  const { HF_ENDPOINT, HF_TOKEN } = process.env;
  if (!address.startsWith(HUB)) return {};
  const token = HF_TOKEN ? { authorization: `Bearer ${HF_TOKEN}` } : {};
  return { hub: hub ?? (HF_ENDPOINT || undefined), headers: { ...token, ...headers } };
}
