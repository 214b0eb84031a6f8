/** The library stays small: what an app downloads of it beside onnxruntime, tokenizer and jinja. */

import assert from "node:assert/strict";
import { join, relative } from "node:path";
import { test } from "node:test";
import { gzipSync } from "node:zlib";
import { build, type Metafile, type Plugin } from "esbuild";
import { bundleWorker, workerModules } from "../tools/worker-source.mjs";
import { PACKAGE } from "./places.js";

const LATER_BYTES = 14_000; // what text needs, its chat template with it; reading adapters likewise, and downloads
const ENCODER_BYTES = 17_000; // a model that classifies, tags or embeds, beside what is loaded at first
const CORE_BYTES = 20_000; // it opens a model that generates
const WORKER_BYTES = 20_000; // with what it starts with
const WHOLE_BYTES = 108_000; // in one file: tokenizers, templates, adapters, encoders and forms too
const FORMS_BYTES = 10_000; // answers that keep a schema or a regular expression
/** What is loaded at first, how large it may be, and how large with a model that generates. */
const USES = {
  "the core": ['export * from "./backend.js"', 11_500, 22_500],
  "an app in Node": ['export { load } from "./node.js"', 15_800, 26_800],
  "a page": ['export { load } from "./web.js"', 21_700, 32_700],
  "a page with a worker": ['export { loadInWorker } from "./web.js"', 20_500, 20_500],
  "the worker": ['import "./web/worker.js"', 21_500, 32_700],
  "an app in React Native": ['export * from "./react-native.js"', 19_500, 30_500],
} as const;

/** package.json says of the worker alone that it does something, but of the built one. */
const WORKER: Plugin = {
  name: "worker",
  setup({ onResolve }) {
    onResolve({ filter: /^\.\/web\/worker\.js$/ }, ({ resolveDir }) => {
      return { path: join(resolveDir, "web/worker.ts"), sideEffects: true };
    });
  },
};

const FACADE_BYTES = 3_000;

for (const name of ["openai", "ai", "react"]) {
  test(`@edgelora/runtime/${name} brings less than ${FACADE_BYTES / 1000} kB, and nothing of the runtime`, async (context) => {
    const { outputFiles, metafile } = await build({
      entryPoints: [join(PACKAGE, `src/${name}.ts`)],
      bundle: true,
      minify: true,
      write: false,
      metafile: true,
      absWorkingDir: PACKAGE,
      outdir: "out",
      format: "esm",
      target: "es2022",
      external: ["react"],
    });
    const bytes = outputFiles.reduce((sum, { contents }) => sum + gzipSync(contents, { level: 9 }).length, 0);
    context.diagnostic(`${bytes} bytes gzipped`);
    assert.ok(bytes > 500 && bytes < FACADE_BYTES, `${bytes} bytes`);
    assert.deepEqual(
      Object.keys(metafile.inputs).filter(
        (path) => !/\/(errors|names|parse-json|readable|call-form|openai|ai|react)\.ts$/.test(path),
      ),
      [],
    );
  });
}

for (const [user, [contents, most, mostToGenerate]] of Object.entries(USES)) {
  test(`${user} gets less than ${most / 1000} kB, minified and gzipped`, async (context) => {
    const { outputFiles, metafile } = await build({
      stdin: { contents, resolveDir: join(PACKAGE, "src"), loader: "ts" },
      bundle: true,
      splitting: true,
      minify: true,
      write: false,
      metafile: true,
      outdir: "out",
      absWorkingDir: PACKAGE,
      plugins: [WORKER],
      format: "esm",
      target: "es2022",
      external: ["node:*", "onnxruntime-*", "@huggingface/*", "*/worker-source.js"],
    });
    const bytes = new Map(
      outputFiles.map(({ path, contents: file }) => [relative(PACKAGE, path), gzipSync(file, { level: 9 }).length]),
    );
    const [entry] = Object.keys(metafile.outputs).filter((name) => metafile.outputs[name]?.entryPoint === "<stdin>");
    const first = reach(metafile, [entry as string], ["import-statement"]);
    const starting = (named: RegExp, from: ReadonlySet<string>) =>
      [...from]
        .flatMap((item) => importsOf(metafile, item, ["dynamic-import"]))
        .filter((name) => named.test(metafile.outputs[name]?.entryPoint ?? ""));
    const decoder = reach(metafile, starting(/text-model/, first), ["import-statement"], first);
    const writing = new Set([...first, ...decoder]); // what a model that generates has before its first answer
    const later = (named: RegExp, known: ReadonlySet<string> = writing) =>
      reach(metafile, starting(named, writing), ["import-statement", "dynamic-import"], known);
    const [adapters, text] = [later(/open-adapter/), later(/\/text\.ts$/)];
    const sizes = {
      first: sum(first, bytes),
      decoder: sum(decoder, bytes),
      text: sum(text, bytes),
      encoders: sum(later(/encoder-model|remote-encoder/, new Set([...first, ...adapters, ...text])), bytes),
      adapters: sum(adapters, bytes),
      answers: sum(later(/generating|generation/), bytes),
      forms: sum(later(/\/forms\.ts$/), bytes),
      downloads: sum(later(/later|bring|cache|kept|hub/), bytes),
    };
    const { first: whole, ...parts } = sizes;
    const more = Object.entries(parts).map(([part, size]) => `${size} for ${part}`);
    context.diagnostic(`${whole} bytes gzipped; later ${more.join(", ")}`);
    assert.ok(sizes.first > 2_000); // something was bundled
    assert.ok(sizes.first < most, `${sizes.first} bytes`);
    assert.ok(whole + sizes.decoder < mostToGenerate, `${whole + sizes.decoder} bytes with a model that generates`);
    assert.ok(sizes.text > 200 && sizes.text < LATER_BYTES, `${sizes.text} bytes for text`);
    assert.ok(sizes.downloads < LATER_BYTES, `${sizes.downloads} bytes for downloads`);
    assert.ok(sizes.forms < FORMS_BYTES, `${sizes.forms} bytes for forms`);
    assert.ok(sizes.encoders > 200 && sizes.encoders < ENCODER_BYTES, `${sizes.encoders} bytes for encoders`);
    assert.ok(sizes.adapters < LATER_BYTES, `${sizes.adapters} bytes for adapters`);
  });
}

