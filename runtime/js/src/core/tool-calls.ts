/**
 * Tool calls in an answer: found in the forms that the templates of the supported architectures teach their models.
 *
 * Knows nothing about templates or tokens; `runtime/conformance/README.md` says which forms there are.
 */

import { InputError } from "./errors.js";
import { checkTools, type Tools } from "./messages.js";
import { isFields, parseJson } from "./parse-json.js";
import { StopFilter } from "./stream.js";

/** What the model wants to have called. */
export interface ToolCall {
  /** Nine letters and digits, by which a message of role `tool` says what it answers. */
  readonly id: string;
  readonly name: string;
  readonly arguments: Fields;
}

type Fields = Readonly<Record<string, unknown>>;
type NamedCall = Pick<ToolCall, "name" | "arguments">;

/** Calls, and where the text goes on behind them. */
interface Found {
  readonly calls: readonly NamedCall[];
  readonly end: number;
}

const PYTHON_TAG = "<|python_tag|>";
const MISTRAL = "[TOOL_CALLS]";
const GEMMA = "<start_function_call>";
const ESCAPE = "<escape>";
const OPENERS = ["<tool_call>", "<|tool_call|>", PYTHON_TAG, MISTRAL, GEMMA];
const CLOSERS = ["</tool_call>", "<|/tool_call|>", "<end_function_call>"];

/** What stands around calls; special tokens of these names are part of an answer's text where tools are given. */
export const MARKS: readonly string[] = [...OPENERS, ...CLOSERS, ESCAPE, "[ARGS]", "[CALL_ID]"];

const BLANK = /[ \t\r\n]*/y;
const BETWEEN = /[ \t\r\n]*[;,]?[ \t\r\n]*(?=\{)/y;
const MISTRAL_NAME = /[ \t\r\n]*([A-Za-z0-9_.-]+)(?:\[CALL_ID\][A-Za-z0-9_-]*)?(?:\[ARGS\])?[ \t\r\n]*(?=\{)/y;
const GEMMA_NAME = /[ \t\r\n]*call:([A-Za-z0-9_.-]+)(?=\{)/y;
const GEMMA_KEY = /[ \t\r\n]*([^:,{}[\]<]+):/y;
const GEMMA_WORD = /[ \t\r\n]*([^,{}[\]<]*)/y;
const QUOTED_OR_BRACKET = /"(?:[^"\\]|\\[\s\S])*"|[{}[\]"]/g;
const DEEPEST = 100;
const ID_LENGTH = 9;
const ID_CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

/** Takes the calls out of an answer as it comes: text that may belong to one is held back until the end. */
export class CallReader {
  readonly #names: ReadonlySet<string>;
  readonly #filter = new StopFilter(OPENERS);
  #text = "";
  #fed = 0;
  #shown = 0;

  /** `tools` are those that the prompt offers: calls without marks around them are known by their names. */
  constructor(tools: Tools) {
    const names = checkTools(tools).map((tool) => (isFields(tool.function) ? tool.function : tool).name);
    this.#names = new Set(names.filter((name) => typeof name === "string"));
  }

