/** Artifacts wherever they are: another origin, a hub, a bad network, a visitor's own folder. */

import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, test } from "node:test";
import type { Browser } from "playwright-core";
import { paddedArtifact, WEIGHTS } from "./artifacts.js";
import { type Bench, bench } from "./browser.js";
import { launch, needs } from "./drivers.js";
import type {} from "./page.js";
import { type Manner, serve, type TestServer } from "./server.js";

const PIECE = 4 << 20;
const COMMIT = "d".repeat(40);

let browser: Browser;
let artifact: string;
let hub: string;
let place: Bench;
let other: TestServer | null = null;

before(async () => {
  browser = await launch();
  artifact = await paddedArtifact("tiny-float", 9 << 20);
  hub = await mkdtemp(join(tmpdir(), "edgelora-hub-"));
  for (const revision of ["main", COMMIT]) {
    await mkdir(join(hub, "tiny", "resolve"), { recursive: true });
    await symlink(artifact, join(hub, "tiny", "resolve", revision));
  }
});
after(async () => {
  await browser.close();
  await rm(artifact, { recursive: true });
  await rm(hub, { recursive: true });
});
beforeEach(async () => {
  place = await bench(browser, { artifact });
});
afterEach(async () => {
  await place.close();
  await other?.close();
  other = null;
});

const attempt = (address: string, options: object = {}) =>
  place.page.evaluate(([at, given]) => edgelora.attempt(at, { backend: "wasm", ...given }), [
    address,
    options,
  ] as const);

async function elsewhere(manner: Manner): Promise<TestServer> {
  other = await serve({ artifact, owner: hub }, { isShared: true, ...manner });
  return other;
}

test("another origin that compresses and knows no ranges, with a query and headers on every request", async () => {
  const { origin, faults, requests } = await elsewhere({ compresses: true });
  faults.set(`/artifact/${WEIGHTS}`, { ignoresRanges: true });
  const address = `${origin}/artifact/?key=a%20b`;
  const headers = { authorization: "Bearer x" };
  for (const inWorker of [false, true]) {
    const { error, ids } = await attempt(address, { headers, inWorker });
    assert.equal(error, null);
    assert.equal(ids?.length, 4);
  }
  assert.ok(requests.length >= 12);
  for (const request of requests) {
    assert.deepEqual([request.query, request.headers.authorization], ["?key=a b", "Bearer x"]);
  }
  assert.equal(requests.filter((request) => request.path === `/artifact/${WEIGHTS}`).length, 1); // then from the cache
});

test("another origin is sent cookies where credentials are asked for, and else none", async () => {
  const { origin, requests } = await elsewhere({});
  await place.context.addCookies([{ name: "who", value: "me", url: origin, sameSite: "Lax" }]);
  assert.equal((await attempt(`${origin}/artifact`)).error, null);
  assert.ok(requests.every((request) => request.headers.cookie === undefined));
  requests.length = 0;
  assert.equal((await attempt(`${origin}/artifact?again`, { credentials: "include" })).error, null);
  assert.ok(requests.every((request) => request.headers.cookie === "who=me"));
});

test("an adapter of another server does not see the headers of the artifact's", async () => {
  const { origin, requests } = await elsewhere({});
  const names = await place.page.evaluate(
    async ([here, there]) => {
      const options = { backend: "wasm", wasmPaths: "/ort/", headers: { authorization: "Bearer x" } } as const;
      const model = await edgelora.load(`${here}/artifact`, options);
      await model.loadAdapter("near", `${here}/artifact/adapters/four?v=2`, { trust: true });
      await model.loadAdapter("far", `${there}/artifact/adapters/four?v=2`, { trust: true });
      await model.dispose();
      return model.adapters;
    },
    [place.server.origin, origin] as const,
  );
  assert.ok(names.includes("far"));
  const near = place.server.requests.filter((request) => request.query === "?v=2");
  assert.ok(near.length >= 2 && near.every((request) => request.headers.authorization === "Bearer x"));
  assert.ok(requests.length >= 2 && requests.every((request) => request.headers.authorization === undefined));
});

test("a hub's address is pinned to the commit, loads without the hub later, and reads its tokenizer in the page", async () => {
  const { origin, requests, faults } = await elsewhere({ headers: { "x-repo-commit": COMMIT } });
  const load = () => attempt("hf:owner/tiny", { hub: origin, inWorker: true });
  assert.equal((await load()).error, null);
  const [first, ...rest] = requests.map((request) => request.path);
  assert.equal(first, "/owner/tiny/resolve/main/manifest.json");
  assert.ok(rest.length >= 11 && rest.every((path) => path.startsWith(`/owner/tiny/resolve/${COMMIT}/`)));
  faults.set("/owner/tiny/resolve/main/manifest.json", { status: 403 });
  const { error, warnings } = await load();
  assert.equal(error, null);
  assert.match(warnings.join(), /cannot be had \(HTTP 403\); the artifact that is stored is used as it is/);
  const encoded = await place.page.evaluate(async (server) => {
    const model = await edgelora.loadInWorker("hf:owner/tiny", { backend: "wasm", wasmPaths: "/ort/", hub: server });
    const ids = (await model.tokenizer)?.encode("one two");
    await model.dispose();
    return ids;
  }, origin);
  assert.ok(encoded && encoded.length > 0);
});

