/**
 * JSON texts as forms: strings, numbers, lists and objects, and values that are given.
 *
 * Knows nothing about schemas as a whole.
 */

import { InputError } from "./errors.js";
import { chain, type Node, optional, repeat, text, word } from "./form-nodes.js";
import { wholeText } from "./form-regex.js";
import { isFields, show } from "./parse-json.js";

/** The fields of a JSON object. */
export type Fields = Readonly<Record<string, unknown>>;

const BLANK = optional(text(" "));
export const COMMA = word(chain(text(","), BLANK));
export const COLON = word(chain(text(":"), BLANK));
export const INTEGER = word(wholeText("-?(0|[1-9][0-9]*)"));
export const NUMBER = word(wholeText("-?(0|[1-9][0-9]*)(\\.[0-9]+)?([eE][+-]?[0-9]+)?"));
export const CHARACTER = wholeText(
  '[^"\\\\\\x01-\\x1f]|\\\\["\\\\/bfnrt]|\\\\u([0-9a-cefA-CEF][0-9a-fA-F]{3}|[dD][0-7][0-9a-fA-F]{2})' +
    "|\\\\u[dD][89abAB][0-9a-fA-F]{2}\\\\u[dD][c-fC-F][0-9a-fA-F]{2}",
);

/** `item` between brackets from `least` to `most` times, commas between. */
export function listed(opening: string, item: Node, least: number, most: number | null, closing: string): Node {
  let inside = chain();
  if (most !== 0) {
    const more = repeat(chain(COMMA, item), Math.max(0, least - 1), most === null ? null : most - 1);
    const filled = most === 1 ? item : chain(item, more);
    inside = least > 0 ? filled : optional(filled);
  }
  return chain(word(text(opening)), inside, word(text(closing)));
}

/** Just these items between brackets, commas between. */
export function bracket(opening: string, items: readonly Node[], closing: string): Node {
  const between = items.flatMap((item) => [COMMA, item]).slice(1);
  return chain(word(text(opening)), ...between, word(text(closing)));
}

export const quoted = (inside: Node): Node => word(chain(text('"'), inside, text('"')));
export const string = (least = 0, most: number | null = null): Node => quoted(repeat(CHARACTER, least, most));

export function stringWord(value: string, where: string): Node {
  if (/\p{Surrogate}/u.test(value)) throw wrong(where, `has ${show(value)}, which holds half of a character`);
  return word(text(JSON.stringify(value)));
}

/** Exactly this value, blanks between its parts or not. */
export function constant(value: unknown, where: string): Node {
  if (typeof value === "string") return stringWord(value, where);
  if (Array.isArray(value)) {
    return bracket(
      "[",
      value.map((item) => constant(item, where)),
      "]",
    );
  }
  if (isFields(value)) {
    checkOrder(value, where);
    const pairs = Object.entries(value).map(([key, item]) =>
      chain(stringWord(key, where), COLON, constant(item, where)),
    );
    return bracket("{", pairs, "}");
  }
  const size = typeof value === "number" ? Math.abs(value) : 0;
  if (size !== 0 && !(size >= 1e-4 && size < 1e15)) {
    throw wrong(where, `has ${show(value)}, expected numbers that are written alike everywhere: 1e-4 up to 1e15`);
  }
  return word(text(JSON.stringify(value)));
}

/** Fields are written in their order, which objects do not keep for names that are whole numbers. */
export function checkOrder(fields: Fields, where: string): void {
  const names = Object.keys(fields);
  const odd = names.length > 1 ? names.find((name) => /^(0|[1-9][0-9]*)$/.test(name)) : undefined;
  if (odd !== undefined) {
    throw wrong(where, `has ${show(odd)}, whose place among others is not kept everywhere; give another name`);
  }
}

export const wrong = (where: string, what: string): InputError => new InputError(`schema: ${where} ${what}`);
