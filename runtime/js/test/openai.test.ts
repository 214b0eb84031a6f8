/** The client of OpenAI's chat completions: its objects and chunks, what the model answers, and what is refused. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { after, test } from "node:test";
import type OpenAI from "openai";
import { load } from "../src/node.js";
import { openai } from "../src/openai.js";
import { CONFORMANCE } from "./places.js";
import { CALL, loadWithTools, saying, TOOLS } from "./tools.js";

const model = await load(join(CONFORMANCE, "tiny-float"), { threads: 1 });
const client = openai(model);
after(() => model.dispose());

const MESSAGES: OpenAI.ChatCompletionMessageParam[] = [
  { role: "developer", content: "Be brief." },
  { role: "user", content: [{ type: "text", text: "hello" }] },
];
const SAID = [{ role: "system", content: "Be brief." }, MESSAGES[1] as { role: "user"; content: string }];

async function read(chunks: AsyncIterable<OpenAI.ChatCompletionChunk>) {
  const found: OpenAI.ChatCompletionChunk[] = [];
  for await (const chunk of chunks) found.push(chunk);
  return found;
}

test("a completion has the shape of OpenAI's, and the answer of the model", async () => {
  const request: OpenAI.ChatCompletionCreateParamsNonStreaming = {
    model: "four:0.5+one:0.5",
    messages: MESSAGES,
    max_tokens: 12,
    temperature: 0.8,
    top_p: 0.9,
    seed: 7,
    user: "somebody",
    frequency_penalty: 0,
    stop: null,
  };
  const found: OpenAI.ChatCompletion = await client.chat.completions.create(request);
  const options = { adapter: request.model, maxNewTokens: 12, temperature: 0.8, topP: 0.9, seed: 7 };
  const expected = await model.chat(SAID, options);
  assert.match(found.id, /^chatcmpl-[a-z0-9]+$/);
  assert.ok(Math.abs(found.created - Date.now() / 1000) < 60);
  assert.deepEqual(
    { ...found, id: "", created: 0 },
    {
      id: "",
      object: "chat.completion",
      created: 0,
      model: "four:0.5+one:0.5",
      choices: [
        {
          index: 0,
          message: { role: "assistant", content: expected.text, refusal: null },
          logprobs: null,
          finish_reason: "length",
        },
      ],
      usage: {
        prompt_tokens: expected.usage.promptTokens,
        completion_tokens: 12,
        total_tokens: expected.usage.promptTokens + 12,
      },
    },
  );
});

test("without max_tokens it goes on until the model or the context ends", async () => {
  const [whole] = (await client.chat.completions.create({ model: "none", messages: MESSAGES })).choices;
  const expected = await model.chat(SAID, { adapter: "none", maxNewTokens: 320 });
  assert.equal(whole?.message.content, expected.text);
  assert.ok(expected.tokenIds.length > 128 || expected.finishReason === "stop");
});

test("chunks join to the completion, with usage where it is wanted", async () => {
  const request = { model: "four", messages: MESSAGES, max_completion_tokens: 12 };
  const whole = await client.chat.completions.create(request);
  const chunks = await read(
    await client.chat.completions.create({ ...request, stream: true, stream_options: { include_usage: true } }),
  );
  assert.deepEqual(chunks[0]?.choices[0]?.delta, { role: "assistant", content: "" });
  const text = chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");
  assert.equal(text, whole.choices[0]?.message.content);
  assert.ok(chunks.length > 5);
  assert.deepEqual(chunks.at(-2)?.choices, [{ index: 0, delta: {}, logprobs: null, finish_reason: "length" }]);
  assert.deepEqual([chunks.at(-1)?.choices, chunks.at(-1)?.usage], [[], whole.usage]);
  assert.ok(chunks.slice(0, -1).every((chunk) => chunk.usage === null));
  assert.equal(new Set(chunks.map(({ id }) => id)).size, 1);
  const plain = await read(await client.chat.completions.create({ ...request, stream: true }));
  assert.ok(plain.every((chunk) => !("usage" in chunk) && chunk.choices.length === 1));
});

test("several answers draw with one seed after the other", async () => {
  const request = { model: "none", messages: MESSAGES, max_tokens: 8, temperature: 2, seed: 3, n: 2 };
  const { choices, usage } = await client.chat.completions.create(request);
  for (const [index, choice] of choices.entries()) {
    const alone = await model.chat(SAID, { adapter: "none", maxNewTokens: 8, temperature: 2, seed: 3 + index });
    assert.deepEqual([choice.index, choice.message.content], [index, alone.text]);
  }
  assert.notEqual(choices[0]?.message.content, choices[1]?.message.content);
  assert.equal(usage.completion_tokens, 16);
  const chunks = await read(await client.chat.completions.create({ ...request, stream: true }));
  for (const index of [0, 1]) {
    const mine = chunks.flatMap(({ choices: [choice] }) => (choice?.index === index ? [choice] : []));
    assert.equal(mine.map(({ delta }) => delta.content ?? "").join(""), choices[index]?.message.content);
  }
});

test("tool calls come out, whole and in a stream, and go back in as OpenAI writes them", async (context) => {
  const { model: caller, asked } = saying(await loadWithTools(context), CALL);
  const tooled = openai(caller);
  const tools: OpenAI.ChatCompletionTool[] = [...TOOLS];
  const request = { model: "none", messages: MESSAGES, tools };
  const found: OpenAI.ChatCompletion = await tooled.chat.completions.create(request);
  const message = found.choices[0]?.message as OpenAI.ChatCompletionMessage;
  const [call] = message.tool_calls ?? [];
  assert.ok(call?.type === "function");
  assert.equal(message.content, null);
  assert.deepEqual([call.function.name, call.function.arguments], ["get_weather", '{"city":"Bern"}']);
  assert.equal(found.choices[0]?.finish_reason, "tool_calls");

  const chunks = await read(await tooled.chat.completions.create({ ...request, stream: true }));
  const deltas = chunks.flatMap((chunk) => chunk.choices.map(({ delta }) => delta));
  assert.equal(deltas.map((delta) => delta.content ?? "").join(""), "");
  assert.deepEqual(
    deltas.flatMap((delta) => delta.tool_calls ?? []).map((item) => [item.index, item.function?.arguments]),
    [[0, '{"city":"Bern"}']],
  );
  assert.equal(chunks.at(-1)?.choices[0]?.finish_reason, "tool_calls");

  const result: OpenAI.ChatCompletionMessageParam = { role: "tool", tool_call_id: call.id, content: "sunny" };
  await tooled.chat.completions.create({ ...request, messages: [...MESSAGES, message, result] });
  const [, , answered] = asked.at(-1) as { tool_calls?: { function: { arguments: unknown } }[] }[];
  assert.deepEqual(answered?.tool_calls?.[0]?.function.arguments, { city: "Bern" });
  const without = await tooled.chat.completions.create({ ...request, tool_choice: "none" });
  assert.equal(without.choices[0]?.message.content, CALL);
});

test("a call is asked for, of any tool or of one, or none is", async (context) => {
  const caller = await loadWithTools(context);
  const tooled = openai(caller);
  const parameters = { type: "object", properties: { city: { enum: ["Bern", "Zürich"] } }, required: ["city"] };
  const tools: OpenAI.ChatCompletionTool[] = [
    { type: "function", function: { name: "get_weather", parameters, strict: true } },
    { type: "function", function: { name: "stop" } },
  ];
  const request = { model: "none", messages: MESSAGES, tools, max_tokens: 80, temperature: 2 };
  const promptOf = async (count: number) =>
    (await caller.chat(SAID, { maxNewTokens: 1, tools: tools.slice(0, count).map((tool) => ({ ...tool })) })).usage
      .promptTokens;
  const schema = { type: "object", properties: { sky: { const: "clear" } }, required: ["sky"] };
  const response_format = { type: "json_schema" as const, json_schema: { name: "sky", schema } };
  const kinds = new Set<string>();
  for (const seed of [1, 2, 3, 4]) {
    const create = (more: Partial<OpenAI.ChatCompletionCreateParamsNonStreaming>): Promise<OpenAI.ChatCompletion> =>
      tooled.chat.completions.create({ ...request, seed, ...more });
    const any = await create({ tool_choice: "required" });
    const [{ message, finish_reason }] = any.choices as [OpenAI.ChatCompletion.Choice];
    assert.deepEqual([message.content, message.tool_calls?.length, finish_reason], [null, 1, "tool_calls"]);
    const [asked] = message.tool_calls ?? [];
    if (asked?.type === "function" && asked.function.name === "stop") assert.equal(asked.function.arguments, "{}");
    assert.equal(any.usage?.prompt_tokens, await promptOf(2));

    const one = await create({ tool_choice: { type: "function", function: { name: "get_weather" } }, response_format });
    const [call] = one.choices[0]?.message.tool_calls ?? [];
    assert.ok(call?.type === "function" && call.function.name === "get_weather");
    assert.match(call.function.arguments, /^\{"city":"(Bern|Zürich)"\}$/);
    assert.equal(one.usage?.prompt_tokens, await promptOf(1));

    const either = await create({ response_format });
    const said = either.choices[0]?.message as OpenAI.ChatCompletionMessage;
    if (said.tool_calls === undefined) assert.deepEqual(JSON.parse(said.content as string), { sky: "clear" });
    kinds.add(said.tool_calls === undefined ? "sky" : "call");

    const none = await create({ tool_choice: "none", response_format });
    assert.deepEqual(JSON.parse(none.choices[0]?.message.content as string), { sky: "clear" });
    assert.equal(none.usage?.prompt_tokens, await promptOf(0));
  }
  assert.deepEqual([...kinds].sort(), ["call", "sky"]); // of four seeds, both are drawn
});

test("a call that cannot be had is refused in one line", async (context) => {
  const create = openai(await loadWithTools(context)).chat.completions.create as (request: object) => Promise<unknown>;
  const refused = (request: object, message: RegExp) =>
    assert.rejects(create({ model: "none", messages: MESSAGES, ...request }), message);
  const named = { type: "function", function: { name: "gone" } };
  await refused(
    { tools: TOOLS, tool_choice: named },
    /^InputError: the tool "gone" is to be called, and the tools that are given are: "get_weather"; give it, or ask for/,
  );
  await refused({ tool_choice: "required" }, /^InputError: a tool is to be called, and .* are: none;/);
  await refused({ tools: "x" }, /^InputError: tools is "x", expected a list of/);
  await refused(
    { tools: [{ type: "custom" }], tool_choice: "required" },
    /^InputError: a tool is \{"type":"custom"\}, expected \{"type": "function", "function": \{"name"\}\}$/,
  );
  const parameters = { type: "object", properties: { list: { uniqueItems: true } } };
  await refused(
    { tools: [{ type: "function", function: { name: "x", parameters } }], tool_choice: "required" },
    /^InputError: schema: #\S+ has "uniqueItems", which is not supported/,
  );
  const plain = client.chat.completions.create as (request: object) => Promise<unknown>;
  await assert.rejects(
    plain({ model: "none", messages: MESSAGES, tools: TOOLS, tool_choice: "required" }),
    /^InputError: the chat template has no place for tools; leave them out, or write them as text$/,
  );
});

test("an abort ends a call, and leaving the loop the answer", async () => {
  const request = { model: "none", messages: MESSAGES, temperature: 1, seed: 1 };
  const ending = new AbortController();
  const whole = client.chat.completions.create(request, { signal: ending.signal });
  setTimeout(() => ending.abort(new Error("enough")), 1);
  await assert.rejects(whole, /^Error: enough$/);
  for await (const chunk of await client.chat.completions.create({ ...request, stream: true, n: 3 })) {
    if (chunk.choices[0]?.delta.content) break;
  }
  const after = await client.chat.completions.create({ ...request, max_tokens: 2 });
  assert.equal(after.usage.completion_tokens, 2);
});

test("adapters are the models", async () => {
  const found = await client.models.list();
  assert.deepEqual(
    found.data.map(({ id }) => id),
    ["none", "one", "four", "eight"],
  );
});

test("a format of JSON is kept to, whole and as a stream", async () => {
  const schema = { type: "object", properties: { day: { enum: ["Mon", "Tue"] } }, required: ["day"] };
  const request = { model: "four", messages: MESSAGES, max_tokens: 30 };
  const response_format = { type: "json_schema" as const, json_schema: { name: "day", strict: true, schema } };
  const found: OpenAI.ChatCompletion = await client.chat.completions.create({ ...request, response_format });
  const content = found.choices[0]?.message.content as string;
  assert.match(JSON.parse(content).day, /^(Mon|Tue)$/);
  assert.equal(found.choices[0]?.finish_reason, "stop");
  const chunks = await read(await client.chat.completions.create({ ...request, response_format, stream: true }));
  assert.equal(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join(""), content);
  const open = { ...request, max_tokens: 3, response_format: { type: "json_object" as const } };
  const any: OpenAI.ChatCompletion = await client.chat.completions.create(open);
  assert.match(any.choices[0]?.message.content as string, /^\s*\{/);
});

test("what cannot be obeyed is refused by its name, before anything is streamed", async () => {
  const create = client.chat.completions.create as (request: object) => Promise<unknown>;
  const refused = (request: object, message: RegExp) =>
    assert.rejects(create({ model: "none", messages: MESSAGES, ...request }), message);
  await refused(
    { logit_bias: { 5: 1 }, frequency_penalty: 0.5, n: 0, tool_choice: "any", model: 3 },
    /^InputError: logit_bias is not known here; leave it out; frequency_penalty is not known here; leave it out; model is 3, expected a SPEC such as none or NAME:0\.5; tool_choice is "any", expected none, auto, required or \{"type": "function", "function": \{"name"\}\}; n is 0, expected a whole number from 1$/,
  );
  await refused({ messages: "hello" }, /^InputError: messages is "hello", expected a list of/);
  await refused({ response_format: { type: "xml" } }, /^InputError: response_format is \{"type":"xml"\}, expected/);
  await refused(
    { response_format: { type: "json_schema", json_schema: { name: "x" } } },
    /^InputError: response_format is \{"type":"json_schema"/,
  );
  const schema = { uniqueItems: true };
  await refused(
    { response_format: { type: "json_schema", json_schema: { name: "x", schema } }, stream: true },
    /^InputError: schema: # has "uniqueItems", which is not supported/,
  );
  await refused({ max_tokens: 0, stream: true }, /^InputError: maxNewTokens is 0, expected a whole number from 1$/);
  await refused({ model: "fuor", stream: true }, /^AdapterError: unknown adapter "fuor"/);
  const image = { role: "user", content: [{ type: "image_url", image_url: { url: "data:" } }] };
  await refused(
    { messages: [image] },
    /^InputError: message 0: part 0 is of type "image_url"; the model reads text alone$/,
  );
  const call = { type: "function", function: { name: "x", arguments: "{" } };
  await refused(
    { messages: [{ role: "assistant", content: null, tool_calls: [call] }] },
    /^InputError: a tool call has the arguments "\{", expected the text of JSON$/,
  );
});
