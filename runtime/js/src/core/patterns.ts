/**
 * PEFT's patterns for module names, in the part of regular expressions that means the same everywhere.
 *
 * Knows nothing about adapters. `RegExp` and Python's `re` disagree about the rest, and both can take years for a bad
 * pattern; here a pattern is parsed into the few nodes that `docs/format.md` ("Patterns") names, and the ends that it
 * can reach are followed all at once.
 */

import { show } from "./parse-json.js";

const LONGEST = 8192; // characters of a pattern
const DEAREST = 4000; // steps for each place of a name, a repetition counted as 32 of its body
const MANY = 32;
const DEEPEST = 32; // groups inside one another
const QUANTIFIER = /[*+?]|\{(\d{1,4})?(,)?(\d{1,4})?\}/y;
const META = new Set("\\^$.|?*+()[]{}");
const PUNCTUATION = new Set("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~");
const CLASSES: Readonly<Record<string, RegExp>> = { d: /^[0-9]$/, w: /^[A-Za-z0-9_]$/ };

type Ends = ReadonlySet<number>; // places of a name that are reached
type Step = (name: readonly string[], ends: Ends) => Ends;
type Test = (character: string) => boolean;

/** Where a part of a pattern leads from each place, what that costs, and whether it takes no character. */
interface Node {
  readonly step: Step;
  readonly cost: number;
  readonly isPlace: boolean;
}

/** What a pattern has that is outside the part that every runtime reads alike. */
export class PatternError extends Error {}

const parsed = new Map<string, Step>();

/** Where `pattern` leads in a name from a set of places; throws PatternError naming the construct. */
export function parsePattern(pattern: string): Step {
  const known = parsed.get(pattern);
  if (known !== undefined) return known;
  const characters = [...pattern];
  if (characters.length > LONGEST) {
    throw new PatternError(`it has ${characters.length} characters, at most ${LONGEST} are read`);
  }
  const node = new Parser(characters).parse();
  if (node.cost > DEAREST) throw new PatternError("it repeats too much; write the names of the modules");
  if (parsed.size >= 4096) parsed.clear();
  parsed.set(pattern, node.step);
  return node.step;
}

/** `re.fullmatch(pattern, name)`, PEFT's rule for `target_modules` that is a text. */
export function matchesWhole(pattern: string, name: string): boolean {
  const characters = [...name];
  return parsePattern(pattern)(characters, new Set([0])).has(characters.length);
}

/** `re.match("(.*\.)?(PATTERN)$", name)`, PEFT's rule for the keys of `rank_pattern`. */
export function matchesEnding(pattern: string, name: string): boolean {
  const characters = [...name];
  const starts = new Set([0]);
  for (const [place, character] of characters.entries()) if (character === ".") starts.add(place + 1);
  return parsePattern(pattern)(characters, starts).has(characters.length);
}

/** Reads a pattern from left to right. */
class Parser {
  #at = 0;
  #depth = 0;
  readonly #text: string;
  readonly #characters: readonly string[];

  constructor(characters: readonly string[]) {
    this.#characters = characters;
    // Quantifiers are looked for by index, so that every character takes one place here too.
    this.#text = characters.map((character) => (character.length === 1 ? character : "\ufffd")).join("");
  }

  parse(): Node {
    const node = this.#alternatives();
    if (this.#at < this.#characters.length) throw new PatternError("a ')' closes no group");
    return node;
  }

  #peek(text: string): boolean {
    return this.#text.startsWith(text, this.#at);
  }

  #quantifier(): RegExpExecArray | null {
    QUANTIFIER.lastIndex = this.#at;
    return QUANTIFIER.exec(this.#text);
  }

