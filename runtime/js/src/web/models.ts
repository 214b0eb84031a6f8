/**
 * The artifacts in the browser's store: listed, measured, estimated, deleted.
 *
 * Knows nothing about how files come there.
 */

import { fetchManifest } from "../core/fetch-manifest.js";
import type { FileInfo } from "../core/format.js";
import { parseManifest } from "../core/manifest.js";
import {
  askForRoom,
  type Estimate,
  type EstimateOptions,
  findRoom,
  inUse as inUseError,
  type MakeRoom,
  type Models,
  noManifest,
  type StoredModel,
} from "../core/models.js";
import { bytesOf, filesAtFirst, neededFiles } from "../core/needed-files.js";
import { resolve } from "../core/resolve.js";
import { artifactName, inUse } from "./locks.js";
import { baseAddress } from "./place.js";
import { type CacheStore, timeOf } from "./store.js";

export class WebModels implements Models {
  readonly #store: CacheStore | null;

  /** `store` is null where the browser has none: nothing is kept there, and there is no room. */
  constructor(store: CacheStore | null) {
    this.#store = store;
  }

  async list(): Promise<readonly StoredModel[]> {
    const store = this.#store;
    if (store === null) return [];
    const entries = new Map([...(await store.manifests("announced")), ...(await store.manifests("manifest"))]);
    const used = new Set(await inUse());
    return Promise.all([...entries].map(([address, entry]) => describe(store, address, entry, used)));
  }

  async size(): Promise<number> {
    const files = new Map<string, FileInfo>(); // artifacts may share some
    for (const kind of ["announced", "manifest"] as const) {
      for (const entry of (await this.#store?.manifests(kind))?.values() ?? []) {
        const record = (await entry.json()) as { readonly files: Readonly<Record<string, FileInfo>> };
        for (const file of Object.values(record.files)) files.set(file.sha256, file);
      }
    }
    return (await this.#store?.heldBytes(files.values())) ?? 0;
  }

  async delete(address: string): Promise<void> {
    const { where } = await resolve(absolute(address));
    if ((await inUse()).includes(artifactName(where))) throw inUseError(where);
    await this.#store?.forget(where);
  }

  async persist(): Promise<boolean> {
    return (await navigator.storage?.persist?.()) ?? false;
  }

  async estimate(address: string, options: EstimateOptions = {}): Promise<Estimate> {
    const remote = await resolve(absolute(address), options);
    const stored = (await this.#store?.manifest(remote.where)) ?? null;
    const found = await fetchManifest(remote, stored, options);
    if (found === null) throw noManifest(remote.where);
    return this.estimateFiles(filesAtFirst(found.manifest, options.adapters));
  }

  /** What the files would take; the browser's word for the room is a guess by its own account. */
  async estimateFiles(files: ReadonlyMap<string, FileInfo>): Promise<Estimate> {
    const bytes = bytesOf(files);
    const storedBytes = (await this.#store?.heldBytes(files.values())) ?? 0;
    const missingBytes = bytes - storedBytes;
    const freeBytes = this.#store === null ? 0 : await freeSpace();
    return { bytes, storedBytes, missingBytes, freeBytes, fits: freeBytes === null || missingBytes <= freeBytes };
  }

  /** The same where the browser had no more room after all, whatever it says. */
  async askForRoom(where: string, files: ReadonlyMap<string, FileInfo>, makeRoom: MakeRoom): Promise<boolean> {
    return askForRoom(where, { ...(await this.estimateFiles(files)), fits: false }, this, makeRoom);
  }

  /** Whether there is room for the files of the artifact at `where`, once `makeRoom` was asked where there was none. */
  async findRoom(where: string, files: ReadonlyMap<string, FileInfo>, makeRoom?: MakeRoom): Promise<Estimate> {
    return findRoom(where, () => this.estimateFiles(files), this, makeRoom);
  }
}

async function describe(
  store: CacheStore,
  address: string,
  entry: Response,
  used: ReadonlySet<string>,
): Promise<StoredModel> {
  const parsed = parseManifest(new Uint8Array(await entry.arrayBuffer()), address);
  const [files, first] = [neededFiles(parsed), filesAtFirst(parsed)];
  const storedBytes = await store.heldBytes(files.values());
  return {
    address,
    name: parsed.model.name,
    bytes: bytesOf(files),
    storedBytes,
    isComplete: (await store.heldBytes(first.values())) === bytesOf(first),
    usedAt: timeOf(entry),
    isInUse: used.has(artifactName(address)),
  };
}

/** Ask `makeRoom` for the artifact at `address`, which did not fit; whether it named anything. */
export async function makeRoomFor(
  models: WebModels,
  address: string,
  options: EstimateOptions,
  makeRoom: MakeRoom,
): Promise<boolean> {
  const { where } = await resolve(address);
  const estimate = await models.estimate(address, options);
  return askForRoom(where, { ...estimate, fits: false }, models, makeRoom);
}

async function freeSpace(): Promise<number | null> {
  const { quota, usage } = (await navigator.storage?.estimate?.()) ?? {};
  return quota === undefined || usage === undefined ? null : Math.max(0, quota - usage);
}

function absolute(address: string): string {
  return new URL(address, baseAddress()).href;
}
