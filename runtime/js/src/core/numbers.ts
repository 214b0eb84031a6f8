/**
 * Whether what a device computed are numbers.
 *
 * Knows nothing about what they mean.
 */

import { BackendError } from "./errors.js";

/** `values` as they are; throws BackendError for those of a device that computes nonsense. `place` is its name. */
export function checkNumbers(values: Float32Array, place: string): Float32Array {
  for (let index = 0; index < values.length; index++) {
    const value = values[index] as number;
    if (value < Number.POSITIVE_INFINITY) continue; // false for NaN as well
    throw new BackendError(
      `${place} computed ${value} where a number is due; load the model with another backend (in a browser ` +
        'backend: "wasm"), or export the artifact again',
      "no-numbers",
    );
  }
  return values;
}
