/**
 * Which files of an artifact a runtime here reads; the twins for other programs are not among them.
 *
 * Knows nothing about where the files are.
 */

import type { FileInfo, Manifest } from "./format.js";

/** What a runtime reads of an adapter; the last two may be missing. */
export const ADAPTER_FILES: readonly string[] = [
  "adapter_config.json",
  "adapter_model.safetensors",
  "receipt.json",
  "config.json",
];

/** The files of a manifest that a runtime reads, the small ones first: what is missing shows before the weights come. */
export function neededFiles(manifest: Manifest): ReadonlyMap<string, FileInfo> {
  const folders = manifest.adapters.flatMap(({ path }) => ADAPTER_FILES.map((file) => `${path}/${file}`));
  return listed([...baseNames(manifest), ...folders], manifest);
}

/** Those of them that are no adapter's: what must be right before an artifact is open. */
export function baseFiles(manifest: Manifest): ReadonlyMap<string, FileInfo> {
  return listed(baseNames(manifest), manifest);
}

/** The files that a runtime reads in the folder `path` of an adapter: what must be right before it is first used. */
export function adapterFiles(manifest: Manifest, path: string): ReadonlyMap<string, FileInfo> {
  const names = ADAPTER_FILES.map((file) => `${path}/${file}`);
  return listed(names, manifest);
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
