/**
 * onnxruntime-web as a backend of the core: which of its files, and turns between runs.
 *
 * Knows nothing about artifacts. The package keeps one environment for a page or worker: the first load decides how
 * many threads there are.
 */

import { returnedCache } from "../core/cache.js";
import { BackendError, EdgeLoraError } from "../core/errors.js";
import type { Backend, Capabilities, Feeds, Fetches, InferenceSession, Ort } from "../core/ports.js";
import {
  type BackendChoice,
  type BrowserFacts,
  describeChoice,
  hasNarrowSubgroups,
  LONGEST_NARROW_CALL,
} from "./choice.js";
import type { Gpu, GpuOrt } from "./gpu.js";
import { explainMemory } from "./memory.js";

const LONGEST_TURN_MS = 8; // without letting the page or worker handle events

/** What is used of the package beside `Ort`. */
interface WebOrt extends GpuOrt {
  readonly env: GpuOrt["env"] & {
    logLevel?: unknown;
    readonly wasm: { numThreads?: number; wasmPaths?: unknown };
  };
}

/** Threads of wasm in this page or worker, which are those that its first model was given. */
let wasmThreads: number | null = null;

/** The choice as it can be met here; `onWarning` is told where other threads run already. */
export function settleThreads(choice: BackendChoice, onWarning?: ((message: string) => void) | undefined) {
  if (choice.name !== "wasm") return choice;
  wasmThreads ??= choice.threads;
  if (wasmThreads === choice.threads) return choice;
  onWarning?.(
    `onnxruntime-web was started with ${wasmThreads} threads for the first model of this page, not with the ` +
      `${choice.threads} of this one; load models in workers of their own to give each its threads`,
  );
  return { ...choice, threads: wasmThreads };
}

/**
 * Import what the choice needs from `folder`, the address of onnxruntime-web's files with "/" at its end. They are never
 * part of a bundle: bundlers break the threads of some versions, the addresses of others, and they would be in the
 * bundle once for the page and once for the worker.
 */
export async function openBackend(choice: BackendChoice, facts: BrowserFacts, folder: string): Promise<Backend> {
  const isGpu = choice.name === "webgpu";
  const ort = await importOrt(folder, isGpu ? "ort.webgpu.min.mjs" : "ort.wasm.min.mjs");
  ort.env.logLevel = "error";
  ort.env.wasm.numThreads = choice.threads;
  ort.env.wasm.wasmPaths = folder;
  const capabilities: Capabilities = {
    name: describeChoice(choice),
    allowsRankZero: !isGpu, // WebGPU cannot bind an empty buffer
    loadsByPathOnly: false,
    cache: "returned",
    cacheLocation: isGpu ? "gpu-buffer" : "cpu",
    hasInt8Cache: !isGpu,
    ...(isGpu && hasNarrowSubgroups(facts) ? { longestCall: LONGEST_NARROW_CALL } : {}),
  };
  const gpu = isGpu ? new (await import("./gpu.js")).Gpu(ort) : null;
  const backend: Backend = {
    ort: inTurns(ort, gpu),
    capabilities,
    sessionOptions: { executionProviders: [choice.name], logSeverityLevel: 3 },
    makeCache: returnedCache,
  };
  return gpu === null ? backend : { ...backend, place: (data, dims) => gpu.place(data, dims) };
}

async function importOrt(folder: string, file: string): Promise<WebOrt> {
  const address = folder + file;
  try {
    return (await import(/* webpackIgnore: true */ /* turbopackIgnore: true */ /* @vite-ignore */ address)) as WebOrt;
  } catch (error) {
    throw noOrt(folder, (error as Error).message);
  }
}

function noOrt(folder: string, reason: string): BackendError {
  return new BackendError(
    `onnxruntime-web cannot start (${reason}); its files are looked for in ${folder}: copy them there ` +
      "(npx edgelora-ort FOLDER), or say with wasmPaths where they are",
    "not-started",
  );
}

/** That onnxruntime itself did not start is no fault of the artifact. */
function explainStart(error: unknown, folder: string): unknown {
  const message = String((error as Error | null)?.message ?? error);
  if (!message.startsWith("no available backend found")) return error;
  return noOrt(folder, message.split("ERR: ")[1] ?? message);
}

/** Rejects when a policy forbids a thread from `folder`, for which onnxruntime would wait for ever. */
function refusedThread(folder: string, signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    const look = ({ effectiveDirective, blockedURI }: SecurityPolicyViolationEvent) => {
      if (effectiveDirective !== "worker-src" || !blockedURI.startsWith(folder)) return;
      reject(noOrt(folder, "a policy whose worker-src has not their address forbids its threads"));
    };
    globalThis.addEventListener?.("securitypolicyviolation", look as (event: Event) => void, { signal });
  });
}

/** What WebGPU cannot open another place may; whether the artifact is to blame shows there. */
function refusedByGpu(error: unknown): BackendError {
  const reason = String((error as Error | null)?.message ?? error)
    .trim()
    .split("\n")[0];
  return new BackendError(
    `WebGPU cannot open the graph (${reason}); load the model with backend: "wasm", or export the artifact again`,
    "not-opened",
  );
}

/**
 * The same package with sessions that give way between runs: a run in wasm ends in the turn in which it began, so
 * that without a pause no event, an abort among them, would be handled before a whole answer is written. `gpu` is
 * watched from the first session on, and ends what waits for it when it is lost.
 */
function inTurns(ort: WebOrt, gpu: Gpu | null): Ort {
  let since = performance.now();
  const giveWay = async () => {
    if (performance.now() - since < LONGEST_TURN_MS) return;
    await new Promise<void>((resolve) => {
      const { port1, port2 } = new MessageChannel(); // timers would wait 4 ms
      port1.onmessage = () => {
        port1.close();
        resolve();
      };
      port2.postMessage(null);
    });
    since = performance.now();
  };
  const wrap = (session: InferenceSession): InferenceSession => ({
    inputMetadata: session.inputMetadata,
    outputMetadata: session.outputMetadata,
    run: async (feeds: Feeds, fetches?: Fetches) => {
      const run = () => (fetches === undefined ? session.run(feeds) : session.run(feeds, fetches));
      try {
        const results = await (gpu === null ? run() : gpu.during(run));
        await giveWay();
        return results;
      } catch (error) {
        throw explainMemory(error, "computing an answer");
      }
    },
    release: async () => {
      const released = session.release();
      if (gpu?.isLost)
        released.catch(() => {}); // what waits for a lost GPU may wait for ever
      else await released;
    },
  });
  const create = async (model: string | Uint8Array, options?: object): Promise<InferenceSession> => {
    const found = { ...options };
    const folder = String(ort.env.wasm.wasmPaths);
    const ending = new AbortController();
    try {
      const { InferenceSession: factory } = ort;
      const made = typeof model === "string" ? factory.create(model, found) : factory.create(model, found);
      const session = await Promise.race([made, refusedThread(folder, ending.signal)]);
      await gpu?.watch();
      return wrap(session);
    } catch (error) {
      const explained = explainStart(explainMemory(error, "opening the graph"), folder);
      throw gpu === null || explained instanceof EdgeLoraError ? explained : refusedByGpu(explained);
    } finally {
      ending.abort();
    }
  };
  return { Tensor: ort.Tensor, InferenceSession: { create }, env: ort.env };
}
