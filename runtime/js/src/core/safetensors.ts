/**
 * Read `.safetensors` files that are in memory, without copying what need not be converted.
 *
 * Knows nothing about adapters: names and arrays, and a header that is checked before anything is trusted.
 */

import { ArtifactError } from "./errors.js";
import { show } from "./manifest.js";

const SIZES: Readonly<Record<string, number>> = {
  F64: 8,
  F32: 4,
  F16: 2,
  BF16: 2,
  I64: 8,
  I32: 4,
  I16: 2,
  I8: 1,
  U64: 8,
  U32: 4,
  U16: 2,
  U8: 1,
  BOOL: 1,
}; // prettier-ignore
const LONGEST_HEADER = 100_000_000;

/** One tensor of a file; `bytes` is a view of it. */
export interface StoredTensor {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

/** Every tensor of the file `bytes`; throws ArtifactError when it is truncated or its header disagrees with its data. */
export function readSafetensors(bytes: Uint8Array, where: string): Map<string, StoredTensor> {
  if (bytes.length < 8) {
    throw new ArtifactError(`${where} is truncated: ${bytes.length} bytes, expected at least 8; copy it again`);
  }
  const headerBytes = Number(new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0, true));
  if (headerBytes > Math.min(LONGEST_HEADER, bytes.length - 8)) {
    throw new ArtifactError(
      `${where} is truncated or no safetensors file: header of ${headerBytes} bytes in a file of ${bytes.length}`,
    );
  }
  let header: unknown;
  try {
    header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, 8 + headerBytes)));
  } catch (error) {
    throw new ArtifactError(`${where}: the header is not JSON (${(error as Error).message}); copy the file again`);
  }
  if (typeof header !== "object" || header === null || Array.isArray(header)) {
    throw new ArtifactError(`${where}: the header is ${show(header)}, expected an object`);
  }
  const data = bytes.subarray(8 + headerBytes);
  const entries = Object.entries(header).filter(([name]) => name !== "__metadata__");
  return new Map(entries.map(([name, entry]) => [name, tensorAt(data, entry, `${where}: ${name}`)]));
}

/** Whether the tensor holds floating point numbers. */
export function isFloat(tensor: StoredTensor): boolean {
  return tensor.dtype.startsWith("F") || tensor.dtype === "BF16";
}

/** The numbers as float32: a view of the file where they are aligned float32, else a copy. */
export function toFloat32(tensor: StoredTensor): Float32Array {
  const { dtype, bytes } = tensor;
  const size = SIZES[dtype] as number;
  // Typed arrays must start at a multiple of their size; files of other writers need not.
  const { buffer, byteOffset, length } = bytes.byteOffset % size === 0 ? bytes : new Uint8Array(bytes);
  const count = length / size;
  if (dtype === "F32") return new Float32Array(buffer, byteOffset, count);
  if (dtype === "F64") return Float32Array.from(new Float64Array(buffer, byteOffset, count));
  const codes = new Uint16Array(buffer, byteOffset, count);
  const widened = new Uint32Array(count);
  if (dtype === "BF16") {
    for (let index = 0; index < count; index++) widened[index] = (codes[index] as number) << 16;
  } else {
    for (let index = 0; index < count; index++) widened[index] = widenHalf(codes[index] as number);
  }
  return new Float32Array(widened.buffer);
}

/** The bits of a float32 with the value of a float16. */
function widenHalf(half: number): number {
  const sign = (half & 0x8000) << 16;
  const exponent = (half >> 10) & 0x1f;
  const fraction = half & 0x3ff;
  if (exponent === 0x1f) return sign | 0x7f800000 | (fraction << 13);
  if (exponent !== 0) return sign | ((exponent + 112) << 23) | (fraction << 13);
  if (fraction === 0) return sign;
  const shift = Math.clz32(fraction) - 21; // a subnormal number has a leading one after all in float32
  return sign | ((113 - shift) << 23) | (((fraction << shift) & 0x3ff) << 13);
}

function tensorAt(data: Uint8Array, entry: unknown, where: string): StoredTensor {
  const { dtype, shape, data_offsets: offsets } = (entry ?? {}) as Record<string, unknown>;
  if (dtype === undefined || shape === undefined || offsets === undefined) {
    throw new ArtifactError(`${where}: expected dtype, shape and data_offsets in the header`);
  }
  if (typeof dtype !== "string" || !Object.hasOwn(SIZES, dtype)) {
    throw new ArtifactError(
      `${where}: dtype is ${show(dtype)}, expected one of ${Object.keys(SIZES).sort().join(", ")}`,
    );
  }
  if (!areSizes(shape) || !areSizes(offsets) || offsets.length !== 2) {
    throw new ArtifactError(
      `${where}: shape ${show(shape)} or data_offsets ${show(offsets)} is not a list of whole numbers`,
    );
  }
  const [start, end] = offsets as [number, number];
  const expected = shape.reduce((product, size) => product * size, SIZES[dtype] as number);
  if (start > end || end > data.length || end - start !== expected) {
    throw new ArtifactError(
      `${where}: bytes ${start} to ${end} of ${data.length} for ${dtype} ${show(shape)}, expected ${expected} bytes; ` +
        "the file is damaged, copy it again",
    );
  }
  return { dtype, shape, bytes: data.subarray(start, end) };
}

function areSizes(values: unknown): values is number[] {
  return Array.isArray(values) && values.every((item) => Number.isSafeInteger(item) && item >= 0);
}
