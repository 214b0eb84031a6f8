/**
 * Which files of an artifact a runtime here reads; the twins for other programs are not among them.
 *
 * Knows nothing about where the files are.
 */

import { ArtifactError } from "./errors.js";
import { ADAPTER_FOLDER, type AdapterInfo, type FileInfo, type Manifest } from "./format.js";
import { NamedEntries } from "./listed.js";
import { sharedPath } from "./names.js";

/** What a runtime reads of an adapter; the last two may be missing. */
export const ADAPTER_FILES: readonly string[] = [
  "adapter_config.json",
  "adapter_model.safetensors",
  "receipt.json",
  "config.json",
];

/** The files of a manifest that a runtime reads, the small ones first: what is missing shows before the weights come. */
export function neededFiles(manifest: Manifest): ReadonlyMap<string, FileInfo> {
  unlessRefused(() => manifest.files.size); // all files are told apart at once
  const found = new Map(baseFiles(manifest));
  for (let index = 0; index < manifest.adapters.length; index++) {
    unlessRefused(() => {
      const info = manifest.adapters[index] as AdapterInfo;
      for (const [name, file] of adapterFiles(manifest, info)) found.set(name, file);
    });
  }
  return smallFirst(found);
}

/** An entry that is wrong is refused when its adapter is asked for; those of others are right. */
function unlessRefused(read: () => unknown): void {
  try {
    read();
  } catch (error) {
    if (!(error instanceof ArtifactError)) throw error;
  }
}

/** When the files of an artifact's adapters are brought: with the base, or each when it is first used. */
export type AdapterTime = "all" | "used";

const MOST_ADAPTERS = 16; // that come with their base unasked
const FEW_BYTES = 16 << 20; // that they may have in any case, however small the base

/**
 * The files that are brought before an artifact is open. Where nobody says `when`, adapters come along if they are few and
 * together no larger than their base: all of it is there without a network then.
 */
export function filesAtFirst(manifest: Manifest, when?: AdapterTime): ReadonlyMap<string, FileInfo> {
  if (when === "all") return neededFiles(manifest);
  const base = baseFiles(manifest);
  if (when === "used" || manifest.adapters.length > MOST_ADAPTERS) return base;
  const all = neededFiles(manifest);
  return bytesOf(all) - bytesOf(base) <= Math.max(bytesOf(base), FEW_BYTES) ? all : base;
}

/** All files of a manifest that are no adapter's; no entry of another is read for them. */
export function filesOfBase(files: Manifest["files"]): ReadonlyMap<string, FileInfo> {
  const known = files instanceof NamedEntries ? files.known : files;
  return new Map([...known].filter(([name]) => !name.startsWith(ADAPTER_FOLDER)));
}

/** Those of them that are no adapter's: what must be right before an artifact is open. */
export function baseFiles(manifest: Manifest): ReadonlyMap<string, FileInfo> {
  return listed(baseNames(manifest), manifest);
}

/** The files that a runtime reads of an adapter: what must be right before it is first used. */
export function adapterFiles(manifest: Manifest, adapter: AdapterInfo): ReadonlyMap<string, FileInfo> {
  return listed(adapterNames(adapter), manifest);
}

function adapterNames({ path, shared }: AdapterInfo): readonly MaybeName[] {
  return [...ADAPTER_FILES.map((file) => `${path}/${file}`), shared && sharedPath(shared)];
}

type MaybeName = string | null | undefined;

function baseNames({ graph, tokenizer, encoder }: Manifest): readonly MaybeName[] {
  const texts = [tokenizer?.file, tokenizer?.chatTemplate];
  return [graph.file, graph.withoutSlots, graph.weights, ...texts, encoder?.headFile];
}

function listed(names: readonly MaybeName[], { files }: Manifest): ReadonlyMap<string, FileInfo> {
  const found = names.flatMap((name) => {
    const info = name ? files.get(name) : undefined;
    return name && info ? [[name, info] as const] : [];
  });
  return smallFirst(found);
}

function smallFirst(files: Iterable<readonly [string, FileInfo]>): ReadonlyMap<string, FileInfo> {
  return new Map([...files].sort(([, left], [, right]) => left.bytes - right.bytes));
}

/** Bytes of all of them together. */
export function bytesOf(files: ReadonlyMap<string, FileInfo>): number {
  return [...files.values()].reduce((sum, info) => sum + info.bytes, 0);
}
