/**
 * Models as a provider of the Vercel AI SDK: `streamText`, `useChat` and whatever else takes a language model.
 *
 * Imports types of the SDK alone; it speaks the fourth version of its language models, which `ai` 7 wants.
 */

import type {
  LanguageModelV4,
  LanguageModelV4CallOptions,
  LanguageModelV4Content,
  LanguageModelV4FinishReason,
  LanguageModelV4Message,
  LanguageModelV4StreamPart,
  LanguageModelV4ToolResultOutput,
  LanguageModelV4Usage,
  SharedV4Warning,
} from "@ai-sdk/provider";
import { chooseCalls, type ToolChoice } from "./call-form.js";
import { InputError } from "./core/errors.js";
import type { Generation } from "./core/generation.js";
import type { Message } from "./core/messages.js";
import type { ChatOptions, Model } from "./core/model.js";
import { readable } from "./core/readable.js";
import type { Schema, WithAdapter } from "./core/request.js";

/** Options of a language model; each call may bring others as `providerOptions: { edgelora: { ... } }`. */
export type EdgeLoraSettings = Omit<ChatOptions, "tools" | "signal"> & WithAdapter;

/** What makes language models of artifacts. */
export interface EdgeLoraProvider {
  /** The model of the artifact at `address`, opened when it is first asked for something. */
  (address: string, settings?: EdgeLoraSettings): LanguageModelV4;
  languageModel(address: string, settings?: EdgeLoraSettings): LanguageModelV4;
}

const PROVIDER = "edgelora";
const TEXT_ID = "0"; // an answer is one text

/**
 * A provider over `open`, which is asked once for each address: `load`, `loadInWorker`, or what finds a model that is
 * open already. An address that could not be opened is tried anew.
 */
export function createEdgeLora(open: (address: string) => Promise<Model>): EdgeLoraProvider {
  const models = new Map<string, Promise<Model>>();
  const find = (address: string): Promise<Model> => {
    const known = models.get(address) ?? open(address);
    models.set(address, known);
    known.catch(() => models.delete(address));
    return known;
  };
  const languageModel = (address: string, settings: EdgeLoraSettings = {}): LanguageModelV4 => ({
    specificationVersion: "v4",
    provider: PROVIDER,
    modelId: settings.adapter === undefined ? address : `${address}:${settings.adapter}`,
    supportedUrls: {},
    doGenerate: async (options) => {
      const { messages, request, warnings } = readCall(options, settings);
      const generation = await (await find(address)).chat(messages, request);
      return { content: contentOf(generation), ...endOf(generation), warnings };
    },
    doStream: async (options) => {
      const { messages, request, warnings } = readCall(options, settings);
      const answer = (await find(address)).chat(messages, request);
      return { stream: readable(writeParts(answer, warnings), () => answer.stop()) };
    },
  });
  return Object.assign(languageModel.bind(null), { languageModel });
}

interface Call {
  readonly messages: readonly Message[];
  readonly request: ChatOptions & WithAdapter;
  readonly warnings: SharedV4Warning[];
}

function readCall(options: LanguageModelV4CallOptions, settings: EdgeLoraSettings): Call {
  const warnings: SharedV4Warning[] = [];
  const refuse = (feature: string, details: string) => warnings.push({ type: "unsupported", feature, details });
  for (const name of ["presencePenalty", "frequencyPenalty"] as const) {
    if (options[name]) refuse(name, "repetitionPenalty among the provider's options is what there is");
  }
  const tools = (options.tools ?? []).flatMap((tool) => {
    if (tool.type !== "function") {
      refuse(`the tool ${tool.id}`, "no tools of providers are here");
      return [];
    }
    const { name, description, inputSchema } = tool;
    return [{ type: "function", function: { name, description, parameters: inputSchema } }];
  });
  const given: ChatOptions = {
    maxNewTokens: options.maxOutputTokens,
    temperature: options.temperature,
    topP: options.topP,
    topK: options.topK,
    seed: options.seed,
    stop: options.stopSequences,
    signal: options.abortSignal,
    ...chooseCalls(tools, choiceOf(options), formOf(options)),
    template: templateOf(options, settings),
  };
  const own = (options.providerOptions?.[PROVIDER] ?? {}) as EdgeLoraSettings;
  const known = Object.entries(given).filter(([, value]) => value !== undefined);
  return {
    messages: options.prompt.flatMap(readMessage),
    request: { ...settings, ...Object.fromEntries(known), ...own },
    warnings,
  };
}

function choiceOf({ toolChoice }: LanguageModelV4CallOptions): ToolChoice {
  return toolChoice?.type === "tool" ? { name: toolChoice.toolName } : (toolChoice?.type ?? "auto");
}

