/**
 * Bytes that a decoder of `@huggingface/tokenizers` puts together, as the tokenizers library does it.
 *
 * Knows nothing about ids. That library writes U+FFFD for every byte of a run that is no UTF-8 as a whole; the
 * JavaScript one keeps the characters that it finds in such a run.
 */

import { BYTE } from "./token-letters.js";

interface Decoder {
  readonly config?: { readonly type?: string };
  readonly decoders?: readonly Decoder[];
  decode_chain(tokens: readonly string[]): string[];
}

/** Correct the decoder of a tokenizer, and those inside it. */
export function correctBytes(decoder: Decoder | null | undefined): void {
  if (decoder?.config?.type === "ByteFallback") decoder.decode_chain = joinBytes;
  for (const inner of decoder?.decoders ?? []) correctBytes(inner);
}

function joinBytes(tokens: readonly string[]): string[] {
  const joined: string[] = [];
  let run: number[] = [];
  const end = () => {
    if (run.length > 0) joined.push(textOf(run));
    run = [];
  };
  for (const token of tokens) {
    const found = BYTE.exec(token);
    if (found !== null) {
      run.push(Number.parseInt(found[1] as string, 16));
      continue;
    }
    end();
    joined.push(token);
  }
  end();
  return joined;
}

function textOf(bytes: readonly number[]): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(Uint8Array.from(bytes));
  } catch {
    return "\ufffd".repeat(bytes.length);
  }
}