test("the core without text, able to open a model that generates, is one file of less than 20 kB", async (context) => {
  const bundleOf = async (later: RegExp) => {
    const { outputFiles } = await build({
      stdin: { contents: 'export * from "./backend.js"', resolveDir: join(PACKAGE, "src"), loader: "ts" },
      bundle: true,
      minify: true,
      write: false,
      absWorkingDir: PACKAGE,
      format: "esm",
      target: "es2022",
      external: ["node:*", "onnxruntime-*", "@huggingface/*"],
      plugins: [leaving(later)],
    });
    return gzipSync(outputFiles[0]?.contents as Uint8Array, { level: 9 }).length;
  };
  const [opening, answering] = [await bundleOf(/./), await bundleOf(/^(?!.*\/generat(ing|ion)\.js$)/)];
  context.diagnostic(`${opening} bytes gzipped, ${answering} with what comes with the first answer`);
  assert.ok(opening > 10_000 && opening < CORE_BYTES, `${opening} bytes`);
  assert.ok(answering > opening && answering < CORE_BYTES + 3000, `${answering} bytes`);
});

/** Leaves out what is imported later and is named so, but for the model that generates. */
function leaving(later: RegExp): Plugin {
  return {
    name: "later",
    setup({ onResolve }) {
      onResolve({ filter: /^\./ }, ({ path, kind }) => {
        const isLeft = kind === "dynamic-import" && later.test(path) && !path.endsWith("/text-model.js");
        return isLeft ? { path, external: true } : null;
      });
    },
  };
}

test("the worker of a page starts with its first texts; the others are fetched when they are wanted", async (context) => {
  const modules = await workerModules(PACKAGE, (await bundleWorker(PACKAGE)).code);
  const bytes = (name: string) => gzipSync(modules.get(name) as string, { level: 9 }).length;
  const first = modules.get("worker-source.js") as string;
  context.diagnostic(`${bytes("worker-source.js")} bytes gzipped at first, ${bytes("worker-whole.js")} in one file`);
  assert.ok(bytes("worker-source.js") > 10_000 && bytes("worker-source.js") < WORKER_BYTES);
  assert.ok(bytes("worker-whole.js") > 50_000 && bytes("worker-whole.js") < WHOLE_BYTES);

  const known = new Set([...first.matchAll(/^ {2}"([\w-]+)": async/gm)].map((found) => found[1]));
  const later = [...first.matchAll(/import\("\.\/([\w.-]+)"\)/g)].map((found) => found[1] as string);
  assert.deepEqual(later.toSorted(), [...modules.keys()].filter((name) => name !== "worker-source.js").toSorted());
  const texts = [...modules.values()].join("\n");
  const wanted = [...texts.matchAll(/edgelora:([\w-]+)|edgeloraPart\(\\"([\w-]+)/g)].map(
    (found) => found[1] ?? found[2],
  );
  assert.ok(wanted.length > 50);
  assert.deepEqual(
    wanted.filter((name) => !known.has(name)),
    [],
  );
});

/** Files of the bundle and what they import, but for those that are `known`. */
function reach(
  metafile: Metafile,
  starts: readonly string[],
  kinds: readonly string[],
  known: ReadonlySet<string> = new Set(),
): Set<string> {
  const found = new Set(starts); // a Set goes on over what is added to it
  for (const name of found) {
    for (const path of importsOf(metafile, name, kinds)) if (!known.has(path)) found.add(path);
  }
  return found;
}

function importsOf({ outputs }: Metafile, name: string, kinds: readonly string[]): string[] {
  return (outputs[name]?.imports ?? []).flatMap((item) =>
    kinds.includes(item.kind) && item.path in outputs ? [item.path] : [],
  );
}

function sum(names: Iterable<string>, bytes: ReadonlyMap<string, number>): number {
  return [...names].reduce((total, name) => total + (bytes.get(name) ?? 0), 0);
}
