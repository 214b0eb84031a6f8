/** What a browser keeps: listed, measured, deleted, shared; two tabs at once; no room. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { appendFile, readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, test } from "node:test";
import type { Browser, Page } from "playwright-core";
import { changeManifest, copyArtifact, paddedArtifact, WEIGHTS } from "./artifacts.js";
import { type Bench, bench } from "./browser.js";
import { allowPersistence, has, launch, needs, tight } from "./drivers.js";
import type {} from "./page.js";

const FILE = `/artifact/${WEIGHTS}`;
const SECOND = "/conformance/tiny-int8";
const ROOM = 6 << 20;

let browser: Browser;
let artifact: string;
let place: Bench;

before(async () => {
  browser = await launch();
  artifact = await paddedArtifact("tiny-float", 9 << 20);
});
after(async () => {
  await browser.close();
  await rm(artifact, { recursive: true });
});
beforeEach(async () => {
  place = await bench(browser, { artifact });
});
afterEach(() => place.close());

const attempt = (page: Page, address = "/artifact", options: object = {}) =>
  page.evaluate(([at, given]) => edgelora.attempt(at, { backend: "wasm", ...given }), [address, options] as const);
const list = (page: Page) => page.evaluate(() => edgelora.models.list());
const asked = (path = FILE) => place.server.requests.filter((request) => request.path === path);
/** Do something with a page whose browser has 6 MiB for it. */
async function withLittleRoom(work: (other: Bench) => Promise<void>): Promise<void> {
  const small = await tight.launch(ROOM);
  const other = await bench(small, { artifact });
  try {
    await tight.limit(other.context, other.page, other.server.origin, ROOM);
    await work(other);
  } finally {
    await other.close();
    await small.close();
  }
}

test("artifacts are estimated, listed, measured and deleted, and what others have is left", async () => {
  const { page, server } = place;
  const before_ = await page.evaluate(() => edgelora.models.estimate("../artifact"));
  assert.equal(before_.storedBytes, 0);
  assert.ok(before_.missingBytes === before_.bytes && before_.bytes > 9 << 20);
  assert.ok(before_.fits);
  if (has("an estimate of room")) assert.ok((before_.freeBytes as number) > before_.bytes);
  else assert.equal(before_.freeBytes, null);
  assert.deepEqual(asked(), []); // an estimate asks for the manifest alone
  assert.equal((await attempt(page)).error, null);
  assert.equal((await attempt(page, SECOND)).error, null);
  const [one, other] = await list(page);
  assert.deepEqual([one?.address, other?.address], [`${server.origin}/artifact`, `${server.origin}${SECOND}`]);
  assert.deepEqual([one?.isComplete, one?.isInUse, one?.bytes], [true, false, before_.bytes]);
  assert.ok(Math.abs(Date.now() - new Date(one?.usedAt ?? 0).getTime()) < 60_000);
  const size = await page.evaluate(() => edgelora.models.size());
  assert.ok(size > before_.bytes && size <= before_.bytes + (other?.storedBytes ?? 0));
  assert.equal((await page.evaluate(() => edgelora.models.estimate("/artifact"))).missingBytes, 0);
  await allowPersistence(place.context, server.origin);
  assert.equal(typeof (await page.evaluate(() => edgelora.models.persist())), "boolean");
  await page.evaluate(() => edgelora.models.delete("/artifact/"));
  assert.deepEqual(
    (await list(page)).map((model) => [model.address, model.isComplete]),
    [[`${server.origin}${SECOND}`, true]],
  );
  server.requests.length = 0;
  assert.equal((await attempt(page, SECOND)).error, null);
  assert.deepEqual(
    server.requests.filter(({ path }) => path.startsWith(SECOND)).map(({ path }) => path),
    [`${SECOND}/manifest.json`],
  );
});

test("what a model in a worker brought is there for the next one, though its worker has ended", async () => {
  for (const count of [1, 1]) {
    assert.equal((await attempt(place.page, "/artifact", { inWorker: true })).error, null);
    assert.equal(asked().length, count);
  }
});

