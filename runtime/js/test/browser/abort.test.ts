/** A load that is aborted at any moment rejects with the reason, leaves nothing open, and the next one works. */

import assert from "node:assert/strict";
import { rm } from "node:fs/promises";
import { after, before, test } from "node:test";
import type { Browser } from "playwright-core";
import { paddedArtifact, WEIGHTS } from "./artifacts.js";
import { type Bench, bench } from "./browser.js";
import { has, launch } from "./drivers.js";
import type {} from "./page.js";
import type { Fault } from "./server.js";

const PIECE = 4 << 20;
const PADDING = 9 << 20; // three pieces

/** When a load is aborted, and the server's fault by which that is met. */
interface Moment {
  readonly name: string;
  readonly when: string;
  readonly fault?: readonly [string, Fault];
  /** A worker tells no moments but by its progress. */
  readonly inPageOnly?: boolean;
}

const MOMENTS: readonly Moment[] = [
  { name: "before it begins", when: "before" },
  { name: "while the manifest comes", when: "later", fault: ["/artifact/manifest.json", { delayMs: 60_000 }] },
  { name: "when the manifest is there", when: "first" },
  { name: "while a small file comes", when: "later", fault: ["/artifact/tokenizer.json", { stallsAfter: 10 }] },
  { name: "while the weights come", when: "weights", fault: [`/artifact/${WEIGHTS}`, { stallsAfter: PIECE + 1000 }] },
  { name: "when the last byte is there", when: "last" },
  { name: "before the graph is opened", when: "open" },
  {
    name: "while onnxruntime's own files come",
    when: "soon after open",
    fault: ["/ort/ort-wasm-simd-threaded.wasm", { delayMs: 3000 }],
  },
  { name: "while the graph is opened", when: "create", inPageOnly: true },
  { name: "while adapters are held to their receipts", when: "adapters", inPageOnly: true },
];

let browser: Browser;
let artifact: string;

before(async () => {
  browser = await launch();
  artifact = await paddedArtifact("tiny-float", PADDING);
});
after(async () => {
  await browser.close();
  await rm(artifact, { recursive: true });
});

/** In the page: load and abort, then see what is left. */
async function abortLoad({ when, inWorker }: { when: string; inWorker: boolean }) {
  await edgelora.watchSessions();
  const ending = new AbortController();
  const reason = new Error("enough");
  let abortedMs = 0;
  const abort = () => {
    if (ending.signal.aborted) return;
    abortedMs = performance.now();
    ending.abort(reason);
  };
  const options = {
    backend: "wasm",
    wasmPaths: "/ort/",
    threads: 1,
    probe: true,
    signal: ending.signal,
    onProgress: ({ stage, loadedBytes, totalBytes }: { stage: string; loadedBytes: number; totalBytes: number }) => {
      const isDone = loadedBytes === totalBytes;
      if (stage === "open" && when === "soon after open") setTimeout(abort, 500);
      if (when === stage || (stage === "download" && when === "first")) abort();
      if (stage === "download" && ((when === "weights" && loadedBytes > 4 << 20) || (when === "last" && isDone)))
        abort();
    },
  } as const;
  if (when === "before") abort();
  if (when === "later") setTimeout(abort, 500);
  if (when === "create") edgelora.sessions.onCreate = abort;
  const { match } = Cache.prototype;
  if (when === "adapters") {
    Cache.prototype.match = function (...given) {
      if (edgelora.sessions.opened > 0) abort();
      return match.apply(this, given);
    };
  }
  let error: unknown = null;
  try {
    await edgelora.open("/artifact", { ...options, inWorker });
  } catch (caught) {
    error = caught;
  }
  const took = performance.now() - abortedMs;
  Cache.prototype.match = match;
  edgelora.sessions.onCreate = () => {};
  return { isReason: error === reason, error: String(error), took };
}

/** In the page: what a load that failed left behind, when what could not be ended has ended. */
async function left() {
  const { sessions } = edgelora;
  const held = async () => (await navigator.locks.query()).held?.map(({ name }) => name) ?? [];
  for (let turn = 0; turn < 200 && (sessions.opened > sessions.released || (await held()).length > 0); turn++) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return { open: sessions.opened - sessions.released, locks: await held() };
}

