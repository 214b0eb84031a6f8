/**
 * Pack the factors of an adapter into slot matrices.
 *
 * Knows nothing about files, tensors or sessions: numbers in, numbers out. `docs/format.md` ("Slots") defines it.
 * Every array has an ArrayBuffer of its own: onnxruntime-react-native reads a view from the start of its buffer.
 */

import type { Adapter, Factors, Matrix } from "./adapter.js";
import type { Slot, SlotPart } from "./format.js";
import { emptyGain, type Packed } from "./packing.js";

/** The matrices of an adapter; a slot that it does not touch gets rank 0. */
export function packAdapter(adapter: Adapter, slots: readonly Slot[]): Packed {
  return slots.map((slot) => {
    const groups = rankGroups(slot, adapter);
    const rank = groups.reduce((sum, group) => sum + group.a.rows, 0);
    const a = new Float32Array(slot.inFeatures * rank);
    const b = new Float32Array(rank * slot.outFeatures);
    const gain = emptyGain(slot);
    let start = 0;
    for (const group of groups) {
      writeTransposed(group.a, a, start, rank, 1);
      for (const { part, factors } of group.members) {
        const first = start * slot.outFeatures + part.offset;
        writeTransposed(factors.b, b, first, slot.outFeatures, Math.fround(factors.scaling));
        if (factors.gain !== null) gain?.set(factors.gain, part.offset);
      }
      start += group.a.rows;
    }
    return { rank, a, b, gain };
  });
}

/** Parts of a slot with equal A: they share their ranks. */
interface RankGroup {
  readonly a: Matrix;
  readonly members: { readonly part: SlotPart; readonly factors: Factors }[];
}

function rankGroups(slot: Slot, adapter: Adapter): RankGroup[] {
  const groups: RankGroup[] = [];
  for (const part of slot.parts) {
    const factors = adapter.factors.get(part.module);
    if (factors === undefined) continue;
    const group = groups.find((item) => areEqual(item.a, factors.a));
    if (group === undefined) groups.push({ a: factors.a, members: [{ part, factors }] });
    else group.members.push({ part, factors });
  }
  return groups;
}

function areEqual(one: Matrix, other: Matrix): boolean {
  if (one.rows !== other.rows || one.columns !== other.columns) return false;
  return one.values.every((value, index) => value === other.values[index]); // the first number nearly always tells
}

/** Write `matrix.T * scale` into `target`, whose rows are `stride` long, from `first` on. */
function writeTransposed(matrix: Matrix, target: Float32Array, first: number, stride: number, scale: number): void {
  const { rows, columns, values } = matrix;
  // In the order of the target: writing far apart costs more than reading far apart.
  for (let column = 0; column < columns; column++) {
    const start = first + column * stride;
    for (let row = 0; row < rows; row++) target[start + row] = (values[row * columns + column] as number) * scale;
  }
}