  #alternatives(): Node {
    const branches = [this.#sequence()];
    while (this.#peek("|")) {
      this.#at++;
      branches.push(this.#sequence());
    }
    if (branches.length === 1) return branches[0] as Node;
    const step: Step = (name, ends) => {
      const reached = new Set<number>();
      for (const branch of branches) for (const end of branch.step(name, ends)) reached.add(end);
      return reached;
    };
    return { step, cost: total(branches), isPlace: false };
  }

  #sequence(): Node {
    const nodes: Node[] = [];
    let literal: string[] = [];
    while (this.#at < this.#characters.length && !this.#peek("|") && !this.#peek(")")) {
      const character = this.#literal();
      if (character !== null && this.#quantifier() === null) {
        literal.push(character);
        continue;
      }
      if (literal.length > 0) nodes.push(literalNode(literal));
      literal = [];
      nodes.push(this.#quantified(character === null ? this.#atom() : literalNode([character])));
    }
    if (literal.length > 0) nodes.push(literalNode(literal));
    if (nodes.length === 1) return nodes[0] as Node;
    const step: Step = (name, ends) => {
      let reached = ends;
      for (const node of nodes) {
        if (reached.size === 0) break;
        reached = node.step(name, reached);
      }
      return reached;
    };
    return { step, cost: total(nodes), isPlace: false };
  }

  /** A character that stands for itself, or null where something else begins. */
  #literal(): string | null {
    const character = this.#characters[this.#at] as string;
    if (!META.has(character)) {
      this.#at++;
      return character;
    }
    const next = this.#characters[this.#at + 1];
    if (character !== "\\" || next === undefined || !PUNCTUATION.has(next)) return null;
    this.#at += 2;
    return next;
  }

  #atom(): Node {
    const character = this.#characters[this.#at] as string;
    if (character === "(") return this.#group();
    if (character === "[") return this.#characterClass();
    if (character === "\\") {
      if (this.#characters[this.#at + 1] !== "b") return one(this.#escapedClass());
      this.#at += 2;
      return place(isBoundary);
    }
    this.#at++;
    if (character === ".") return one(() => true);
    if (character === "^") return place((_, at) => at === 0);
    if (character === "$") return place((name, at) => at === name.length);
    if ("*+?".includes(character)) throw new PatternError(`${show(character)} repeats nothing`);
    throw new PatternError(`${show(character)} stands alone; write it as \\${character}`);
  }

