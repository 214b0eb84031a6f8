/**
 * Pieces as a stream of the platform's.
 *
 * Knows nothing about what they are.
 */

/** A stream that asks `pieces` for one at a time; cancelling it calls `stop`. */
export function readable<Piece>(
  pieces: AsyncIterator<Piece, void, undefined>,
  stop: () => void,
): ReadableStream<Piece> {
  return new ReadableStream<Piece>({
    pull: async (controller) => {
      const { done, value } = await pieces.next();
      if (done) controller.close();
      else controller.enqueue(value);
    },
    cancel: stop,
  });
}
