/** An adapter of a folder that `edgelora library publish` wrote, from a plain web server. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { load } from "../src/node.js";
import { CONFORMANCE } from "./places.js";

const IDS = [5, 6, 7, 40];

/** What is read of the index here. */
interface Index {
  readonly format: string;
  readonly adapters: readonly { name: string; path: string; title: string | null; tags: readonly string[] }[];
}

/** The address of the folder on a server that knows files and nothing else; `spoil` changes what it sends. */
async function serve(context: TestContext, spoil = (_name: string, bytes: Buffer): Buffer => bytes): Promise<URL> {
  const server = createServer((request, response) => {
    const name = decodeURIComponent(request.url ?? "");
    readFile(join(CONFORMANCE, "published-library", name)).then(
      (bytes) => response.end(spoil(name, bytes)),
      () => response.writeHead(404).end(),
    );
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  context.after(() => server.close());
  return new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
}

test("an adapter of a published library is loaded by its address", async (context) => {
  const base = await serve(context);
  const index = (await (await fetch(new URL("index.json", base))).json()) as Index;
  assert.equal(index.format, "edgelora-library");
  const found = index.adapters.find(({ tags }) => tags.includes("tiny"));
  assert.ok(found);
  assert.deepEqual([found.name, found.title], ["four", "Four"]);
  const model = await load(join(CONFORMANCE, "tiny-int4"), { threads: 1 });
  await model.loadAdapter("theirs", new URL(found.path, base).href);
  const options = { maxNewTokens: 8 };
  const theirs = await model.generateIds(IDS, { ...options, adapter: "theirs" });
  assert.deepEqual(theirs, await model.generateIds(IDS, { ...options, adapter: "four" }));
  assert.notDeepEqual(theirs, await model.generateIds(IDS, { ...options, adapter: "none" }));
  await model.dispose();
});

test("a file of it that came cut is refused", async (context) => {
  const base = await serve(context, (name, bytes) => (name.endsWith(".safetensors") ? bytes.subarray(0, 999) : bytes));
  const index = (await (await fetch(new URL("index.json", base))).json()) as Index;
  const model = await load(join(CONFORMANCE, "tiny-int4"), { threads: 1 });
  const loading = model.loadAdapter("theirs", new URL(index.adapters[0]?.path as string, base).href);
  await assert.rejects(loading, /^AdapterError: .*truncated|damaged/);
  assert.ok(!model.adapters.includes("theirs"));
  await model.dispose();
});
