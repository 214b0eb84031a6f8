/** A manifest whose entries stand in lines of their own: opened without reading them, refused where one is used. */

import assert from "node:assert/strict";
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { findLines } from "../src/core/entry-lines.js";
import { ArtifactError } from "../src/core/errors.js";
import type { Manifest } from "../src/core/format.js";
import { openManifest, parseManifest } from "../src/core/manifest.js";
import { adapterFiles, baseFiles, filesOfBase, neededFiles } from "../src/core/needed-files.js";
import { load } from "../src/node.js";
import { receiveManifest, sendManifest } from "../src/web/sent-manifest.js";
import { CONFORMANCE } from "./places.js";

interface Case {
  readonly name: string;
  readonly old: string;
  readonly new: string;
  readonly message_has?: string;
  readonly accepted?: boolean;
}

const FACTORS = "adapters/four/adapter_model.safetensors";
const TEXT = await readFile(join(CONFORMANCE, "tiny-float/manifest.json"), "utf8");
const { lines } = JSON.parse(await readFile(join(CONFORMANCE, "refuse.json"), "utf8")) as { lines: Case[] };
const textOf = (item: Case) => TEXT.replace(item.old, () => item.new);
const refusals = lines.filter((item) => item.accepted !== true);

/** Every entry, asked for in this way. */
const READINGS: Record<string, (text: string) => Manifest> = {
  here: (text) => openManifest(text, "here/manifest.json"),
  "behind a worker": (text) => receiveManifest(structuredClone(sendManifest(openManifest(text, "here/manifest.json")))),
};

/** The entry of an adapter and those of its files. */
function ask(manifest: Manifest, index: number): void {
  const info = manifest.adapters[index];
  assert.equal(info?.name, manifest.adapterNames[index]);
  assert.ok(info !== undefined && adapterFiles(manifest, info).size >= 2);
}

/** All of a manifest but what is no entry, as plain values. */
const entriesOf = ({ adapterNames, adapters, files }: Manifest) => ({
  adapterNames: [...adapterNames],
  adapters: [...adapters],
  files: [...files],
});

for (const [reading, open] of Object.entries(READINGS)) {
  test(`a wrong line of an adapter is refused when it is asked for, ${reading}`, () => {
    assert.ok(lines.length > 30 && refusals.length > 20);
    for (const item of lines) {
      assert.equal(TEXT.split(item.old).length, 2, item.name);
      const manifest = open(textOf(item));
      assert.deepEqual(manifest.adapterNames, ["one", "four", "eight"], item.name);
      for (const index of [0, 2]) if (reading === "here") ask(manifest, index);
      if (item.accepted) {
        assert.deepEqual(entriesOf(manifest), entriesOf(parseManifest(textOf(item))), item.name);
        assert.equal(manifest.files.size, manifest.files.size, item.name);
        continue;
      }
      assert.ok(findLines(textOf(item)), item.name);
      const isRight = (error: unknown) =>
        error instanceof ArtifactError &&
        error.message.startsWith("here/manifest.json: ") &&
        error.message.length < 500 &&
        !/[\p{Cc}\u2028\u2029]/u.test(error.message) &&
        (reading !== "here" || error.message.includes(item.message_has ?? "nothing"));
      if (reading === "here") assert.throws(() => ask(manifest, 1), isRight, item.name);
      assert.throws(() => parseManifest(textOf(item)), ArtifactError, item.name);
    }
  });
}

test("what is opened is what is read whole, however it is written", async () => {
  for (const name of ["tiny-float", "tiny-shared", "tiny-dora", "encoder-topics", "encoder-headless"]) {
    const text = await readFile(join(CONFORMANCE, name, "manifest.json"), "utf8");
    const whole = parseManifest(text);
    for (const written of [text, JSON.stringify(JSON.parse(text)), JSON.stringify(JSON.parse(text), null, 1)]) {
      for (const open of Object.values(READINGS)) {
        assert.deepEqual(entriesOf(open(written)), entriesOf(whole), name);
        assert.deepEqual(new Map(neededFiles(open(written))), new Map(neededFiles(whole)), name);
        assert.deepEqual(new Map(baseFiles(open(written))), new Map(baseFiles(whole)), name);
        assert.deepEqual(new Map(filesOfBase(open(written).files)), new Map(filesOfBase(whole.files)), name);
      }
    }
  }
});