  #escapedClass(): Test {
    const letter = this.#characters[this.#at + 1];
    const found = letter === undefined || !Object.hasOwn(CLASSES, letter) ? undefined : CLASSES[letter];
    if (found === undefined) {
      const what = letter === undefined ? "a '\\' at the end" : `\\${letter}`;
      throw new PatternError(`${what} is not read; write the names of the modules`);
    }
    this.#at += 2;
    return (character) => found.test(character);
  }

  #group(): Node {
    for (const [start, isWanted] of [
      ["(?=", true],
      ["(?!", false],
    ] as const) {
      if (!this.#peek(start)) continue;
      this.#at += start.length;
      const body = this.#inside();
      const step: Step = (name, ends) =>
        new Set([...ends].filter((end) => body.step(name, new Set([end])).size > 0 === isWanted));
      return { step, cost: body.cost * MANY, isPlace: true };
    }
    if (this.#peek("(?") && !this.#peek("(?:")) {
      const start = show(this.#characters.slice(this.#at, this.#at + 4).join(""));
      throw new PatternError(`${start} is not read; groups are (…), (?:…), (?=…), (?!…)`);
    }
    this.#at += this.#peek("(?:") ? 3 : 1;
    return { ...this.#inside(), isPlace: false };
  }

  #inside(): Node {
    this.#depth++;
    if (this.#depth > DEEPEST) throw new PatternError(`groups are nested more than ${DEEPEST} deep`);
    const body = this.#alternatives();
    if (!this.#peek(")")) throw new PatternError("a '(' is not closed");
    this.#at++;
    this.#depth--;
    return body;
  }

  #characterClass(): Node {
    this.#at++;
    const isNegated = this.#peek("^");
    if (isNegated) this.#at++;
    const first = this.#at;
    const tests: Test[] = [];
    while (!this.#peek("]") || this.#at === first) {
      if (this.#at >= this.#characters.length) throw new PatternError("a '[' is not closed");
      const low = this.#member(first);
      if (typeof low !== "string") {
        tests.push(low);
        continue;
      }
      let high = low;
      if (this.#peek("-") && !this.#peek("-]")) {
        this.#at++;
        const end = this.#member(first);
        if (typeof end !== "string" || code(end) < code(low)) {
          throw new PatternError(`the range after ${show(low)} in a [ ] goes nowhere`);
        }
        high = end;
      }
      tests.push((character) => code(low) <= code(character) && code(character) <= code(high));
    }
    this.#at++;
    return one((character) => tests.some((test) => test(character)) !== isNegated);
  }

  #member(first: number): string | Test {
    const character = this.#characters[this.#at] ?? "";
    if (character === "\\") return this.#literal() ?? this.#escapedClass();
    const isEdge = character === "-" && (this.#at === first || this.#peek("-]"));
    if (character === "" || ("[]^-&~|".includes(character) && !isEdge)) {
      throw new PatternError(`${show(character)} stands alone in a [ ]; write it as \\${character}`);
    }
    this.#at++;
    return character;
  }

  #quantified(atom: Node): Node {
    const found = this.#quantifier();
    if (found === null) {
      if (this.#peek("{")) throw new PatternError("'{' stands alone; write it as \\{");
      return atom;
    }
    if (atom.isPlace) throw new PatternError(`${show(found[0])} repeats what takes no character`);
    const [least, most] = bounds(found);
    this.#at += found[0].length;
    if (this.#peek("+")) throw new PatternError(`${show(`${found[0]}+`)} is possessive, which is not read`);
    if (this.#peek("?")) this.#at++; // lazy or not, the names that match are the same
    if (this.#quantifier() !== null) throw new PatternError(`${show(found[0])} is repeated itself`);
    if (least === 0 && most === 1) {
      const step: Step = (name, ends) => new Set([...ends, ...atom.step(name, ends)]);
      return { step, cost: atom.cost + 1, isPlace: false };
    }
    const times = Math.max(least, most ?? MANY);
    return { step: repeat(atom.step, least, most), cost: atom.cost * times + 1, isPlace: false };
  }
}

function bounds(found: RegExpExecArray): [number, number | null] {
  if (found[0] === "*") return [0, null];
  if (found[0] === "+") return [1, null];
  if (found[0] === "?") return [0, 1];
  const [, low, comma, high] = found;
  if (low === undefined && high === undefined) {
    throw new PatternError(`${show(found[0])} has no number; write it as \\${found[0]}`);
  }
  const least = Number(low ?? 0);
  const most = comma === undefined ? least : high === undefined ? null : Number(high);
  if (most !== null && most < least) throw new PatternError(`${show(found[0])} ends before it begins`);
  return [least, most];
}

function repeat(step: Step, least: number, most: number | null): Step {
  return (name, ends) => {
    let from = ends;
    for (let index = 0; index < least; index++) from = step(name, from);
    const reached = new Set(from);
    for (let count = least; from.size > 0 && (most === null || count < most); count++) {
      from = new Set([...step(name, from)].filter((end) => !reached.has(end)));
      for (const end of from) reached.add(end);
    }
    return reached;
  };
}

function literalNode(text: readonly string[]): Node {
  const step: Step = (name, ends) =>
    new Set(
      [...ends]
        .filter((end) => text.every((character, index) => name[end + index] === character))
        .map((end) => end + text.length),
    );
  return { step, cost: 1, isPlace: false };
}

function one(isIn: Test): Node {
  const step: Step = (name, ends) =>
    new Set([...ends].filter((end) => end < name.length && isIn(name[end] as string)).map((end) => end + 1));
  return { step, cost: 1, isPlace: false };
}

function place(isThere: (name: readonly string[], at: number) => boolean): Node {
  return { step: (name, ends) => new Set([...ends].filter((end) => isThere(name, end))), cost: 1, isPlace: true };
}

function isBoundary(name: readonly string[], at: number): boolean {
  const isWord = (index: number) => (CLASSES.w as RegExp).test(name[index] ?? "");
  return isWord(at - 1) !== isWord(at);
}

function code(character: string): number {
  return character.codePointAt(0) as number;
}

function total(nodes: readonly Node[]): number {
  return 1 + nodes.reduce((sum, node) => sum + node.cost, 0);
}
