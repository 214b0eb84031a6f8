/** The browser's side where no browser is needed: answers of servers, the cache, and the line to a worker. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { atServer } from "../src/core/address.js";
import { ArtifactError, BackendError, ConnectionError, InputError } from "../src/core/errors.js";
import { fetchedFolder } from "../src/core/fetched-folder.js";
import { openManifest, parseManifest } from "../src/core/manifest.js";
import { loadModel } from "../src/core/model.js";
import { download } from "../src/web/download.js";
import { digest } from "../src/web/hash.js";
import { MemoryStore } from "../src/web/memory-store.js";
import type { FromWorker, ToWorker } from "../src/web/protocol.js";
import { openRemote, type RemoteModel } from "../src/web/remote.js";
import { sendManifest } from "../src/web/sent-manifest.js";
import { WebSource } from "../src/web/source.js";
import { CONFORMANCE } from "./places.js";

const ADDRESS = "https://models.test/tiny";
const FOLDER = join(CONFORMANCE, "tiny-float");
const MANIFEST = await readFile(join(FOLDER, "manifest.json"));
const CONTENT = new TextEncoder().encode("x".repeat(1000));
const INFO = { bytes: 1000, sha256: createHash("sha256").update(CONTENT).digest("hex") };

type Answer = (address: string, init: RequestInit) => Promise<Response> | Response;

/** Answer what the code fetches; the requests that came. */
function serve(context: TestContext, answer: Answer): { address: string; init: RequestInit }[] {
  const requests: { address: string; init: RequestInit }[] = [];
  context.mock.method(globalThis, "fetch", async (address: string, init: RequestInit = {}) => {
    requests.push({ address, init });
    return answer(address, init);
  });
  return requests;
}

/** A response as a page sees it: from its own origin, or from another one. */
function response(body: Uint8Array | string, headers: HeadersInit, type: "basic" | "cors", status = 200): Response {
  return Object.defineProperty(new Response(body as BodyInit, { headers, status }), "type", { value: type });
}

const quiet = { onBytes: () => {} };
const file = { name: "tokenizer.json", address: `${ADDRESS}/tokenizer.json`, info: INFO };

test("the length of a compressed answer from another origin is not taken for that of the file", async (context) => {
  const store = new MemoryStore();
  serve(context, () => response(CONTENT, { "content-length": "29" }, "cors"));
  await download(file, store, quiet);
  assert.ok(await store.isComplete(INFO));
});

test("a file of another size is refused before its bytes come, where the length can be believed", async (context) => {
  serve(context, () => response(CONTENT, { "content-length": "1001" }, "basic"));
  await assert.rejects(
    download(file, new MemoryStore(), quiet),
    /^ArtifactError: tokenizer.json: the server has 1001 bytes, expected 1000/,
  );
});

test("without hashes of pieces, those of another upload are downloaded anew once, and no more often", async (context) => {
  const old = 4 << 20;
  const info = { bytes: old + 1000, sha256: "0".repeat(64) };
  const store = new MemoryStore();
  store.cut = async () => {}; // a cache that keeps what it has
  await store.keep(info, 0, new Uint8Array(old));
  const requests = serve(context, (_, { headers }) => {
    const start = Number(/\d+/.exec(new Headers(headers).get("range") ?? "0")?.[0]);
    return response(new Uint8Array(info.bytes - start), {}, "cors", start > 0 ? 206 : 200);
  });
  await assert.rejects(
    download({ ...file, info }, store, quiet),
    /^ArtifactError: tokenizer.json: sha256 .*, expected 0000/,
  );
  assert.equal(requests.length, 2);
});

test("an adapter's files are asked for anew, and only 404 means that there is none", async (context) => {
  const status: Record<string, number> = { a: 200, b: 404, c: 403, d: 429, e: 500 };
  const requests = serve(context, (address) => response("x", {}, "cors", status[address.slice(-1)] as number));
  const folder = fetchedFolder(ADDRESS, digest, {});
  assert.deepEqual([await folder.has("a"), await folder.has("b")], [true, false]);
  assert.equal(requests[0]?.init.cache, "no-cache");
  for (const name of ["c", "d", "e"]) {
    await assert.rejects(folder.has(name), (error) => error instanceof ConnectionError && /HTTP/.test(error.message));
  }
  status.e = 200;
  assert.equal(await folder.has("e"), true); // what failed once is not kept
});

