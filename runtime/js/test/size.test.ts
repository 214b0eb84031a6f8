/** The library stays small: what an app downloads of it beside onnxruntime, tokenizer and templates. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import { PACKAGE } from "./places.js";

const LIMIT_BYTES = 42_000;
const USES = {
  "the core": 'export * from "./core/index.js"',
  "an app in Node": 'export { load } from "./node.js"',
  "a page": 'export { load } from "./web.js"',
  "a page with a worker": 'export { loadInWorker } from "./web.js"',
  "the worker": 'import "./web/worker.js"',
  "an app in React Native": 'export * from "./react-native.js"',
};

for (const [user, contents] of Object.entries(USES)) {
  test(`${user} gets less than ${LIMIT_BYTES / 1000} kB, minified and gzipped`, async (context) => {
    const { outputFiles } = await build({
      stdin: { contents, resolveDir: join(PACKAGE, "src"), loader: "ts" },
      bundle: true,
      minify: true,
      write: false,
      format: "esm",
      target: "es2022",
      external: ["node:*", "onnxruntime-*", "@huggingface/*"],
    });
    const [file] = outputFiles;
    assert.ok(file && file.contents.length > 3_000); // something was bundled
    const size = gzipSync(file.contents, { level: 9 }).length;
    context.diagnostic(`${size} bytes gzipped, ${file.contents.length} minified`);
    assert.ok(size < LIMIT_BYTES, `${size} bytes`);
  });
}
