/**
 * Where a text stands in a form: the places that it may have come to, followed byte by byte and remembered.
 *
 * Knows nothing about tokens. A place is a state of the automaton and what is to be gone on from when its part is done.
 */

import type { State } from "./form-automaton.js";

/** Calls that are open around a state, as a number: none, or whatever there is around a part that is looked at alone. */
const NONE = 0;
const WHATEVER = 1;
const MOST_KEPT = 20_000; // sets of places; they hold 256 ways on each

/** All places that a text may have come to. */
export interface Places {
  /** The states and the calls around them, of those that some byte leads on from. */
  readonly states: readonly number[];
  readonly around: readonly number[];
  /** Whether the text may end here. */
  readonly isWhole: boolean;
  /** Whether a part that was looked at alone may be done here. */
  readonly isDone: boolean;
  /** Where each byte leads; null where the form has no place for it, undefined where nobody asked. */
  readonly next: (Places | null | undefined)[];
}

/** Follows texts through an automaton. */
export class Follower {
  readonly #states: readonly State[];
  readonly #known = new Map<string, Places>();
  readonly #calls = new Map<number, number>(); // by what is around them and where they go on
  readonly #behind: number[] = [-1, -1];
  readonly #outer: number[] = [NONE, WHATEVER];
  readonly start: Places;

  constructor(states: readonly State[]) {
    this.#states = states;
    this.start = this.#gather([0], [NONE]) as Places;
  }

  /** Where `byte` leads from `places`. */
  step(places: Places, byte: number): Places | null {
    const known = places.next[byte];
    if (known !== undefined) return known;
    const [states, around]: [number[], number[]] = [[], []];
    places.states.forEach((state, index) => {
      for (const [first, last, behind] of this.#at(state).bytes) {
        if (byte < first || byte > last) continue;
        states.push(behind);
        around.push(places.around[index] as number);
      }
    });
    const found = states.length === 0 ? null : this.#gather(states, around);
    places.next[byte] = found;
    return found;
  }

  /** The same places without what is around the part that all of them stand in; null where that is not one part. */
  alone(places: Places): Places | null {
    const [around] = places.around;
    if (around === undefined || around === NONE || places.around.some((other) => other !== around)) return null;
    return this.#gather(
      places.states,
      places.states.map(() => WHATEVER),
    );
  }

  #gather(states: readonly number[], around: readonly number[]): Places | null {
    const size = this.#states.length;
    const seen = new Set<number>();
    const open: number[] = [];
    const reach = (state: number, calls: number) => {
      const place = calls * size + state;
      if (seen.has(place)) return;
      seen.add(place);
      open.push(place);
    };
    states.forEach((state, index) => {
      reach(state, around[index] as number);
    });
    let [isWhole, isDone] = [false, false];
    for (let place = open.pop(); place !== undefined; place = open.pop()) {
      const [number, calls] = [place % size, Math.floor(place / size)];
      const state = this.#at(number);
      for (const other of state.empty) reach(other, calls);
      for (const [start, behind] of state.calls) reach(start, this.#call(calls, behind));
      if (!state.isFinal) continue;
      if (calls === NONE) isWhole = true;
      else if (calls === WHATEVER) isDone = true;
      else reach(this.#behind[calls] as number, this.#outer[calls] as number);
    }
    const places = [...seen]
      .filter((place) => this.#at(place % size).bytes.length > 0)
      .sort((one, other) => one - other);
    if (places.length === 0 && !isWhole && !isDone) return null;
    const key = `${isWhole} ${isDone} ${places.join(" ")}`;
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    if (this.#known.size >= MOST_KEPT) this.#known.clear(); // those in use stay with whoever follows them
    const found: Places = {
      states: places.map((place) => place % size),
      around: places.map((place) => Math.floor(place / size)),
      isWhole,
      isDone,
      next: new Array(256),
    };
    this.#known.set(key, found);
    return found;
  }

  #call(calls: number, behind: number): number {
    const { isFinal, bytes, empty, calls: further } = this.#at(behind);
    if (isFinal && bytes.length + empty.length + further.length === 0) return calls; // nothing is left to do behind it
    const key = calls * this.#states.length + behind;
    let call = this.#calls.get(key);
    if (call === undefined) {
      call = this.#behind.push(behind) - 1;
      this.#outer.push(calls);
      this.#calls.set(key, call);
    }
    return call;
  }

  #at(state: number): State {
    return this.#states[state] as State;
  }
}
