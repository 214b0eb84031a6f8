/** Tool calls are found in every form that a template teaches, however the answer arrives, and never shown as text. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { ChatTemplate } from "../src/core/chat-template.js";
import { Renderer } from "../src/core/rendering.js";
import { StreamDecoder } from "../src/core/stream.js";
import { CallReader } from "../src/core/tool-calls.js";
import { load } from "../src/node.js";
import { CONFORMANCE } from "./places.js";
import { CALL, loadWithTools, TOOLS } from "./tools.js";

interface Case {
  readonly name: string;
  readonly tools: readonly string[];
  readonly text: string;
  readonly expected_text: string;
  readonly expected_calls: readonly { readonly name: string; readonly arguments: unknown }[];
}

const { cases } = JSON.parse(await readFile(join(CONFORMANCE, "calls.json"), "utf8")) as { cases: Case[] };

test("every call is read, in one piece, letter by letter and in any other", () => {
  assert.ok(cases.length > 30);
  for (const { name, tools, text, expected_text, expected_calls } of cases) {
    for (const length of [1, 2, 3, 7, text.length + 1]) {
      const reader = new CallReader(tools.map((tool) => ({ type: "function", function: { name: tool } })));
      let shown = "";
      for (let place = 0; place < text.length; place += length) shown += reader.push(text.slice(place, place + length));
      const end = reader.end();
      const calls = end.calls.map((call) => ({ name: call.name, arguments: call.arguments }));
      assert.deepEqual([shown + end.text, calls], [expected_text, expected_calls], `${name}, ${length} at a time`);
      assert.ok(end.calls.every(({ id }) => /^[A-Za-z0-9]{9}$/.test(id)));
      assert.equal(new Set(end.calls.map(({ id }) => id)).size, calls.length);
    }
  }
});

test("text before a call is shown as it comes", () => {
  const reader = new CallReader([{ name: "x" }]);
  const pieces = ["Let me ", "look <b>. ", "<tool", "_call>{", '"name": "x"}'];
  assert.deepEqual(
    pieces.map((piece) => reader.push(piece)),
    ["Let me ", "look <b>. ", "", "", ""],
  );
  const { text, calls } = reader.end();
  assert.deepEqual([text, calls.map((call) => call.name)], ["", ["x"]]);
});

test("calls that are nested without end are text, at once", () => {
  const deep = `<start_function_call>call:x{a:${"[".repeat(100_000)}`;
  const reader = new CallReader([]);
  reader.push(deep);
  assert.equal(reader.end().text, deep);
  const json = `<tool_call>{"name":"x","arguments":{"a":${"[".repeat(5000)}${"]".repeat(5000)}}}`;
  const other = new CallReader([]);
  other.push(json);
  assert.equal(other.end().text, json);
});

test("calls come out of an answer and go back in", async (context) => {
  const model = await loadWithTools(context);
  const parts = ["How is ", "Bern?"].map((text) => ({ type: "text", text }));
  const asked = [{ role: "user", content: parts }];
  const answer = model.chat(asked, { tools: TOOLS, choices: [`Let me look. ${CALL}`] });
  const pieces: string[] = [];
  for await (const piece of answer) pieces.push(piece);
  const { text, toolCalls, message, usage, tokenIds } = await answer;
  const [call] = toolCalls;
  assert.ok(call);
  assert.deepEqual([pieces, text], [["Let me look. "], "Let me look. "]);
  assert.deepEqual([call.name, call.arguments], ["get_weather", { city: "Bern" }]);
  assert.ok(usage.completionTokens === tokenIds.length && tokenIds.length > 0);
  const said = [...asked, message, { role: "tool", content: "sunny", tool_call_id: call.id }];
  const prompt = (await model.tokenizer)?.render(said, true, TOOLS) ?? "";
  const back = `(${call.id} {"name": "get_weather", "arguments": {"city": "Bern"}})<tool>sunny${call.id}`;
  assert.ok(prompt.endsWith(`<user>How is \nBern?<assistant>Let me look. ${back}`), prompt);
  assert.equal((await model.chat(said, { tools: TOOLS, maxNewTokens: 2 })).usage.completionTokens, 2);
  const silent = model.chat(asked, { tools: TOOLS, choices: [CALL] });
  for await (const piece of silent) assert.fail(piece); // nothing of a call is shown
  assert.equal((await silent).toolCalls.length, 1);
  const unasked = await model.chat(asked, { choices: [CALL] }); // nobody offered a tool
  assert.deepEqual([unasked.text, unasked.toolCalls], [CALL, []]);
  assert.deepEqual(unasked.message, { role: "assistant", content: CALL });
  const whole = await model.chat(asked, { tools: TOOLS, maxNewTokens: 12 });
  assert.equal(whole.text, (await model.tokenizer)?.decode(whole.tokenIds));
});

test("members of tools and calls that are undefined are not there", async () => {
  const renderer = new Renderer(await ChatTemplate.compile("{{ tools | tojson }}{{ messages | tojson }}"));
  const told = (extra: object) => {
    const tools = [{ type: "function", function: { name: "x", ...extra } }];
    const call = { id: "1", type: "function", function: { name: "x", arguments: { a: [1], ...extra } } };
    const messages = [
      { role: "user", content: "?" },
      { role: "assistant", content: "", tool_calls: [call] },
    ];
    return renderer.render(messages, true, tools);
  };
  assert.equal(told({ description: undefined }), told({}));
});

test("special tokens are text where they are kept", async (context) => {
  const model = await load(join(CONFORMANCE, "tiny-float"), { threads: 1 });
  context.after(() => model.dispose());
  const tokenizer = await model.tokenizer;
  assert.ok(tokenizer);
  const ids = tokenizer.encode("left<|user|>right<|user|>", false);
  assert.equal(tokenizer.decode(ids), "leftright");
  const kept = tokenizer.keeping(["<|user|>", "never there"]);
  assert.equal(kept.decode(ids), "left<|user|>right<|user|>");
  const decoder = new StreamDecoder(kept);
  assert.equal(ids.map((id) => decoder.push(id)).join("") + decoder.flush(), "left<|user|>right<|user|>");
});
