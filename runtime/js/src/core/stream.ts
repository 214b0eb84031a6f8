/**
 * Text as it is made: one token at a time into whole characters, and an end at stop strings.
 *
 * Knows nothing about how tokens are chosen; `text.ts` decodes them.
 */

import type { Tokenizer } from "./text.js";

const REPLACEMENT = "\ufffd"; // what a decoder writes for bytes that are no complete UTF-8 character

/** Turns one token at a time into text; what is not yet a whole UTF-8 character waits for the next token. */
export class StreamDecoder {
  readonly #tokenizer: Tokenizer;
  readonly #ids: number[] = [];
  #start = 0; // decoding from here on keeps the cost of a step independent of the length so far
  #shown = 0; // ids whose text was handed out

  constructor(tokenizer: Tokenizer) {
    this.#tokenizer = tokenizer;
  }

  /** The text that `token` completes, possibly empty. */
  push(token: number): string {
    this.#ids.push(token);
    return this.#take(false);
  }

  /** What waits at the end; an incomplete character becomes U+FFFD. */
  flush(): string {
    return this.#take(true);
  }

  #take(isLast: boolean): string {
    // Decoders may drop a leading blank, so the tokens shown last are decoded again in front of the new ones.
    const before = this.#tokenizer.decode(this.#ids.slice(this.#start, this.#shown));
    const after = this.#tokenizer.decode(this.#ids.slice(this.#start));
    if (after.length <= before.length || (after.endsWith(REPLACEMENT) && !isLast)) return "";
    this.#start = this.#shown;
    this.#shown = this.#ids.length;
    return after.slice(before.length);
  }
}

/** Passes text through until a stop string appears; no character of one is ever let out. */
export class StopFilter {
  readonly #stops: readonly string[];
  #held = "";
  isStopped = false;

  constructor(stops: readonly string[]) {
    this.#stops = stops;
  }

  /** What can be shown now. After a stop string `isStopped` is set and nothing more comes. */
  push(text: string): string {
    if (this.isStopped) return "";
    this.#held += text;
    const found = this.#stops.map((stop) => this.#held.indexOf(stop)).filter((position) => position >= 0);
    this.isStopped = found.length > 0;
    const held = this.isStopped ? "" : this.#longestOverlap();
    const shown = this.isStopped
      ? this.#held.slice(0, Math.min(...found))
      : this.#held.slice(0, -held.length || undefined);
    this.#held = held;
    return shown;
  }

  /** What was held back and turned out to be no stop string. */
  flush(): string {
    const shown = this.#held;
    this.#held = "";
    return shown;
  }

  /** The longest end of the held text that begins a stop string. */
  #longestOverlap(): string {
    let longest = 0;
    for (const stop of this.#stops) {
      let length = Math.min(this.#held.length, stop.length - 1);
      while (length > longest && !this.#held.endsWith(stop.slice(0, length))) length -= 1;
      longest = Math.max(longest, length);
    }
    return this.#held.slice(this.#held.length - longest);
  }
}
