/**
 * What a page says of an artifact: where it is, who follows its loading, what if there is no room; and what it gets.
 *
 * Knows nothing about how it is read.
 */

import type { FileInfo } from "../core/format.js";
import type { MakeRoom } from "../core/models.js";
import type { AdapterTime } from "../core/needed-files.js";
import type { ArtifactSource } from "../core/ports.js";
import type { FolderCopy } from "./folders.js";

/** What is used of a folder that a visitor gave to the page (`showDirectoryPicker`, a dropped folder, OPFS). */
export interface DirectoryHandle {
  readonly kind: "directory";
  readonly name: string;
  getFileHandle(name: string): Promise<{ getFile(): Promise<File> }>;
  getDirectoryHandle(name: string): Promise<DirectoryHandle>;
}

/**
 * An artifact: its address (`https://`, relative to the page, `hf:owner/name@revision`), a folder that the page was given,
 * or the files of one, as an input with `webkitdirectory` has them.
 */
export type Place = string | URL | DirectoryHandle | Iterable<File> | FolderCopy;

/** The same in a form that can be sent to a worker. */
export type SentPlace = string | FolderCopy;

/** An artifact in a browser. */
export interface WebArtifact extends ArtifactSource {
  /** Make sure that these files are there, and that no others are asked for. */
  fill(files: ReadonlyMap<string, FileInfo>, hashes: boolean): Promise<void>;
  /** The model is loaded. */
  detach(): void;
  close(): void;
}

/**
 * How far loading is. `runtime` counts the bytes of onnxruntime's large file, `download` those of all files of the
 * artifact, both with what the cache had; `open` makes the session.
 */
export interface Progress {
  readonly stage: "runtime" | "download" | "open";
  /** The file that is being read, null while opening. */
  readonly file: string | null;
  readonly loadedBytes: number;
  readonly totalBytes: number;
}

/** Who follows the loading. */
export interface LoadWatcher {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: Progress) => void) | undefined;
  readonly onWarning?: ((message: string) => void) | undefined;
}

/** What becomes of an artifact for which the browser has no room. */
export interface RoomOptions {
  /** Asked before anything is downloaded: what may be deleted. */
  readonly makeRoom?: MakeRoom | undefined;
  /** Refuse what cannot be kept, instead of running it from memory and downloading it again next time. */
  readonly mustKeep?: boolean | undefined;
}

/** Which adapters of an artifact come when. */
export interface AdapterOptions {
  /**
   * Bring the adapters of an artifact with it ("all"), or each when it is first used ("used"). Where it is left out they
   * come along if they are few and together no larger than the base.
   */
  readonly adapters?: AdapterTime | undefined;
}

/** Options of a source. */
export type SourceOptions = LoadWatcher & RoomOptions & AdapterOptions;
