/**
 * Regular expressions in the part that every runtime reads alike, as forms.
 *
 * Knows nothing about schemas or tokens. `docs/format.md` ("Forms") names the part; the rest is refused by name.
 */

import {
  chain,
  choice,
  codeOf,
  LARGEST,
  type Letters,
  letters,
  lettersOf,
  type Node,
  overlap,
  type Ranges,
  repeat,
  text,
} from "./form-nodes.js";
import { show } from "./parse-json.js";

/** The largest number of a repetition with an end: the libraries write each time out. */
export const MOST = 1000;
const LONGEST = 8192;
const DEEPEST = 32;
const CLASSES: ReadonlyMap<string, Ranges> = new Map([
  ["d", [[48, 57]]],
  [
    "w",
    [
      [48, 57],
      [65, 90],
      [95, 95],
      [97, 122],
    ],
  ],
  [
    "s",
    [
      [9, 13],
      [32, 32],
    ],
  ],
] as readonly (readonly [string, Ranges])[]);
const CONTROLS: ReadonlyMap<string, number> = new Map([
  ["n", 10],
  ["r", 13],
  ["t", 9],
  ["f", 12],
  ["v", 11],
]);
const META = new Set("\\^$.|?*+()[]{}");
const LINE_ENDS: Ranges = [
  [10, 10],
  [13, 13],
];

/** What a regular expression has that is not read, or wrong; a sentence without its subject. */
export class RegexError extends Error {}

/** One branch of the outermost choice, and whether it is held to the start and the end of the text. */
export interface Alternative {
  readonly node: Node;
  readonly isStart: boolean;
  readonly isEnd: boolean;
}

/** The branches of `pattern`; throws RegexError naming what is outside of the part that is read. */
export function parseRegex(pattern: string): readonly Alternative[] {
  const characters = [...pattern];
  if (characters.length > LONGEST)
    throw new RegexError(`has ${characters.length} characters, at most ${LONGEST} are read`);
  return new Parser(characters).parse();
}

/** A text that `pattern` matches from its start to its end. */
export function wholeText(pattern: string): Node {
  return choice(parseRegex(pattern).map((branch) => branch.node));
}

class Parser {
  readonly #pattern: readonly string[];
  #place = 0;
  #depth = 0;

  constructor(pattern: readonly string[]) {
    this.#pattern = pattern;
  }

