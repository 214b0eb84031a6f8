/**
 * What a form is made of: letters, sequences, choices, repetitions and rules.
 *
 * Knows nothing about schemas, regular expressions or tokens.
 */

/** First and last code point of each range, rising, apart. */
export type Ranges = readonly (readonly [number, number])[];

/**
 * `letters` is one character out of ranges; `chain` one after another; `choice` one of several; `repeat` from `least`
 * to `most` times, null without end; `word` what is read in one piece, without rules; `rule` the rule of that name.
 */
export type Node =
  | Letters
  | { readonly kind: "chain" | "choice"; readonly items: readonly Node[] }
  | { readonly kind: "repeat"; readonly item: Node; readonly least: number; readonly most: number | null }
  | { readonly kind: "word"; readonly item: Node }
  | { readonly kind: "rule"; readonly name: string };

export interface Letters {
  readonly kind: "letters";
  readonly ranges: Ranges;
}

/** Rules by name; the first is the whole form. */
export type Rules = Map<string, Node>;

export const LARGEST = 0x10ffff;
const HALVES: readonly [number, number] = [0xd800, 0xdfff]; // halves of surrogate pairs, which no text holds

export const chain = (...items: readonly Node[]): Node => ({ kind: "chain", items });
export const choice = (items: readonly Node[]): Node =>
  items.length === 1 ? (items[0] as Node) : { kind: "choice", items };
export const repeat = (item: Node, least: number, most: number | null): Node => ({ kind: "repeat", item, least, most });
export const optional = (item: Node): Node => repeat(item, 0, 1);
export const word = (item: Node): Node => ({ kind: "word", item });

/** Exactly these characters. */
export const text = (content: string): Node =>
  chain(...[...content].map((letter) => lettersOf([[codeOf(letter), codeOf(letter)]])));

export const codeOf = (letter: string): number => letter.codePointAt(0) as number;

/** The characters of `ranges`, or all others; never NUL, nor a half of a pair. */
export function letters(ranges: Ranges, isOutside = false): Letters {
  const merged: [number, number][] = [];
  const all = isOutside ? [...ranges, [0, 0] as const, HALVES] : [...ranges];
  for (const [first, last] of all.sort((one, other) => one[0] - other[0] || one[1] - other[1])) {
    const before = merged[merged.length - 1];
    if (before !== undefined && first <= before[1] + 1) before[1] = Math.max(last, before[1]);
    else merged.push([first, last]);
  }
  if (!isOutside) {
    const outside: Ranges = [
      [1, HALVES[0] - 1],
      [HALVES[1] + 1, LARGEST],
    ];
    return lettersOf(merged.flatMap((range) => outside.flatMap((part) => overlap(range, part))));
  }
  const found: [number, number][] = [];
  let start = 0;
  for (const [first, last] of merged) {
    if (first > start) found.push([start, first - 1]);
    start = last + 1;
  }
  if (start <= LARGEST) found.push([start, LARGEST]);
  return lettersOf(found);
}

export const lettersOf = (ranges: Ranges): Letters => ({ kind: "letters", ranges });

/** What two ranges share: one range, or none. */
export function overlap(one: readonly [number, number], other: readonly [number, number]): Ranges {
  const [first, last] = [Math.max(one[0], other[0]), Math.min(one[1], other[1])];
  return first <= last ? [[first, last]] : [];
}
