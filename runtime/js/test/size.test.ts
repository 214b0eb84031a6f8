/** The library stays small: what an app downloads of it beside onnxruntime, tokenizer and jinja. */

import assert from "node:assert/strict";
import { join, relative } from "node:path";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { build, type Metafile } from "esbuild";
import { PACKAGE } from "./places.js";

const LIMIT_BYTES = 38_000;
const LATER_BYTES = 10_000; // what chat templates need, loaded with an artifact that has one; encoders likewise
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
    const bytes = new Map(
      outputFiles.map(({ path, contents: file }) => [relative(PACKAGE, path), gzipSync(file, { level: 9 }).length]),
    );
    const [entry] = Object.keys(metafile.outputs).filter((name) => metafile.outputs[name]?.entryPoint === "<stdin>");
    const first = closure(metafile, entry as string);
    const sizes = { first: sum(first, bytes), templates: 0, encoders: 0 };
    for (const name of new Set([...first].flatMap((item) => importsOf(metafile, item, "dynamic-import")))) {
      const kind = /template/.test(metafile.outputs[name]?.entryPoint ?? "") ? "templates" : "encoders";
      sizes[kind] += sum(
        [...closure(metafile, name)].filter((item) => !first.has(item)),
        bytes,
      );
    }
    context.diagnostic(
      `${sizes.first} bytes gzipped, ${sizes.templates} more for chat templates, ${sizes.encoders} for encoders`,
    );
    assert.ok(sizes.first > 2_000); // something was bundled
    assert.ok(sizes.first < LIMIT_BYTES, `${sizes.first} bytes`);
    assert.ok(sizes.templates < LATER_BYTES, `${sizes.templates} bytes for chat templates`);
    assert.ok(sizes.encoders > 200 && sizes.encoders < LATER_BYTES, `${sizes.encoders} bytes for encoders`);
  });
}

/** A file of the bundle and what it imports before it runs. */
function closure(metafile: Metafile, entry: string): Set<string> {
  const found = new Set([entry]); // a Set goes on over what is added to it
  for (const name of found) for (const path of importsOf(metafile, name, "import-statement")) found.add(path);
  return found;
}

function importsOf({ outputs }: Metafile, name: string, kind: string): string[] {
  return (outputs[name]?.imports ?? []).flatMap((item) =>
    item.kind === kind && item.path in outputs ? [item.path] : [],
  );
}

function sum(names: Iterable<string>, bytes: ReadonlyMap<string, number>): number {
  return [...names].reduce((total, name) => total + (bytes.get(name) ?? 0), 0);
}
