/**
 * Parse JSON that somebody else wrote: every reader of a file comes through here.
 *
 * Knows nothing about what the JSON means; `docs/format.md` ("What a reader refuses") says what is refused and why.
 */

import { hasControl, isControl } from "./names.js";

/** An error class whose message is one line. */
type ErrorKind = new (message: string) => Error;

const DEEPEST = 100;
const LONGEST = 64 * 1024 * 1024; // bytes
const SHOWN = 120; // characters of a value in a message
const ROOM = 320; // characters of a list in a message
const TOKEN = /"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*|[{}[\],:]/g;
const LONE_SURROGATE = /[\uD800-\uDFFF]/u; // with this flag only one that is half of no pair

/** What is wrong with a text that is no JSON, in a few words. */
class JsonError extends Error {}

/** The value of `content`; throws `kind` in one line: `where`, what is wrong with it, and `advice`. */
export function parseJson(
  content: Uint8Array | string,
  where: string,
  kind: ErrorKind,
  advice: string,
  limit: number = LONGEST,
): unknown {
  try {
    return readValue(content, limit);
  } catch (error) {
    throw new kind(`${where} is not JSON (${oneLine((error as Error).message)}); ${advice}`);
  }
}

/** A value as a message shows it: in one line, and cut where it is long. */
export function show(value: unknown): string {
  if (typeof value === "bigint" || typeof value === "number") return `${value}`;
  if (typeof value === "string" && value.length > SHOWN) return show(`${value.slice(0, SHOWN / 2)}…`);
  if (typeof value === "object" && value !== null) {
    const count = Array.isArray(value) ? value.length : Object.keys(value).length;
    if (count > 16) return `${Array.isArray(value) ? "a list" : "an object"} of ${count}`;
  }
  return oneLine(written(value), SHOWN);
}

/** As JSON where that can write it: no bigint, and nothing that holds itself. */
function written(value: unknown): string {
  try {
    return JSON.stringify(value) ?? String(value);
  } catch {
    return Array.isArray(value) ? `a list of ${value.length}` : Object.prototype.toString.call(value);
  }
}

/** Whether a value is an object of JSON. */
export function isFields(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** As many of `lines` as one line of an error has room for, and how many there are more. */
export function joinSome(lines: readonly string[], separator = "; "): string {
  const told: string[] = [];
  let room = ROOM;
  for (const line of lines) {
    if (told.length > 0 && line.length > room) break;
    told.push(line.length <= room ? line : `${line.slice(0, room)}…`);
    room -= line.length + separator.length;
  }
  const left = lines.length - told.length;
  return told.join(separator) + (left > 0 ? `${separator}and ${left} more` : "");
}

/** A text in one line of bearable length, without control characters. */
export function oneLine(text: string, longest = 250): string {
  if (text.length <= longest && !hasControl(text)) return text;
  const cut = text.length > longest ? `${text.slice(0, longest)}…` : text;
  return [...cut].map((character) => (isControl(character.charCodeAt(0)) ? "?" : character)).join("");
}

function readValue(content: Uint8Array | string, limit: number): unknown {
  if (content.length > limit) throw new JsonError(`longer than ${limit} bytes`);
  const text = typeof content === "string" ? content : decode(content);
  const value: unknown = JSON.parse(text);
  checkTokens(text);
  return value;
}

/** The text of UTF-8; throws where bytes are none. */
export function decode(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new JsonError("not UTF-8");
  }
}

/** What JSON.parse lets through: a key twice, numbers beyond float64, half of a surrogate pair, nesting without end. */
function checkTokens(text: string): void {
  const open: (Set<string> | null)[] = []; // the keys of an object, null for a list
  let isKey = false;
  const tokens = new RegExp(TOKEN); // with a place of its own: Hermes has no matchAll
  for (let found = tokens.exec(text); found; found = tokens.exec(text)) {
    const token = found[0];
    const first = token[0] as string;
    if (first === '"') {
      const value = token.includes("\\") ? (JSON.parse(token) as string) : token.slice(1, -1);
      if (LONE_SURROGATE.test(value)) throw new JsonError("half of a surrogate pair, which is no character");
      const keys = open[open.length - 1];
      if (isKey && keys) {
        if (keys.has(value)) throw new JsonError(`the key ${show(value)} stands twice in one object`);
        keys.add(value);
        isKey = false;
      }
    } else if (first === "{" || first === "[") {
      open.push(first === "{" ? new Set() : null);
      if (open.length > DEEPEST) throw new JsonError(`nested more than ${DEEPEST} deep`);
      isKey = first === "{";
    } else if (first === "}" || first === "]") {
      open.pop();
      isKey = false;
    } else if (first === ",") {
      isKey = open[open.length - 1] !== null;
    } else if (first !== ":" && !Number.isFinite(Number(token))) {
      throw new JsonError(`the number ${show(token)} is beyond float64`);
    }
  }
}
