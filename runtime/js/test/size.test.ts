/** The library stays small: what an app downloads of it beside onnxruntime, tokenizer and templates. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import { PACKAGE } from "./places.js";

const LIMIT_BYTES = 25_000;

for (const entry of ["core/index.ts", "node.ts"]) {
  test(`src/${entry} is under ${LIMIT_BYTES / 1000} kB, minified and gzipped`, async (context) => {
    const { outputFiles } = await build({
      entryPoints: [join(PACKAGE, "src", entry)],
      bundle: true,
      minify: true,
      write: false,
      format: "esm",
      platform: entry === "node.ts" ? "node" : "neutral",
      target: "es2022",
      external: ["onnxruntime-*", "@huggingface/*"],
    });
    const [file] = outputFiles;
    assert.ok(file && file.contents.length > 10_000); // something was bundled
    const size = gzipSync(file.contents, { level: 9 }).length;
    context.diagnostic(`${size} bytes gzipped, ${file.contents.length} minified`);
    assert.ok(size < LIMIT_BYTES, `${size} bytes`);
  });
}
