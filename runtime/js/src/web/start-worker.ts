/**
 * Starts the worker that a model runs in.
 *
 * Knows nothing about messages. The worker is made from text that a page carries, not from an address: bundlers treat
 * `new Worker(new URL(...))` each in their own way, some not at all, and browsers refuse an address of another origin.
 */

import { BackendError } from "../core/errors.js";

/** A worker that runs `@edgelora/runtime/worker`, or what starts one. */
export type WorkerSource = Worker | (() => Worker | Promise<Worker>);

let address: Promise<string> | null = null;

/** The worker that is given, or one of the page's own making; it needs `blob:` in `worker-src` where a policy says so. */
export async function startWorker(given: WorkerSource | undefined): Promise<Worker> {
  if (given !== undefined) return typeof given === "function" ? given() : given;
  if (typeof Worker === "undefined") {
    throw new BackendError("there are no workers here; use load, which runs the model where it is called", "no-worker");
  }
  address ??= makeAddress();
  try {
    return new Worker(await address, { type: "module", name: "edgelora" });
  } catch (error) {
    address = null; // what could not be fetched once may come the next time
    throw error;
  }
}

/** Made once for a page, and kept: a worker may be started at any time. */
async function makeAddress(): Promise<string> {
  const { workerSource } = await import("./worker-source.js");
  return URL.createObjectURL(new Blob([workerSource], { type: "text/javascript" }));
}
