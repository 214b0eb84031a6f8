/**
 * Which tokens of a vocabulary a form has a place for: all of them followed at once, beginnings shared.
 *
 * Knows nothing about logits: places in a form go in, a bit for each token comes out.
 */

import type { Follower, Places } from "./form-places.js";

/** Tokens by the bytes that they share in front: nodes in the order of a walk, each with all that begin like it behind. */
export class TokenTree {
  readonly #byte: Uint8Array;
  readonly #depth: Uint16Array;
  /** The node after the last one that begins like it. */
  readonly #after: Int32Array;
  /** Where the tokens of a node begin in `#ids`; those of the next begin where they end. */
  readonly #first: Int32Array;
  readonly #ids: Int32Array;
  readonly #size: number;

  constructor(tokens: ReadonlyMap<number, Uint8Array>, size: number) {
    const sorted = [...tokens].sort((one, other) => compare(one[1], other[1]) || one[0] - other[0]);
    const [bytes, depths, firsts]: [number[], number[], number[]] = [[], [], []];
    let before = new Uint8Array();
    sorted.forEach(([, content], index) => {
      let shared = 0;
      while (shared < content.length && shared < before.length && content[shared] === before[shared]) shared++;
      for (let depth = shared; depth < content.length; depth++) {
        bytes.push(content[depth] as number);
        depths.push(depth);
        firsts.push(index); // until a token ends there: an inner node has none of its own
      }
      before = content as Uint8Array<ArrayBuffer>;
    });
    this.#byte = Uint8Array.from(bytes);
    this.#depth = Uint16Array.from(depths);
    this.#ids = Int32Array.from(sorted, ([id]) => id);
    this.#size = size;
    this.#first = Int32Array.from([...firsts, sorted.length]);
    this.#after = new Int32Array(bytes.length);
    const open: number[] = [];
    for (let node = 0; node <= bytes.length; node++) {
      const depth = depths[node] ?? 0;
      while (open.length > depth) this.#after[open.pop() as number] = node;
      open.push(node);
    }
  }

  /** A bit for each token that may follow at `places`. */
  allowed(follower: Follower, places: Places, alone: Map<Places, Shared>): Uint32Array {
    const part = follower.alone(places);
    if (part === null) {
      const bits = new Uint32Array((this.#size + 31) >> 5);
      this.#walk(follower, places, 0, this.#byte.length, bits, null);
      return bits;
    }
    let shared = alone.get(part);
    if (shared === undefined) {
      shared = { bits: new Uint32Array((this.#size + 31) >> 5), open: [] };
      this.#walk(follower, part, 0, this.#byte.length, shared.bits, shared.open);
      alone.set(part, shared);
    }
    const bits = shared.bits.slice();
    for (const node of shared.open) {
      const before = this.#path(node).reduce<Places | null>((at, byte) => at && follower.step(at, byte), places);
      if (before !== null) this.#walk(follower, before, node, this.#after[node] as number, bits, null);
    }
    return bits;
  }

  /** Follow the nodes from `start` to `end`, which lie one in another; those that leave the part go into `open`. */
  #walk(follower: Follower, from: Places, start: number, end: number, bits: Uint32Array, open: number[] | null): void {
    const base = this.#depth[start] ?? 0;
    const path: Places[] = [from];
    for (let node = start; node < end; ) {
      const level = (this.#depth[node] as number) - base;
      const at = path[level] as Places;
      const byte = this.#byte[node] as number;
      const next = at.next[byte] === undefined ? follower.step(at, byte) : (at.next[byte] as Places | null);
      if (next === null) {
        node = this.#after[node] as number;
        continue;
      }
      if (open !== null && next.isDone) {
        open.push(node);
        node = this.#after[node] as number;
        continue;
      }
      path[level + 1] = next;
      const last = this.#first[node + 1] as number;
      for (let token = this.#first[node] as number; token < last; token++) {
        const id = this.#ids[token] as number;
        bits[id >> 5] = (bits[id >> 5] as number) | (1 << (id & 31));
      }
      node += 1;
    }
  }

  /** The bytes in front of a node's own. */
  #path(node: number): number[] {
    const bytes: number[] = [];
    let depth = this.#depth[node] as number;
    for (let before = node - 1; depth > 0; before--) {
      if ((this.#depth[before] as number) !== depth - 1) continue;
      bytes.push(this.#byte[before] as number);
      depth -= 1;
    }
    return bytes.reverse();
  }
}

/** What is the same wherever a part stands: tokens that stay within it, and nodes of those that may go on behind it. */
export interface Shared {
  readonly bits: Uint32Array;
  readonly open: number[];
}

function compare(one: Uint8Array, other: Uint8Array): number {
  const length = Math.min(one.length, other.length);
  for (let index = 0; index < length; index++) {
    if (one[index] !== other[index]) return (one[index] as number) - (other[index] as number);
  }
  return one.length - other.length;
}