test("entries can be asked for in every way that lists and maps have", () => {
  const whole = parseManifest(TEXT);
  for (const open of Object.values(READINGS)) {
    const { adapters, files } = open(TEXT);
    assert.equal(adapters.length, 3);
    assert.ok(Array.isArray(adapters));
    assert.deepEqual(
      adapters.map(({ name }) => name),
      ["one", "four", "eight"],
    );
    assert.equal(open(TEXT).adapters.at(-1)?.name, "eight");
    assert.equal(open(TEXT).adapters.find(({ rank }) => rank === 4)?.name, "four");
    assert.equal(JSON.stringify(open(TEXT).adapters), JSON.stringify(whole.adapters));
    assert.equal(adapters[3], undefined);
    assert.deepEqual({ ...open(TEXT).adapters }, { ...whole.adapters });
    assert.equal(files.size, whole.files.size);
    assert.deepEqual([...files.keys()], [...whole.files.keys()]);
    assert.deepEqual([...files.values()], [...whole.files.values()]);
    const seen: string[] = [];
    files.forEach((info, name) => void seen.push(`${name} ${info.bytes}`));
    assert.equal(seen.length, whole.files.size);
    const fresh = open(TEXT).files;
    assert.deepEqual(fresh.get(FACTORS), whole.files.get(FACTORS));
    assert.ok(fresh.has(FACTORS) && fresh.has("weights.bin"));
    for (const name of [
      "",
      "nothing",
      "adapters/",
      "adapters/x/y",
      `${FACTORS}": {"bytes`,
      "adapters/one\n",
      "__proto__",
    ]) {
      assert.ok(!fresh.has(name), name);
      assert.equal(fresh.get(name), undefined, name);
    }
  }
});

test("lines of other objects are no entries, and a long manifest is refused whatever its lines hold", () => {
  for (const field of ["adapters", "files"]) {
    const open = () => openManifest(TEXT.replace(`\n "${field}": `, `\n "later": `));
    assert.throws(open, new RegExp(`field "${field}" is missing`));
  }
  const line = `  "adapters/x/${"y".repeat(200)}": {},\n`;
  const long = TEXT.replace(`  "${FACTORS}`, () => `${line.repeat(160_000)}  "${FACTORS}`);
  assert.throws(() => openManifest(long), /longer than 33554432 bytes/);
});

/** tiny-float with another manifest, removed with the test. */
async function folderWith(context: TestContext, text: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "lines-"));
  context.after(() => rm(folder, { recursive: true }));
  await cp(join(CONFORMANCE, "tiny-float"), folder, { recursive: true });
  await writeFile(join(folder, "manifest.json"), text);
  return folder;
}

test("a model opens and answers with the other adapters", async (context) => {
  for (const item of refusals.filter((_, index) => index % 4 === 0)) {
    const folder = await folderWith(context, textOf(item));
    const model = await load(folder, { threads: 1 });
    assert.deepEqual(model.adapters, ["one", "four", "eight"]);
    assert.equal((await model.generateIds([1, 2], { adapter: "one+eight", maxNewTokens: 2 })).length, 2);
    const asking = model.generateIds([1, 2], { adapter: "four", maxNewTokens: 2 });
    await assert.rejects(asking, (error: Error) => error.message.includes(item.message_has as string));
    assert.equal((await model.generateIds([1, 2], { maxNewTokens: 2 })).length, 2);
    await model.dispose();
    await assert.rejects(load(folder, { threads: 1, hashes: true }), ArtifactError);
    await assert.rejects(load(folder, { threads: 1, probe: true }), ArtifactError);
  }
});
