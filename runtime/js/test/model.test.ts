/** What a loaded model promises beside right answers: order, aborting, switching, refusing, letting go. */

import assert from "node:assert/strict";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, test } from "node:test";
import { pathToFileURL } from "node:url";
import { InputError } from "../src/core/errors.js";
import { load } from "../src/node.js";
import { copyArtifact, float32, memoryFolder, writeSafetensors } from "./folders.js";
import { CONFORMANCE } from "./places.js";

const FOLDER = join(CONFORMANCE, "tiny-int4");
const model = await load(FOLDER, { threads: 1 });
const PROMPT = [7, 8, 9, 10, 11];
const OPTIONS = { maxNewTokens: 24 };
after(() => model.dispose());

const expected = {
  none: await model.generateIds(PROMPT, OPTIONS),
  four: await model.generateIds(PROMPT, { ...OPTIONS, adapter: "four" }),
};

test("adapters change the answer, and setAdapter is what a call without one uses", async () => {
  assert.notDeepEqual(expected.none, expected.four);
  assert.deepEqual(model.adapters, ["one", "four", "eight"]);
  assert.equal(model.adapter, "none");
  await model.setAdapter("four");
  assert.equal(model.adapter, "four");
  assert.deepEqual(await model.generateIds(PROMPT, OPTIONS), expected.four);
  assert.deepEqual(await model.generateIds(PROMPT, { ...OPTIONS, adapter: "none" }), expected.none);
  await assert.rejects(
    model.setAdapter("fuor"),
    /unknown adapter "fuor"; this model has: one, four, eight; did you mean "four"\?/,
  );
  assert.equal(model.adapter, "four");
  await model.setAdapter("none");
});

test("calls made at once are answered one after another", async () => {
  const calls = ["none", "four", "none", "four"].map((adapter) => model.generateIds(PROMPT, { ...OPTIONS, adapter }));
  assert.deepEqual(await Promise.all(calls), [expected.none, expected.four, expected.none, expected.four]);
});

test("one row for each adapter, and more rows than are computed together", async () => {
  const rows = Array.from({ length: 19 }, (_, row) => PROMPT.slice(0, 2 + (row % 4)));
  const specs = rows.map((_, row) => (["none", "four", "one:0.5+eight"] as const)[row % 3] as string);
  const found = await model.generateIds(rows, { maxNewTokens: 6, adapter: specs });
  for (const [row, ids] of rows.entries()) {
    const alone = await model.generateIds(ids, { maxNewTokens: 6, adapter: specs[row] });
    assert.deepEqual(found[row], alone, `row ${row}`);
  }
});

test("a longer text that begins alike goes on from the cache and gives the same", async () => {
  const long = Array.from({ length: 130 }, (_, index) => (index * 37) % 380);
  const fresh = await load(FOLDER, { threads: 1 });
  for (const ids of [long.slice(0, 40), long, [...long.slice(0, 70), 5, 6, 7], long.slice(0, 20)]) {
    const [found, wanted] = [await model.logits(ids, { positions: [ids.length - 1] }), await fresh.logits(ids)];
    const last = wanted[ids.length - 1] as Float32Array;
    (found[0] as Float32Array).forEach((value, index) => {
      assert.ok(Math.abs(value - (last[index] as number)) < 1e-4);
    });
    await fresh.setAdapter("one"); // what the cache held is gone
    await fresh.setAdapter("none");
  }
  await fresh.dispose();
});

test("an aborted generation ends between tokens with the reason, and the model goes on", async () => {
  const controller = new AbortController();
  const pieces: string[] = [];
  await assert.rejects(
    async () => {
      for await (const piece of model.generate("Hello", { ...OPTIONS, signal: controller.signal })) {
        pieces.push(piece);
        if (pieces.length === 3) controller.abort();
      }
    },
    { name: "AbortError" },
  );
  assert.equal(pieces.length, 3);
  assert.deepEqual(await model.generateIds(PROMPT, OPTIONS), expected.none);

  const whole = new AbortController();
  const answer = model.generateIds(PROMPT, { maxNewTokens: 300, signal: whole.signal });
  setTimeout(() => whole.abort(new Error("enough")), 5);
  await assert.rejects(answer, /^Error: enough$/);
  const before = model.generate("Hello", { choices: ["a", "b"], signal: AbortSignal.abort() });
  await assert.rejects(before, { name: "AbortError" });
  assert.deepEqual(await model.generateIds(PROMPT, { ...OPTIONS, adapter: "four" }), expected.four);
});

