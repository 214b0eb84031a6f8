/**
 * What takes long and is wanted often, made once.
 *
 * Knows nothing about what it is.
 */

/** What `make` gives, made when it is first asked for; what failed is made anew the next time. */
export function once<Made>(make: () => Promise<Made>): () => Promise<Made> {
  let made: Promise<Made> | null = null;
  return () => {
    if (made === null) {
      made = make();
      made.catch(() => {
        made = null;
      });
    }
    return made;
  };
}
