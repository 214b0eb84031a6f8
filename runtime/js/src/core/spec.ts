/**
 * The SPEC in which a call names its adapters, and the names that one can hold.
 *
 * Knows nothing about files or graphs.
 */

import { AdapterError } from "./errors.js";
import { show } from "./parse-json.js";

const NO_ADAPTER = "none";

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
const TERM = /^[^\s+:/\\]+$/; // a name that nobody has is told as such, with the nearest one
const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;
const LEAST_LIKENESS = 0.6;

/** One adapter of a SPEC; a SPEC of none is the base. */
export interface SpecTerm {
  readonly name: string;
  readonly weight: number;
}

/** `none`, `NAME`, `NAME:WEIGHT`, or several of these joined by `+`; throws AdapterError. */
export function parseSpec(text: string): SpecTerm[] {
  const advice = "expected none, NAME, NAME:WEIGHT or a blend such as a:0.7+b:0.3";
  if (typeof text !== "string") throw new AdapterError(`adapter SPEC is ${show(text)}; ${advice}`);
  if (text.trim() === NO_ADAPTER) return [];
  return text.split("+").map((term) => {
    const [name, weightText] = parted(term.trim());
    if (!TERM.test(name) || name === NO_ADAPTER) {
      throw new AdapterError(`adapter SPEC ${show(text)}: ${show(name)} is no adapter name in a blend; ${advice}`);
    }
    const weight = weightText === null ? 1 : NUMBER.test(weightText.trim()) ? Number(weightText) : Number.NaN;
    if (!Number.isFinite(weight)) {
      throw new AdapterError(`adapter SPEC ${show(text)}: weight ${show(weightText)} is not a number; ${advice}`);
    }
    return { name, weight };
  });
}

/** Whether `name` can be that of an adapter: in a SPEC, on a command line, as a folder everywhere. */
export function isAdapterName(name: string): boolean {
  return NAME.test(name) && name !== NO_ADAPTER;
}

/** Throw AdapterError for a name that a SPEC, a command line or a file system could not hold. */
export function checkName(name: string): void {
  if (typeof name !== "string" || !isAdapterName(name)) {
    throw new AdapterError(
      `adapter name ${show(name)} cannot be used; start with a letter or digit, go on with letters, digits, ` +
        `'.', '_' or '-', at most 64 of them, and leave ${show(NO_ADAPTER)} to the base`,
    );
  }
}

/** The name most like `name`, null where none is like it. */
export function closestName(name: string, known: readonly string[]): string | null {
  let best: string | null = null;
  let likeness = LEAST_LIKENESS;
  for (const candidate of known) {
    const found = (2 * commonLength(name, candidate)) / (name.length + candidate.length);
    if (found > likeness || (found === likeness && best === null)) [best, likeness] = [candidate, found];
  }
  return best;
}

function parted(term: string): [string, string | null] {
  const colon = term.indexOf(":");
  return colon < 0 ? [term, null] : [term.slice(0, colon), term.slice(colon + 1)];
}

/** Length of the longest sequence of characters that both have in this order. */
function commonLength(one: string, other: string): number {
  let above = new Array<number>(other.length + 1).fill(0);
  for (const character of one) {
    const row = [0];
    for (let index = 0; index < other.length; index++) {
      const isSame = other[index] === character;
      row.push(isSame ? (above[index] ?? 0) + 1 : Math.max(row[index] ?? 0, above[index + 1] ?? 0));
    }
    above = row;
  }
  return above[other.length] ?? 0;
}
