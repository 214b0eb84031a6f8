/**
 * Keeps an answer in its form: takes away the logits of all tokens that the form has no place for.
 *
 * Knows nothing about sessions: a form and token bytes go in, a `processLogits` comes out.
 */

import { InputError } from "./errors.js";
import { buildAutomaton } from "./form-automaton.js";
import { chain, type Node, optional, type Rules, text, word } from "./form-nodes.js";
import { Follower, type Places } from "./form-places.js";
import { RegexError, wholeText } from "./form-regex.js";
import { readSchema } from "./form-schema.js";
import { type Shared, TokenTree } from "./form-tokens.js";
import { oneLine, show } from "./parse-json.js";

const KEPT_FORMS = 16;
const KEPT_MASKS = 512; // of a form

/** The rules of a form: of a schema where there is one, else of a regular expression. Throws InputError naming what is not read. */
export function readForm(schema: unknown, regex: unknown): Rules {
  if (schema !== null) return readSchema(schema);
  if (regex instanceof RegExp) {
    throw new InputError(`regex is ${oneLine(String(regex))}, a RegExp; give its text, which is its \`source\``);
  }
  if (typeof regex !== "string" || regex === "") {
    throw new InputError(`regex is ${show(regex)}, expected a regular expression that is not empty`);
  }
  try {
    return new Map([["start", word(wholeText(regex))]]);
  } catch (error) {
    if (error instanceof RegexError) throw new InputError(`regex ${show(regex)} ${error.message}`);
    throw error;
  }
}

/** A form with the masks that were needed so far. */
export interface Held {
  readonly follower: Follower;
  readonly masks: Map<Places, Uint32Array>;
  readonly shared: Map<Places, Shared>;
}

/** The tokens of a model as forms need them; made once, used by every form. */
export class Vocabulary {
  readonly #tokens: ReadonlyMap<number, Uint8Array>;
  readonly #dropsBlank: boolean;
  readonly #held = new Map<string, Held>();
  readonly tree: TokenTree;
  readonly size: number;
  readonly endIds: readonly number[];

  /** `dropsBlank` is whether a blank in front of a whole text is not shown. */
  constructor(tokens: ReadonlyMap<number, Uint8Array>, size: number, endIds: readonly number[], dropsBlank: boolean) {
    this.#tokens = new Map([...tokens].filter(([id]) => id < size && !endIds.includes(id)));
    this.#dropsBlank = dropsBlank;
    this.tree = new TokenTree(this.#tokens, size);
    this.size = size;
    this.endIds = endIds;
  }

  /** A form, with the masks that earlier answers needed. */
  hold(rules: Rules): Held {
    const key = JSON.stringify([...rules]);
    let held = this.#held.get(key);
    if (held === undefined) {
      const [[name, first], ...others] = [...rules] as [[string, Node]];
      const isDropped = this.#dropsBlank && first.kind === "word";
      const whole = isDropped ? word(chain(optional(text(" ")), first.item)) : first;
      const follower = new Follower(buildAutomaton(new Map([[name, whole], ...others])));
      held = { follower, masks: new Map(), shared: new Map() };
      this.#held.set(key, held);
      const [oldest] = this.#held.keys();
      if (this.#held.size > KEPT_FORMS && oldest !== undefined) this.#held.delete(oldest);
    }
    return held;
  }

  /** The bytes of a token. */
  bytes(id: number): Uint8Array {
    return this.#tokens.get(id) ?? new Uint8Array();
  }
}

/** The form of one answer and how far it came. */
export class FormMask {
  readonly #held: Held;
  readonly #vocabulary: Vocabulary;
  #places: Places;
  #seen = -1;

  constructor(held: Held, vocabulary: Vocabulary) {
    this.#held = held;
    this.#vocabulary = vocabulary;
    this.#places = held.follower.start;
  }

  /** Take away what the form has no place for. True where the answer is whole and nothing may follow. */
  process(tokenIds: readonly number[], logits: Float32Array): boolean {
    for (let index = this.#seen; index >= 0 && index < tokenIds.length; index++) {
      this.#follow(tokenIds[index] as number);
    }
    this.#seen = tokenIds.length;
    const { endIds, size } = this.#vocabulary;
    const { isWhole } = this.#places;
    const bits = this.#mask();
    const isOpen = bits.some((word) => word !== 0);
    if (!isOpen && isWhole) return true;
    if (!isOpen) throw new InputError("no token of this vocabulary goes on in the form; give another form");
    const ends = isWhole ? endIds.map((id) => [id, logits[id] as number] as const) : [];
    for (let start = 0; start < size; start += 32) {
      const word = bits[start >> 5] as number;
      const end = Math.min(start + 32, size);
      if (word === 0) logits.fill(Number.NEGATIVE_INFINITY, start, end);
      else if (word !== 0xffffffff) {
        for (let id = start; id < end; id++) {
          if (((word >>> (id & 31)) & 1) === 0) logits[id] = Number.NEGATIVE_INFINITY;
        }
      }
    }
    for (const [id, value] of ends) logits[id] = value;
    return false;
  }

  #follow(id: number): void {
    for (const byte of this.#vocabulary.bytes(id)) {
      const next = this.#held.follower.step(this.#places, byte);
      if (next === null)
        throw new InputError(`token ${id} has no place in the form; leave processLogits out, or the form`);
      this.#places = next;
    }
  }

  #mask(): Uint32Array {
    const { follower, masks, shared } = this.#held;
    let bits = masks.get(this.#places);
    if (bits === undefined) {
      bits = this.#vocabulary.tree.allowed(follower, this.#places, shared);
      if (masks.size >= KEPT_MASKS) masks.clear();
      if (shared.size >= KEPT_MASKS) shared.clear();
      masks.set(this.#places, bits);
    }
    return bits;
  }
}
