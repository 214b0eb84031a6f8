/**
 * Texts in the tokens of a model that reads them once, with what the tokenizer puts around them.
 *
 * Knows nothing about graphs or labels.
 */

import { InputError } from "./errors.js";
import type { Codec } from "./text.js";

/** Tokens of a whole text: those that the tokenizer puts before and behind it, and its own. */
export class EncodedText {
  constructor(
    readonly before: readonly number[],
    readonly ids: readonly number[],
    readonly after: readonly number[],
  ) {}

  /** Some of the text's tokens between those that the tokenizer puts around. */
  cut(start: number, end: number): number[] {
    return [...this.before, ...this.ids.slice(start, end), ...this.after];
  }
}

/** Encode a text; a special token that stands in it is one of the text. */
export function encodeText(codec: Codec, text: string): EncodedText {
  const encode = (special: boolean) => codec.encode(text, { add_special_tokens: special }).ids as number[];
  const [whole, ids] = [encode(true), encode(false)];
  for (let start = 0; start + ids.length <= whole.length; start++) {
    if (ids.every((id, index) => id === whole[start + index])) {
      return new EncodedText(whole.slice(0, start), ids, whole.slice(start + ids.length));
    }
  }
  throw new InputError("the tokenizer changes this text when it adds special tokens; use outputs() with token ids");
}
