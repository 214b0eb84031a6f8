/** What goes wrong on the way to a model: one clear error each, and nothing in the cache that looks complete. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { appendFile, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { after, before, beforeEach, test } from "node:test";
import type { Browser } from "playwright-core";
import { changeManifest, copyArtifact, paddedArtifact, WEIGHTS } from "./artifacts.js";
import { type Bench, bench } from "./browser.js";
import { keep, launch, needs } from "./drivers.js";
import type {} from "./page.js";

const PIECE = 4 << 20;
const PADDING = 9 << 20; // three pieces
const ARTIFACT = "/artifact";
const FILE = `${ARTIFACT}/${WEIGHTS}`;

let browser: Browser;
let artifact: string;
let place: Bench;

before(async () => {
  browser = await launch();
  artifact = await paddedArtifact("tiny-float", PADDING);
});
after(async () => {
  await browser.close();
  await rm(artifact, { recursive: true });
});
beforeEach(async () => {
  await place?.close();
  place = await bench(browser, { artifact });
});
after(() => place.close());

const attempt = (options: object = {}) =>
  place.page.evaluate((given) => edgelora.attempt("/artifact", { backend: "wasm", ...given }), options);
const keys = () => place.page.evaluate(() => edgelora.cacheKeys());
/** What was asked for of the weights, in order; null is the whole file. */
const ranges = () => place.server.requests.filter((request) => request.path === FILE).map((request) => request.range);

/** The weights take three pieces, every other file one; without the mark a file does not count as there. */
async function assertWhole(): Promise<void> {
  const found = await keys();
  assert.equal(found.filter((key) => key.endsWith("/complete")).length, 11);
  assert.equal(found.filter((key) => key.endsWith("/2")).length, 1);
  assert.equal(found.filter((key) => key.startsWith("/manifest/")).length, 1);
  assert.equal(found.filter((key) => key.startsWith("/announced/")).length, 0);
}

/** Nothing counts as there, and of the weights no piece after what was checked. */
async function assertNotKept(): Promise<void> {
  const found = await keys();
  assert.equal(found.filter((key) => key.startsWith("/manifest/")).length, 0);
  assert.equal(found.filter((key) => key.endsWith("/2")).length, 0);
}

async function assertThenLoads(): Promise<void> {
  place.server.faults.clear();
  const { ids, error } = await attempt();
  assert.equal(error, null);
  assert.equal(ids?.length, 4);
  await assertWhole();
}

test("a second load takes everything but the manifest from the cache", async () => {
  await assertThenLoads();
  place.server.requests.length = 0;
  const { ids, progress } = await attempt();
  assert.equal(ids?.length, 4);
  const asked = place.server.requests.map((request) => request.path).filter((path) => path.startsWith(ARTIFACT));
  assert.deepEqual(asked, [`${ARTIFACT}/manifest.json`]);
  const last = progress.filter((item) => item.stage === "download").at(-1);
  assert.equal(last?.loadedBytes, last?.totalBytes);
});

test(
  "without a network the cache answers; without a cache the error says so",
  needs("a switch for the network"),
  async () => {
    await assertThenLoads();
    place.server.faults.set(`${ARTIFACT}/manifest.json`, { status: 503 });
    assert.equal((await attempt()).ids?.length, 4);
    await place.context.setOffline(true);
    assert.equal((await attempt()).ids?.length, 4);
    await place.page.evaluate(() => caches.delete("edgelora-1"));
    const { error } = await attempt();
    assert.equal(error?.name, "ConnectionError");
    assert.match(
      error?.message as string,
      /manifest\.json cannot be reached \(.+\) and is not stored; connect and load again/,
    );
  },
);

test("a connection that breaks is taken up again where it broke", async () => {
  place.server.faults.set(FILE, { cutAfter: PIECE + 1000, times: 2 });
  assert.equal((await attempt()).error, null);
  await assertWhole();
  const [first, ...later] = ranges();
  assert.equal(first, null);
  assert.equal(later.length, 2);
  for (const range of later) assert.ok(Number(/bytes=(\d+)-/.exec(range as string)?.[1]) > PIECE / 2);
});

test("a lost connection keeps whole pieces, and a reload goes on from them", async () => {
  await keep(place.context, place.server.origin);
  place.server.faults.set(FILE, { cutAfter: PIECE + 1000, times: 1, afterwards: { status: 503 } });
  const { error } = await attempt();
  assert.equal(error?.name, "ConnectionError");
  assert.match(
    error?.message as string,
    /weights\.bin: the connection to http.* was lost at byte \d+ of \d+ \(HTTP 503\); what came is kept, load again to go on/,
  );
  const found = await keys();
  assert.ok(found.every((key) => !key.startsWith("/manifest/")));
  assert.equal(found.filter((key) => key.endsWith("/complete")).length, 10);
  await place.page.reload();
  await place.page.waitForFunction(() => "edgelora" in globalThis);
  place.server.requests.length = 0;
  await assertThenLoads();
  assert.deepEqual(ranges(), ["bytes=4194304-"]);
});

