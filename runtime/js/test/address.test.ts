/** Artifacts by their addresses in Node: a server's with queries and headers, a hub's, kept on the disk and used again. */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { pathToFileURL } from "node:url";
import { atServer, isRemote, isSameServer } from "../src/core/address.js";
import { BackendError, ConnectionError, InputError } from "../src/core/errors.js";
import type { Room } from "../src/core/models.js";
import { resolve } from "../src/core/resolve.js";
import { StoredModels } from "../src/core/stored-models.js";
import { disk } from "../src/node/disk.js";
import { load, modelsIn, type NodeLoadOptions } from "../src/node.js";
import { paddedArtifact } from "./browser/artifacts.js";
import { type Manner, serve } from "./browser/server.js";
import { CONFORMANCE } from "./places.js";

const ARTIFACT = join(CONFORMANCE, "tiny-float");
const COMMIT = "c".repeat(40);

async function prepare(context: TestContext, manner: Manner = {}) {
  const root = mkdtempSync(join(tmpdir(), "edgelora-address-"));
  const [cache, hub] = [join(root, "cache"), join(root, "hub", "owner")];
  for (const revision of ["main", COMMIT]) {
    mkdirSync(join(hub, "tiny", "resolve", revision), { recursive: true });
    symlinkSync(ARTIFACT, join(hub, "tiny", "resolve", revision, "web"));
  }
  const server = await serve({ models: CONFORMANCE, owner: hub }, manner);
  context.after(async () => {
    await server.close();
    rmSync(root, { recursive: true });
  });
  const open = (address: string, options: NodeLoadOptions = {}) =>
    load(address, { cache, threads: 1, hub: server.origin, ...options });
  return { server, open, cache, models: modelsIn(cache) };
}