test("two tabs that load at once download each file once, and leave each other's files alone", async () => {
  const second = await place.open();
  place.server.faults.set(FILE, { delayMs: 300 });
  const loads = [
    attempt(place.page),
    attempt(second, "/artifact", { inWorker: true }),
    attempt(second, SECOND, { inWorker: true }),
  ];
  for (const { error, ids } of await Promise.all(loads)) {
    assert.equal(error, null);
    assert.equal(ids?.length, 4);
  }
  assert.equal(asked().length, 1);
  const manifest = place.server.requests.filter(({ path }) => path === "/artifact/manifest.json");
  assert.equal(manifest.length, 2);
  const found = await list(second);
  assert.deepEqual(
    found.map((model) => model.isComplete),
    [true, true],
  );
});

test("a tab that leaves in the middle of a download makes room for the other", async () => {
  const second = await place.open();
  place.server.faults.set(FILE, { stallsAfter: 5 << 20, times: 1 });
  void attempt(second).catch(() => {});
  while (asked().length === 0) await new Promise((resolve) => setTimeout(resolve, 20));
  const load = attempt(place.page);
  await new Promise((resolve) => setTimeout(resolve, 500));
  assert.equal(asked().length, 1); // it waits
  await second.close();
  assert.equal((await load).error, null);
  assert.deepEqual(
    asked().map((request) => request.range),
    [null, `bytes=${4 << 20}-`],
  );
});

test("what another tab has open is not deleted", async () => {
  const second = await place.open();
  assert.equal((await attempt(second, "/artifact", { inWorker: true, keepsOpen: true })).error, null);
  const remove = () => place.page.evaluate(() => edgelora.models.delete("/artifact").then(() => "deleted", String));
  assert.match(await remove(), /^InputError: .*\/artifact is in use; dispose of the models that are open, close other/);
  assert.deepEqual(
    (await list(place.page)).map((model) => model.isInUse),
    [true],
  );
  await second.close();
  // A browser ends the worker of a tab that was closed a little later.
  for (const until = Date.now() + 10_000; (await remove()) !== "deleted"; ) assert.ok(Date.now() < until);
  assert.deepEqual(await list(place.page), []);
});

test("an open model reads on from the files of its upload, though another tab has loaded a newer one", async () => {
  const changing = await copyArtifact("tiny-float");
  const other = await bench(browser, { artifact: changing });
  try {
    await other.page.evaluate(async () => {
      const model = await edgelora.load("/artifact", { backend: "wasm", wasmPaths: "/ort/" });
      Object.assign(globalThis, { model }); // of it, the graph with slots is read with the first adapter
    });
    await appendFile(join(changing, "decoder.onnx"), Buffer.from([0x32, 0])); // a field that says nothing
    const content = await readFile(join(changing, "decoder.onnx"));
    await changeManifest(changing, (manifest) => {
      const sha256 = createHash("sha256").update(content).digest("hex");
      manifest.files["decoder.onnx"] = { bytes: content.length, sha256 };
    });
    const second = await other.open();
    assert.equal((await attempt(second)).error, null);
    const ids = await other.page.evaluate(async () => {
      type Loaded = Pick<Awaited<ReturnType<typeof edgelora.load<"text-generation">>>, "generateIds" | "dispose">;
      const { model } = globalThis as never as { model: Loaded };
      const answer = await model.generateIds([5, 6, 7], { adapter: "four", maxNewTokens: 4 });
      await model.dispose();
      return answer;
    });
    assert.equal(ids.length, 4);
    const count = async () => (await other.page.evaluate(() => edgelora.cacheKeys())).length;
    const before_ = await count();
    assert.equal((await attempt(second)).error, null);
    assert.equal(await count(), before_ - 2); // the old graph, its piece and its mark
  } finally {
    await other.close();
    await rm(changing, { recursive: true });
  }
});

