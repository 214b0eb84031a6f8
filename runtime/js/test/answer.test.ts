/** One object for an answer: read in pieces, awaited, stopped, left alone. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { after, test } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import { Answer } from "../src/core/answer.js";
import { load } from "../src/node.js";
import { CONFORMANCE } from "./places.js";

const model = await load(join(CONFORMANCE, "tiny-int4"), { threads: 1 });
const OPTIONS = { maxNewTokens: 24 };
const LONG = { maxNewTokens: 250, temperature: 1, seed: 3 };
after(() => model.dispose());

async function collect<Piece>(pieces: AsyncIterable<Piece>): Promise<Piece[]> {
  const found: Piece[] = [];
  for await (const piece of pieces) found.push(piece);
  return found;
}

test("the pieces, the whole answer and the conversation are one", async () => {
  const answer = model.generate("Zürich", OPTIONS);
  const whole = await answer;
  const { timings, ...same } = whole;
  assert.equal((await collect(answer)).join(""), whole.text); // after the whole, and once more
  assert.deepEqual(await collect(answer), await collect(model.generate("Zürich", OPTIONS)));
  assert.equal(await answer, whole);
  const chat = await model.chat([{ role: "user", content: "Zürich" }], OPTIONS);
  assert.deepEqual({ ...same, timings: chat.timings }, chat);
  assert.equal(whole.usage.completionTokens, whole.tokenIds.length);
  assert.ok(whole.usage.promptTokens > 2);
  assert.ok((timings.firstTokenMs ?? 0) > 0 && (timings.tokensPerSecond ?? 0) > 0);
  const list = await model.generate(["Zürich", "Hi"], { ...OPTIONS, adapter: ["none", "four"] });
  assert.deepEqual(list[0], { ...whole, timings: list[0]?.timings });
  const hi = await model.generate("Hi", { ...OPTIONS, adapter: "four" });
  assert.deepEqual(list[1], { ...hi, timings: list[1]?.timings });
});

test("rows of a batch come in turns, each with its own adapter, and are those of answers alone", async () => {
  const adapter = ["none", "four", "one:0.5+eight", "four"];
  const prompts = ["Hello", "Hello", "Hello there", "x"];
  const answers = model.generate(prompts, { ...OPTIONS, adapter });
  const pieces = await collect(answers);
  const turns = pieces.filter(({ row }, index) => row !== pieces[index - 1]?.row);
  assert.ok(turns.length > prompts.length, "rows were written one after another");
  for (const [row, prompt] of prompts.entries()) {
    const text = pieces.flatMap((piece) => (piece.row === row ? [piece.text] : [])).join("");
    assert.equal(text, (await answers)[row]?.text);
    assert.equal(text, (await model.generate(prompt, { ...OPTIONS, adapter: adapter[row] })).text);
  }
});

test("choices stream the one that is chosen", async () => {
  const answer = model.generate("yes", { choices: ["no", "maybe"] });
  assert.deepEqual(await collect(answer), [(await answer).text]);
  const answers = model.generate(["yes", "no"], { choices: ["no", "maybe"] });
  const texts = (await answers).map(({ text }, row) => ({ row, text }));
  assert.deepEqual(await collect(answers), texts);
});

test("a call during an answer waits for it", async () => {
  const answer = model.generate("Hello", OPTIONS);
  const order: string[] = [];
  void answer.then(() => order.push("answer"));
  const pieces: string[] = [];
  for await (const piece of answer) {
    if (pieces.length === 0) void model.generateIds([5], { maxNewTokens: 1 }).then(() => order.push("call"));
    pieces.push(piece);
  }
  await model.generateIds([5], { maxNewTokens: 1 });
  assert.equal(pieces.join(""), (await answer).text);
  assert.deepEqual(order, ["answer", "call"]);
});

test("an answer that nobody reads is written, and holds up no more than that", async () => {
  const answer = model.generate("Hello", OPTIONS);
  await answer[Symbol.asyncIterator]().next(); // and never again
  await model.generateIds([5], { maxNewTokens: 1 });
  assert.equal((await answer).finishReason, "length");
});

test("a loop that is left stops the answer, whose whole is what there is", async () => {
  const whole = await model.generate("Hello", LONG);
  const answer = model.generate("Hello", LONG);
  let first = "";
  for await (const piece of answer) {
    first = piece;
    break;
  }
  const found = await answer;
  assert.equal(found.finishReason, "cancelled");
  assert.ok(found.text.startsWith(first) && whole.text.startsWith(found.text), found.text);
  assert.ok(found.tokenIds.length < whole.tokenIds.length / 2, `${found.tokenIds.length} tokens`);
  assert.equal(found.usage.promptTokens, whole.usage.promptTokens);
  assert.deepEqual(found.tokenIds, whole.tokenIds.slice(0, found.tokenIds.length));

  const rows = model.generate(["Hello", "Hi"], LONG);
  for await (const _ of rows) break;
  assert.deepEqual(
    (await rows).map(({ finishReason }) => finishReason),
    ["cancelled", "cancelled"],
  );
});

test("an answer that is stopped before its turn is empty", async () => {
  const before = model.generate("Hello", OPTIONS);
  const answer = model.generate("Hello", OPTIONS);
  answer.stop();
  answer.stop();
  const { text, tokenIds, finishReason, usage, timings } = await answer;
  assert.deepEqual([text, tokenIds, finishReason, usage.completionTokens], ["", [], "cancelled", 0]);
  assert.deepEqual(timings, { firstTokenMs: null, tokensPerSecond: null });
  assert.equal(usage.promptTokens, (await before).usage.promptTokens);
});

test("a stream of the platform gives the same pieces, and cancelling it stops the answer", async () => {
  const answer = model.generate("Hello", OPTIONS);
  const reader = answer.toReadableStream().getReader();
  const pieces: string[] = [];
  for (let step = await reader.read(); !step.done; step = await reader.read()) pieces.push(step.value);
  assert.equal(pieces.join(""), (await answer).text);
  const long = model.generate("Hello", LONG);
  const stream = long.toReadableStream().getReader();
  await stream.read();
  await stream.cancel();
  assert.equal((await long).finishReason, "cancelled");
  const wrong = model.generate("Hello", { maxNewTokens: 0 }).toReadableStream().getReader();
  await assert.rejects(wrong.read(), /^InputError: maxNewTokens is 0/);
});

test("an error reaches whoever reads or waits, and nobody else", async () => {
  const unhandled: unknown[] = [];
  const note = (reason: unknown) => unhandled.push(reason);
  process.on("unhandledRejection", note);
  const lonely = model.generate("x", { maxNewTokens: 0 });
  const read = model.generate("x", { adapter: "fuor" });
  await assert.rejects(collect(read), /^AdapterError: unknown adapter "fuor"/);
  model.generate("x", { signal: AbortSignal.abort() });
  await wait(20);
  process.off("unhandledRejection", note);
  assert.deepEqual(unhandled, []);
  await assert.rejects(lonely, /^InputError: maxNewTokens is 0/);
  assert.equal(await lonely.catch((error: Error) => error.name), "InputError");
  let ended = 0;
  await assert.rejects(lonely.finally(() => (ended += 1)));
  assert.equal(ended, 1);
});

test("a slow reader of an answer that fails or is aborted gets no piece more", async () => {
  const failed = new Answer<string, never>(async ({ push }) => {
    push("a");
    push("b");
    throw new Error("no memory");
  });
  await assert.rejects(failed);
  await assert.rejects(collect(failed), /^Error: no memory$/);

  const ending = new AbortController();
  const aborted = new Answer<string, never>(async ({ push }) => {
    push("a");
    push("b");
    return new Promise((_, reject) => ending.signal.addEventListener("abort", () => reject(ending.signal.reason)));
  }, ending.signal);
  const steps = aborted[Symbol.asyncIterator]();
  assert.deepEqual(await steps.next(), { done: false, value: "a" });
  ending.abort(new Error("enough"));
  await assert.rejects(steps.next(), /^Error: enough$/);
  await assert.rejects(aborted, /^Error: enough$/);
  assert.deepEqual(await steps.next(), { done: true, value: undefined });
});

test("an abort while the model writes ends the answer with its reason, and the model goes on", async () => {
  const ending = new AbortController();
  const answer = model.generate("Hello", { ...LONG, signal: ending.signal });
  const pieces: string[] = [];
  const read = async () => {
    for await (const piece of answer) {
      pieces.push(piece);
      if (pieces.length === 3) ending.abort(new Error("enough"));
    }
  };
  await assert.rejects(read, /^Error: enough$/);
  assert.equal(pieces.length, 3);
  await assert.rejects(answer, /^Error: enough$/);
  assert.equal((await model.generate("Hello", OPTIONS)).finishReason, "length");
});
