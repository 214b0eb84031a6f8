/**
 * Answers for tokens, as spans of the text that they were read from.
 *
 * Knows nothing about graphs; `docs/format.md` ("Tags") is the definition.
 */

import type { Offset } from "./offsets.js";

const OUTSIDE = "O";
const MORE_BLANKS = "\u0085\u001c\u001d\u001e\u001f"; // white space in Python, and not here
const OF_WORD = /[\p{L}\p{M}\p{N}]/u;
// Where words are written without blanks between them: Han, kana and what belongs to them.
const UNSPACED = /[\u{2e80}-\u{9fff}\u{f900}-\u{faff}\u{20000}-\u{3ffff}]/u;
const PREFIXED = /^([BI])-(.+)$/s;

/** Characters `start` to `end` (code points) of a text, which are `text`; `score` is the mean of its words. */
export interface Span {
  readonly start: number;
  readonly end: number;
  readonly label: string;
  readonly score: number;
  readonly text: string;
}

/** The spans of a text in order, and in how many windows it was read. */
export interface Tagging {
  readonly spans: readonly Span[];
  readonly windows: number;
}

/** Tokens that share one answer, that of the first; characters `start` to `end` (UTF-16). */
export interface Word {
  readonly token: number;
  readonly start: number;
  readonly end: number;
}

/**
 * The words of a text by the offsets of its tokens. A token goes on with the word before it where it begins inside of it,
 * or where it and the character before it are letters, marks or digits of a script with blanks between words. Tokens of
 * white space, or of nothing, have no word.
 */
export function findWords(text: string, offsets: readonly Offset[]): Word[] {
  const words: Word[] = [];
  offsets.forEach(([first, behind], token) => {
    let [start, end] = [first, behind];
    while (start < end && isBlank(text[start] as string)) start += 1;
    while (end > start && isBlank(text[end - 1] as string)) end -= 1;
    if (start >= end) return;
    const last = words.at(-1);
    if (last !== undefined && (start < last.end || isJoined(text, start))) {
      words[words.length - 1] = { ...last, end: Math.max(last.end, end) };
    } else {
      words.push({ token, start, end });
    }
  });
  return words;
}

/** Spans of words with a label and a score each. */
export function findSpans(
  text: string,
  words: readonly Word[],
  labels: readonly string[],
  scores: readonly number[],
): Span[] {
  const found: { kind: string; inside: number[] }[] = [];
  let open: (typeof found)[number] | null = null;
  labels.forEach((label, index) => {
    const [, prefix, kind = label] = PREFIXED.exec(label) ?? [];
    if (kind === OUTSIDE && prefix === undefined) {
      open = null;
    } else if (open !== null && prefix !== "B" && open.kind === kind) {
      open.inside.push(index);
    } else {
      open = { kind, inside: [index] };
      found.push(open);
    }
  });
  const points = countPoints(text);
  return found.map(({ kind, inside }) => {
    const { start } = words[inside[0] as number] as Word;
    const { end } = words[inside.at(-1) as number] as Word;
    const score = inside.reduce((sum, index) => sum + (scores[index] as number), 0) / inside.length;
    return { start: points(start), end: points(end), label: kind, score, text: text.slice(start, end) };
  });
}

/** Whether Python takes a character for white space. */
function isBlank(character: string): boolean {
  return (character.trim() === "" && character !== "\ufeff") || MORE_BLANKS.includes(character);
}

/** Whether no word ends before the character at `place`. */
function isJoined(text: string, place: number): boolean {
  const before = [...text.slice(Math.max(0, place - 2), place)].at(-1) ?? "";
  const here = String.fromCodePoint(text.codePointAt(place) as number);
  const both = [before, here];
  return both.every((character) => OF_WORD.test(character)) && !both.some((character) => UNSPACED.test(character));
}

/** How many code points stand before a place, for places in any order. */
function countPoints(text: string): (place: number) => number {
  const counts: number[] = [0];
  for (let place = 0; place < text.length; place++) {
    const isSecond = place > 0 && (text.codePointAt(place - 1) as number) > 0xffff;
    counts.push((counts[place] as number) + (isSecond ? 0 : 1));
  }
  return (place) => counts[place] as number;
}