test("a download that nobody went on with for a week is removed, a younger one is not", async () => {
  place.server.faults.set(FILE, { status: 404 });
  assert.equal((await attempt(place.page)).error?.name, "ArtifactError");
  assert.equal((await attempt(place.page, SECOND)).error, null);
  const addresses = async () =>
    (await list(place.page)).map((model) => [new URL(model.address).pathname, model.isComplete]);
  assert.deepEqual(await addresses(), [
    ["/artifact", false],
    [SECOND, true],
  ]);
  await place.page.evaluate(async () => {
    const cache = await caches.open("edgelora-1");
    for (const request of await cache.keys()) {
      if (!request.url.includes("/announced/")) continue;
      const entry = (await cache.match(request)) as Response;
      const time = new Date(Date.now() - 8 * 24 * 3600 * 1000).toISOString();
      await cache.put(request, new Response(await entry.arrayBuffer(), { headers: { "x-edgelora-time": time } }));
    }
  });
  assert.equal((await attempt(place.page, SECOND)).error, null);
  assert.deepEqual(await addresses(), [[SECOND, true]]);
});

/** A page whose browser says that it has so many bytes for it; Chromium's own word is not bound by its quota. */
async function pageWith(free: number): Promise<Page> {
  const page = await place.open();
  await page.evaluate((bytes) => {
    const estimate = async () => ({ usage: 1000, quota: 1000 + bytes });
    Object.defineProperty(navigator, "storage", { value: { estimate } });
  }, free);
  return page;
}

test("no room is found out before the first byte, and refused where the artifact must be kept", async () => {
  const page = await pageWith(6 << 20);
  const { error } = await attempt(page, "/artifact", { mustKeep: true });
  assert.equal(error?.name, "BackendError");
  assert.match(
    error?.message as string,
    /\/artifact: \d+ bytes are missing and there is room for 6291456; delete what is no longer needed/,
  );
  assert.deepEqual(asked(), []);
  assert.equal((await page.evaluate(() => edgelora.models.estimate("/artifact"))).fits, false);
  const { ids, warnings } = await attempt(page);
  assert.equal(ids?.length, 4);
  assert.match(warnings.join(), /\/artifact: the browser has no room to keep \d+ bytes; they stay in memory/);
});

/** Load with a `makeRoom` that names nothing the first time, and then everything. */
const askedRooms = (page: Page, inWorker: boolean) =>
  page.evaluate(async (isRemote) => {
    const seen: { stored: string[]; missing: number; fits: boolean }[] = [];
    const warnings: string[] = [];
    const makeRoom = (room: { stored: readonly { address: string }[]; missingBytes: number; fits: boolean }) => {
      const stored = room.stored.map((model) => model.address);
      seen.push({ stored, missing: room.missingBytes, fits: room.fits });
      return seen.length === 1 ? [] : stored;
    };
    const onWarning = (text: string) => warnings.push(text);
    const options = { backend: "wasm", wasmPaths: "/ort/", makeRoom, onWarning } as const;
    const load = isRemote ? edgelora.loadInWorker : edgelora.load;
    for (let count = 0; count < 2; count++) await (await load("/artifact", options)).dispose();
    return { seen, warnings };
  }, inWorker);

test("what may be deleted is asked before, and nothing else is deleted", async () => {
  assert.equal((await attempt(place.page, SECOND)).error, null);
  const page = await pageWith(6 << 20);
  const { seen, warnings } = await askedRooms(page, false);
  const second = `${place.server.origin}${SECOND}`;
  assert.ok(seen.length >= 2);
  for (const room of seen.slice(0, 2)) {
    assert.deepEqual([room.stored, room.fits], [[second], false]);
    assert.ok(room.missing > 9 << 20);
  }
  assert.match(warnings.join(), /stay in memory/);
  assert.ok((await list(place.page)).every((model) => model.address !== second));
});

for (const inWorker of [false, true]) {
  const where = inWorker ? "in a worker" : "in the page";
  const needed = inWorker ? needs("a quota") : {};
  test(`a browser that has less room than it says is asked for again, ${where}`, needed, async () => {
    await withLittleRoom(async ({ page, server }) => {
      assert.equal((await attempt(page, SECOND)).error, null);
      const { seen, warnings } = await askedRooms(page, inWorker);
      assert.ok(seen.length >= 2);
      assert.deepEqual(seen[0]?.stored, [`${server.origin}${SECOND}`]);
      // The worker of a browser that knows its room says the same of all files, before the first byte.
      const told = inWorker
        ? /(weights\.bin|artifact): the browser has no room to keep/
        : /weights\.bin: the browser has no/;
      assert.match(warnings.join(), told);
    });
  });
}

