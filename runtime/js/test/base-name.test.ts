/** A base of another name is a warning where nothing but names tells. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { findOtherName } from "../src/core/base-name.js";
import { parseManifest } from "../src/core/manifest.js";
import { openAdapter } from "../src/core/open-adapter.js";
import { memoryFolder } from "./folders.js";
import { CONFORMANCE } from "./places.js";

const TINY = `${CONFORMANCE}/tiny-float`;
const refuse = JSON.parse(await readFile(`${CONFORMANCE}/refuse.json`, "utf8")) as {
  base_names: Record<string, boolean>;
};

test("names of one base agree, others do not", () => {
  for (const [name, isOther] of Object.entries(refuse.base_names)) {
    assert.equal(findOtherName(name, ["base", null], "here is") !== null, isOther, name);
  }
  assert.equal(findOtherName("other", ["0a".repeat(20)], "here is"), null);
  assert.equal(findOtherName("/models/other", ["base", "org/Other@main"], "here is"), null);
});

test("an adapter that names another base is taken, and the console tells", async (context) => {
  const told: unknown[] = [];
  context.mock.method(console, "warn", (line: unknown) => told.push(line));
  const manifest = parseManifest(await readFile(`${TINY}/manifest.json`));
  const place = `${TINY}/adapters/four`;
  const config = JSON.parse(await readFile(`${place}/adapter_config.json`, "utf8"));
  const weights = await readFile(`${place}/adapter_model.safetensors`);
  for (const trust of [false, true]) {
    const files = {
      "adapter_config.json": JSON.stringify({ ...config, base_model_name_or_path: "org/other" }),
      "adapter_model.safetensors": weights,
    };
    await openAdapter(memoryFolder(files, "it"), manifest, "adapter x", trust);
  }
  assert.deepEqual(told, [
    'adapter x: adapter_config.json names the base "org/other", this artifact holds "base"; without a receipt nobody ' +
      "knows whether they are the same, and `edgelora adapter receipt` writes one",
  ]);
});
