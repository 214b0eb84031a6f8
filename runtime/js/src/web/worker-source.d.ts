/**
 * The worker's texts by their names: `worker` imports what it needs at first, `whole` is all of it in one; the others are
 * fetched when they are asked for. `tools/build.mjs` writes the module that this declares.
 */
export const texts: Readonly<Record<string, () => Promise<string>>>;
