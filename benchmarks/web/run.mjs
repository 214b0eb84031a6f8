/**
 * Measures the libraries in one headless Chromium, in turns: `node run.mjs CONFIG.json` prints one JSON object.
 *
 * Knows nothing about how models are made or how figures are told; `__main__.py` does the one, `report.py` the other.
 */

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { bundle } from "./bundle.mjs";
import { serve } from "./server.mjs";

const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-background-networking",
  "--disable-background-timer-throttling",
  "--disable-backgrounding-occluded-windows",
  "--disable-renderer-backgrounding",
];
const LIBRARIES = ["edgelora", "transformers", "wllama"];
const HERE = import.meta.dirname;

/** Runs in the page before anything else: how large the memories of WebAssembly have grown. */
function watchMemory() {
  const memories = [];
  const Memory = WebAssembly.Memory;
  WebAssembly.Memory = class extends Memory {
    constructor(options) {
      super(options);
      memories.push(this);
    }
  };
  globalThis.wasmBytes = () => memories.reduce((sum, memory) => sum + memory.buffer.byteLength, 0);
}

/** Runs in a worker: how large the memory of its module has grown, where it is a module of emscripten. */
function workerBytes() {
  return typeof Module === "undefined" ? 0 : (Module?.wasmMemory?.buffer.byteLength ?? 0);
}

/** 0, later: a thread of a pool waits in the middle of what it does, and is never there to say how large its memory is. */
function afterwards(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms, 0));
}

/** Progress goes to standard error: standard output is the result. */
function say(text) {
  console.error(text);
}

class Page {
  constructor(page, library) {
    this.page = page;
    this.library = library;
  }

  call(name, options) {
    return this.page.evaluate(
      async ([library, name, options]) => (await import(`/pages/${library}.js`))[name](options),
      [this.library, name, options],
    );
  }

  /** Of the page, or of the worker that a library runs in; threads of one module share one memory. */
  async memory() {
    const sizes = this.page.workers().map((worker) => Promise.race([worker.evaluate(workerBytes), afterwards(2000)]));
    return Math.max(await this.page.evaluate(() => globalThis.wasmBytes()), ...(await Promise.all(sizes)));
  }
}

async function openPage(context, address, library, options) {
  const page = await context.newPage();
  await page.addInitScript(watchMemory);
  await page.goto(`${address}/pages/index.html`);
  const opened = new Page(page, library);
  const [backend, ms] = await page.evaluate(
    async ([library, options]) => {
      const { open } = await import(`/pages/${library}.js`); // parsing the library is not loading the model
      const started = performance.now();
      return [await open(options), performance.now() - started];
    },
    [library, options],
  );
  return { opened, backend, ms };
}

/** Prompts differ in their first token, so that nothing of one is in the cache when the next begins. */
function* inTurns(prompts) {
  for (;;) yield* prompts;
}

/** A whole prompt to its first token, and tokens after a short one: the second less the first of two calls. */
async function timeTurn(page, long, short, steps, adapter) {
  const prefill = await page.call("generate", { ...long.next().value, count: 1, adapter });
  const first = await page.call("generate", { ...short.next().value, count: 1, adapter });
  const all = await page.call("generate", { ...short.next().value, count: 1 + steps, adapter });
  if (all.tokens < 1 + steps) throw new Error(`${page.library} gave ${all.tokens} tokens, expected ${1 + steps}`);
  return { prefill_ms: prefill.ms, decode_ms: (all.ms - first.ms) / steps };
}

/** wllama switches within a request: how much longer one takes whose adapter is not that of the one before. */
async function timeSwitches(page, short) {
  const found = [];
  for (let turn = 0; turn < 10; turn++) {
    const adapter = turn % 2 ? "two" : "one";
    const switched = await page.call("generate", { ...short.next().value, count: 1, adapter });
    const same = await page.call("generate", { ...short.next().value, count: 1, adapter });
    found.push(switched.ms - same.ms);
  }
  return found;
}

