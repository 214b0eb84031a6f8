/** Which files of an artifact are brought before it is open. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import type { Manifest } from "../src/core/format.js";
import { parseManifest } from "../src/core/manifest.js";
import { baseFiles, filesAtFirst, neededFiles } from "../src/core/needed-files.js";
import { CONFORMANCE } from "./places.js";

const tiny = parseManifest(await readFile(`${CONFORMANCE}/tiny-float/manifest.json`), "tiny-float");

/** The manifest with `count` adapters of so many bytes, on a base whose weights have `weights`. */
function withAdapters(count: number, bytes: number, weights = 1000): Manifest {
  const adapters = Array.from({ length: count }, (_, index) => ({
    name: `a${index}`,
    path: `adapters/a${index}`,
    head: null,
  }));
  const files = new Map([...tiny.files].filter(([name]) => !name.startsWith("adapters/")));
  files.set(tiny.graph.weights, { bytes: weights, sha256: "0".repeat(64) } as never);
  for (const { path } of adapters) {
    files.set(`${path}/adapter_model.safetensors`, { bytes, sha256: "1".repeat(64) } as never);
  }
  return { ...tiny, adapters: adapters as never, files };
}

const names = (manifest: Manifest, when?: "all" | "used") => [...filesAtFirst(manifest, when).keys()];

test("adapters come with their base while they are few and no larger than it", () => {
  for (const [manifest, isLittle] of [
    [withAdapters(3, 1000), true],
    [withAdapters(16, 1000), true],
    [withAdapters(17, 1000), false],
    [withAdapters(2, 8 << 20), true],
    [withAdapters(2, (8 << 20) + 1), false],
    [withAdapters(2, 20 << 20, 100 << 20), true],
    [withAdapters(5, 20 << 20, 90 << 20), false],
    [withAdapters(0, 0), true],
  ] as const) {
    const expected = isLittle ? neededFiles(manifest) : baseFiles(manifest);
    assert.deepEqual(names(manifest), [...expected.keys()]);
    assert.deepEqual(names(manifest, "all"), [...neededFiles(manifest).keys()]);
    assert.deepEqual(names(manifest, "used"), [...baseFiles(manifest).keys()]);
  }
});