test("an aborted load ends at once and keeps what came", async () => {
  place.server.faults.set(FILE, { cutAfter: PIECE + 1000 });
  const name = await place.page.evaluate(async () => {
    const ending = new AbortController();
    const onProgress = (item: { loadedBytes: number }) => item.loadedBytes > 4 << 20 && ending.abort();
    const options = { backend: "wasm", wasmPaths: "/ort/", onProgress, signal: ending.signal } as const;
    return edgelora.load("/artifact", options).catch((error) => error.name);
  });
  assert.equal(name, "AbortError");
  await assertThenLoads();
});

test("a server without ranges still ends in a whole file", async () => {
  place.server.faults.set(FILE, { cutAfter: PIECE + 1000, times: 1, ignoresRanges: true });
  assert.equal((await attempt()).error, null);
  await assertWhole();
});

const wrong: readonly (readonly [string, object, RegExp])[] = [
  [
    "a missing file",
    { status: 404 },
    /weights\.bin: HTTP 404 at http.*\/artifact\/weights\.bin; upload the whole artifact folder/,
  ],
  [
    "a truncated file",
    { truncatedAt: PIECE * 2 },
    /weights\.bin: the server has 8388608 bytes, expected \d+; upload the artifact again/,
  ],
  [
    "a truncated file from a server without ranges",
    { truncatedAt: PIECE, ignoresRanges: true },
    /weights\.bin: the server has 4194304 bytes, expected \d+/,
  ],
  [
    "wrong bytes",
    { flippedAt: PIECE + 5 },
    /weights\.bin: the bytes from 4194304 to 8388608 are not those that the manifest says, twice in a row; upload the artifact again/,
  ],
];
for (const [name, fault, message] of wrong) {
  test(`${name} is refused, and does not count as there`, async () => {
    place.server.faults.set(FILE, fault);
    const { error } = await attempt();
    assert.equal(error?.name, "ArtifactError");
    assert.match(error?.message as string, message);
    await assertNotKept();
    await assertThenLoads();
  });
}

test("a byte that turns on the way costs its piece alone", async () => {
  place.server.faults.set(FILE, { flippedAt: PIECE + 5, times: 1 });
  assert.equal((await attempt()).error, null);
  assert.deepEqual(ranges(), [null, "bytes=4194304-"]);
  await assertWhole();
});

test("without hashes of pieces, those of another upload are dropped, and the whole is downloaded once more", async () => {
  const plain = await copyArtifact("tiny-float");
  const other = await bench(browser, { artifact: plain });
  const weights = join(plain, WEIGHTS);
  await appendFile(weights, Buffer.alloc(PADDING, 7));
  const content = await readFile(weights);
  await changeManifest(plain, (manifest) => {
    const sha256 = createHash("sha256").update(content).digest("hex");
    manifest.files[WEIGHTS] = { bytes: content.length, sha256 };
  });
  const load = () => other.page.evaluate(() => edgelora.attempt("/artifact", { backend: "wasm" }));
  try {
    other.server.faults.set(FILE, { flippedAt: 5, cutAfter: PIECE + 1000, times: 1, afterwards: { status: 503 } });
    assert.equal((await load()).error?.name, "ConnectionError");
    other.server.faults.clear();
    other.server.requests.length = 0;
    assert.equal((await load()).error, null);
    const asked = other.server.requests.filter((request) => request.path === FILE).map((request) => request.range);
    assert.deepEqual(asked, ["bytes=4194304-", null]);
  } finally {
    await other.close();
    await rm(plain, { recursive: true });
  }
});

test("small files that are missing are all named before the weights are asked for", async () => {
  place.server.faults.set(`${ARTIFACT}/tokenizer.json`, { status: 404 });
  place.server.faults.set(`${ARTIFACT}/adapters/four/adapter_config.json`, { status: 404 });
  const { error } = await attempt();
  assert.match(
    error?.message as string,
    /is damaged: adapters\/four\/adapter_config\.json: HTTP 404.*; tokenizer\.json: HTTP 404/,
  );
  assert.deepEqual(ranges(), []);
});

test("a folder without a manifest is no artifact", async () => {
  place.server.faults.set(`${ARTIFACT}/manifest.json`, { status: 404 });
  const { error } = await attempt();
  assert.equal(error?.name, "ArtifactError");
  assert.match(
    error?.message as string,
    /\/artifact has no manifest\.json; expected an artifact written by `edgelora export`/,
  );
});

test("a new export takes the place of the old one, whose files are removed when it is complete", async () => {
  const changing = await copyArtifact("tiny-float");
  const other = await bench(browser, { artifact: changing });
  const load = () => other.page.evaluate(() => edgelora.attempt("/artifact", { backend: "wasm" }));
  try {
    assert.equal((await load()).error, null);
    assert.equal((await other.page.evaluate(() => edgelora.cacheKeys())).length, 11 * 2 + 1);
    await changeManifest(changing, (manifest) => {
      delete manifest.files["decoder.plain.onnx"];
      manifest.graph = { ...(manifest.graph as object), without_slots: null };
    });
    assert.equal((await load()).error, null);
    assert.equal((await other.page.evaluate(() => edgelora.cacheKeys())).length, 10 * 2 + 1);
  } finally {
    await other.close();
    await rm(changing, { recursive: true });
  }
});

