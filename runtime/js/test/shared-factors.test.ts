/** Factors that adapters share are read as if each adapter had them itself, and refused in the words of the others. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { readAdapter } from "../src/core/adapter.js";
import { AdapterError, ArtifactError } from "../src/core/errors.js";
import { fetchedFolder } from "../src/core/fetched-folder.js";
import { within } from "../src/core/files.js";
import { parseManifest } from "../src/core/manifest.js";
import { adapterFiles, neededFiles } from "../src/core/needed-files.js";
import { folder, load } from "../src/node.js";
import { CONFORMANCE } from "./places.js";

const SHARED = join(CONFORMANCE, "tiny-shared");

async function manifestOf(artifact: string) {
  return parseManifest(await readFile(join(artifact, "manifest.json")), "manifest.json");
}

async function copied(use: (artifact: string, file: string) => Promise<void>): Promise<void> {
  const place = await mkdtemp(join(tmpdir(), "edgelora-"));
  try {
    const artifact = join(place, "it");
    await cp(SHARED, artifact, { recursive: true });
    const { adapters } = await manifestOf(artifact);
    await use(artifact, `${adapters.find(({ name }) => name === "twin")?.shared}.safetensors`);
  } finally {
    await rm(place, { recursive: true });
  }
}

test("what adapters share is needed once, and by each of them", async () => {
  const manifest = await manifestOf(SHARED);
  const [one, four, eight, twin] = manifest.adapters;
  assert.ok(one && four && eight && twin);
  assert.equal(one.shared, null);
  assert.equal(four.shared, twin.shared);
  assert.notEqual(four.shared, eight.shared);
  const files = [...neededFiles(manifest).keys()];
  const shared = files.filter((name) => /^adapters\/[0-9a-f]{64}\.safetensors$/.test(name));
  assert.deepEqual(
    shared.sort(),
    [...new Set([four.shared, eight.shared])].map((x) => `adapters/${x}.safetensors`).sort(),
  );
  assert.ok(adapterFiles(manifest, twin).has(`adapters/${twin.shared}.safetensors`));
  assert.equal([...adapterFiles(manifest, one).keys()].filter((name) => name.split("/").length === 2).length, 0);
});

test("factors are those of the whole adapter, from a disk, within an artifact and from a server", async () => {
  const expected = await readAdapter(folder(join(CONFORMANCE, "tiny-float", "adapters", "four")));
  const server = createServer(async (request, response) => {
    const content = await readFile(join(SHARED, new URL(request.url ?? "/", "http://x").pathname)).catch(() => null);
    response.writeHead(content === null ? 404 : 200).end(content ?? "");
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  try {
    const address = `http://127.0.0.1:${(server.address() as AddressInfo).port}/adapters/four`;
    const digest = async (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
    const places = [
      folder(join(SHARED, "adapters", "four")),
      within(folder(SHARED), "adapters/four"),
      fetchedFolder(address, digest, {}),
    ];
    for (const place of places) {
      const found = await readAdapter(place);
      assert.deepEqual([...found.factors], [...expected.factors], place.where);
    }
  } finally {
    server.close();
  }
});

test("a shared file that is missing or another is refused by name", async () => {
  await copied(async (artifact, file) => {
    const path = join(artifact, "adapters", file);
    const twin = join(artifact, "adapters", "twin");
    const isRefusal = (line: string) => (error: unknown) => {
      assert.ok(error instanceof AdapterError, String(error));
      assert.equal(error.message, `${twin} has factors in ../${file}, which ${line}`);
      return true;
    };
    const content = await readFile(path);
    content[content.length - 1] = (content[content.length - 1] as number) ^ 1;
    await writeFile(path, content);
    const found = createHash("sha256").update(content).digest("hex").slice(0, 12);
    await assert.rejects(
      readAdapter(folder(twin)),
      isRefusal(`has sha256 ${found}; copy or export the artifact again`),
    );
    const model = await load(artifact);
    const ofArtifact = (why: string) => (error: unknown) => {
      assert.ok(error instanceof ArtifactError, String(error));
      assert.ok(error.message.includes(`is damaged: adapters/${file}: ${why}`), error.message);
      return true;
    };
    await assert.rejects(model.logits([1, 2], { adapter: "twin" }), ofArtifact("sha256"));
    await model.logits([1, 2], { adapter: "eight" });
    await rm(path);
    await assert.rejects(
      readAdapter(folder(twin)),
      isRefusal("is missing; copy the whole artifact, or take the adapter out of it with `edgelora adapter convert`"),
    );
    await assert.rejects(model.logits([1, 2], { adapter: "twin" }), ofArtifact("missing"));
    await model.dispose();
    assert.ok((await readdir(join(artifact, "adapters"))).includes("twin"));
  });
});

test("a reference to a tensor that the shared file lacks is refused", async () => {
  await copied(async (artifact, file) => {
    const path = join(artifact, "adapters", "twin", "adapter_model.safetensors");
    const content = await readFile(path);
    const at = content.indexOf(Buffer.from(file.slice(0, 64), "hex"));
    content.fill(0xab, at + 32, at + 64);
    await writeFile(path, content);
    await assert.rejects(readAdapter(folder(join(artifact, "adapters", "twin"))), (error: unknown) => {
      assert.ok(error instanceof AdapterError);
      assert.match(
        error.message,
        new RegExp(`has ".*lora_A.weight" in \\.\\./${file}, which holds no tensor abababababab`),
      );
      return true;
    });
  });
});