async function measureThreads(browser, address, config, threads) {
  const options = {
    edgelora: { address: "/artifact", threads },
    transformers: { name: "smollm2", threads },
    wllama: { address: "/gguf/base.gguf", adapters: {}, threads },
  };
  const loads = Object.fromEntries(LIBRARIES.map((library) => [library, []]));
  const memory = {};
  for (let turn = 0; turn < config.loads; turn++) {
    for (const library of turn % 2 ? [...LIBRARIES].reverse() : LIBRARIES) {
      const context = await browser.newContext(); // nothing cached
      const cold = await openPage(context, address, library, options[library]);
      if (turn === 0) memory[library] = { loaded: await cold.opened.memory() };
      await cold.opened.page.close();
      const warm = await openPage(context, address, library, options[library]);
      loads[library].push({ first_ms: cold.ms, again_ms: warm.ms });
      say(`${threads} threads, ${library}: loaded in ${Math.round(cold.ms)} ms, again in ${Math.round(warm.ms)} ms`);
      await context.close();
    }
  }
  const context = await browser.newContext();
  options.wllama.adapters = { one: "/gguf/one.gguf", two: "/gguf/two.gguf" }; // none can come later
  const pages = {};
  const backends = {};
  for (const library of LIBRARIES) {
    const { opened, backend } = await openPage(context, address, library, options[library]);
    pages[library] = opened;
    backends[library] = backend;
  }
  const subjects = [
    ["edgelora, no adapter", pages.edgelora, "none"],
    ["edgelora, rank 8", pages.edgelora, "one"],
    ["transformers.js q8", pages.transformers, undefined],
    ["wllama, no adapter", pages.wllama, "none"],
    ["wllama, rank 8", pages.wllama, "one"],
  ];
  const [long, short] = [inTurns(config.long), inTurns(config.short)];
  const rounds = [];
  for (let round = 0; round <= config.rounds; round++) {
    const found = {};
    const turns = subjects.map((_, index) => subjects[(index + round) % subjects.length]);
    for (const [label, page, adapter] of turns) {
      found[label] = await timeTurn(page, long, short, config.steps, adapter);
      const { prefill_ms, decode_ms } = found[label];
      say(`round ${round}, ${threads} threads, ${label}: prompt ${Math.round(prefill_ms)} ms, ${decode_ms.toFixed(1)} ms a token`);
    }
    if (round > 0) rounds.push(found); // the first one warms up
  }
  const swaps = [];
  const firstSwap = await pages.edgelora.call("swap", { adapter: "two" });
  for (let turn = 0; turn < 20; turn++) {
    swaps.push(await pages.edgelora.call("swap", { adapter: turn % 2 ? "two" : "one" }));
  }
  const switches = await timeSwitches(pages.wllama, short);
  for (const library of LIBRARIES) memory[library].after = await pages[library].memory();
  await context.close();
  return { backends, loads, memory, rounds, swaps, switches, first_swap_ms: firstSwap };
}

const config = JSON.parse(await readFile(process.argv[2], "utf8"));
await bundle(config.out, config.runtime);
const modules = join(HERE, "node_modules");
const server = await serve({
  pages: config.out,
  artifact: config.artifact,
  models: config.models,
  gguf: config.gguf,
  wllama: join(modules, "@wllama", "wllama", "esm", "wasm"),
  ort: join(modules, "onnxruntime-web", "dist"),
  "ort-transformers": join(modules, "@huggingface", "transformers", "node_modules", "onnxruntime-web", "dist"),
});
const browser = await chromium.launch({ executablePath: config.chromium, headless: true, args: FLAGS });
try {
  const threads = {};
  for (const count of config.threads) {
    threads[count] = await measureThreads(browser, server.address, config, count);
  }
  console.log(JSON.stringify({ browser: `Chromium ${browser.version()}`, threads }));
} finally {
  await browser.close();
  server.close();
}
