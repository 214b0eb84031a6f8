/**
 * What the graph of a manifest takes and gives: names, types, and the sizes that are fixed.
 *
 * Knows nothing about sessions; `docs/format.md` ("The graph") is the definition.
 */

import { cacheNames } from "./cache.js";
import type { Manifest, Slot } from "./format.js";
import type { Backend, Location } from "./ports.js";

/** What an input or output has to be: onnxruntime's name for its numbers, and sizes, null where any may come. */
export type ValueType = readonly [numbers: string, ...sizes: (number | null)[]];

/** One of an artifact's graphs. */
export interface GraphForm {
  readonly file: string;
  readonly inputs: ReadonlyMap<string, ValueType>;
  /** A graph may have more. */
  readonly outputs: ReadonlyMap<string, ValueType>;
  /** Where outputs are to lie by name; null where all are JavaScript's. */
  readonly locations: Readonly<Record<string, Location>> | null;
}

const COUNTERS: Readonly<Record<string, ValueType>> = {
  input_ids: ["int64", null, null],
  seqlens_k: ["int32", null],
  total_sequence_length: ["int32"],
  logits_positions: ["int64", null, null],
};

/** The decoder with slots, or its twin without. */
export function decoderForm(manifest: Manifest, backend: Backend, withSlots: boolean): GraphForm {
  const { model, graph, slots } = manifest;
  const kept: ValueType = [graph.kvCache, null, model.numKvHeads, null, model.headDim];
  const names = cacheNames(model);
  const { cache, cacheLocation } = backend.capabilities;
  const isElsewhere = cache === "returned" && cacheLocation !== "cpu";
  return {
    file: withSlots ? graph.file : (graph.withoutSlots ?? graph.file),
    inputs: new Map([
      ...Object.entries(COUNTERS),
      ...names.map(({ past }) => [past, kept] as const),
      ...(withSlots ? slotValues(slots) : []),
    ]),
    outputs: new Map([
      ["logits", ["float32", null, null, model.vocabSize]],
      ...names.map(({ present }) => [present, kept] as const),
    ]),
    locations: isElsewhere ? Object.fromEntries(names.map(({ present }) => [present, cacheLocation])) : null,
  };
}

/** The inputs of slots. */
export function slotValues(slots: readonly Slot[]): (readonly [string, ValueType])[] {
  return slots.flatMap(({ a, b, gain, inFeatures, outFeatures }) => [
    [a, ["float32", null, inFeatures, null]] as const,
    [b, ["float32", null, null, outFeatures]] as const,
    ...(gain === null ? [] : [[gain, ["float32", null, 1, outFeatures]] as const]),
  ]);
}
