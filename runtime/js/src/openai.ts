/**
 * A model behind the interface of OpenAI's chat completions, so that what was written for them runs on it.
 *
 * Knows nothing about HTTP: requests and answers are objects, in the page, worker or process that holds the model.
 */

import { chooseCalls, type OfferedTool, type ToolChoice } from "./call-form.js";
import type { Answer } from "./core/answer.js";
import { InputError } from "./core/errors.js";
import type { Generation } from "./core/generation.js";
import type { Message } from "./core/messages.js";
import type { ChatOptions, Model } from "./core/model.js";
import { isFields, show } from "./core/parse-json.js";
import type { Schema, WithAdapter } from "./core/request.js";
import type { ToolCall } from "./core/tool-calls.js";

/** What can be asked; anything else that OpenAI knows is refused by its name. Null is as good as left out. */
export interface ChatCompletionRequest {
  /** A SPEC: `none`, `support`, `support:0.7+legal:0.3`. */
  readonly model: string;
  readonly messages: readonly unknown[];
  readonly tools?: readonly unknown[] | null | undefined;
  /** `none`, `auto`, `required` (the answer is a call), or `{type: "function", function: {name}}` (one of that). */
  readonly tool_choice?: unknown;
  readonly stream?: boolean | null | undefined;
  readonly stream_options?: { readonly include_usage?: boolean | undefined } | null | undefined;
  /** `text`, `json_object` (any JSON object) or `json_schema`: the answer keeps to it. */
  readonly response_format?: { readonly type: string; readonly json_schema?: object | undefined } | null | undefined;
  /** As many as the context has room for, unless given. */
  readonly max_tokens?: number | null | undefined;
  readonly max_completion_tokens?: number | null | undefined;
  /** 0 unless given: the likeliest token. */
  readonly temperature?: number | null | undefined;
  readonly top_p?: number | null | undefined;
  readonly seed?: number | null | undefined;
  readonly stop?: string | readonly string[] | null | undefined;
  /** How many answers; the second draws with the next seed, and so on. */
  readonly n?: number | null | undefined;
  /** The names that other servers of small models have for what OpenAI lacks. */
  readonly top_k?: number | null | undefined;
  readonly min_p?: number | null | undefined;
  readonly repetition_penalty?: number | null | undefined;
  readonly chat_template_kwargs?: Readonly<Record<string, unknown>> | null | undefined;
}

export interface CompletionToolCall {
  id: string;
  type: "function";
  function: { name: string; arguments: string };
}

export type CompletionReason = "stop" | "length" | "tool_calls";

export interface CompletionUsage {
  prompt_tokens: number;
  completion_tokens: number;
  total_tokens: number;
}

export interface ChatCompletion {
  id: string;
  object: "chat.completion";
  created: number;
  model: string;
  choices: {
    index: number;
    message: { role: "assistant"; content: string | null; refusal: null; tool_calls?: CompletionToolCall[] };
    logprobs: null;
    finish_reason: CompletionReason;
  }[];
  usage: CompletionUsage;
}

export interface ChatCompletionChunk {
  id: string;
  object: "chat.completion.chunk";
  created: number;
  model: string;
  choices: {
    index: number;
    delta: { role?: "assistant"; content?: string; tool_calls?: (CompletionToolCall & { index: number })[] };
    logprobs: null;
    finish_reason: CompletionReason | null;
  }[];
  usage?: CompletionUsage | null;
}

/** Ends a call as `signal` of the model does. */
export interface CallSettings {
  readonly signal?: AbortSignal | null | undefined;
}

/** The part of OpenAI's client that a model can answer. */
export interface ChatClient {
  readonly chat: {
    readonly completions: {
      create(
        request: ChatCompletionRequest & { readonly stream: true },
        settings?: CallSettings,
      ): Promise<AsyncIterable<ChatCompletionChunk>>;
      create(
        request: ChatCompletionRequest & { readonly stream?: false | null | undefined },
        settings?: CallSettings,
      ): Promise<ChatCompletion>;
      create(
        request: ChatCompletionRequest,
        settings?: CallSettings,
      ): Promise<ChatCompletion | AsyncIterable<ChatCompletionChunk>>;
    };
  };
  readonly models: { list(): Promise<{ object: "list"; data: { id: string; object: "model"; owned_by: string }[] }> };
}

