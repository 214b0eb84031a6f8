/** An app in Node with the package as npm installs it. */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { CONFORMANCE } from "../places.js";
import { CASE } from "./cases.js";
import { CONSUMERS, run } from "./install.js";

test("Node answers by the root import and by require", () => {
  const artifact = join(CONFORMANCE, CASE.artifact);
  const said = run(CONSUMERS, process.execPath, "node/app.mjs", artifact, JSON.stringify(CASE));
  assert.deepEqual(
    said
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line)),
    [CASE.expected_ids, CASE.expected_ids],
  );
});

const COPY = join(CONSUMERS, "node_modules/.bin/edgelora-ort");

test("edgelora-ort copies what a backend needs, and again only what has changed", () => {
  const folder = mkdtempSync(join(tmpdir(), "edgelora-ort-"));
  try {
    const to = join(folder, "ort");
    run(CONSUMERS, COPY, to, "wasm");
    assert.deepEqual(readdirSync(to).sort(), [
      "ort-wasm-simd-threaded.mjs",
      "ort-wasm-simd-threaded.wasm",
      "ort.wasm.min.mjs",
    ]);
    const [kept, cut] = [join(to, "ort-wasm-simd-threaded.mjs"), join(to, "ort.wasm.min.mjs")];
    const later = new Date(2100, 0);
    utimesSync(kept, later, later);
    writeFileSync(cut, "");
    run(CONSUMERS, COPY, to);
    assert.equal(statSync(kept).mtimeMs, later.getTime());
    assert.ok(statSync(cut).size > 0);
    assert.equal(readdirSync(to).length, 6);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("edgelora-ort says what is wrong in one line", () => {
  const folder = mkdtempSync(join(tmpdir(), "edgelora-ort-"));
  try {
    mkdirSync(join(folder, "empty"));
    for (const [cwd, words, line] of [
      [CONSUMERS, [], /^usage: edgelora-ort FOLDER \[wasm\|webgpu\], .+\n$/],
      [CONSUMERS, ["to", "cuda"], /^usage: .+\n$/],
      [join(folder, "empty"), ["to"], /^onnxruntime-web is not installed here; run: npm install onnxruntime-web\n$/],
    ] as const) {
      const { status, stderr } = spawnSync(COPY, words, { cwd, encoding: "utf8" });
      assert.match(stderr, line);
      assert.equal(status, 2);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});
