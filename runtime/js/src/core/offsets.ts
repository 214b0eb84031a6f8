/**
 * Where the tokens of a text lie in it, as the tokenizers library tells it.
 *
 * Knows nothing about words or labels. `@huggingface/tokenizers` gives no places: a text is taken through its own parts once more,
 * and what each of them changed is followed.
 */

import { InputError } from "./errors.js";
import type { Codec, PreTokenizer } from "./text.js";
import { alphabet, BLANK, BYTE } from "./token-letters.js";

/** Characters of a text as it was given, from the first to behind the last (UTF-16). */
export type Offset = readonly [start: number, end: number];

/** A text that was changed; character i of it came from `starts[i]` to `ends[i]` of the text before. */
interface Followed {
  readonly text: string;
  readonly starts: readonly number[];
  readonly ends: readonly number[];
}

const CHARACTER = /./gsu;
const CLUSTER = /\P{M}\p{M}*|\p{M}+/gsu; // what no normalizer takes apart
const CONTINUED = "##";
const LOOKS_AHEAD = 8; // characters that a normalizer may have dropped at one place

/** The places of the tokens of `text`, special tokens left out; throws InputError where they cannot be followed. */
export function findOffsets(codec: Codec, text: string): Offset[] {
  const ids: (number | undefined)[] = [];
  const offsets: Offset[] = [];
  let cursor = 0;
  for (const [index, section] of codec.splitter_unnormalized.split(text).entries()) {
    const start = text.indexOf(section, cursor);
    cursor = start + section.length;
    if (section === "") continue;
    const added = codec.added_tokens_map.get(section);
    if (added !== undefined) {
      ids.push(added.id);
      offsets.push([start, cursor]);
      continue;
    }
    for (const { tokens, from } of wordsOf(codec, section, index)) {
      for (const [token, first, last] of tokens) {
        ids.push(codec.model.tokens_to_ids.get(token) ?? codec.model.unk_token_id);
        const [head, tail] = [from.starts[first] ?? section.length, from.ends[last - 1] ?? 0];
        offsets.push([start + head, start + Math.max(head, tail)]);
      }
    }
  }
  const whole = codec.encode(text, { add_special_tokens: false }).ids;
  if (whole.length !== ids.length || ids.some((id, index) => id !== whole[index])) {
    throw new InputError("the tokens of this text cannot be found in it with this tokenizer; tag in another runtime");
  }
  return offsets;
}

type Token = readonly [token: string, first: number, end: number]; // characters of the word

/** Each word of a section with its tokens, and where its characters come from. */
function* wordsOf(codec: Codec, section: string, index: number): Generator<{ tokens: Token[]; from: Followed }> {
  const normal = follow(section, codec.normalizer);
  if (normal.text === "") return;
  const words =
    codec.pre_tokenizer === null ? [normal.text] : codec.pre_tokenizer(normal.text, { section_index: index });
  const isBytes = someOf(codec.pre_tokenizer, ({ config }) => config?.type === "ByteLevel");
  let cursor = 0;
  for (const word of words) {
    const plain = isBytes ? textOfBytes(word) : word.replaceAll(BLANK, " ");
    const found = placeOf(normal, plain, cursor, isBytes);
    cursor = found.next;
    yield { tokens: tokensOf(codec, word, plain, isBytes), from: found.from };
  }
}

/** What a normalizer makes of a text, followed character by character, or else cluster by cluster. */
function follow(text: string, normalizer: ((text: string) => string) | null): Followed {
  const single = followEach(text, CHARACTER, normalizer);
  const whole = normalizer === null ? text : normalizer(text);
  if (whole === single.text) return single;
  const clustered = followEach(text, CLUSTER, normalizer);
  return whole === clustered.text ? clustered : through(whole, clustered);
}

/** Pieces of a text normalized each by itself; the characters of a piece are those that it came from, in order. */
function followEach(text: string, pattern: RegExp, normalizer: ((text: string) => string) | null): Followed {
  const pieces: string[] = [];
  const starts: number[] = [];
  const ends: number[] = [];
  const parts = new RegExp(pattern); // with a place of its own: Hermes has no matchAll
  for (let found = parts.exec(text); found; found = parts.exec(text)) {
    const piece = normalizer === null ? found[0] : normalizer(found[0]);
    const sources = [...found[0]];
    let [number, start] = [0, found.index];
    for (const character of piece) {
      const end = start + (sources[number] as string).length;
      for (let unit = 0; unit < character.length; unit++) {
        starts.push(start);
        ends.push(end);
      }
      if (number + 1 < sources.length) [number, start] = [number + 1, end];
    }
    pieces.push(piece);
  }
  return { text: pieces.join(""), starts, ends };
}

/** The same for `text`, which has more or fewer characters than what is known at a few places. */
function through(text: string, known: Followed): Followed {
  const starts: number[] = [];
  const ends: number[] = [];
  let place = 0;
  for (let index = 0; index < text.length; index++) {
    const ahead = known.text.slice(place, place + LOOKS_AHEAD).indexOf(text[index] as string);
    const isOther = ahead !== 0 && text[index + 1] !== undefined && text[index + 1] === known.text[place + 1];
    const isThere = ahead >= 0 && !isOther;
    if (isThere) place += ahead;
    const at = known.starts[place] ?? known.ends.at(-1) ?? 0;
    starts.push(at);
    ends.push(isThere || isOther ? (known.ends[place] ?? at) : at);
    if (isThere || isOther) place += 1;
  }
  return { text, starts, ends };
}