test("what runs from memory is there once, and nothing of it counts as kept", async () => {
  await withLittleRoom(async ({ page }) => {
    const found = await page.evaluate(async () => {
      const warnings: string[] = [];
      const onWarning = (text: string) => warnings.push(text);
      const model = await edgelora.load("/artifact", { backend: "wasm", wasmPaths: "/ort/", onWarning });
      const ids = await model.generateIds([5, 6, 7], { adapter: "four", maxNewTokens: 4 });
      await model.dispose();
      return { ids, warnings };
    });
    assert.equal(found.ids.length, 4);
    assert.match(found.warnings.join(), /weights\.bin: the browser has no room to keep \d+ bytes; they stay in memory/);
    const keys = await page.evaluate(() => edgelora.cacheKeys());
    assert.ok(keys.every((key) => !key.startsWith("/manifest/") && !key.endsWith("/2")));
  });
});

/** A stand-in for the Cross-Origin Storage proposal, which no browser has: files by their hash, for this page alone. */
const standIn = () => {
  const files = new Map<string, Blob>();
  const asked: string[] = [];
  const requestFileHandles = async (hashes: { value: string }[], { create = false } = {}) =>
    hashes.map(({ value }) => {
      asked.push(`${create ? "create" : "find"} ${value.slice(0, 8)}`);
      if (!create && !files.has(value)) throw new DOMException("not there", "NotFoundError");
      const parts: Blob[] = [];
      const close = async () => {
        files.set(value, new Blob(parts));
      };
      const write = async (bytes: BlobPart) => {
        parts.push(new Blob([bytes]));
      };
      const abort = async () => {};
      return { getFile: async () => files.get(value), createWritable: async () => ({ write, close, abort }) };
    });
  Object.assign(navigator, { crossOriginStorage: { requestFileHandles } });
  Object.assign(globalThis, { sharedFiles: files, sharedAsked: asked });
};

test("where a browser shares files between sites, weights lie there, and one that was brought is not brought again", async () => {
  const page = await place.open();
  await page.evaluate(standIn);
  assert.equal((await attempt(page)).error, null);
  const shared = () =>
    page.evaluate(() => [...(globalThis as never as { sharedFiles: Map<string, Blob> }).sharedFiles]);
  const [entry] = await page.evaluate(() =>
    [...(globalThis as never as { sharedFiles: Map<string, Blob> }).sharedFiles].map(([hash, blob]) => [
      hash,
      blob.size,
    ]),
  );
  assert.equal((await shared()).length, 1);
  assert.ok((entry?.[1] as number) > 9 << 20);
  const keys = await page.evaluate(() => edgelora.cacheKeys());
  assert.equal(keys.filter((key) => key.includes(entry?.[0] as string)).length, 0);
  const [model] = await list(page);
  assert.deepEqual([model?.isComplete, model?.storedBytes], [true, model?.bytes]);
  await page.evaluate(() => caches.delete("edgelora-1")); // as another site finds it
  place.server.requests.length = 0;
  const { error, ids } = await attempt(page);
  assert.equal(error, null);
  assert.equal(ids?.length, 4);
  assert.deepEqual(asked(), []);
  assert.equal((await attempt(page, "/artifact", { hashes: true })).error, null);
  assert.deepEqual(asked(), []);
});

test("a browser that does not want to share leaves the weights to this site", async () => {
  const page = await place.open();
  await page.evaluate(() => {
    const requestFileHandles = async () => {
      throw new DOMException("no", "NotAllowedError");
    };
    Object.assign(navigator, { crossOriginStorage: { requestFileHandles } });
  });
  assert.equal((await attempt(page)).error, null);
  place.server.requests.length = 0;
  assert.equal((await attempt(page)).error, null);
  assert.deepEqual(asked(), []);
});