/** A source over a store in which the artifact is complete; `answer` is what its server says now. */
async function kept(context: TestContext, answer: Answer) {
  const warnings: string[] = [];
  const store = Object.assign(new MemoryStore(), { manifest: async () => Uint8Array.from(MANIFEST) });
  const requests = serve(context, answer);
  const source = new WebSource(atServer(ADDRESS), store, { onWarning: (message) => warnings.push(message) });
  return { source, warnings, requests };
}

test("a complete artifact in the cache survives portals, refusals and damaged uploads", async (context) => {
  const answers: readonly [Answer, RegExp][] = [
    [() => response("<html>log in</html>", {}, "basic"), /is not JSON/],
    [() => response("no", {}, "cors", 403), /HTTP 403/],
    [() => response("no", {}, "cors", 429), /HTTP 429/],
    [() => response("no", {}, "cors", 404), /HTTP 404/],
    [() => Promise.reject(new TypeError("Failed to fetch")), /Failed to fetch/],
  ];
  for (const [answer, reason] of answers) {
    const { source, warnings } = await kept(context, answer);
    assert.deepEqual(new Uint8Array(await source.bytes("manifest.json")), Uint8Array.from(MANIFEST));
    assert.equal(warnings.length, 1);
    assert.match(warnings[0] as string, reason);
    context.mock.restoreAll();
  }
  const newer = Buffer.from(MANIFEST.toString().replace('"producer"', '"zz": 1, "producer"'));
  const { source, warnings } = await kept(context, () => response(newer, {}, "cors"));
  assert.deepEqual(new Uint8Array(await source.bytes("manifest.json")), Uint8Array.from(newer));
  assert.deepEqual(warnings, []);
});

test("a connection that says nothing holds up a cached artifact for three seconds", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const stalled: Answer = (_, { signal }) =>
    new Promise((_, reject) => signal?.addEventListener("abort", () => reject(new DOMException("", "AbortError"))));
  const { source, warnings, requests } = await kept(context, stalled);
  const bytes = source.bytes("manifest.json");
  while (requests.length === 0) await new Promise((resolve) => setImmediate(resolve));
  context.mock.timers.tick(3000);
  assert.deepEqual(new Uint8Array(await bytes), Uint8Array.from(MANIFEST));
  assert.match(warnings[0] as string, /no answer in 3 s/);
});

test("without a cache each of them is told as what it is", async (context) => {
  serve(context, () => response("no", {}, "cors", 403));
  const source = new WebSource(atServer(ADDRESS), new MemoryStore(), {});
  await assert.rejects(source.has("manifest.json"), /^ConnectionError: .* cannot be reached \(HTTP 403\)/);
  context.mock.restoreAll();
  serve(context, () => response("no", {}, "cors", 404));
  assert.equal(await source.has("manifest.json"), false);
});

/** A source whose files are those of the folder. */
function served(context: TestContext, signal: AbortSignal): WebSource {
  serve(context, async (address) => response(await readFile(join(FOLDER, address.slice(ADDRESS.length))), {}, "cors"));
  return new WebSource(atServer(ADDRESS), new MemoryStore(), { signal });
}

test("the signal of a load ends it with its reason, and after it nothing", async (context) => {
  const ending = new AbortController();
  const source = served(context, ending.signal);
  await source.prepare(parseManifest(MANIFEST), false);
  ending.abort(new Error("enough"));
  const capabilities = {
    name: "none",
    allowsRankZero: true,
    loadsByPathOnly: false,
    cache: "returned",
    cacheLocation: "cpu",
    hasInt8Cache: true,
  } as const;
  const backend = {
    ort: {} as never,
    capabilities,
    sessionOptions: {},
    makeCache: () => ({ dispose: () => {} }) as never,
  };
  await assert.rejects(loadModel(source, backend), /^Error: enough$/);
  await assert.rejects(source.graph("decoder.onnx", "weights.bin"), /^Error: enough$/);
  source.detach();
  assert.ok((await source.graph("decoder.onnx", "weights.bin")).model instanceof Uint8Array);
});

const STATE = {
  adapters: [],
  adapter: "none",
  backend: "x",
  choice: { name: "wasm", threads: 1, reason: "it was asked for" },
} as const;

const SENT = sendManifest(openManifest(MANIFEST));

/** A worker that answers as it is told; what is not answered waits for ever, as after `terminate()`. */
class FakeWorker {
  onmessage: ((event: { data: FromWorker }) => void) | null = null;
  onerror: ((event: { message: string; preventDefault(): void }) => void) | null = null;
  onmessageerror: (() => void) | null = null;
  isEnded = false;
  readonly sent: ToWorker[] = [];

