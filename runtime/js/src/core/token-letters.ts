/**
 * How vocabularies write what is no letter: bytes of GPT-2's alphabet, bytes by number, blanks.
 *
 * Knows nothing about tokenizers.
 */

/** A token that stands for one byte, which its first group names in hexadecimal. */
export const BYTE = /^<0x([0-9A-Fa-f]{2})>$/;

/** How SentencePiece writes a blank. */
export const BLANK = "\u2581";

/** Bytes by their letters: printable ones of Latin-1 stand for themselves, the others for characters from U+0100 on. */
export function alphabet(): ReadonlyMap<string, number> {
  const isPlain = (byte: number) => (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);
  const found = new Map<string, number>();
  let next = 0x100;
  for (let byte = 0; byte < 256; byte++) found.set(String.fromCodePoint(isPlain(byte) ? byte : next++), byte);
  return found;
}
