/**
 * What each token of a vocabulary writes, as bytes.
 *
 * Knows nothing about forms: a tokenizer's vocabulary and decoder go in, bytes by token id come out.
 */

import { InputError } from "./errors.js";
import { alphabet, BLANK, BYTE } from "./token-letters.js";

/** The `decoder` of a tokenizer.json, as far as it says what a token writes. */
export interface Decoder {
  readonly type?: string;
  readonly decoders?: readonly Decoder[];
  readonly content?: string;
  readonly start?: number;
  readonly prepend_scheme?: string;
}

const KNOWN: readonly unknown[] = ["ByteLevel", "ByteFallback", "Metaspace", "Replace", "Fuse", "Strip"];

/**
 * The bytes of each token that writes some; `added` tokens are written as they are, `special` ones not at all. Throws
 * InputError naming a decoder whose tokens do not stand for bytes of their own.
 */
export function tokenBytes(
  vocabulary: ReadonlyMap<string, number>,
  decoder: Decoder | null,
  added: ReadonlyMap<string, number>,
  special: ReadonlySet<number>,
): Map<number, Uint8Array> {
  const kinds = new Set(stepsOf(decoder).map((step) => step.type));
  const unknown = [...kinds].filter((kind) => !KNOWN.includes(kind));
  if (unknown.length > 0) {
    throw new InputError(
      `schema and regex need a tokenizer of bytes or SentencePiece pieces, not ${unknown.join(", ")}`,
    );
  }
  const isByteLevel = kinds.has("ByteLevel");
  if (!isByteLevel && !kinds.has("ByteFallback") && !kinds.has("Metaspace")) {
    throw new InputError("schema and regex need a tokenizer whose decoder says what a token writes; this one has none");
  }
  const byteOf = alphabet();
  const encoder = new TextEncoder();
  const found = new Map<number, Uint8Array>();
  const write = (token: string): Uint8Array => {
    if (added.has(token)) return encoder.encode(token);
    if (isByteLevel) {
      const bytes = Array.from(token, (letter) => byteOf.get(letter) ?? -1);
      return bytes.includes(-1) ? encoder.encode(token) : Uint8Array.from(bytes);
    }
    const byte = kinds.has("ByteFallback") ? BYTE.exec(token)?.[1] : undefined;
    return byte === undefined ? encoder.encode(token.replaceAll(BLANK, " ")) : Uint8Array.of(Number.parseInt(byte, 16));
  };
  for (const tokens of [vocabulary, added]) {
    tokens.forEach((index, token) => {
      const content = special.has(index) ? [] : write(token);
      if (content.length > 0) found.set(index, content as Uint8Array);
    });
  }
  return found;
}

/** Whether a blank in front of a whole text is not shown. */
export function dropsBlank(decoder: Decoder | null): boolean {
  return stepsOf(decoder).some(
    (step) =>
      (step.type === "Strip" && step.content === " " && (step.start ?? 0) > 0) ||
      (step.type === "Metaspace" && step.prepend_scheme !== "never"),
  );
}

function stepsOf(decoder: Decoder | null): readonly Decoder[] {
  if (decoder === null) return [];
  return decoder.type === "Sequence" ? (decoder.decoders ?? []).flatMap(stepsOf) : [decoder];
}
