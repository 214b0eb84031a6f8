/**
 * Which rows of a list go through a graph without a KV cache together.
 *
 * Knows nothing about graphs or text: lengths go in, indices come out.
 */

/**
 * Indices of rows, each with a length and an adapter, that go through a graph together; all of them if they fit one call
 * of `mostTokens`. Otherwise each call has one adapter, and rows that are about as long; always so where rows must share
 * theirs.
 */
export function planCalls(
  lengths: readonly number[],
  specs: readonly string[],
  mostTokens: number,
  sharesAdapter: boolean,
): number[][] {
  const order = lengths.map((_, index) => index);
  order.sort((one, other) => (lengths[one] as number) - (lengths[other] as number) || one - other);
  if (!sharesAdapter && lengths.length * Math.max(0, ...lengths) <= mostTokens) return [order];
  const calls: number[][] = [];
  for (const spec of new Set(specs)) {
    let call: number[] = [];
    for (const index of order) {
      if (specs[index] !== spec) continue;
      // The rows come shortest first: this one is the longest so far.
      if (call.length > 0 && (call.length + 1) * (lengths[index] as number) > mostTokens) {
        calls.push(call);
        call = [];
      }
      call.push(index);
    }
    calls.push(call);
  }
  return calls;
}