  parse(): Alternative[] {
    const branches = [this.#outerBranch()];
    while (this.#take("|")) branches.push(this.#outerBranch());
    if (this.#place < this.#pattern.length) {
      throw new RegexError(`has ${show(this.#peek())} at ${this.#place} without its opening`);
    }
    return branches;
  }

  #outerBranch(): Alternative {
    const isStart = this.#take("^");
    const node = this.#branch();
    return { node, isStart, isEnd: this.#take("$") };
  }

  #branch(): Node {
    const items: Node[] = [];
    let next = this.#peek();
    for (; next !== "" && next !== "|" && next !== ")" && next !== "$"; next = this.#peek()) {
      if (next === "^") throw new RegexError(`has ^ at ${this.#place}, which is read at the start alone`);
      items.push(this.#quantified());
    }
    const after = this.#peek(1);
    if (next === "$" && (this.#depth > 0 || (after !== "" && after !== "|"))) {
      throw new RegexError(`has $ at ${this.#place}, which is read at the end alone`);
    }
    return items.length === 1 ? (items[0] as Node) : chain(...items);
  }

  #quantified(): Node {
    let item = this.#atom();
    for (let found = this.#quantifier(); found !== null; found = this.#quantifier()) {
      this.#take("?"); // a lazy repetition matches the same texts
      if (item.kind !== "chain" || item.items.length > 0) item = found[1] === 0 ? chain() : repeat(item, ...found);
    }
    return item;
  }

  #quantifier(): readonly [number, number | null] | null {
    if (this.#take("*")) return [0, null];
    if (this.#take("+")) return [1, null];
    if (this.#take("?")) return [0, 1];
    if (!this.#take("{")) return null;
    const start = this.#place;
    const end = this.#pattern.indexOf("}", start);
    const written = end < 0 ? "" : this.#pattern.slice(start, end).join("");
    const parts = /^([0-9]+)(,?)([0-9]*)$/.exec(written);
    if (parts === null || (parts[2] === "" && parts[3] !== "")) {
      throw new RegexError(`has { at ${start - 1} that is no {m}, {m,} or {m,n}; write \\{ for the sign`);
    }
    this.#place = end + 1;
    const least = Number(parts[1]);
    const open = parts[3] === "" ? null : Number(parts[3]);
    const most = parts[2] === "" ? least : open;
    if (Math.max(least, most ?? 0) > MOST || (most !== null && most < least)) {
      throw new RegexError(`repeats {${written}}, expected rising numbers up to ${MOST}`);
    }
    return [least, most];
  }

  #atom(): Node {
    const start = this.#place;
    const next = this.#peek();
    this.#place += 1;
    if (next === "(") return this.#group(start);
    if (next === "[") return this.#set(start);
    if (next === ".") return letters(LINE_ENDS, true);
    if (next === "\\") return letters(...this.#escape(start));
    if (META.has(next)) {
      throw new RegexError(
        `has ${show(next)} at ${start}, which stands for nothing there; write \\${next} for the sign`,
      );
    }
    const node = letters([[codeOf(next), codeOf(next)]]);
    if (node.ranges.length === 0) throw new RegexError(`has ${show(next)} at ${start}, which no text holds`);
    return node;
  }

  #group(start: number): Node {
    if (this.#take("?") && !this.#take(":")) {
      const written = this.#pattern.slice(start, start + 4).join("");
      throw new RegexError(`has ${show(written)} at ${start}; groups are ( ) or (?: ) alone`);
    }
    this.#depth += 1;
    if (this.#depth > DEEPEST) throw new RegexError(`has groups ${this.#depth} deep, at most ${DEEPEST} are read`);
    const branches = [this.#branch()];
    while (this.#take("|")) branches.push(this.#branch());
    if (!this.#take(")")) throw new RegexError(`has ( at ${start} without its )`);
    this.#depth -= 1;
    return choice(branches);
  }

  #set(start: number): Node {
    const isOutside = this.#take("^");
    const ranges: (readonly [number, number])[] = [];
    while (this.#peek() !== "]") {
      let first = this.#setItem(start);
      if (isSingle(first) && this.#peek() === "-" && this.#peek(1) !== "]") {
        this.#place += 1;
        const last = this.#setItem(start);
        if (!isSingle(last) || last[0][0] < first[0][0]) {
          throw new RegexError(`has a range in [ at ${start} that does not rise from letter to letter`);
        }
        first = [[first[0][0], last[0][0]]];
      }
      ranges.push(...first);
    }
    this.#place += 1;
    const node = letters(ranges, isOutside);
    if (node.ranges.length === 0) throw new RegexError(`has [ at ${start} that no character fits`);
    return node;
  }

  #setItem(start: number): Ranges {
    const place = this.#place;
    const next = this.#peek();
    if (next === "") throw new RegexError(`has [ at ${start} without its ]`);
    this.#place += 1;
    if (next === "[") throw new RegexError(`has [ in [ at ${start}; write \\[ for the sign`);
    if (next !== "\\") return [[codeOf(next), codeOf(next)]];
    const [ranges, isOutside] = this.#escape(place);
    return isOutside ? letters(ranges, true).ranges : ranges;
  }

  /** The characters of what follows a backslash, and whether all others are meant. */
  #escape(start: number): readonly [Ranges, boolean] {
    const next = this.#peek();
    this.#place += 1;
    const known = CLASSES.get(next.toLowerCase());
    if (known !== undefined) return [known, next !== next.toLowerCase()];
    let code = CONTROLS.get(next) ?? -1;
    if (next === "x" || next === "u") {
      const digits = this.#pattern.slice(this.#place, this.#place + (next === "x" ? 2 : 4)).join("");
      this.#place += digits.length;
      if (digits.length === (next === "x" ? 2 : 4) && /^[0-9a-fA-F]+$/.test(digits)) code = Number.parseInt(digits, 16);
    } else if (/^[!-/:-@[-`{-~ ]$/.test(next)) {
      code = codeOf(next);
    }
    if (code < 0 || letters([[code, code]]).ranges.length === 0) {
      throw new RegexError(
        `has ${show(this.#pattern.slice(start, start + 2).join(""))} at ${start}, which is not read`,
      );
    }
    return [[[code, code]], false];
  }

  #peek(ahead = 0): string {
    return this.#pattern[this.#place + ahead] ?? "";
  }

  #take(letter: string): boolean {
    const isThere = this.#peek() === letter;
    if (isThere) this.#place += 1;
    return isThere;
  }
}

function isSingle(ranges: Ranges): ranges is readonly [readonly [number, number]] {
  const [first, ...others] = ranges;
  return first !== undefined && others.length === 0 && first[0] === first[1];
}

const SHORT: ReadonlyMap<number, string> = new Map([
  [8, "b"],
  [9, "t"],
  [10, "n"],
  [12, "f"],
  [13, "r"],
  [34, '"'],
  [92, "\\"],
]);
const PLAIN: Ranges = [
  [32, 33],
  [35, 91],
  [93, LARGEST],
];

/** The texts of `node` as a JSON string writes them: quotes, backslashes and control characters escaped. */
export function insideJson(node: Node): Node {
  switch (node.kind) {
    case "letters":
      return escaped(node);
    case "chain":
    case "choice":
      return { kind: node.kind, items: node.items.map(insideJson) };
    case "repeat":
      return repeat(insideJson(node.item), node.least, node.most);
    default:
      throw new Error("a regular expression has no rules");
  }
}

function escaped(node: Letters): Node {
  const plain = node.ranges.flatMap((range) => PLAIN.flatMap((part) => overlap(range, part)));
  const found: Node[] = plain.length === 0 ? [] : [lettersOf(plain)];
  for (const code of [...Array.from({ length: 31 }, (_, index) => index + 1), 34, 92]) {
    if (!node.ranges.some(([first, last]) => first <= code && code <= last)) continue;
    const short = SHORT.get(code);
    const written = short === undefined ? `\\u${code.toString(16).padStart(4, "0")}` : `\\${short}`;
    found.push(text(written));
  }
  return choice(found);
}
