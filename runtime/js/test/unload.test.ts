/** Adapters come and go: unloading, a budget, replacing under a name; nothing computed with the old one is met again. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { after, test } from "node:test";
import { AdapterError, InputError } from "../src/core/errors.js";
import { load } from "../src/node.js";
import { CONFORMANCE } from "./places.js";

const FOLDER = join(CONFORMANCE, "tiny-int4");
const PROMPT = [7, 8, 9, 10, 11];
const OPTIONS = { maxNewTokens: 24 };
const model = await load(FOLDER, { threads: 1 });
after(() => model.dispose());
const answer = (adapter: string, of = model) => of.generateIds(PROMPT, { ...OPTIONS, adapter });
const expected = { one: await answer("one"), four: await answer("four"), blend: await answer("one:0.5+four") };

test("an adapter that was unloaded is unknown, and its name may be given again", async () => {
  await model.loadAdapter("mine", join(FOLDER, "adapters/four"));
  assert.deepEqual(await answer("mine"), expected.four);
  await model.unloadAdapter("mine");
  await assert.rejects(answer("mine"), /^AdapterError: unknown adapter "mine"/);
  await assert.rejects(model.unloadAdapter("mine"), /^AdapterError: unknown adapter "mine"/);
  await model.loadAdapter("mine", join(FOLDER, "adapters/one"));
  assert.deepEqual(await answer("mine"), expected.one);
  await model.setAdapter("four+mine:0.5");
  await assert.rejects(
    model.unloadAdapter("mine"),
    (error) =>
      error instanceof AdapterError &&
      /^adapter "mine" is in use \("four\+mine:0.5" is set\); set another/.test(error.message),
  );
  await model.setAdapter("none");
  await model.unloadAdapter("mine");
  assert.deepEqual(model.adapters, ["one", "four", "eight"]);
});

test("an adapter that is replaced under its name meets none of the old one's keys", async () => {
  await model.loadAdapter("mine", join(FOLDER, "adapters/four"));
  assert.deepEqual(await answer("mine"), expected.four);
  await model.loadAdapter("mine", join(FOLDER, "adapters/one"));
  assert.deepEqual(await answer("mine"), expected.one);
  assert.deepEqual(await answer("mine:0.5+four"), expected.blend);
  await model.unloadAdapter("mine");
});

test("with hardly any room for adapters every answer is the same", async () => {
  const small = await load(FOLDER, { threads: 1, adapterBytes: 1 });
  for (let turn = 0; turn < 2; turn++) {
    assert.deepEqual(await answer("one", small), expected.one);
    assert.deepEqual(await answer("one:0.5+four", small), expected.blend);
    assert.deepEqual(await answer("four", small), expected.four);
    const rows = await small.generateIds([PROMPT, PROMPT], { ...OPTIONS, adapter: ["four", "one"] });
    assert.deepEqual(rows, [expected.four, expected.one]);
  }
  await small.dispose();
  for (const adapterBytes of [0, -1, 1.5, "1" as unknown as number]) {
    await assert.rejects(
      load(FOLDER, { threads: 1, adapterBytes }),
      (error) =>
        error instanceof InputError && /^adapterBytes is .*, expected a whole number from 1$/.test(error.message),
    );
  }
});