  /** What is certainly no part of a call. */
  push(text: string): string {
    this.#text += text;
    if (/^[ \t\r\n]*(?:[{[]|$)/.test(this.#text)) return ""; // a call may stand there without any mark
    const shown = this.#filter.push(this.#text.slice(this.#fed));
    this.#fed = this.#text.length;
    this.#shown += shown.length;
    return shown;
  }

  /** The rest of the text, and the calls. What looks like a call and is none is text. */
  end(): { readonly text: string; readonly calls: readonly ToolCall[] } {
    const { text, calls } = readCalls(this.#text.slice(this.#shown), this.#shown === 0 ? this.#names : new Set());
    return { text, calls: calls.map((call) => ({ id: makeId(), ...call })) };
  }
}

function readCalls(text: string, names: ReadonlySet<string>): { text: string; calls: readonly NamedCall[] } {
  const bare = readJsonCalls(text, 0);
  if (bare !== null && skip(BLANK, text, bare.end) === text.length && bare.calls.every(({ name }) => names.has(name))) {
    return { text: "", calls: bare.calls };
  }
  const calls: NamedCall[] = [];
  let left = "";
  let place = 0;
  while (place < text.length) {
    const [start, opener] = findOpener(text, place);
    left += text.slice(place, start);
    place = start + opener.length;
    const found = opener === "" ? null : readAfter(opener, text, place);
    if (found === null) left += opener;
    else {
      calls.push(...found.calls);
      place = found.end;
    }
  }
  return { text: calls.length > 0 && skip(BLANK, left, 0) === left.length ? "" : left, calls };
}

/** The first opener from `place` on, or the end of the text and nothing. */
function findOpener(text: string, place: number): readonly [number, string] {
  let first: readonly [number, string] = [text.length, ""];
  for (const opener of OPENERS) {
    const start = text.indexOf(opener, place);
    if (start >= 0 && start < first[0]) first = [start, opener];
  }
  return first;
}

function readAfter(opener: string, text: string, place: number): Found | null {
  const found = opener === GEMMA ? readGemmaCall(text, place) : null;
  const named = found ?? (opener === MISTRAL ? readMistralCall(text, place) : null);
  const calls = named ?? (opener === GEMMA ? null : readJsonCalls(text, place));
  if (calls === null) return null;
  const end = skip(BLANK, text, calls.end);
  const closer = CLOSERS.find((item) => text.startsWith(item, end));
  return closer === undefined ? calls : { calls: calls.calls, end: end + closer.length };
}

/** An object or a list of `{name, arguments}`, or objects one after another. */
function readJsonCalls(text: string, place: number): Found | null {
  const calls: NamedCall[] = [];
  let end = skip(BLANK, text, place);
  for (let next: number | null = end; next !== null; next = match(BETWEEN, text, end)?.end ?? null) {
    const json = readJson(text, next);
    const found = json === null ? null : asCalls(json.value);
    if (json === null || found === null) return null;
    calls.push(...found);
    end = json.end;
  }
  return { calls, end };
}

/** `name[ARGS]{...}`, in some versions with an id between the two. */
function readMistralCall(text: string, place: number): Found | null {
  const name = match(MISTRAL_NAME, text, place);
  const json = name === null ? null : readJson(text, name.end);
  if (name === null || json === null || !isFields(json.value)) return null;
  return { calls: [{ name: name.word, arguments: json.value }], end: json.end };
}

/** `call:name{key:<escape>text<escape>,count:3}`. */
function readGemmaCall(text: string, place: number): Found | null {
  const name = match(GEMMA_NAME, text, place);
  const found = name === null ? null : readGemma(text, name.end, 0);
  if (name === null || found === null || !isFields(found.value)) return null;
  return { calls: [{ name: name.word, arguments: found.value }], end: found.end };
}

interface Value {
  readonly value: unknown;
  readonly end: number;
}

/** A value as FunctionGemma writes it: text between marks, words, objects with plain keys, lists. */
function readGemma(text: string, place: number, depth: number): Value | null {
  if (depth > DEEPEST) return null;
  const start = skip(BLANK, text, place);
  if (text.startsWith(ESCAPE, start)) {
    const end = text.indexOf(ESCAPE, start + ESCAPE.length);
    return end < 0 ? null : { value: text.slice(start + ESCAPE.length, end), end: end + ESCAPE.length };
  }
  const opening = text[start];
  if (opening !== "{" && opening !== "[") {
    const word = match(GEMMA_WORD, text, start);
    return word === null || word.word === "" ? null : { value: asWord(word.word), end: word.end };
  }
  const closing = opening === "{" ? "}" : "]";
  const items: (readonly [string, unknown])[] = [];
  let next = skip(BLANK, text, start + 1);
  while (text[next] !== closing) {
    const key = opening === "{" ? match(GEMMA_KEY, text, next) : { word: "", end: next };
    const item = key === null ? null : readGemma(text, key.end, depth + 1);
    if (key === null || item === null) return null;
    items.push([key.word, item.value]);
    next = skip(BLANK, text, item.end);
    if (text[next] === ",") next = skip(BLANK, text, next + 1);
    else if (text[next] !== closing) return null;
  }
  return { value: opening === "{" ? Object.fromEntries(items) : items.map(([, item]) => item), end: next + 1 };
}

/** A word without marks: what JSON reads of it, else itself. */
function asWord(word: string): unknown {
  const json = parsed(word.replace(/[ \t\r\n]+$/, ""));
  return json === undefined ? word : json.value;
}

/** The calls that a value of JSON stands for, null where it stands for none. */
function asCalls(value: unknown): NamedCall[] | null {
  const items: readonly unknown[] = Array.isArray(value) ? value : [value];
  const calls: NamedCall[] = [];
  for (const item of items) {
    const call = isFields(item) && isFields(item.function) ? item.function : item;
    if (!isFields(call) || typeof call.name !== "string" || call.name === "") return null;
    const given = call.arguments ?? call.parameters ?? {};
    const known = typeof given === "string" ? parsed(given)?.value : given;
    if (!isFields(known)) return null;
    calls.push({ name: call.name, arguments: known });
  }
  return calls.length === 0 ? null : calls;
}

/** The object or list of JSON that begins at `place`. */
function readJson(text: string, place: number): Value | null {
  if (text[place] !== "{" && text[place] !== "[") return null;
  let depth = 0;
  const tokens = new RegExp(QUOTED_OR_BRACKET);
  tokens.lastIndex = place;
  for (let found = tokens.exec(text); found; found = tokens.exec(text)) {
    const [token] = found;
    if (token === "{" || token === "[") depth += 1;
    else if (token === "}" || token === "]") depth -= 1;
    if (depth > 0) continue;
    const end = tokens.lastIndex;
    const json = parsed(text.slice(place, end));
    return json === undefined ? null : { value: json.value, end };
  }
  return null;
}

function parsed(text: string): { readonly value: unknown } | undefined {
  try {
    return { value: parseJson(text, "a call", InputError, "") };
  } catch {
    return undefined;
  }
}

function skip(pattern: RegExp, text: string, place: number): number {
  return match(pattern, text, place)?.end ?? place;
}

/** The first group of `pattern` where it matches at `place`, and where it ends. */
function match(pattern: RegExp, text: string, place: number): { readonly word: string; readonly end: number } | null {
  const sticky = new RegExp(pattern);
  sticky.lastIndex = place;
  const found = sticky.exec(text);
  return found === null ? null : { word: found[1] ?? "", end: sticky.lastIndex };
}

function makeId(): string {
  const pick = () => ID_CHARACTERS[Math.floor(Math.random() * ID_CHARACTERS.length)] as string;
  return Array.from({ length: ID_LENGTH }, pick).join("");
}
