/**
 * Which rows of a list are computed together, so that neither their number nor their length takes memory without bound.
 *
 * Knows nothing about graphs or text: lengths go in, indices come out.
 */

const MAX_ROWS = 16; // rows computed together; more gain little, and each has logits and slot inputs of its own
const MAX_CACHE_BYTES = 512 * 1024 * 1024; // of the KV cache of rows computed together; a single row may need more
const MAX_PROMPT_TOKENS = 1536; // of the prompts of a group, all as long as the longest: they go through in one call

/** What a row brings, and what it may come to. */
export interface RowLength {
  readonly prompt: number;
  readonly most: number;
  /** It acts from a place of its own on: alone, it shares what the single row holds from before that. */
  readonly isAlone?: boolean;
}

/**
 * Indices into `rows` in groups of rows that are about as long. A prompt longer than `longestCall`, which goes through
 * in pieces, is a group of its own.
 */
export function groupRows(rows: readonly RowLength[], bytesPerToken: number, longestCall: number): number[][] {
  const all = rows.map((_, index) => index);
  const groups = all.filter((index) => rows[index]?.isAlone).map((index) => [index]);
  const order = all.filter((index) => !rows[index]?.isAlone);
  order.sort((one, other) => (rows[other] as RowLength).prompt - (rows[one] as RowLength).prompt || one - other);
  let room = 0;
  for (const index of order) {
    if (room === 0) {
      // The first row of a group is its longest: all of them get that much cache, and that many tokens of a call.
      const { prompt, most } = rows[index] as RowLength;
      const ofCall = prompt > longestCall ? 1 : Math.floor(MAX_PROMPT_TOKENS / prompt);
      room = Math.max(1, Math.min(MAX_ROWS, Math.floor(MAX_CACHE_BYTES / (most * bytesPerToken)), ofCall));
      groups.push([]);
    }
    (groups[groups.length - 1] as number[]).push(index);
    room -= 1;
  }
  return groups;
}
