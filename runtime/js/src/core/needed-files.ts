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
  const { graph, tokenizer, encoder, adapters, files } = manifest;
  const names = [
    ...[graph.file, graph.withoutSlots, graph.weights, tokenizer?.file, tokenizer?.chatTemplate],
    encoder?.headFile,
    ...adapters.flatMap((adapter) => ADAPTER_FILES.map((file) => `${adapter.path}/${file}`)),
  ];
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