/** The form of an answer that is no call. */
function formOf({ responseFormat: format }: LanguageModelV4CallOptions): Schema | undefined {
  return format?.type === "json" ? ((format.schema as Schema | undefined) ?? true) : undefined;
}

/** Templates that let a model think ask for `enable_thinking`; others have no use for it. */
function templateOf({ reasoning }: LanguageModelV4CallOptions, { template }: EdgeLoraSettings) {
  if (reasoning === undefined || reasoning === "provider-default") return undefined;
  return { ...template, enable_thinking: reasoning !== "none" };
}

function readMessage(message: LanguageModelV4Message): Message[] {
  switch (message.role) {
    case "system":
      return [{ role: "system", content: message.content }];
    case "user": // parts that are no text are refused where messages are checked
      return [{ role: "user", content: message.content.map((part) => withText(part)) }];
    case "assistant":
      return [readAnswer(message)];
    case "tool":
      return message.content.map((part) => {
        if (part.type !== "tool-result") throw unreadable(part.type);
        const { toolCallId: tool_call_id, toolName: name, output } = part;
        return { role: "tool", tool_call_id, name, content: textOf(output) };
      });
  }
}

function readAnswer({ content }: LanguageModelV4Message & { readonly role: "assistant" }): Message {
  let [text, reasoning] = ["", ""];
  const calls: object[] = [];
  for (const part of content) {
    if (part.type === "text") text += part.text;
    else if (part.type === "reasoning") reasoning += part.text;
    else if (part.type === "tool-call") {
      const { toolCallId: id, toolName: name, input } = part;
      calls.push({ id, type: "function", function: { name, arguments: input } });
    } else throw unreadable(part.type);
  }
  return {
    role: "assistant",
    content: text,
    ...(reasoning === "" ? {} : { reasoning_content: reasoning }),
    ...(calls.length === 0 ? {} : { tool_calls: calls }),
  };
}

function withText(part: { readonly type: string; readonly text?: string }): object {
  return part.type === "text" ? { type: "text", text: part.text } : { type: part.type };
}

function textOf(output: LanguageModelV4ToolResultOutput): string {
  switch (output.type) {
    case "text":
    case "error-text":
      return output.value;
    case "json":
    case "error-json":
      return JSON.stringify(output.value);
    case "execution-denied":
      return output.reason ?? "The call was denied.";
    case "content":
      return output.value
        .map((part) => {
          if (part.type !== "text") throw unreadable(part.type);
          return part.text;
        })
        .join("\n");
  }
}

function unreadable(type: string): InputError {
  return new InputError(`a message has a part of type ${type}; the model reads text, tool calls and their results`);
}

/** Parts of the SDK's stream. */
async function* writeParts(
  answer: ReturnType<Model["chat"]>,
  warnings: SharedV4Warning[],
): AsyncGenerator<LanguageModelV4StreamPart, void> {
  yield { type: "stream-start", warnings };
  let hasText = false;
  try {
    for await (const delta of answer) {
      if (!hasText) yield { type: "text-start", id: TEXT_ID };
      hasText = true;
      yield { type: "text-delta", id: TEXT_ID, delta };
    }
    if (hasText) yield { type: "text-end", id: TEXT_ID };
    const generation = await answer;
    for (const part of contentOf(generation)) if (part.type === "tool-call") yield part;
    yield { type: "finish", ...endOf(generation) };
  } catch (error) {
    yield { type: "error", error };
  }
}

function contentOf({ text, toolCalls }: Generation): LanguageModelV4Content[] {
  const calls = toolCalls.map(({ id, name, arguments: given }) => {
    return { type: "tool-call" as const, toolCallId: id, toolName: name, input: JSON.stringify(given) };
  });
  return text === "" ? calls : [{ type: "text", text }, ...calls];
}

function endOf({ finishReason, toolCalls, usage, timings }: Generation): {
  finishReason: LanguageModelV4FinishReason;
  usage: LanguageModelV4Usage;
  providerMetadata: { edgelora: { firstTokenMs: number | null; tokensPerSecond: number | null } };
} {
  const isWhole = finishReason === "stop" || finishReason === "choice";
  const unified = isWhole
    ? toolCalls.length > 0
      ? "tool-calls"
      : "stop"
    : finishReason === "length"
      ? "length"
      : "other";
  const [input, output] = [usage.promptTokens, usage.completionTokens];
  return {
    finishReason: { unified, raw: finishReason },
    usage: {
      inputTokens: { total: input, noCache: undefined, cacheRead: undefined, cacheWrite: undefined },
      outputTokens: { total: output, text: undefined, reasoning: undefined },
    },
    providerMetadata: { edgelora: { ...timings } },
  };
}
