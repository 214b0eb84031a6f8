/** Numbers come out of safetensors files bit for bit; files that are damaged are refused. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { ArtifactError } from "../src/core/errors.js";
import { readSafetensors, type StoredTensor, toFloat32 } from "../src/core/safetensors.js";
import { float32, type TensorToWrite, writeSafetensors } from "./folders.js";

function only(file: Uint8Array): StoredTensor {
  const tensors = [...readSafetensors(file, "file").values()];
  assert.equal(tensors.length, 1);
  return tensors[0] as StoredTensor;
}

function numbers(tensor: TensorToWrite): number[] {
  return [...toFloat32(only(writeSafetensors({ x: tensor })))];
}

test("float32 is a view of the file, or a copy where it is not aligned", () => {
  const tensor = float32([2, 3], (index) => index / 3);
  const file = writeSafetensors({ x: tensor });
  assert.equal(toFloat32(only(file)).buffer, file.buffer);
  const shifted = writeSafetensors({ x: tensor }, 3);
  assert.deepEqual(toFloat32(only(shifted)), tensor.data);
  assert.deepEqual(toFloat32(only(Buffer.from(shifted.buffer))), tensor.data); // whose slice() is no copy
});

test("float16 is widened exactly: zeros, subnormals, the largest, infinity", () => {
  const codes = [0x0000, 0x8000, 0x0001, 0x03ff, 0x0400, 0x3c00, 0xc000, 0x7bff, 0x3555, 0x7c00, 0xfc00, 0x8203];
  const found = numbers({ dtype: "F16", shape: [codes.length], data: Uint16Array.from(codes) });
  const expected = [
    0,
    -0,
    2 ** -24,
    1023 * 2 ** -24,
    2 ** -14,
    1,
    -2,
    65504,
    1365 / 4096,
    Infinity,
    -Infinity,
    -515 * 2 ** -24,
  ];
  assert.deepEqual(found, expected);
  assert.ok(Number.isNaN(numbers({ dtype: "F16", shape: [1], data: Uint16Array.of(0x7e00) })[0]));
});

test("bfloat16 and float64 become float32", () => {
  assert.deepEqual(numbers({ dtype: "BF16", shape: [2], data: Uint16Array.of(0x3f80, 0xc049) }), [1, -3.140625]);
  assert.deepEqual(numbers({ dtype: "F64", shape: [2], data: Float64Array.of(0.1, 1e300) }), [
    Math.fround(0.1),
    Infinity,
  ]);
});

test("an empty tensor is one", () => {
  assert.deepEqual(numbers(float32([0, 4], () => 1)), []);
});

function refused(file: Uint8Array, message: RegExp): void {
  assert.throws(
    () => readSafetensors(file, "f"),
    (error) => error instanceof ArtifactError && message.test(error.message),
  );
}

function withHeader(header: string): Uint8Array {
  const file = new Uint8Array(8 + header.length + 8);
  new DataView(file.buffer).setBigUint64(0, BigInt(header.length), true);
  file.set(new TextEncoder().encode(header), 8);
  return file;
}

test("damage is named", () => {
  const file = writeSafetensors({ x: float32([2, 3], () => 1) });
  refused(file.subarray(0, 5), /^f is truncated: 5 bytes, expected at least 8; copy it again$/);
  refused(file.subarray(0, 40), /^f is truncated or no safetensors file: header of \d+ bytes in a file of 40$/);
  refused(
    file.subarray(0, file.length - 4),
    /^f: "x": bytes 0 to 24 of 20, expected to begin at 0; the file is damaged/,
  );
  refused(withHeader("{nonsense"), /^f: the header is not JSON \(.+\); copy the file again$/);
  refused(withHeader("[1]"), /^f: the header does not begin with '\{'; copy the file again$/);
  refused(withHeader('{"x":{"dtype":"F32"}}'), /^f: "x": expected dtype, shape and data_offsets in the header$/);
  refused(
    withHeader('{"x":{"dtype":"F8","shape":[1],"data_offsets":[0,1]}}'),
    /^f: "x": dtype is "F8", expected one of BF16, BOOL, F16/,
  );
  refused(
    withHeader('{"x":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}'),
    /shape \[-1\] or data_offsets \[0,4\] is not a list/,
  );
  refused(
    withHeader('{"x":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}'),
    /bytes 0 to 4 for F32 \[2\], expected 8 bytes/,
  );
});