  addEventListener(): void {} // no model here asks for threads

  postMessage(message: ToWorker): void {
    structuredClone(message); // throws what a worker's would
    this.sent.push(message);
    if (message.kind === "load") this.result(message.id, { manifest: structuredClone(SENT) });
  }

  send(data: FromWorker): void {
    if (!this.isEnded) this.onmessage?.({ data });
  }

  result(id: number, value: unknown): void {
    queueMicrotask(() => this.send({ kind: "result", id, value, state: STATE }));
  }

  terminate(): void {
    this.isEnded = true;
  }
}

async function connect(): Promise<{ worker: FakeWorker; model: RemoteModel }> {
  Object.assign(globalThis, { document: { baseURI: "https://page.test/" } });
  const worker = new FakeWorker();
  const model = await openRemote(worker as unknown as Worker, ADDRESS, {});
  return { worker, model };
}

test("a call beside dispose() is settled, and disposing twice is as good as once", async () => {
  const { worker, model } = await connect();
  const pending = model.generate("x");
  const first = model.dispose();
  const beside = model.generate("y");
  const refused = [pending, beside].map((call) =>
    assert.rejects(call, (error) => error instanceof InputError && /was disposed of/.test(error.message)),
  );
  worker.result(worker.sent.find((message) => message.kind === "dispose")?.id ?? -1, undefined);
  await first;
  await Promise.all(refused);
  await model.dispose();
  assert.ok(worker.isEnded);
  await assert.rejects(model.generate("z"), /was disposed of/);
});

test("a slow reader of an aborted stream gets no piece more", async () => {
  const { worker, model } = await connect();
  const ending = new AbortController();
  const stream = model.generate("x", { signal: ending.signal })[Symbol.asyncIterator]();
  const first = stream.next();
  const { id } = worker.sent.at(-1) as ToWorker;
  for (const text of ["a", "b", "c"]) worker.send({ kind: "piece", id, piece: text });
  assert.deepEqual(await first, { done: false, value: "a" });
  ending.abort();
  await assert.rejects(stream.next(), { name: "AbortError" });
  assert.deepEqual(worker.sent.at(-1), { kind: "abort", id });
});

test("a loop that is left stops the answer in the worker, and the rest of it still comes", async () => {
  const { worker, model } = await connect();
  const answer = model.generate(["x", "y"]);
  const { id } = worker.sent.at(-1) as ToWorker;
  worker.send({ kind: "piece", id, piece: { row: 1, text: "a" } });
  for await (const piece of answer) {
    assert.deepEqual(piece, { row: 1, text: "a" });
    break;
  }
  assert.deepEqual(worker.sent.at(-1), { kind: "stop", id });
  worker.result(id, "what was written");
  assert.equal(await answer, "what was written");
  const sent = worker.sent.length;
  answer.stop(); // there is nothing left to stop
  assert.equal(worker.sent.length, sent);
});

test("what cannot be sent, and a worker that cannot be understood, end in an error", async () => {
  const { worker, model } = await connect();
  await assert.rejects(model.chat([{ role: "user", content: () => {} }]), { name: "DataCloneError" });
  const pending = model.generate("x");
  worker.onmessageerror?.();
  const isRight = (error: unknown) => error instanceof BackendError && /cannot read; reload/.test(error.message);
  await assert.rejects(pending, isRight);
  await assert.rejects(model.generate("y"), isRight);
  await model.dispose(); // ends the worker whatever it says
  assert.ok(worker.isEnded);
  const other = await connect();
  const unread = other.model.generate("x");
  other.worker.send({ kind: "unread" });
  await assert.rejects(unread, (error) => error instanceof BackendError && error.fault === "no-worker");
});

test("a tokenizer that could not be read is read again the next time", async (context) => {
  const tokenizer = { file: "tokenizer.json", chatTemplate: null, templateVariables: {} };
  const content = await readFile(join(FOLDER, "tokenizer.json"));
  const info = { bytes: content.length, sha256: createHash("sha256").update(content).digest("hex") };
  const { model } = await connect();
  Object.assign(model.manifest, { tokenizer, files: new Map([["tokenizer.json", info]]) });
  serve(context, () => response("gone", {}, "cors", 404));
  await assert.rejects(model.tokenizer, ArtifactError);
  context.mock.restoreAll();
  serve(context, () => response(content, {}, "cors"));
  assert.ok((await model.tokenizer)?.encode("one").length);
});
