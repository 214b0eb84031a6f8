/**
 * Read `.safetensors` files that are in memory, without copying what need not be converted.
 *
 * Knows nothing about adapters: names and arrays, and a header that is checked before anything is trusted.
 */

import { ArtifactError } from "./errors.js";
import { hasControl } from "./names.js";
import { isFields, parseJson, show } from "./parse-json.js";

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
const LONGEST_HEADER = 8 * 1024 * 1024; // bytes; 80,000 tensors
const LONGEST_NAME = 1024;
const MOST_DIMENSIONS = 8;

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
  const first = 8 + headerBytes;
  if (bytes[8] !== 0x7b) {
    throw new ArtifactError(`${where}: the header does not begin with '{'; copy the file again`);
  }
  const header = parseJson(bytes.subarray(8, first), `${where}: the header`, ArtifactError, "copy the file again");
  const { __metadata__: metadata = {}, ...tensors } = header as Record<string, unknown>;
  if (!isFields(metadata) || !Object.values(metadata).every((item) => typeof item === "string")) {
    throw new ArtifactError(`${where}: __metadata__ is ${show(metadata)}, expected an object of texts`);
  }
  const data = bytes.subarray(first);
  const entries = Object.entries(tensors).map(([name, entry]) => entryOf(name, entry, where));
  checkTiling(entries, data.length, where);
  return new Map(
    entries.map(({ name, dtype, shape, start, end }) => [name, { dtype, shape, bytes: data.subarray(start, end) }]),
  );
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

/** One tensor of a header; bytes `start` to `end` of what follows the header. */
interface Entry {
  readonly name: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly start: number;
  readonly end: number;
}

function entryOf(name: string, entry: unknown, where: string): Entry {
  const refuse = (why: string) => new ArtifactError(`${where}: ${show(name)}: ${why}`);
  if (name === "" || hasControl(name) || name.length > LONGEST_NAME) {
    throw refuse("is no name of a tensor: it is empty, long or holds a control character");
  }
  const { dtype, shape, data_offsets: offsets } = (isFields(entry) ? entry : {}) as Record<string, unknown>;
  if (dtype === undefined || shape === undefined || offsets === undefined) {
    throw refuse("expected dtype, shape and data_offsets in the header");
  }
  if (typeof dtype !== "string" || !Object.hasOwn(SIZES, dtype)) {
    throw refuse(`dtype is ${show(dtype)}, expected one of ${Object.keys(SIZES).sort().join(", ")}`);
  }
  if (!areSizes(shape) || !areSizes(offsets) || offsets.length !== 2) {
    throw refuse(`shape ${show(shape)} or data_offsets ${show(offsets)} is not a list of whole numbers`);
  }
  const product = (sizes: readonly number[]) => sizes.reduce((count, size) => count * size, 1);
  if (shape.length > MOST_DIMENSIONS || product(shape.filter((size) => size > 0)) > Number.MAX_SAFE_INTEGER) {
    throw refuse(`shape ${show(shape)} is beyond what an array can have`);
  }
  const [start, end] = offsets as [number, number];
  const expected = product(shape) * (SIZES[dtype] as number);
  if (end - start !== expected) {
    const found = `bytes ${start} to ${end} for ${dtype} ${show(shape)}`;
    throw refuse(`${found}, expected ${expected} bytes; the file is damaged, copy it again`);
  }
  return { name, dtype, shape, start, end };
}

/** The tensors lie side by side over all of the data: no byte is read twice, and none hides between them. */
function checkTiling(entries: readonly Entry[], count: number, where: string): void {
  let place = 0;
  for (const { name, start, end } of [...entries].sort(
    (one, other) => one.start - other.start || one.end - other.end,
  )) {
    if (start !== place || end > count) {
      throw new ArtifactError(
        `${where}: ${show(name)}: bytes ${start} to ${end} of ${count}, expected to begin at ${place}; ` +
          "the file is damaged, copy it again",
      );
    }
    place = end;
  }
  if (place !== count) {
    throw new ArtifactError(
      `${where}: the tensors end at byte ${place} of ${count}; the file is damaged, copy it again`,
    );
  }
}

function areSizes(values: unknown): values is number[] {
  return Array.isArray(values) && values.every((item) => Number.isSafeInteger(item) && item >= 0);
}