const KNOWN = new Set(
  (
    "model messages tools tool_choice stream stream_options response_format max_tokens max_completion_tokens " +
    "temperature top_p seed stop n top_k min_p repetition_penalty chat_template_kwargs"
  ).split(" "),
);
/** Say nothing about the answer. */
const WITHOUT_EFFECT = new Set(
  "user metadata store service_tier safety_identifier prompt_cache_key parallel_tool_calls".split(" "),
);
/** Have no effect with these values alone. */
const NEUTRAL: Readonly<Record<string, unknown>> = { frequency_penalty: 0, presence_penalty: 0, logprobs: false };

/**
 * The client of a model, of `load` or `loadInWorker`. Calls reject with the model's errors; a parameter that cannot be
 * obeyed is an InputError with its name.
 */
export function openai(model: Model): ChatClient {
  const create = async (request: ChatCompletionRequest, settings: CallSettings = {}): Promise<never> => {
    const call = readRequest(request, settings, model.manifest.model.contextLength);
    return (request.stream ? stream(model, call) : complete(model, call)) as Promise<never>;
  };
  const list = async () => {
    const owned_by = model.manifest.model.name;
    const data = ["none", ...model.adapters].map((id) => ({ id, object: "model" as const, owned_by }));
    return { object: "list" as const, data };
  };
  return { chat: { completions: { create } }, models: { list } };
}

/** A request that passed the check. */
interface Call {
  readonly messages: readonly Message[];
  readonly options: ChatOptions & WithAdapter;
  readonly count: number;
  readonly hasUsage: boolean;
  readonly head: { readonly id: string; readonly created: number; readonly model: string };
}

function readRequest(request: ChatCompletionRequest, { signal }: CallSettings, contextLength: number): Call {
  const given = Object.entries(request).filter(([, value]) => value !== undefined && value !== null);
  const wrong = given.flatMap(([name, value]) => {
    if (KNOWN.has(name) || WITHOUT_EFFECT.has(name) || (name in NEUTRAL && NEUTRAL[name] === value)) return [];
    return [`${name} is not known here; leave it out`];
  });
  const { model, messages, tools, tool_choice: choice, response_format: format, n, seed } = request;
  if (typeof model !== "string") wrong.push(`model is ${show(model)}, expected a SPEC such as none or NAME:0.5`);
  if (!Array.isArray(messages)) wrong.push(`messages is ${show(messages)}, expected a list of {"role", "content"}`);
  const chosen = readChoice(choice ?? "auto");
  if (chosen === null) {
    const expected = 'none, auto, required or {"type": "function", "function": {"name"}}';
    wrong.push(`tool_choice is ${show(choice)}, expected ${expected}`);
  }
  if (tools && !(Array.isArray(tools) && tools.every(isFields))) {
    wrong.push(`tools is ${show(tools)}, expected a list of {"type": "function", "function"}`);
  }
  const form = format ? formOf(format) : null;
  if (form === undefined) {
    const expected = '{"type": "text"}, {"type": "json_object"} or {"type": "json_schema", "json_schema": {"schema"}}';
    wrong.push(`response_format is ${show(format)}, expected ${expected}`);
  }
  const count = n ?? 1;
  if (!Number.isInteger(count) || count < 1) wrong.push(`n is ${show(n)}, expected a whole number from 1`);
  if (wrong.length > 0) throw new InputError(wrong.join("; "));
  const calls = chooseCalls((tools ?? []) as readonly OfferedTool[], chosen as ToolChoice, form ?? undefined);
  const options: ChatOptions & WithAdapter = {
    adapter: model,
    maxNewTokens: request.max_completion_tokens ?? request.max_tokens ?? contextLength,
    temperature: request.temperature ?? undefined,
    topP: request.top_p ?? undefined,
    topK: request.top_k ?? undefined,
    minP: request.min_p ?? undefined,
    repetitionPenalty: request.repetition_penalty ?? undefined,
    seed: seed ?? undefined,
    stop: request.stop ?? undefined,
    template: request.chat_template_kwargs ?? undefined,
    ...calls,
    signal: signal ?? undefined,
  };
  return {
    messages: messages.map(readMessage),
    options: Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)),
    count,
    hasUsage: request.stream_options?.include_usage === true,
    head: { id: `chatcmpl-${Math.random().toString(36).slice(2)}`, created: Math.floor(Date.now() / 1000), model },
  };
}

/** A `tool_choice`, or null for what is none. */
function readChoice(choice: unknown): ToolChoice | null {
  if (choice === "none" || choice === "auto" || choice === "required") return choice;
  const named =
    isFields(choice) && choice.type === "function" && isFields(choice.function) ? choice.function.name : null;
  return typeof named === "string" ? { name: named } : null;
}

