/**
 * A manifest between a worker and its page, which can be sent data alone: entries are read before, not when they are
 * looked at, and one that is wrong is refused in the page as in the worker.
 *
 * Knows nothing about what an entry says.
 */

import { ArtifactError } from "../core/errors.js";
import type { AdapterInfo, FileInfo, Manifest } from "../core/format.js";
import { listedEntries, NamedEntries } from "../core/listed.js";
import { filesOfBase } from "../core/needed-files.js";

type Sent<Entry> = { readonly entry: Entry } | { readonly wrong: string };

/** A manifest as it is sent. */
export interface SentManifest extends Omit<Manifest, "adapters" | "files"> {
  readonly adapters: readonly Sent<AdapterInfo>[];
  readonly files: ReadonlyMap<string, Sent<FileInfo>>;
}

export function sendManifest(manifest: Manifest): SentManifest {
  const { adapterNames, adapters, files } = manifest;
  const sent = namesOf(files).map((name) => [name, attempt(() => files.get(name) as FileInfo)] as const);
  return {
    ...manifest,
    adapters: adapterNames.map((_, index) => attempt(() => adapters[index] as AdapterInfo)),
    files: new Map(sent),
  };
}

export function receiveManifest(sent: SentManifest): Manifest {
  const right = [...sent.files].flatMap(([name, file]) => ("entry" in file ? [[name, file.entry] as const] : []));
  const files = new NamedEntries<FileInfo>(new Map(right), {
    names: () => [...sent.files.keys()],
    has: (name) => sent.files.has(name),
    read: (name) => received(sent.files.get(name) as Sent<FileInfo>),
  });
  const read = (index: number) => received(sent.adapters[index] as Sent<AdapterInfo>);
  return { ...sent, adapters: listedEntries(sent.adapters.length, read), files };
}

/** Names of all files, of those of the base where a line of another cannot be read. */
function namesOf(files: Manifest["files"]): readonly string[] {
  const found = attempt(() => [...files.keys()]);
  return "entry" in found ? found.entry : [...filesOfBase(files).keys()];
}

function attempt<Entry>(read: () => Entry): Sent<Entry> {
  try {
    return { entry: read() };
  } catch (error) {
    if (!(error instanceof ArtifactError)) throw error;
    return { wrong: error.message };
  }
}

function received<Entry>(sent: Sent<Entry>): Entry {
  if ("wrong" in sent) throw new ArtifactError(sent.wrong);
  return sent.entry;
}
