#!/usr/bin/env node
/**
 * `edgelora-ort FOLDER [wasm|webgpu]`: copies the files of onnxruntime-web that a page needs into a folder that is served.
 *
 * Files that are there already, with the same size and a later date, are left alone.
 */

import { copyFileSync, mkdirSync, statSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";

const FILES = {
  wasm: ["ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm"],
  webgpu: ["ort.webgpu.min.mjs", "ort-wasm-simd-threaded.asyncify.mjs", "ort-wasm-simd-threaded.asyncify.wasm"],
};

const [folder, backend, ...rest] = process.argv.slice(2);
if (!folder || folder.startsWith("-") || rest.length > 0 || (backend !== undefined && !Object.hasOwn(FILES, backend))) {
  fail("usage: edgelora-ort FOLDER [wasm|webgpu], where FOLDER is served as /ort/ (public/ort for most bundlers)");
}

let dist;
try {
  dist = dirname(createRequire(join(process.cwd(), "package.json")).resolve("onnxruntime-web"));
} catch {
  fail("onnxruntime-web is not installed here; run: npm install onnxruntime-web");
}

mkdirSync(folder, { recursive: true });
for (const name of backend === undefined ? Object.values(FILES).flat() : FILES[backend]) {
  const [from, to] = [join(dist, name), join(folder, name)];
  const [source, target] = [statSync(from), statSync(to, { throwIfNoEntry: false })];
  if (target?.size !== source.size || target.mtimeMs < source.mtimeMs) copyFileSync(from, to);
}
console.log(resolve(folder));

function fail(line) {
  console.error(line);
  process.exit(2);
}
