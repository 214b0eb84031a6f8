/**
 * What can be said and done about artifacts that are kept here, whatever keeps them.
 *
 * Knows nothing about caches or disks; `stored-models.ts` and `web/models.ts` do.
 */

import type { AddressOptions } from "./address.js";
import { ArtifactError, BackendError, InputError } from "./errors.js";
import type { AdapterTime } from "./needed-files.js";

/** One artifact that is kept, or on its way. */
export interface StoredModel {
  readonly address: string;
  /** What its manifest calls the model, and the bytes of all that is needed; null while no manifest is there. */
  readonly name: string | null;
  readonly bytes: number | null;
  /** Bytes that are there; of a download that broke off fewer than `bytes`. Artifacts may share files. */
  readonly storedBytes: number;
  /** All that `load` brings unless it is told otherwise is there. */
  readonly isComplete: boolean;
  /** When it was last loaded, or its download began. */
  readonly usedAt: Date;
  /** A model of it is open, or it is being downloaded: here, or in another tab. */
  readonly isInUse: boolean;
}

/** What a download would take. */
export interface Estimate {
  /** Of all files that are needed. */
  readonly bytes: number;
  /** Those that are there already. */
  readonly storedBytes: number;
  readonly missingBytes: number;
  /** What the place has room for, null where it does not say. */
  readonly freeBytes: number | null;
  readonly fits: boolean;
}

/** Options of `estimate`. */
export interface EstimateOptions extends AddressOptions {
  readonly signal?: AbortSignal | undefined;
  /** That of `load` in a browser; elsewhere all adapters come with their artifact. */
  readonly adapters?: AdapterTime | undefined;
}

/** Artifacts that are kept. Addresses are written as for `load`. */
export interface Models {
  list(): Promise<readonly StoredModel[]>;
  /** Bytes of everything that is kept. */
  size(): Promise<number>;
  /** Remove an artifact and the files that no other one has; none is no error. Throws InputError while it is in use. */
  delete(address: string): Promise<void>;
  /** Ask that what is kept is never removed without being asked; whether that is promised. */
  persist(): Promise<boolean>;
  /** What loading `address` would download, and whether there is room for it. Throws as `load` where there is nothing. */
  estimate(address: string, options?: EstimateOptions): Promise<Estimate>;
}

/** There is no room for an artifact. */
export interface Room extends Estimate {
  readonly address: string;
  /** What is kept beside it. */
  readonly stored: readonly StoredModel[];
}

/** Says which artifacts may be deleted, by their addresses, so that there is room. Nothing is deleted without it. */
export type MakeRoom = (room: Room) => readonly string[] | Promise<readonly string[]>;

/** Delete what `makeRoom` says; whether it named anything. */
export async function askForRoom(
  address: string,
  estimate: Estimate,
  models: Models,
  makeRoom: MakeRoom,
): Promise<boolean> {
  const stored = (await models.list()).filter((model) => model.address !== address);
  const chosen = await makeRoom({ ...estimate, address, stored });
  for (const item of chosen) await models.delete(item);
  return chosen.length > 0;
}

/** How much room there is once `makeRoom` was asked, where there was none. */
export async function findRoom(
  address: string,
  estimate: () => Promise<Estimate>,
  models: Models,
  makeRoom: MakeRoom | undefined,
): Promise<Estimate> {
  const found = await estimate();
  if (found.fits || makeRoom === undefined) return found;
  return (await askForRoom(address, found, models, makeRoom)) ? estimate() : found;
}

type Missing = Pick<Estimate, "missingBytes" | "freeBytes">;

export function noRoom(address: string, { missingBytes, freeBytes }: Missing): BackendError {
  return new BackendError(
    `${address}: ${missingBytes} bytes are missing and there is room for ${freeBytes}; delete what is no longer needed ` +
      "(models.list, models.delete), or say with makeRoom what may go",
    "no-room",
  );
}

export function inUse(address: string): InputError {
  return new InputError(`${address} is in use; dispose of the models that are open, close other tabs, then delete it`);
}

export function noManifest(address: string): ArtifactError {
  return new ArtifactError(
    `${address} has no manifest.json; expected an artifact written by \`edgelora export\`, or mend the address`,
  );
}