test("a cache that cannot be written is named, with what to give", async (context) => {
  const { server, open, cache } = await prepare(context, {});
  const file = join(cache, "..", "a-file");
  writeFileSync(file, "");
  const refused = open(`${server.origin}/models/tiny-float`, { cache: join(file, "inside") });
  await assert.rejects(
    refused,
    /^InputError: .*a-file.* cannot be written \(ENOTDIR.*give another folder for downloads, in Node as `cache`/,
  );
});

test("what who watches an adapter's download throws is no lost connection", async (context) => {
  const { server, open } = await prepare(context, {});
  const model = await open(`${server.origin}/models/tiny-float`);
  const onProgress = () => {
    throw new Error("mine");
  };
  const address = `${server.origin}/models/tiny-float/adapters/one`;
  await assert.rejects(model.loadAdapter("new", address, { onProgress }), { name: "Error", message: "mine" });
  await model.loadAdapter("new", new URL(address));
  await model.dispose();
});

test("a server's address is loaded with its query and headers, and then from the disk", async (context) => {
  const { server, open, models } = await prepare(context, { compresses: true });
  const address = `${server.origin}/models/tiny-float/?key=a%20b#x`;
  const seen: number[] = [];
  const headers = { authorization: "Bearer x" };
  const model = await open(address, { headers, onProgress: ({ loadedBytes }) => seen.push(loadedBytes) });
  const ids = await model.generateIds([7, 8, 9], { adapter: "four", maxNewTokens: 4 });
  const here = await load(pathToFileURL(ARTIFACT), { threads: 1 });
  assert.deepEqual(ids, await here.generateIds([7, 8, 9], { adapter: "four", maxNewTokens: 4 }));
  await here.dispose();
  for (const request of server.requests) {
    assert.deepEqual([request.query, request.headers.authorization], ["?key=a b", "Bearer x"]);
  }
  const paths = server.requests.map((request) => request.path);
  assert.ok(!paths.includes("/models/tiny-float/decoder.fused.onnx"));
  assert.ok(seen.length > 10);
  await assert.rejects(models.delete(address), /^InputError: .* is in use; dispose of the models/);
  await model.dispose();

  server.requests.length = 0;
  await (await open(address, { headers })).dispose();
  assert.deepEqual(
    server.requests.map((request) => request.path),
    ["/models/tiny-float/manifest.json"],
  );
  await server.close();
  const warnings: string[] = [];
  await (await open(address, { onWarning: (message) => warnings.push(message) })).dispose();
  assert.match(warnings.join(), /the artifact that is stored is used as it is/);
});

test("a hub's revision that moves is pinned to the commit that the hub names", async (context) => {
  const { server, open, models, cache } = await prepare(context, { headers: { "x-repo-commit": COMMIT } });
  const model = await open("hf:owner/tiny/web");
  await model.dispose();
  const [first, ...rest] = server.requests.map((request) => request.path);
  assert.equal(first, "/owner/tiny/resolve/main/web/manifest.json");
  assert.equal(rest.length, 11);
  for (const path of rest) assert.ok(path.startsWith(`/owner/tiny/resolve/${COMMIT}/web/`), path);
  const [stored] = await models.list();
  assert.equal(stored?.address, "hf:owner/tiny/web@main");
  await assert.rejects(open("hf:owner/other"), /^ArtifactError: hf:owner\/other@main has no manifest\.json/);
  assert.equal((await models.list()).length, 1);
  assert.equal(readdirSync(cache).length, 1); // nothing is left of what was never there
});

test("the token of the hub goes to the hub alone", async (context) => {
  const { server, open } = await prepare(context);
  context.after(() => {
    delete process.env.HF_TOKEN;
    delete process.env.HF_ENDPOINT;
  });
  Object.assign(process.env, { HF_TOKEN: "hf_x", HF_ENDPOINT: server.origin });
  const model = await open("hf:owner/tiny/web", { hub: undefined });
  for (const { headers } of server.requests) assert.equal(headers.authorization, "Bearer hf_x");
  server.requests.length = 0;
  await model.loadAdapter("other", `${server.origin}/models/tiny-float/adapters/four`, { trust: true });
  assert.ok(server.requests.length >= 2);
  for (const { headers } of server.requests) assert.equal(headers.authorization, undefined);
  await model.dispose();
  server.requests.length = 0;
  const here = await load(ARTIFACT, { threads: 1 });
  await here.loadAdapter("hub", "hf:owner/tiny/web/adapters/four", { trust: true });
  assert.ok(here.adapters.includes("hub") && server.requests.length >= 2);
  for (const { headers } of server.requests) assert.equal(headers.authorization, "Bearer hf_x");
  await here.dispose();
});

test("addresses that name nothing", async () => {
  for (const address of [
    "hf:owner",
    "hf:/x",
    "hf:a/b/../c",
    "hf:a/b@",
    "hf:a/b@../x",
    "hf:a b/c",
    "ftp://x/y",
    "x/y",
  ]) {
    await assert.rejects(resolve(address), (error) => error instanceof InputError && /expected/.test(error.message));
  }
  assert.deepEqual(["hf:a/b", "https://x/y", "/data/x", "C:\\x", "x"].map(isRemote), [true, true, false, false, false]);
  const remote = atServer("https://x.test/a/b//?v=1&k=%2F#top");
  assert.equal(remote.addressOf("adapters/c#/50%.json"), "https://x.test/a/b/adapters/c%23/50%25.json?v=1&k=%2F");
  const tagged = await resolve("hf:a/b@refs/pr/1", { hub: "https://hub.test/" });
  assert.equal(tagged.addressOf("m.json"), "https://hub.test/a/b/resolve/refs%2Fpr%2F1/m.json");
  assert.equal(isSameServer("https://X.test/a", "https://x.test/b?c"), true);
  assert.equal(isSameServer("https://x.test/a", "https://x.test.evil/a"), false);
  assert.equal(isSameServer("hf:a/b", "https://x.test"), false);
});

test("an estimate says what would come; list, size and delete what is there", async (context) => {
  const { server, models, open, cache } = await prepare(context);
  const address = `${server.origin}/models/tiny-float`;
  const before = await models.estimate(address);
  assert.equal(before.storedBytes, 0);
  assert.equal(before.missingBytes, before.bytes);
  assert.ok(before.fits && before.freeBytes !== null && before.freeBytes > before.bytes);
  assert.deepEqual(await models.list(), []);
  server.faults.set("/models/tiny-float/weights.bin", { status: 503 });
  await assert.rejects(open(address), ConnectionError);
  const [half] = await models.list();
  assert.deepEqual([half?.isComplete, half?.bytes, half?.address], [false, null, address]);
  const between = await models.estimate(address);
  assert.equal(
    between.missingBytes,
    JSON.parse(readFileSync(join(ARTIFACT, "manifest.json"), "utf8")).files["weights.bin"].bytes,
  );
  server.faults.clear();
  await (await open(address)).dispose();
  assert.equal((await models.estimate(address)).missingBytes, 0);
  const [whole] = await models.list();
  assert.deepEqual([whole?.isComplete, whole?.bytes, whole?.isInUse], [true, before.bytes, false]);
  assert.ok((await models.size()) > before.bytes);
  await models.delete(`${address}/`);
  await models.delete(address);
  assert.deepEqual(await models.list(), []);
  assert.deepEqual(readdirSync(cache), []);
  await assert.rejects(models.estimate(`${server.origin}/models/none`), /has no manifest\.json/);
});

test("where there is no room it is said before the first byte, and only what may go is deleted", async (context) => {
  const { server, cache } = await prepare(context);
  let free = 1000;
  const small = new StoredModels({ ...disk, freeBytes: async () => free }, cache);
  const address = (name: string) => `${server.origin}/models/${name}`;
  await assert.rejects(small.bring(address("tiny-float"), {}), (error) => {
    assert.ok(error instanceof BackendError);
    assert.match(
      error.message,
      /tiny-float: \d+ bytes are missing and there is room for 1000; delete what is no longer/,
    );
    return true;
  });
  assert.deepEqual(
    server.requests.map((request) => request.path),
    ["/models/tiny-float/manifest.json"],
  );
  free = 2 ** 30;
  const kept = await small.bring(address("tiny-int8"), {});
  free = 1000;
  const rooms: Room[] = [];
  const makeRoom = (room: Room) => {
    rooms.push(room);
    return room.stored.map((model) => model.address).filter((item) => item.includes("int8"));
  };
  await assert.rejects(small.bring(address("tiny-float"), { makeRoom }), BackendError);
  assert.equal(existsSync(kept), false);
  assert.equal(rooms[0]?.address, address("tiny-float"));
  assert.deepEqual(
    rooms[0]?.stored.map((model) => [model.address, model.isComplete]),
    [[address("tiny-int8"), true]],
  );
});

test("a process that is killed in the middle of a download leaves what the next one goes on from", async (context) => {
  const { cache } = await prepare(context);
  const root = await paddedArtifact("tiny-float", 9 << 20);
  context.after(() => rmSync(root, { recursive: true }));
  const padded = await serve({ artifact: root });
  context.after(() => padded.close());
  padded.faults.set("/artifact/weights.bin", { stallsAfter: 5 << 20, times: 1 });
  const address = `${padded.origin}/artifact`;
  const code = `import { modelsIn } from ${JSON.stringify(new URL("../src/node/cache.js", import.meta.url).href)};
    await modelsIn(${JSON.stringify(cache)}).bring(${JSON.stringify(address)}, {});`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", code], { stdio: "inherit" });
  const models = modelsIn(cache);
  const isPart = (name: string) => /weights\.bin\.[0-9a-f]{12}\.part$/.test(name);
  const part = () => {
    const names = existsSync(cache) ? readdirSync(cache, { recursive: true }).map(String) : [];
    return names.find(isPart);
  };
  for (const until = Date.now() + 20_000; ; await new Promise((resolve) => setTimeout(resolve, 50))) {
    assert.ok(Date.now() < until);
    const found = part();
    if (found !== undefined && statSync(join(cache, found)).size === 4 << 20) break;
  }
  child.kill("SIGKILL");
  await once(child, "exit");
  const before = await models.estimate(address);
  assert.ok(before.missingBytes < before.bytes - (4 << 20) + 1);
  padded.requests.length = 0;
  await (await load(address, { cache, threads: 1, hashes: true })).dispose();
  const asked = padded.requests.filter((request) => request.path === "/artifact/weights.bin");
  assert.deepEqual(
    asked.map((request) => request.range),
    [`bytes=${4 << 20}-`],
  );
  assert.equal(part(), undefined);
});

test("a lock that an ended process left behind keeps nobody out, one of a running process does", async (context) => {
  const root = mkdtempSync(join(tmpdir(), "edgelora-lock-"));
  context.after(() => rmSync(root, { recursive: true }));
  const path = join(root, "download.lock");
  writeFileSync(path, "999999999");
  const release = await disk.lock?.(path, undefined);
  assert.equal(readFileSync(path, "utf8"), String(process.pid));
  const waiting = disk.lock?.(path, AbortSignal.timeout(600));
  await assert.rejects(waiting as Promise<unknown>, { name: "AbortError" });
  utimesSync(path, new Date(), new Date(Date.now() - 31_000)); // as of a process elsewhere that has the same number
  const taken = await disk.lock?.(path, AbortSignal.timeout(600));
  await taken?.();
  await release?.();
  assert.equal(existsSync(path), false);
});