test("a cache that lost a piece downloads that piece again", async () => {
  await assertThenLoads();
  await place.page.evaluate(async () => {
    const cache = await caches.open("edgelora-1");
    for (const request of await cache.keys()) if (request.url.endsWith("/1")) await cache.delete(request);
  });
  place.server.requests.length = 0;
  await assertThenLoads();
  assert.deepEqual(ranges(), ["bytes=4194304-"]);
});

test("bytes that changed in the cache are found when hashes are asked for", async () => {
  await assertThenLoads();
  await place.page.evaluate(async () => {
    const cache = await caches.open("edgelora-1");
    for (const request of await cache.keys()) {
      if (request.url.endsWith("/1")) await cache.put(request, new Response(new Uint8Array(4 << 20)));
    }
  });
  place.server.requests.length = 0;
  assert.equal((await attempt({ hashes: true })).error, null);
  assert.deepEqual(ranges(), ["bytes=4194304-"]);
  await assertWhole();
});

test("without room in the browser the model runs from memory, and says so", needs("a quota that changes"), async () => {
  const session = await place.context.newCDPSession(place.page);
  await session.send("Storage.overrideQuotaForOrigin", { origin: place.server.origin, quotaSize: 6 << 20 });
  const { ids, error, warnings } = await attempt();
  assert.equal(error, null);
  assert.equal(ids?.length, 4);
  assert.match(warnings.join(), /weights\.bin: the browser has no room to keep \d+ bytes; they stay in memory/);
  await assertNotKept();
  await session.send("Storage.overrideQuotaForOrigin", { origin: place.server.origin });
  await assertThenLoads();
});

test("onnxruntime's own files that are not served are no fault of the artifact", async () => {
  const { error } = await attempt({ wasmPaths: "/nowhere/" });
  assert.equal(error?.name, "BackendError");
  assert.match(
    error?.message as string,
    /^onnxruntime-web cannot start \(.+\); its files are looked for in http:.+\/nowhere\/: copy them there \(npx edgelora-ort/,
  );
});

test("WebGPU that was asked for and is not there is one error", async () => {
  const { error } = await attempt({ backend: "webgpu" });
  assert.equal(error?.name, "BackendError");
  assert.match(
    error?.message as string,
    /WebGPU was asked for, but this browser has none \(.+\); leave backend out to run in wasm/,
  );
  assert.deepEqual(
    (await keys()).filter((key) => key.startsWith("/sha256/")),
    [],
  );
});

test(
  "a device without memory for the artifact is one error, and the cache stays whole",
  needs("a limit of wasm's memory"),
  async () => {
    const small = await launch(["--disable-gpu", "--js-flags=--wasm-max-mem-pages=100"]); // less than onnxruntime begins with
    const other = await bench(small);
    try {
      const { error } = await other.page.evaluate(() =>
        edgelora.attempt("/conformance/tiny-float", { backend: "wasm" }),
      );
      assert.equal(error?.name, "BackendError");
      assert.match(error?.message as string, /no memory left while opening the graph \(.+\); close other tabs/);
      const found = await other.page.evaluate(() => edgelora.cacheKeys());
      assert.equal(found.filter((key) => key.endsWith("/complete")).length, 11);
    } finally {
      await other.close();
      await small.close();
    }
  },
);

test(
  "an answer for which there is no memory is one error, and the next one is an answer",
  needs("a limit of wasm's memory"),
  async () => {
    const small = await launch(["--disable-gpu", "--js-flags=--wasm-max-mem-pages=600"]); // 38 MB
    const other = await bench(small);
    try {
      const found = await other.page.evaluate(async () => {
        const model = await edgelora.load("/conformance/tiny-float", { backend: "wasm", wasmPaths: "/ort/" });
        const vast = new Array(4000).fill("eight:0.001").join("+");
        const answers = ["four", vast, "four"].map((adapter) =>
          model
            .generateIds([5, 6, 7], { adapter, maxNewTokens: 3 })
            .catch((error: Error) => `${error.name}: ${error.message}`),
        );
        return Promise.all(answers);
      });
      assert.match(
        found[1] as string,
        /^BackendError: no memory left while computing an answer \(.+\); close other tabs/,
      );
      assert.deepEqual(found[2], found[0]);
      assert.equal(found[0]?.length, 3);
    } finally {
      await other.close();
      await small.close();
    }
  },
);

test("int4 in wasm is warned of", async () => {
  const { warnings } = await place.page.evaluate(() => edgelora.attempt("/conformance/tiny-int4", { backend: "wasm" }));
  assert.match(warnings.join(), /multiplies with MatMulNBits, .* as what --target web-wasm exports/);
});

test("errors keep their class and line on the way out of a worker", async () => {
  place.server.faults.set(FILE, { flippedAt: 5 });
  const { error } = await attempt({ inWorker: true });
  assert.equal(error?.name, "ArtifactError");
  assert.match(error?.message as string, /weights\.bin: the bytes from 0 to 4194304 are not those/);
});