test("the score of an answer is the sum that choices compare", async () => {
  const tokenizer = await model.tokenizer;
  assert.ok(tokenizer);
  const prompt = tokenizer.encodeChat([{ role: "user", content: "yes" }]);
  const choices = ["no", "maybe"];
  const { choiceScores } = await model.generate("yes", { choices });
  for (const [index, choice] of choices.entries()) {
    const ids = tokenizer.encode(choice, false);
    const scores = await model.score(prompt, [...ids, 1]);
    const other = await model.score(prompt, [...ids, 2]);
    const tokens = scores.subarray(0, ids.length).reduce((sum, value) => sum + value, 0);
    const end = Math.log(Math.exp(scores[ids.length] as number) + Math.exp(other[ids.length] as number));
    assert.ok(Math.abs(tokens + end - (choiceScores?.[index] as number)) < 1e-4);
  }
});

test("what only plain JavaScript can give is refused by name, whatever it is", async () => {
  const itself: Record<string, unknown> = {};
  itself["self"] = itself;
  const odd = (value: unknown) => value as never;
  const calls: [() => Promise<unknown>, RegExp][] = [
    [() => model.generate("x", { schema: odd([]) }), /^schema is an empty list; give one, or one for each prompt/],
    [
      () => model.generate("x", { regex: [], processLogits: [] }),
      /^regex is an empty list.*; processLogits is an empty/,
    ],
    [
      () => model.generate("x", { regex: odd(/abc/) }),
      /^regex is \/abc\/, a RegExp; give its text, which is its `source`$/,
    ],
    [
      () => model.generate("x", { choices: ["a", "b"], processLogits: () => {} }),
      /^choices and processLogits exclude each/,
    ],
    [() => model.generate("x", { choices: odd([1n]) }), /^choices is a list of 1, expected a list of strings$/],
    [() => model.generate(odd(itself)), /^prompt is \[object Object\], expected text/],
    [() => model.generate("x", { signal: odd(new AbortController()) }), /^signal is \{\}, expected an AbortSignal/],
    [() => model.logits([5], { positions: odd("all") }), /^positions is "all", expected a list of indices$/],
    [() => model.generateIds(odd("hi")), /^ids is "hi", expected a list of token ids/],
    [() => model.score(odd(null), [1]), /^promptIds or completionIds is no list/],
    [
      () => model.loadAdapter("new", odd(null)),
      /^the folder of adapter "new" is null, expected an address or a source/,
    ],
  ];
  for (const [call, message] of calls) {
    await assert.rejects(
      call(),
      (error) => error instanceof InputError && message.test(error.message),
      String(message),
    );
  }
  await model.loadAdapter("by-URL", pathToFileURL(join(FOLDER, "adapters/one")));
  assert.ok(model.adapters.includes("by-URL"));
  await model.unloadAdapter("by-URL");
});

test("an encoder refuses what is no text, nothing at all among it", async () => {
  const encoder = await load(join(CONFORMANCE, "encoder-topics"), { threads: 1, task: "text-classification" });
  const odd = (value: unknown) => value as never;
  const calls: [() => Promise<unknown>, RegExp][] = [
    [() => encoder.classify(odd(undefined)), /^text is undefined, expected a text or a list of texts$/],
    [() => encoder.classify(odd(["a", undefined])), /^text is undefined, expected a text/],
    [() => encoder.classify(odd(5)), /^(text|what is to be read) is 5, expected a text or a list of texts$/],
    [
      () => encoder.classifyEach(odd(["x", "y"])),
      /^classifyEach reads one text or image at a time, this is a list of 2$/,
    ],
    [() => encoder.classifyEach("x", { adapters: odd("topics") }), /^adapters is "topics", expected a list of SPECs$/],
    [() => encoder.outputs(odd("abc")), /^rows is "abc", expected a list of rows$/],
  ];
  for (const [call, message] of calls) {
    await assert.rejects(
      call(),
      (error) => error instanceof InputError && message.test(error.message),
      String(message),
    );
  }
  await encoder.dispose();
});

test("what cannot be used is refused with everything that is wrong", async () => {
  const refused = (call: Promise<unknown>, message: RegExp) =>
    assert.rejects(call, (error) => error instanceof InputError && message.test(error.message));
  await refused(
    model.generate("x", { temperature: -1, maxNewTokens: 0, stop: [""], choices: ["a", "a"] }),
    /^temperature is -1, expected a number from 0; maxNewTokens is 0, expected .*; stop is \[""\], expected .*; choices is \["a","a"\], expected at least one string, all different; choices and stop exclude each other$/,
  );
  await refused(
    model.generate("x", { choices: "ab" as unknown as string[] }),
    /choices is "ab", expected a list of strings/,
  );
  await refused(model.generate(3 as unknown as string), /^prompt is 3, expected text; use chat\(\) for messages$/);
  await refused(model.generate([]), /^the batch is empty; give at least one prompt$/);
  await refused(
    model.generate(["a", "b"], { adapter: ["one"] }),
    /^1 adapters for 2 prompts; give one SPEC, or one for each/,
  );
  await refused(model.generateIds([]), /^the prompt has no tokens; give some text/);
  await refused(
    model.generateIds([1, 384]),
    /^token ids go from 1 to 384, expected 0 to 383; was another tokenizer used\?$/,
  );
  await refused(model.generateIds([1.5]), /^token ids hold 1.5, expected a list of whole numbers$/);
  await refused(
    model.generateIds(new Array(321).fill(1)),
    /^the prompt is 321 tokens, the context length of base is 320; shorten/,
  );
  await refused(
    model.logits([1, 2], { positions: [2] }),
    /^positions \[2\]: expected indices from 0 to 1, at least one$/,
  );
  await refused(
    model.score([], [1]),
    /^promptIds is empty; the first token of a text has no probability, give at least one$/,
  );
  await refused(model.chat([]), /^messages is \[\], expected a list of at least one \{"role", "content"\}$/);
  await refused(
    model.chat([{ content: "x" } as never]),
    /^message 0 is \{"content":"x"\}, expected \{"role", "content"\}$/,
  );
  await refused(
    model.generate("x", { choices: ["a ".repeat(400)] }),
    /^prompt and longest choice are \d+ tokens, the context/,
  );
  assert.deepEqual(await model.generateIds(PROMPT, OPTIONS), expected.none);
});