/** The browser tells of the end of a worker a little later; where it does not, the locks have told. */
async function assertNoWorkers(page: Bench["page"]): Promise<void> {
  if (!has("a list of workers")) return;
  for (let turn = 0; turn < 250 && page.workers().length > 0; turn++) await page.waitForTimeout(20);
  assert.equal(page.workers().length, 0);
}

async function assertAborts({ when, fault }: Moment, inWorker: boolean): Promise<void> {
  const place: Bench = await bench(browser, { artifact });
  const { page, server } = place;
  try {
    if (fault !== undefined) server.faults.set(...fault);
    const found = await page.evaluate(abortLoad, { when, inWorker });
    assert.ok(found.isReason, found.error);
    assert.ok(found.took < 2000, `${found.took} ms`);
    assert.deepEqual(await page.evaluate(left), { open: 0, locks: [] });
    await assertNoWorkers(page);
    server.faults.clear();
    const next = await page.evaluate(
      (given) => edgelora.attempt("/artifact", { backend: "wasm", threads: 1, inWorker: given }),
      inWorker,
    );
    assert.equal(next.error, null);
    assert.equal(next.ids?.length, 4);
    assert.deepEqual(await page.evaluate(left), { open: 0, locks: [] });
  } finally {
    await place.close();
  }
}

for (const moment of MOMENTS) {
  test(`a load that is aborted ${moment.name}`, () => assertAborts(moment, false));
  if (!moment.inPageOnly) test(`a load in a worker that is aborted ${moment.name}`, () => assertAborts(moment, true));
}

for (const inWorker of [false, true]) {
  test(`the signal of a load has no say when the model is there; disposing, ${inWorker ? "in a worker" : "in the page"}`, async () => {
    const place = await bench(browser);
    try {
      const found = await place.page.evaluate(disposeAmidAnswers, inWorker);
      assert.equal(found.ids.length, 3);
      const gone = "InputError: this model was disposed of; load the artifact again";
      const first = found.answers.indexOf(gone);
      const before = found.answers.slice(0, first).map(() => "answered");
      const after = found.answers.slice(first).map(() => gone);
      assert.deepEqual(found.answers, [...before, ...after]);
      assert.deepEqual(found.others, [gone, gone, gone]);
      assert.deepEqual(found.pieces, []); // its turn had not come
      assert.deepEqual(await place.page.evaluate(left), { open: 0, locks: [] });
      await assertNoWorkers(place.page);
    } finally {
      await place.close();
    }
  });
}

/** In the page: dispose of a model while one answer is under way and others wait for their turn. */
async function disposeAmidAnswers(inWorker: boolean) {
  await edgelora.watchSessions();
  const ending = new AbortController();
  const { signal } = ending;
  const options = { backend: "wasm", wasmPaths: "/ort/", threads: 1, signal, inWorker } as const;
  const model = await edgelora.open("/conformance/tiny-float", options);
  ending.abort();
  const ids = await model.generateIds([5, 6, 7], { maxNewTokens: 3, adapter: "four" });
  const tell = (error: Error) => `${error.name}: ${error.message}`;
  const long = { maxNewTokens: 300, temperature: 1, seed: 2, adapter: "four" };
  // Many, for on a busy machine the first may have ended before the page hears of its first piece.
  const written = Array.from({ length: 12 }, () => model.generate("hello", long));
  const answers = written.map((answer) => answer.then(() => "answered", tell));
  const last = model.generateIds([5], long).then(String, tell);
  const pieces: string[] = [];
  const reading = (async () => {
    for await (const piece of model.generate("hello", long)) pieces.push(piece);
  })().then(() => "answered", tell);
  await written[0]?.[Symbol.asyncIterator]().next();
  const both = Promise.all([model.dispose(), model.dispose()]);
  const beside = model.setAdapter("one").then(() => "set", tell);
  await both;
  await model.dispose();
  const others = await Promise.all([last, reading, beside]);
  return { ids, answers: await Promise.all(answers), others, pieces };
}