/** The schema of a `response_format`; null for one of text, undefined for what is none. */
function formOf(format: unknown): Schema | null | undefined {
  if (!isFields(format)) return undefined;
  if (format.type === "text") return null;
  if (format.type === "json_object") return { type: "object" };
  const given = format.type === "json_schema" && isFields(format.json_schema) ? format.json_schema.schema : undefined;
  return isFields(given) || typeof given === "boolean" ? given : undefined;
}

/** A message as templates know it: `developer` is the system, and the arguments of a call are an object. */
function readMessage(message: unknown): Message {
  if (!isFields(message)) return message as Message; // refused where messages are checked
  const { tool_calls: calls, role, ...rest } = message;
  const known = { ...rest, role: role === "developer" ? "system" : role } as Message;
  return Array.isArray(calls) ? { ...known, tool_calls: calls.map(readCall) } : known;
}

function readCall(call: unknown): unknown {
  if (!isFields(call) || !isFields(call.function) || typeof call.function.arguments !== "string") return call;
  try {
    return { ...call, function: { ...call.function, arguments: JSON.parse(call.function.arguments || "{}") } };
  } catch {
    throw new InputError(`a tool call has the arguments ${show(call.function.arguments)}, expected the text of JSON`);
  }
}

/** The answers, one after another, each with the next seed. */
function ask(model: Model, { messages, options, count }: Call): Answer[] {
  const { seed } = options;
  return Array.from({ length: count }, (_, index) =>
    model.chat(messages, typeof seed === "number" ? { ...options, seed: seed + index } : options),
  );
}

async function complete(model: Model, call: Call): Promise<ChatCompletion> {
  const answers = await Promise.all(ask(model, call));
  const choices = answers.map((answer, index) => {
    const tool_calls = answer.toolCalls.map(writeCall);
    const content = tool_calls.length > 0 && answer.text.trim() === "" ? null : answer.text;
    return {
      index,
      message: {
        role: "assistant" as const,
        content,
        refusal: null,
        ...(tool_calls.length > 0 ? { tool_calls } : {}),
      },
      logprobs: null,
      finish_reason: reasonOf(answer),
    };
  });
  return { ...call.head, object: "chat.completion", choices, usage: sumUsage(answers) };
}

async function stream(model: Model, call: Call): Promise<AsyncIterable<ChatCompletionChunk>> {
  const answers = ask(model, call);
  await Promise.race([answers[0], firstPiece(answers[0] as Answer)]); // what is refused is refused here
  return chunks(answers, call);
}

/** Waits for a first piece, and leaves the answer as it is. */
async function firstPiece(answer: Answer): Promise<void> {
  await answer[Symbol.asyncIterator]().next();
}

async function* chunks(answers: readonly Answer[], { head, hasUsage }: Call): AsyncGenerator<ChatCompletionChunk> {
  const whole: Generation[] = [];
  const chunk = (
    index: number,
    delta: ChatCompletionChunk["choices"][number]["delta"],
    finish_reason: CompletionReason | null = null,
  ): ChatCompletionChunk => ({
    ...head,
    object: "chat.completion.chunk",
    choices: [{ index, delta, logprobs: null, finish_reason }],
    ...(hasUsage ? { usage: null } : {}),
  });
  try {
    for (const [index, answer] of answers.entries()) {
      yield chunk(index, { role: "assistant", content: "" });
      for await (const content of answer) yield chunk(index, { content });
      const generation = await answer;
      whole.push(generation);
      const calls = generation.toolCalls.map((call, place) => ({ index: place, ...writeCall(call) }));
      if (calls.length > 0) yield chunk(index, { tool_calls: calls });
      yield chunk(index, {}, reasonOf(generation));
    }
    if (hasUsage) yield { ...head, object: "chat.completion.chunk", choices: [], usage: sumUsage(whole) };
  } finally {
    for (const answer of answers) answer.stop(); // whoever leaves the loop wants none of them
  }
}

function writeCall({ id, name, arguments: given }: ToolCall): CompletionToolCall {
  return { id, type: "function", function: { name, arguments: JSON.stringify(given) } };
}

function reasonOf({ finishReason, toolCalls }: Generation): CompletionReason {
  if (finishReason === "length") return "length";
  return toolCalls.length > 0 ? "tool_calls" : "stop";
}

/** The prompt is counted once, as OpenAI does. */
function sumUsage(answers: readonly Generation[]): CompletionUsage {
  const prompt_tokens = answers[0]?.usage.promptTokens ?? 0;
  const completion_tokens = answers.reduce((sum, { usage }) => sum + usage.completionTokens, 0);
  return { prompt_tokens, completion_tokens, total_tokens: prompt_tokens + completion_tokens };
}
