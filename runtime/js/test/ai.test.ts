/** The provider under the real AI SDK: texts, streams, tools that it runs, warnings, aborts, chats of a page. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { after, test } from "node:test";
import {
  DirectChatTransport,
  generateText,
  jsonSchema,
  Output,
  stepCountIs,
  streamText,
  ToolLoopAgent,
  type ToolSet,
  tool,
} from "ai";
import { createEdgeLora } from "../src/ai.js";
import { load } from "../src/node.js";
import { CONFORMANCE } from "./places.js";
import { CALL, loadWithTools, saying } from "./tools.js";

const model = await load(join(CONFORMANCE, "tiny-float"), { threads: 1 });
let opened = 0;
const edgelora = createEdgeLora(async (address) => {
  opened += 1;
  if (address !== "tiny") throw new Error(`${address} is not there`);
  return model;
});
after(() => model.dispose());

const PROMPT = "hello";
const LONG = { temperature: 1, seed: 3, maxOutputTokens: 250 };

test("a text is the model's, with the adapter of the model or of the call", async () => {
  const language = edgelora("tiny", { adapter: "four" });
  const found = await generateText({ model: language, prompt: PROMPT, maxOutputTokens: 12 });
  const expected = await model.generate(PROMPT, { adapter: "four", maxNewTokens: 12 });
  assert.deepEqual([found.text, found.finishReason], [expected.text, "length"]);
  assert.deepEqual(
    [found.usage.inputTokens, found.usage.outputTokens],
    [expected.usage.promptTokens, expected.usage.completionTokens],
  );
  assert.deepEqual([language.provider, language.modelId], ["edgelora", "tiny:four"]);
  const other = await generateText({
    model: language,
    prompt: PROMPT,
    maxOutputTokens: 12,
    providerOptions: { edgelora: { adapter: "one:0.5+eight" } },
  });
  assert.equal(other.text, (await model.generate(PROMPT, { adapter: "one:0.5+eight", maxNewTokens: 12 })).text);
  assert.notEqual(other.text, found.text);
  assert.equal(opened, 1); // for both
});

test("settings of a call are those of the runtime, and what it lacks is warned of", async () => {
  const settings = { temperature: 0.9, topP: 0.8, topK: 40, seed: 11, stopSequences: ["zz"], maxOutputTokens: 16 };
  const found = await generateText({ model: edgelora("tiny"), prompt: PROMPT, ...settings, presencePenalty: 0.5 });
  const options = { temperature: 0.9, topP: 0.8, topK: 40, seed: 11, stop: ["zz"], maxNewTokens: 16 };
  assert.equal(found.text, (await model.generate(PROMPT, options)).text);
  assert.deepEqual(
    found.warnings?.map((warning) => (warning.type === "unsupported" ? warning.feature : warning)),
    ["presencePenalty"],
  );
});

test("a stream gives the pieces, usage, and the reason why it ended", async () => {
  const found = streamText({ model: edgelora("tiny", { adapter: "four" }), prompt: PROMPT, maxOutputTokens: 12 });
  const pieces: string[] = [];
  for await (const piece of found.textStream) pieces.push(piece);
  const expected = await model.generate(PROMPT, { adapter: "four", maxNewTokens: 12 });
  assert.equal(pieces.join(""), expected.text);
  assert.ok(pieces.length > 1);
  assert.equal(await found.finishReason, "length");
  assert.equal((await found.usage).outputTokens, 12);
  const figures = (await found.providerMetadata)?.edgelora;
  assert.ok((figures?.tokensPerSecond as number) > 0 && (figures?.firstTokenMs as number) > 0);
});

test("the SDK runs tools and asks again with what they gave", async (context) => {
  const { model: caller, asked } = saying(await loadWithTools(context), `Let me look. ${CALL}`, "It is sunny.");
  const given: unknown[] = [];
  const tools = {
    get_weather: tool({
      description: "The weather of a city.",
      inputSchema: jsonSchema<{ city: string }>({ type: "object", properties: { city: { type: "string" } } }),
      execute: async (input) => {
        given.push(input);
        return { sky: "clear" };
      },
    }),
  };
  const provider = createEdgeLora(async () => caller);
  const options = { prompt: "How is Bern?", tools, stopWhen: stepCountIs(3), system: "Be brief." };
  const found = await generateText({ model: provider("x"), ...options });
  assert.deepEqual(given, [{ city: "Bern" }]);
  assert.deepEqual(
    found.steps.map((step) => [step.text, step.finishReason]),
    [
      ["Let me look. ", "tool-calls"],
      ["It is sunny.", "stop"],
    ],
  );
  const [system, user, answer, result] = asked[1] as Record<string, unknown>[];
  assert.deepEqual(system, { role: "system", content: "Be brief." });
  assert.deepEqual(user, { role: "user", content: [{ type: "text", text: "How is Bern?" }] });
  const [call] = (answer?.tool_calls ?? []) as { id: string; function: unknown }[];
  assert.deepEqual(
    [answer?.content, call?.function],
    ["Let me look. ", { name: "get_weather", arguments: { city: "Bern" } }],
  );
  assert.deepEqual(result, { role: "tool", tool_call_id: call?.id, name: "get_weather", content: '{"sky":"clear"}' });

  asked.length = 0;
  const stream = streamText({ model: provider("x"), ...options });
  const types: string[] = [];
  for await (const part of stream.fullStream) types.push(part.type);
  assert.ok(types.indexOf("tool-call") < types.indexOf("tool-result"), types.join());
  assert.equal(await stream.text, "It is sunny.");
  assert.equal(given.length, 2);
});

const WEATHER = jsonSchema<{ city: string }>({
  $schema: "http://json-schema.org/draft-07/schema#",
  type: "object",
  properties: { city: { type: "string", enum: ["Bern", "Zürich"] } },
  required: ["city"],
  additionalProperties: false,
});

test("an object is of its schema, also beside tools", async (context) => {
  const { output } = await generateText({
    model: edgelora("tiny"),
    prompt: PROMPT,
    output: Output.object({ schema: WEATHER }),
    maxOutputTokens: 60,
  });
  assert.ok(["Bern", "Zürich"].includes(output.city));
  const tooled = createEdgeLora(() => loadWithTools(context));
  const both = await generateText({
    model: tooled("x"),
    prompt: PROMPT,
    tools: { get_weather: tool({ inputSchema: WEATHER }) },
    output: Output.object({
      schema: jsonSchema({ type: "object", properties: { sky: { const: "clear" } }, required: ["sky"] }),
    }),
    maxOutputTokens: 80,
  });
  const [call] = both.toolCalls;
  if (call === undefined) assert.deepEqual(both.output, { sky: "clear" });
  else assert.ok(["Bern", "Zürich"].includes((call.input as { city: string }).city));
});

test("a tool that must be called is called", async (context) => {
  const tooled = createEdgeLora(() => loadWithTools(context));
  const tools: ToolSet = {
    get_weather: tool({ inputSchema: WEATHER }),
    stop: tool({ inputSchema: jsonSchema<object>({ type: "object", properties: {}, additionalProperties: false }) }),
  };
  const call = { model: tooled("x"), prompt: PROMPT, tools, maxOutputTokens: 80, maxRetries: 0 };
  for (const seed of [1, 2, 3]) {
    const any = await generateText({ ...call, toolChoice: "required", temperature: 2, seed });
    assert.deepEqual([any.toolCalls.length, any.finishReason, any.text], [1, "tool-calls", ""]);
    const one = await generateText({
      ...call,
      toolChoice: { type: "tool", toolName: "get_weather" },
      temperature: 2,
      seed,
    });
    const [found] = one.toolCalls;
    assert.ok(found?.toolName === "get_weather" && ["Bern", "Zürich"].includes(found.input.city));
  }
  const none = await generateText({ ...call, toolChoice: "none" });
  const withoutTools = await generateText({ ...call, tools: {} });
  assert.deepEqual([none.text, none.usage.inputTokens], [withoutTools.text, withoutTools.usage.inputTokens]);
  for (const [toolChoice, message] of [
    [{ type: "tool", toolName: "gone" }, /^InputError: the tool "gone" is to be called, and .* given are: none;/],
    [{ type: "required" }, /^InputError: a tool is to be called, and the tools that are given are: none; give it/],
  ] as const) {
    const prompt = [{ role: "user" as const, content: [{ type: "text" as const, text: PROMPT }] }];
    await assert.rejects(tooled("x").doGenerate({ prompt, toolChoice }) as Promise<unknown>, message);
  }
});

test("reasoning is what the template knows as enable_thinking", async (context) => {
  const thinking = await loadWithTools(context);
  const provider = createEdgeLora(async () => thinking);
  const tokens = async (options: object) => {
    const found = await generateText({ model: provider("x"), prompt: PROMPT, maxOutputTokens: 1, ...options });
    return found.usage.inputTokens;
  };
  const of = async (text: string) => (await thinking.tokenizer)?.encode(`<user>${PROMPT}${text}`, false).length;
  assert.equal(await tokens({}), await of(""));
  assert.equal(await tokens({ reasoning: "none" }), await of("False"));
  assert.equal(await tokens({ reasoning: "low" }), await of("True"));
});

test("a chat of a page needs no server", async () => {
  const agent = new ToolLoopAgent({ model: edgelora("tiny", { adapter: "four" }), maxOutputTokens: 12 });
  const transport = new DirectChatTransport({ agent });
  const stream = await transport.sendMessages({
    trigger: "submit-message",
    chatId: "1",
    messageId: undefined,
    abortSignal: undefined,
    messages: [{ id: "1", role: "user", parts: [{ type: "text", text: PROMPT }] }],
  });
  let text = "";
  for await (const part of stream) if (part.type === "text-delta") text += part.delta;
  assert.equal(text, (await model.generate(PROMPT, { adapter: "four", maxNewTokens: 12 })).text);
});

test("an abort ends a stream, and a reader who leaves it the answer", async () => {
  const ending = new AbortController();
  const aborted = streamText({ model: edgelora("tiny"), prompt: PROMPT, ...LONG, abortSignal: ending.signal });
  let count = 0;
  for await (const part of aborted.fullStream) {
    if (part.type === "text-delta" && ++count === 3) ending.abort();
  }
  assert.ok(count < 200, `${count} pieces`);
  const { stream } = await edgelora("tiny").doStream({
    prompt: [{ role: "user", content: [{ type: "text", text: PROMPT }] }],
    ...LONG,
  });
  const reader = stream.getReader();
  await reader.read();
  await reader.cancel();
  assert.equal((await model.generate(PROMPT, { maxNewTokens: 1 })).usage.completionTokens, 1);
});

test("errors are the runtime's, and an address that failed is tried anew", async () => {
  const quiet = { maxRetries: 0, prompt: PROMPT } as const;
  await assert.rejects(generateText({ model: edgelora("gone"), ...quiet }), /^Error: gone is not there$/);
  const before = opened;
  await assert.rejects(generateText({ model: edgelora("gone"), ...quiet }), /gone is not there/);
  assert.equal(opened, before + 1);
  const unknown = edgelora("tiny", { adapter: "fuor" });
  await assert.rejects(generateText({ model: unknown, ...quiet }), /^AdapterError: unknown adapter "fuor"/);
  const errors: unknown[] = [];
  const stream = streamText({ model: unknown, ...quiet, onError: ({ error }) => void errors.push(error) });
  for await (const _ of stream.textStream) assert.fail();
  assert.match(String(errors[0]), /^AdapterError: unknown adapter "fuor"/);
  const image = { type: "file", mediaType: "image/png", data: new Uint8Array(4) } as const;
  await assert.rejects(
    generateText({ model: edgelora("tiny"), maxRetries: 0, messages: [{ role: "user", content: [image] }] }),
    /^InputError: message 0: part 0 is of type "file"; the model reads text alone$/,
  );
});
