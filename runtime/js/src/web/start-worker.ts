/**
 * Starts the worker that a model runs in.
 *
 * Knows nothing about what a model's worker is asked. The worker is made from texts that a page carries, not from an
 * address: bundlers treat `new Worker(new URL(...))` each in their own way, some not at all, and browsers refuse an
 * address of another origin.
 */

import { BackendError } from "../core/errors.js";
import type { BroughtPart, WantedPart } from "./parts.js";
import type { FromWorker } from "./protocol.js";

/** A worker that runs `@edgelora/runtime/worker`, or what starts one. */
export type WorkerSource = Worker | (() => Worker | Promise<Worker>);

/** Where a text of the worker imports another one; the build writes it so. */
const IMPORTED = /"edgelora:([\w-]+)"/g;

/** Addresses of the worker's texts by their names: made when first wanted, and kept while the page lives. */
const addresses = new Map<string, Promise<string>>();
let isAllowed: Promise<boolean> | null = null;

/**
 * The worker that is given, or one of the page's own making; a policy must have `blob:` in `worker-src`. What a model
 * may need comes in parts when it is needed; all at once where a policy has no `blob:` in `script-src`.
 */
export async function startWorker(given: WorkerSource | undefined): Promise<Worker> {
  if (given !== undefined) return typeof given === "function" ? given() : given;
  if (typeof Worker === "undefined") {
    throw new BackendError("there are no workers here; use load, which runs the model where it is called", "no-worker");
  }
  isAllowed ??= mayImport();
  const first = (await isAllowed) ? "worker" : "whole";
  const worker = new Worker(await addressOf(first), { type: "module", name: "edgelora" });
  worker.addEventListener("message", (event: MessageEvent<WantedPart | FromWorker>) => {
    if (event.data.kind !== "part") return;
    event.stopImmediatePropagation(); // nobody else knows this kind
    void bring(event.data.name, event.ports[0] as MessagePort);
  });
  return worker;
}

async function bring(name: string, port: MessagePort): Promise<void> {
  const send = (part: BroughtPart) => port.postMessage(part);
  await addressOf(name).then(
    (address) => send({ address }),
    (error: unknown) => send({ reason: (error as Error).message }),
  );
}

/** Whether workers of this page may import what the page made: the page's policy is theirs. */
async function mayImport(): Promise<boolean> {
  const address = addressFor("");
  try {
    await import(/* webpackIgnore: true */ /* turbopackIgnore: true */ /* @vite-ignore */ address);
    return true;
  } catch {
    return false;
  } finally {
    URL.revokeObjectURL(address);
  }
}

function addressOf(name: string): Promise<string> {
  const known = addresses.get(name);
  if (known !== undefined) return known;
  const address = makeAddress(name);
  addresses.set(name, address);
  address.catch(() => addresses.delete(name)); // what could not be fetched once may come the next time
  return address;
}

async function makeAddress(name: string): Promise<string> {
  const { texts } = await import("./worker-source.js");
  const text = await (texts[name] as () => Promise<string>)();
  const names = [...new Set([...text.matchAll(IMPORTED)].map((found) => found[1] as string))];
  const imported = new Map(await Promise.all(names.map(async (item) => [item, await addressOf(item)] as const)));
  return addressFor(text.replace(IMPORTED, (_, item: string) => `"${imported.get(item)}"`));
}

function addressFor(text: string): string {
  return URL.createObjectURL(new Blob([text], { type: "text/javascript" }));
}
