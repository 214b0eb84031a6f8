/**
 * Which files of an artifact a runtime here reads; the twins for other programs are not among them.
 *
 * Knows nothing about where the files are.
 */

import type { AdapterInfo, FileInfo, Manifest } from "./format.js";
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
  return listed([...baseNames(manifest), ...manifest.adapters.flatMap(adapterNames)], manifest);
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
  const [all, base] = [neededFiles(manifest), baseFiles(manifest)];
  if (when !== undefined) return when === "all" ? all : base;
  const adapters = bytesOf(all) - bytesOf(base);
  const isLittle = manifest.adapters.length <= MOST_ADAPTERS && adapters <= Math.max(bytesOf(base), FEW_BYTES);
  return isLittle ? all : base;
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
  return new Map(found.sort(([, left], [, right]) => left.bytes - right.bytes));
}

/** Bytes of all of them together. */
export function bytesOf(files: ReadonlyMap<string, FileInfo>): number {
  return [...files.values()].reduce((sum, info) => sum + info.bytes, 0);
}