test("generation ends where the context is full", async () => {
  const ids = Array.from({ length: 310 }, (_, index) => index % 300);
  const found = await model.generateIds(ids, { maxNewTokens: 100, adapter: "four" });
  assert.ok(found.length <= 11 && found.length > 0, `${found.length}`);
  assert.deepEqual(await model.generateIds(PROMPT, OPTIONS), expected.none);
});

test("an adapter folder is loaded beside the others, replaced, and refused when it does not fit", async () => {
  const path = join(FOLDER, "adapters/four");
  await model.loadAdapter("mine", path);
  assert.deepEqual(await model.generateIds(PROMPT, { ...OPTIONS, adapter: "mine" }), expected.four);
  await model.loadAdapter("mine", join(FOLDER, "adapters/one"));
  const one = await model.generateIds(PROMPT, { ...OPTIONS, adapter: "one" });
  assert.deepEqual(await model.generateIds(PROMPT, { ...OPTIONS, adapter: "mine" }), one);
  await assert.rejects(
    model.loadAdapter("other", join(CONFORMANCE, "tiny-float/adapters/four")),
    /^AdapterError: adapter "other" \(.+\) does not fit: model\.layers\.0\..+; use an adapter trained for this base$/,
  );
  await assert.rejects(model.loadAdapter("a b", path), /^AdapterError: adapter name "a b" cannot be used/);
  await assert.rejects(model.loadAdapter("gone", "/nowhere"), /^AdapterError: \/nowhere has no adapter_config\.json/);
  assert.deepEqual(model.adapters, ["one", "four", "eight", "mine"]);
  const zero = writeSafetensors({
    "model.layers.0.self_attn.o_proj.lora_A.weight": float32([1, 48], () => 1),
    "model.layers.0.self_attn.o_proj.lora_B.weight": float32([48, 1], () => 0),
  });
  const config = JSON.stringify({
    peft_type: "LORA",
    r: 1,
    lora_alpha: 1,
    target_modules: ["layers.0.self_attn.o_proj"],
  });
  const files = memoryFolder({ "adapter_config.json": config, "adapter_model.safetensors": zero });
  await assert.rejects(
    model.loadAdapter("zero", files),
    /adapter "zero" \(memory\) changes nothing: alpha, A or B is zero/,
  );
});

test("a model with the twin gives the same answers", async () => {
  const twin = await load(FOLDER, { threads: 1, twin: true });
  assert.deepEqual(await twin.generateIds(PROMPT, OPTIONS), expected.none);
  assert.deepEqual(await twin.generateIds(PROMPT, { ...OPTIONS, adapter: "four" }), expected.four);
  assert.deepEqual(await twin.generateIds(PROMPT, OPTIONS), expected.none);
  await twin.dispose();
});

test("an artifact without adapters begins on the twin and takes an adapter later", async (context) => {
  const folder = await copyArtifact(context, "tiny-int4");
  const path = join(folder, "manifest.json");
  const data = JSON.parse(await readFile(path, "utf8"));
  await writeFile(path, JSON.stringify({ ...data, adapters: [] }));
  const bare = await load(folder, { threads: 1 });
  assert.deepEqual(await bare.generateIds(PROMPT, OPTIONS), expected.none);
  await bare.loadAdapter("four", join(folder, "adapters/four"));
  assert.deepEqual(await bare.generateIds(PROMPT, { ...OPTIONS, adapter: "four" }), expected.four);
  assert.deepEqual(await bare.generateIds(PROMPT, OPTIONS), expected.none);
  await bare.dispose();
});

test("a model that was disposed of answers nothing more", async () => {
  const gone = await load(FOLDER, { threads: 1 });
  await gone.dispose();
  await assert.rejects(gone.generateIds(PROMPT), /^InputError: this model was disposed of; load the artifact again$/);
});
