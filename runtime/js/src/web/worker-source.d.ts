/** The worker in one file, as text: `tools/build.mjs` writes the module that this declares. */
export const workerSource: string;