/** Where the characters of a word come from, looked for from `cursor` on; it may have a blank in front that is new. */
function placeOf(normal: Followed, word: string, cursor: number, isBytes: boolean): { from: Followed; next: number } {
  const found = normal.text.indexOf(word, cursor);
  const isBlank = word.startsWith(" ") && !normal.text.startsWith(word, cursor);
  const bare = isBlank ? normal.text.indexOf(word.slice(1), cursor) : -1;
  if (isBlank && bare >= 0 && (found < 0 || bare <= found)) {
    const at = normal.starts[bare] ?? normal.ends.at(-1) ?? 0;
    const end = bare + word.length - 1;
    const starts = [at, ...normal.starts.slice(bare, end)];
    const first = isBytes ? at : (normal.ends[bare] ?? at); // a new blank of one kind is part of the letter behind it
    return { from: { text: word, starts, ends: [first, ...normal.ends.slice(bare, end)] }, next: end };
  }
  const start = found < 0 ? cursor : found;
  const end = start + word.length;
  const from = { text: word, starts: normal.starts.slice(start, end), ends: normal.ends.slice(start, end) };
  return { from, next: end };
}

/** The tokens of one word, each with its characters in `plain`, which is the word as text. */
function tokensOf(codec: Codec, word: string, plain: string, isBytes: boolean): Token[] {
  const tokens = codec.model([word]);
  if (isBytes) return tokensOfBytes(tokens, plain);
  const surfaces = tokens.map((token, index) => {
    const isContinued = index > 0 && token.startsWith(CONTINUED) && !plain.startsWith(token);
    return (isContinued ? token.slice(CONTINUED.length) : token).replaceAll(BLANK, " ");
  });
  const found: Token[] = [];
  let cursor = 0;
  for (let index = 0; index < tokens.length; index++) {
    const surface = surfaces[index] as string;
    const run = byteRun(tokens, index);
    if (run > 0) {
      const bytes = tokens.slice(index, index + run).map((token) => Number.parseInt(token.slice(3, 5), 16));
      for (const [first, last] of charactersOf(
        bytes.map(() => 1),
        plain.slice(cursor),
      )) {
        found.push([tokens[found.length] as string, cursor + first, cursor + last]);
      }
      cursor = (found.at(-1) as Token)[2];
      index += run - 1;
      continue;
    }
    if (plain.startsWith(surface, cursor)) {
      found.push([tokens[index] as string, cursor, cursor + surface.length]);
      cursor += surface.length;
      continue;
    }
    // An unknown token reaches to where the next known one begins.
    const next = surfaces[index + 1] === undefined ? -1 : plain.indexOf(surfaces[index + 1] as string, cursor + 1);
    const end = next < 0 ? plain.length : next;
    found.push([tokens[index] as string, cursor, end]);
    cursor = end;
  }
  return found;
}

/** How many of `tokens` from `index` on are bytes of characters that have no token. */
function byteRun(tokens: readonly string[], index: number): number {
  let end = index;
  while (end < tokens.length && BYTE.test(tokens[end] as string)) end += 1;
  return end - index;
}

/** The tokens of a word of the byte-level kind: a character of a token is a byte of the text. */
function tokensOfBytes(tokens: readonly string[], plain: string): Token[] {
  const places = charactersOf(
    tokens.map((token) => token.length),
    plain,
  );
  return tokens.map((token, index) => [token, ...(places[index] as [number, number])] as const);
}

/** Characters that runs of so many bytes of `text` touch, the first and behind the last. */
function charactersOf(counts: readonly number[], text: string): [number, number][] {
  const owners: [number, number][] = []; // of each byte
  for (let place = 0; place < text.length; ) {
    const point = text.codePointAt(place) as number;
    const width = point > 0xffff ? 2 : 1;
    const bytes = point < 0x80 ? 1 : point < 0x800 ? 2 : point < 0x10000 ? 3 : 4;
    for (let byte = 0; byte < bytes; byte++) owners.push([place, place + width]);
    place += width;
  }
  let byte = 0;
  return counts.map((count) => {
    const first = owners[byte]?.[0] ?? text.length;
    byte += count;
    return [first, Math.max(first, owners[byte - 1]?.[1] ?? text.length)];
  });
}

function someOf(item: PreTokenizer | null, test: (item: PreTokenizer) => boolean): boolean {
  return item !== null && (test(item) || (item.tokenizers ?? []).some((inner) => someOf(inner, test)));
}

let byteOfCharacter: ReadonlyMap<string, number> | null = null;

/** The text whose bytes GPT-2's alphabet spells. */
function textOfBytes(word: string): string {
  byteOfCharacter ??= alphabet();
  return new TextDecoder().decode(Uint8Array.from(word, (character) => byteOfCharacter?.get(character) ?? 0x3f));
}
