/**
 * Slot matrices: blended, and laid out as the inputs of the graph.
 *
 * Knows nothing about files, tensors or sessions: numbers in, numbers out. `docs/format.md` ("Slots") defines it.
 * Every array has an ArrayBuffer of its own: onnxruntime-react-native reads a view from the start of its buffer.
 */

import type { Slot } from "./format.js";

/** What one slot multiplies with: `x @ a @ b`, and what its linear gives times `gain`. */
export interface SlotMatrices {
  readonly rank: number;
  readonly a: Float32Array; // (in_features, rank)
  readonly b: Float32Array; // (rank, out_features)
  readonly gain: Float32Array | null; // (out_features), of a slot that has a place for it
}

/** An adapter, a blend or nothing, in the order of the manifest's slots. */
export type Packed = readonly SlotMatrices[];

/** One input of the graph. */
export interface SlotInput {
  readonly name: string;
  readonly dims: readonly number[];
  readonly data: Float32Array;
}

/** Packed adapters side by side along the rank, each times its weight; no parts give rank 0, and no gain. */
export function blendPacked(parts: readonly (readonly [Packed, number])[], slots: readonly Slot[]): Packed {
  return slots.map((slot, index) => {
    const rank = parts.reduce((sum, [packed]) => sum + matricesAt(packed, index).rank, 0);
    const a = new Float32Array(slot.inFeatures * rank);
    const b = new Float32Array(rank * slot.outFeatures);
    const gain = emptyGain(slot);
    let start = 0;
    for (const [packed, weight] of parts) {
      const part = matricesAt(packed, index);
      writeColumns(part.a, part.rank, a, start, rank);
      const scale = Math.fround(weight);
      const first = start * slot.outFeatures;
      for (let item = 0; item < part.b.length; item++) b[first + item] = (part.b[item] as number) * scale;
      gain?.forEach((value, column) => {
        gain[column] = value + ((part.gain as Float32Array)[column] as number) * scale;
      });
      start += part.rank;
    }
    return { rank, a, b, gain };
  });
}

/** The gain of no adapter; null where the slot has no place for one. */
export function emptyGain(slot: Slot): Float32Array | null {
  return slot.gain === null ? null : new Float32Array(slot.outFeatures);
}

/**
 * The inputs of a graph with an `a` (n, in_features, rank) and a `b` (n, rank, out_features) for each slot, and a
 * `gain` (n, 1, out_features) where it has a place for it: one adapter for all rows, or one for each, padded with zeros
 * to the largest rank. Rank 0 becomes zeros of rank 1 unless allowed.
 */
export function slotInputs(rows: readonly Packed[], slots: readonly Slot[], allowsRankZero: boolean): SlotInput[] {
  return slots.flatMap((slot, index) => {
    const parts = rows.map((packed) => matricesAt(packed, index));
    const rank = Math.max(allowsRankZero ? 0 : 1, ...parts.map((part) => part.rank));
    const b = parts.map((part) => part.b);
    const inputs = [
      { name: slot.a, dims: [rows.length, slot.inFeatures, rank], data: stackA(parts, slot.inFeatures, rank) },
      { name: slot.b, dims: [rows.length, rank, slot.outFeatures], data: stack(b, rank * slot.outFeatures) },
    ];
    if (slot.gain !== null) {
      const gains = parts.map((part) => part.gain as Float32Array);
      inputs.push({
        name: slot.gain,
        dims: [rows.length, 1, slot.outFeatures],
        data: stack(gains, slot.outFeatures),
      });
    }
    return inputs;
  });
}

/** Whether an adapter leaves every slot at rank 0 and without a gain. */
export function isNothing(packed: Packed): boolean {
  return packed.every(({ rank, gain }) => rank === 0 && (gain === null || gain.every((value) => value === 0)));
}

function stackA(parts: readonly SlotMatrices[], inFeatures: number, rank: number): Float32Array {
  const [only] = parts;
  if (parts.length === 1 && only?.rank === rank) return only.a;
  const stacked = new Float32Array(parts.length * inFeatures * rank);
  parts.forEach((part, row) => {
    writeColumns(part.a, part.rank, stacked, row * inFeatures * rank, rank);
  });
  return stacked;
}

/** Numbers of rows one behind the other, zeros behind those of a row that has fewer than `size`. */
function stack(rows: readonly Float32Array[], size: number): Float32Array {
  const [only] = rows;
  if (rows.length === 1 && only?.length === size) return only;
  const stacked = new Float32Array(rows.length * size);
  rows.forEach((numbers, row) => {
    stacked.set(numbers, row * size);
  });
  return stacked;
}

/** Write a matrix of `columns` columns into `target`, whose rows are `stride` long, from `first` on. */
function writeColumns(
  values: Float32Array,
  columns: number,
  target: Float32Array,
  first: number,
  stride: number,
): void {
  for (let start = 0, place = first; start < values.length; start += columns, place += stride) {
    for (let column = 0; column < columns; column++) target[place + column] = values[start + column] as number;
  }
}

function matricesAt(packed: Packed, index: number): SlotMatrices {
  return packed[index] as SlotMatrices;
}
