/**
 * What a conversation may be: messages with text or text parts, tool calls, and the tools offered beside them.
 *
 * Knows nothing about templates; the rules are those of the Python runtime and of training rows.
 */

import { InputError } from "./errors.js";
import { isFields, show } from "./parse-json.js";

/** One message of a conversation; templates may use more fields than these. */
export interface Message {
  readonly role: string;
  /** Text, or a list of `{type: "text", text}`; a message with `tool_calls` may have none. */
  readonly content?: unknown;
  readonly [field: string]: unknown;
}

/** JSON schemas of functions, or the text of a JSON list of them. */
export type Tools = readonly Readonly<Record<string, unknown>>[] | string;

type Fields = Readonly<Record<string, unknown>>;

const ADVICE = 'expected a list of at least one {"role", "content"}';

/** The messages without keys that say nothing; throws InputError naming what is wrong. */
export function checkMessages(messages: readonly Message[]): Message[] {
  if (!Array.isArray(messages) || messages.length === 0) {
    throw new InputError(`messages is ${show(messages)}, ${ADVICE}`);
  }
  return messages.map((message, index) => checkMessage(index, message));
}

/** The tools as objects; data sets may hold them as the text of a JSON list. */
export function checkTools(tools: Tools): Fields[] {
  const given: unknown = typeof tools === "string" ? (parsed(tools) ?? tools) : tools;
  if (!Array.isArray(given)) {
    throw new InputError(
      `tools is ${show(given)}, expected a list of JSON objects, each with the schema of a function`,
    );
  }
  given.forEach((tool, index) => {
    if (!isFields(tool)) throw new InputError(`tool ${index} is ${show(tool)}, expected the JSON schema of a function`);
  });
  return withoutUndefined(given) as Fields[];
}

/** Content as one text: parts are joined with line breaks, as the servers do that feed templates which want text. */
export function asText(content: unknown): string {
  if (Array.isArray(content)) return content.map((part: { readonly text: string }) => part.text).join("\n");
  return (content as string | null | undefined) ?? "";
}

/** Content as a list of one text part. */
export function asParts(content: string): Fields[] {
  return [{ type: "text", text: content }];
}

function checkMessage(index: number, message: unknown): Message {
  if (!isFields(message) || typeof message.role !== "string") {
    throw new InputError(`message ${index} is ${show(message)}, expected {"role", "content"}`);
  }
  // Tables with a column for every key write null where a row has none.
  const checked = Object.fromEntries(
    Object.entries(message).filter(([key, value]) => value !== undefined && (value !== null || key === "content")),
  );
  const { tool_calls: calls, content = null } = checked;
  if (calls !== undefined && !(Array.isArray(calls) && calls.every(isFields))) {
    throw new InputError(`message ${index}: tool_calls is ${show(calls)}, expected a list of JSON objects`);
  }
  const hasCalls = Array.isArray(calls) && calls.length > 0;
  if (hasCalls) checked.tool_calls = withoutUndefined(calls);
  else delete checked.tool_calls;
  if (content === null) {
    if (hasCalls) return checked as Message;
    const found = Object.hasOwn(checked, "content") ? "null" : "missing";
    throw new InputError(
      `message ${index}: content is ${found}, expected text; leave the message out, or give it text`,
    );
  }
  if (typeof content === "string") return checked as Message;
  if (!Array.isArray(content)) {
    throw new InputError(`message ${index}: content is ${show(content)}, expected text or a list of text parts`);
  }
  return { ...checked, content: content.map((part, number) => checkPart(index, number, part)) } as unknown as Message;
}

function checkPart(index: number, number: number, part: unknown): Fields {
  if (!isFields(part) || typeof part.type !== "string") {
    throw new InputError(`message ${index}: part ${number} is ${show(part)}, expected {"type": "text", "text": ...}`);
  }
  if (part.type !== "text") {
    throw new InputError(`message ${index}: part ${number} is of type ${show(part.type)}; the model reads text alone`);
  }
  if (typeof part.text !== "string") {
    throw new InputError(`message ${index}: part ${number} has the text ${show(part.text ?? null)}, expected a string`);
  }
  return Object.fromEntries(Object.entries(part).filter(([, value]) => (value ?? null) !== null));
}

/** The same without members that are undefined, which JSON and templates do not know. */
function withoutUndefined(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutUndefined);
  if (!isFields(value)) return value;
  const known = Object.entries(value).filter(([, member]) => member !== undefined);
  return Object.fromEntries(known.map(([key, member]) => [key, withoutUndefined(member)]));
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
