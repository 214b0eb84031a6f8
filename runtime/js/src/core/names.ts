/**
 * Names in a manifest that become paths, hashes or words of a SPEC, and what makes one unsafe.
 *
 * Knows nothing about which names a manifest has; `docs/format.md` ("What a reader refuses") is the rule in words.
 */

/** What every template gets, beside which variables are set. */
export const GIVEN_VARIABLES: readonly string[] = [
  "messages",
  "tools",
  "documents",
  "add_generation_prompt",
  "raise_exception",
  "strftime_now",
];

const VARIABLE = /^[A-Za-z_][A-Za-z0-9_]*$/;
const HASH = /^[0-9a-f]{64}$/;
const LONGEST_PATH = 1024; // bytes of UTF-8, what every file system of a device takes
const LONGEST_PART = 255;

/** Whether the character `code` is a control character or breaks a line. */
export function isControl(code: number): boolean {
  return code < 0x20 || (code >= 0x7f && code <= 0x9f) || code === 0x2028 || code === 0x2029;
}

/** Whether `text` holds a control character or a line break, which no name has. */
export function hasControl(text: string): boolean {
  for (let index = 0; index < text.length; index++) if (isControl(text.charCodeAt(index))) return true;
  return false;
}

/** Whether `text` is a SHA-256: 64 lower-case hexadecimal digits. */
export function isHash(text: string): boolean {
  return HASH.test(text);
}

/** The file of factors that adapters share, beside their folders: a name too long for that of an adapter. */
export function sharedPath(sha256: string): string {
  return `adapters/${sha256}.safetensors`;
}

/** Whether `name` can be that of a variable for the chat template: a word that no template gets anyway. */
export function isVariable(name: string): boolean {
  return VARIABLE.test(name) && !GIVEN_VARIABLES.includes(name);
}

/** A name of a file as part of an address: each part encoded, so that `#`, `?` and `%` are characters like others. */
export function inAddress(name: string): string {
  return name.split("/").map(encodeURIComponent).join("/");
}

/** Why `name` is no safe relative path with "/" between its parts; null where it is one. */
export function findUnsafe(name: string): string | null {
  const parts = name.split("/");
  if (name.startsWith("/") || name.includes("\\") || name.includes(":") || parts.includes("..")) {
    return "leaves the artifact"; // ":" begins the path of another drive, or a stream beside the file
  }
  if (parts.includes("") || parts.includes(".")) return 'has an empty part or "."';
  if (hasControl(name)) return "holds a control character";
  // A unit of UTF-16 takes three bytes at most: the names that there are need no counting.
  if (3 * name.length <= LONGEST_PART) return null;
  if (countBytes(name) > LONGEST_PATH || parts.some((part) => countBytes(part) > LONGEST_PART)) {
    return `is longer than ${LONGEST_PATH} bytes, or a part of it than ${LONGEST_PART}`;
  }
  return null;
}

/** Bytes of a text as UTF-8; not every engine that runs this has a TextEncoder. */
function countBytes(text: string): number {
  let count = 0;
  for (const character of text) {
    const point = character.codePointAt(0) as number;
    count += point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
  }
  return count;
}