test("a server that says nothing any more is taken up where it stalled", async () => {
  place.server.faults.set(`/artifact/${WEIGHTS}`, { stallsAfter: PIECE + 1000, times: 1 });
  const { error } = await attempt("/artifact", { stalledMs: 500 });
  assert.equal(error, null);
  const ranges = place.server.requests.filter((request) => request.path === `/artifact/${WEIGHTS}`);
  assert.deepEqual(
    ranges.map((request) => request.range),
    [null, `bytes=${PIECE + 1000}-`],
  );
});

test("a network that wants a login, or says nothing, does not stand before an artifact that is there", async () => {
  assert.equal((await attempt("/artifact")).error, null);
  const manifest = "/artifact/manifest.json";
  const faults: readonly [object, RegExp][] = [
    [{ page: "<html>log in</html>" }, /cannot be had \(.*is not JSON.*\)/],
    [{ status: 401 }, /cannot be had \(HTTP 401\)/],
    [{ status: 429 }, /cannot be had \(HTTP 429\)/],
    [{ stallsAfter: 10 }, /cannot be had \(no answer in 3 s\)/],
  ];
  for (const [fault, reason] of faults) {
    place.server.faults.set(manifest, fault);
    const { error, ids, warnings } = await attempt("/artifact");
    assert.equal(error, null);
    assert.equal(ids?.length, 4);
    assert.match(warnings.join(), reason);
  }
});

test("a login page in the middle of a download costs nothing that came", async () => {
  place.server.faults.set(`/artifact/${WEIGHTS}`, {
    cutAfter: PIECE + 1000,
    times: 1,
    afterwards: { page: "<html>log in</html>" },
  });
  const { error } = await attempt("/artifact");
  assert.match(error?.message as string, /weights\.bin: the connection to .* was lost at byte 419\d{4} /);
  place.server.faults.clear();
  place.server.requests.length = 0;
  assert.equal((await attempt("/artifact")).error, null);
  const [asked] = place.server.requests.filter((request) => request.path === `/artifact/${WEIGHTS}`);
  assert.equal(asked?.range, `bytes=${PIECE}-`);
});

test("the files of a folder that a visitor chose, here and in a worker", needs("an input for folders"), async () => {
  await place.page.evaluate(() => {
    document.body.innerHTML = '<input type="file" webkitdirectory>';
  });
  await place.page.locator("input").setInputFiles(artifact);
  place.server.requests.length = 0;
  const found = await place.page.evaluate(async () => {
    const { files } = document.querySelector("input") as HTMLInputElement;
    const options = { backend: "wasm", wasmPaths: "/ort/", hashes: true } as const;
    const here = await edgelora.load(files as FileList, options);
    const there = await edgelora.loadInWorker(files as FileList, options);
    const ids = [here, there].map((model) => model.generateIds([5, 6, 7], { adapter: "four", maxNewTokens: 4 }));
    const answers = await Promise.all(ids);
    const text = (await there.tokenizer)?.encode("one").length;
    await Promise.all([here.dispose(), there.dispose()]);
    const none = await edgelora.load([new File(["x"], "x.txt")], options).then(() => "loaded", String);
    return { answers, text, none, keys: await edgelora.cacheKeys() };
  });
  assert.deepEqual(found.answers[0], found.answers[1]);
  assert.equal(found.answers[0]?.length, 4);
  assert.ok(found.text);
  assert.match(
    found.none,
    /^ArtifactError: the files that were given: there is no manifest\.json; expected the folder/,
  );
  assert.deepEqual(found.keys, []); // nothing is kept a second time
  assert.ok(place.server.requests.every((request) => !request.path.startsWith("/artifact")));
});

test("a folder by its handle, and one that lacks a file or has another one", needs("OPFS"), async () => {
  const found = await place.page.evaluate(async () => {
    const root = await navigator.storage.getDirectory();
    const write = async (name: string, content: ArrayBuffer) => {
      const parts = name.split("/");
      const last = parts.pop() as string;
      let folder = root;
      for (const part of parts) folder = await folder.getDirectoryHandle(part, { create: true });
      const target = await (await folder.getFileHandle(last, { create: true })).createWritable();
      await target.write(content);
      await target.close();
    };
    const bytes = async (name: string) => (await fetch(`/artifact/${name}`)).arrayBuffer();
    const manifest = await (await fetch("/artifact/manifest.json")).json();
    await write("manifest.json", await bytes("manifest.json"));
    for (const name of Object.keys(manifest.files)) await write(name, await bytes(name));
    const options = { backend: "wasm", wasmPaths: "/ort/", hashes: true } as const;
    const model = await edgelora.loadInWorker(root, options);
    const ids = await model.generateIds([5, 6, 7], { maxNewTokens: 4 });
    await model.dispose();
    const load = () => edgelora.load(root, options).then(() => "loaded", String);
    const weights = new Uint8Array(await bytes("weights.bin"));
    weights[5 << 20] = 1;
    await write("weights.bin", weights.buffer);
    const other = await load();
    await root.removeEntry("tokenizer.json");
    return { ids, other, missing: await load() };
  });
  assert.equal(found.ids.length, 4);
  assert.match(found.other, /^ArtifactError: .* is damaged: weights\.bin: other bytes than the manifest says/);
  assert.match(found.missing, /tokenizer\.json: missing/);
});
