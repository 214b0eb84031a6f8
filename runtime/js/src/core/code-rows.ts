/** Factors that a file holds as codes of 8 bits: a row for each rank, with its scale, a float32, behind the codes. */

import { EXPECTED } from "./adapter-config.js";
import { AdapterError } from "./errors.js";
import { joinSome } from "./parse-json.js";
import type { StoredTensor } from "./safetensors.js";

const KEY = /^.+\.lora_(?<side>[AB])(?:\.default)?\.weight$/s;
const SCALE_BYTES = 4;
const NO_CODE = -128;

/**
 * The same tensors with every factor as float32: A (rank, in_features), B (out_features, rank). Throws one AdapterError,
 * which calls the adapter `where`.
 */
export function widenRows(tensors: Map<string, StoredTensor>, where: string): Map<string, StoredTensor> {
  const wrong: string[] = [];
  for (const [key, tensor] of tensors) {
    const side = KEY.exec(key)?.groups?.side;
    const [ranks = 0, width = 0, last] = tensor.shape;
    const isRows = tensor.dtype === "I8" && tensor.shape.length === 3 && ranks > 0 && width > SCALE_BYTES && last === 1;
    if (side === undefined || !isRows) continue;
    const found = widen(tensor.bytes, ranks, width - SCALE_BYTES, side === "B");
    if (typeof found === "string") wrong.push(`${key} has ${found}`);
    else tensors.set(key, found);
  }
  if (wrong.length > 0) throw new AdapterError(`${where} cannot be used: ${joinSome(wrong)}; ${EXPECTED}`);
  return tensors;
}

/** `count` codes of each rank times its scale, or what is wrong with them; `isTurned` puts ranks into columns. */
function widen(bytes: Uint8Array, ranks: number, count: number, isTurned: boolean): StoredTensor | string {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const values = new Float32Array(ranks * count);
  for (let rank = 0; rank < ranks; rank++) {
    const start = rank * (count + SCALE_BYTES);
    const scale = view.getFloat32(start + count, true);
    if (!(scale > 0 && scale < Number.POSITIVE_INFINITY)) return "a scale that is no number above 0";
    for (let index = 0; index < count; index++) {
      const code = view.getInt8(start + index);
      if (code === NO_CODE) return `the code ${NO_CODE}, expected -127 to 127`;
      values[isTurned ? index * ranks + rank : rank * count + index] = code * scale;
    }
  }
  const shape = isTurned ? [count, ranks] : [ranks, count];
  return { dtype: "F32", shape, bytes: new Uint8Array(values.buffer) };
}
