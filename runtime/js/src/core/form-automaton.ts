/**
 * The automaton of a form: states with edges over bytes of UTF-8, and calls of the parts that stand in many places.
 *
 * Knows nothing about tokens: rules go in, states come out. Texts are those that lead from `start` to a final state.
 */

import { InputError } from "./errors.js";
import type { Node, Ranges, Rules } from "./form-nodes.js";

const MOST_STATES = 200_000;
const LAST_OF_LENGTH = [0x7f, 0x7ff, 0xffff]; // code points in one, two and three bytes

/** What leads on from a state. */
export interface State {
  /** Each first and last byte, and the state behind. */
  readonly bytes: (readonly [number, number, number])[];
  /** States reached without a byte. */
  readonly empty: number[];
  /** The start of a part, and the state to go on from when it is done. */
  readonly calls: (readonly [number, number])[];
  /** Whether the part ends here. */
  isFinal: boolean;
}

/** States by number; the form begins in the first. */
export function buildAutomaton(rules: Rules): readonly State[] {
  return new Builder(rules).build();
}

class Builder {
  readonly #rules: Rules;
  readonly #states: State[] = [];
  readonly #parts = new Map<string, number>(); // starts of rules by name, of words by what they are
  readonly #waiting: (readonly [Node, number])[] = [];

  constructor(rules: Rules) {
    this.#rules = rules;
  }

  build(): readonly State[] {
    const [first] = this.#rules;
    if (first !== undefined) this.#part(first[0], first[1]);
    for (let next = this.#waiting.pop(); next !== undefined; next = this.#waiting.pop()) {
      const [node, start] = next;
      this.#at(this.#add(node, start)).isFinal = true;
    }
    return this.#states;
  }

  /** The start of a part that is built once and called from wherever it stands. */
  #part(key: string, node: Node): number {
    const known = this.#parts.get(key);
    if (known !== undefined) return known;
    const start = this.#state();
    this.#parts.set(key, start);
    this.#waiting.push([node, start]);
    return start;
  }

  /** Add `node` behind the state `from`, to which nothing that is added leads back; the state behind it. */
  #add(node: Node, from: number): number {
    switch (node.kind) {
      case "letters":
        return this.#addLetters(node.ranges, from);
      case "chain":
        return node.items.reduce((state, item) => this.#add(item, state), from);
      case "choice": {
        const end = this.#state();
        for (const item of node.items) this.#at(this.#add(item, from)).empty.push(end);
        return end;
      }
      case "repeat":
        return this.#addRepeat(node.item, node.least, node.most, from);
      case "word":
        return isShort(node.item) ? this.#add(node.item, from) : this.#call(JSON.stringify(node), node.item, from);
      case "rule":
        return this.#call(node.name, this.#rules.get(node.name) as Node, from);
    }
  }

  #call(key: string, node: Node, from: number): number {
    const behind = this.#state();
    this.#at(from).calls.push([this.#part(key, node), behind]);
    return behind;
  }

  #addRepeat(item: Node, least: number, most: number | null, from: number): number {
    let state = from;
    for (let count = 0; count < least; count++) state = this.#add(item, state);
    const end = this.#state();
    if (most === null) {
      this.#at(state).empty.push(end);
      const loop = this.#state();
      this.#at(end).empty.push(loop);
      this.#at(this.#add(item, loop)).empty.push(end);
      return end;
    }
    for (let count = least; count < most; count++) {
      this.#at(state).empty.push(end);
      state = this.#add(item, state);
    }
    this.#at(state).empty.push(end);
    return end;
  }

  #addLetters(ranges: Ranges, from: number): number {
    const end = this.#state();
    for (const sequence of ranges.flatMap(([first, last]) => byteSequences(first, last))) {
      let state = from;
      sequence.forEach(([first, last], index) => {
        const behind = index === sequence.length - 1 ? end : this.#state();
        this.#at(state).bytes.push([first, last, behind]);
        state = behind;
      });
    }
    return end;
  }

  #state(): number {
    if (this.#states.length >= MOST_STATES)
      throw new InputError("this form is too large to be held; give a smaller one");
    return this.#states.push({ bytes: [], empty: [], calls: [], isFinal: false }) - 1;
  }

  #at(state: number): State {
    return this.#states[state] as State;
  }
}

/** Whether a word is a fixed text or nearly, which costs less where it stands than to call it. */
function isShort(node: Node): boolean {
  if (node.kind === "chain") return node.items.every(isShort);
  return node.kind === "letters" || (node.kind === "repeat" && node.most === 1 && isShort(node.item));
}

/** The code points from `first` to `last` as ranges of each byte of their UTF-8. */
function byteSequences(first: number, last: number): Ranges[] {
  for (const end of LAST_OF_LENGTH) {
    if (first <= end && last > end) return [...byteSequences(first, end), ...byteSequences(end + 1, last)];
  }
  for (let bits = 6; bits <= 18 && last > 0x7f; bits += 6) {
    const low = (1 << bits) - 1;
    if (first >> bits === last >> bits) continue;
    if ((first & low) !== 0) return [...byteSequences(first, first | low), ...byteSequences((first | low) + 1, last)];
    if ((last & low) !== low) {
      const start = last - (last & low);
      return [...byteSequences(first, start - 1), ...byteSequences(start, last)];
    }
  }
  const encoder = new TextEncoder();
  const ends = encoder.encode(String.fromCodePoint(last));
  return [[...encoder.encode(String.fromCodePoint(first))].map((start, index) => [start, ends[index] as number])];
}
