/** Whether products of bytes with signed weights overflow where onnxruntime runs: on x86 without VNNI they do. */

import type { Ort, Tensor } from "./ports.js";

/** A MatMulInteger of a, uint8 (rows, k), and b, int8 (k, columns). The other runtimes hold the same bytes. */
export const PRODUCT =
  "CAQ6PgoYCgFhCgFiEgF5Ig1NYXRNdWxJbnRlZ2VyEgFnWgkKAWESBAoCCAJaCQoBYhIECgIIA2IJCgF5EgQKAggGQgQKABAK";
const K = 4;
const COLUMNS = 16;

const known = new WeakMap<Ort["InferenceSession"], Promise<boolean>>();

/** Whether the largest products do not come out as they are; computed once for an onnxruntime, in a few milliseconds. */
export function productsOverflow(ort: Ort): Promise<boolean> {
  const found = known.get(ort.InferenceSession) ?? tryProduct(ort);
  known.set(ort.InferenceSession, found);
  return found;
}

async function tryProduct(ort: Ort): Promise<boolean> {
  const bytes = Uint8Array.from(atob(PRODUCT), (letter) => letter.charCodeAt(0));
  const session = await ort.InferenceSession.create(bytes, { intraOpNumThreads: 1 });
  const a = new ort.Tensor("uint8", new Uint8Array(K).fill(255), [1, K]);
  const b = new ort.Tensor("int8", new Int8Array(K * COLUMNS).fill(127), [K, COLUMNS]);
  const { y } = await session.run({ a, b });
  await session.release();
  const found = (y as Tensor).data as Int32Array;
  return !found.every((value) => value === 255 * 127 * K);
}
