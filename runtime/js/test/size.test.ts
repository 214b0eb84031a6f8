/** The library stays small: what an app downloads of it beside onnxruntime, tokenizer and jinja. */

import assert from "node:assert/strict";
import { join, relative } from "node:path";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { build } from "esbuild";
import { PACKAGE } from "./places.js";

const LIMIT_BYTES = 38_000;
const LATER_BYTES = 10_000; // what chat templates need, loaded with an artifact that has one
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
    const { outputFiles, metafile } = await build({
      stdin: { contents, resolveDir: join(PACKAGE, "src"), loader: "ts" },
      bundle: true,
      splitting: true,
      minify: true,
      write: false,
      metafile: true,
      outdir: "out",
      absWorkingDir: PACKAGE,
      format: "esm",
      target: "es2022",
      external: ["node:*", "onnxruntime-*", "@huggingface/*"],
    });
    const [entry] = Object.keys(metafile.outputs).filter((name) => metafile.outputs[name]?.entryPoint === "<stdin>");
    const first = new Set([entry as string]); // a Set goes on over what is added to it
    for (const name of first) {
      for (const { path, kind } of metafile.outputs[name]?.imports ?? []) {
        if (kind === "import-statement" && path in metafile.outputs) first.add(path);
      }
    }
    const sizes = { first: 0, later: 0 };
    for (const { path, contents: bytes } of outputFiles) {
      const isFirst = first.has(relative(PACKAGE, path));
      sizes[isFirst ? "first" : "later"] += gzipSync(bytes, { level: 9 }).length;
    }
    context.diagnostic(`${sizes.first} bytes gzipped, ${sizes.later} more for chat templates`);
    assert.ok(sizes.first > 2_000); // something was bundled
    assert.ok(sizes.first < LIMIT_BYTES, `${sizes.first} bytes`);
    assert.ok(sizes.later < LATER_BYTES, `${sizes.later} bytes for chat templates`);
  });
}
