/**
 * A text that is longer than a model reads at once, in windows that overlap by a quarter.
 *
 * Knows nothing about tokens but how many there are.
 */

/** Tokens `start` to `end` are read together; those from `first` to `last` count here. */
export interface Window {
  readonly start: number;
  readonly end: number;
  readonly first: number;
  readonly last: number;
}

/**
 * Windows of `size` tokens over a text, the last one as long as what is left; one where all fits. A token counts where it
 * is farthest from an edge, the first of equal ones; the ends of the text are no edges.
 */
export function planWindows(count: number, size: number): Window[] {
  const step = Math.max(1, size - Math.floor(size / 4));
  const starts = [0];
  for (let start = 0; start + size < count; start += step) starts.push(start + step);
  const ends = starts.map((start) => Math.min(start + size, count));
  // Of two windows, the earlier one is as far from its end at (end - 1 + start) / 2 as the later one from its start.
  const borders = starts.slice(1).map((start, index) => Math.floor(((ends[index] as number) - 1 + start) / 2) + 1);
  return starts.map((start, index) => {
    const [end, first, last] = [ends[index] as number, borders[index - 1] ?? 0, borders[index] ?? count];
    return { start, end, first, last };
  });
}
