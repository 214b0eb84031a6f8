/**
 * Inputs of a graph that belong to an adapter, as tensors ready to be fed.
 *
 * Knows nothing about what they mean: names, numbers, and memory that is let go of.
 */

import type { SlotInput } from "./packing.js";
import type { Backend, Tensor } from "./ports.js";

/** Inputs as tensors that stay what they are; compared by identity. */
export interface BoundAdapter {
  /** 1 (shared by every row) or the number of rows. */
  readonly rows: number;
  readonly inputs: readonly (readonly [string, Tensor])[];
  /** Memory of the inputs. */
  readonly bytes: number;
  /** Every slot has rank 0. */
  readonly isNone: boolean;
}

/** An adapter in one row: it acts from index `start` on, and what stands before goes through `before`. */
export interface Acting {
  readonly adapter: BoundAdapter;
  readonly start: number;
  /** The base, of an activated adapter. */
  readonly before: BoundAdapter | null;
}

/** How many first tokens of a row went through the base. */
export function countOfBase({ adapter, start }: Acting): number {
  return adapter.isNone ? Number.POSITIVE_INFINITY : start;
}

/** The inputs where the backend keeps them between runs. */
export function bind(
  { ort, place }: Backend,
  found: readonly SlotInput[],
  rows: number,
  isNone: boolean,
): BoundAdapter {
  const inputs = found.map(({ name, dims, data }) => {
    const tensor = place === undefined ? new ort.Tensor("float32", data, dims) : place(data, dims);
    return [name, tensor] as const;
  });
  const bytes = found.reduce((sum, { data }) => sum + data.byteLength, 0);
  return { rows, inputs, bytes, isNone };
}

/** Free the tensors of an adapter that will not be used again. */
export function release(adapter: BoundAdapter): void {
  for (const [, tensor] of adapter.inputs) tensor.dispose();
}
