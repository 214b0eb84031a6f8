/**
 * onnxruntime-web as a backend of the core: which bundle, where its files lie, and memory that stays on the GPU.
 *
 * Knows nothing about artifacts. The package keeps one environment for a page or worker: the first load decides how
 * many threads there are.
 */

import { returnedCache } from "../core/cache.js";
import { BackendError, InputError } from "../core/errors.js";
import type { Backend, Capabilities, Feeds, Fetches, InferenceSession, Ort, Tensor } from "../core/ports.js";
import {
  type BackendChoice,
  type BrowserFacts,
  describeChoice,
  hasNarrowSubgroups,
  LONGEST_NARROW_CALL,
} from "./choice.js";
import { explainMemory } from "./memory.js";

const LONGEST_TURN_MS = 8; // without letting the page or worker handle events

/** What is used of the package beside `Ort`. */
interface WebOrt extends Ort {
  readonly env: {
    logLevel?: unknown;
    readonly wasm: { numThreads?: number; wasmPaths?: unknown };
    readonly webgpu: { readonly device?: unknown };
  };
  readonly Tensor: Ort["Tensor"] & {
    fromGpuBuffer(buffer: never, options: GpuTensorOptions): Tensor;
  };
}

interface GpuTensorOptions {
  readonly dataType: "float32";
  readonly dims: readonly number[];
  readonly dispose: () => void;
}

/** The part of WebGPU that placing an adapter takes; TypeScript's own library has no types for it yet. */
interface GpuDevice {
  readonly lost: Promise<{ readonly message: string }>;
  createBuffer(options: { size: number; usage: number; mappedAtCreation: boolean }): GpuBuffer;
}

interface GpuBuffer {
  getMappedRange(): ArrayBuffer;
  unmap(): void;
  destroy(): void;
}

const STORAGE_COPY = 0x80 | 0x04 | 0x08; // GPUBufferUsage.STORAGE | COPY_SRC | COPY_DST

/** Import the bundle of the choice. `wasmPaths` is the folder of onnxruntime's own files, "/" at its end. */
export async function openBackend(
  choice: BackendChoice,
  facts: BrowserFacts,
  wasmPaths: string | undefined,
): Promise<Backend> {
  const isGpu = choice.name === "webgpu";
  const ort = (
    isGpu
      ? await imported(() => import("onnxruntime-web/webgpu"))
      : await imported(() => import("onnxruntime-web/wasm"))
  ) as WebOrt;
  ort.env.logLevel = "error";
  ort.env.wasm.numThreads = choice.threads;
  if (wasmPaths !== undefined) ort.env.wasm.wasmPaths = wasmPaths;
  const capabilities: Capabilities = {
    name: describeChoice(choice),
    allowsRankZero: !isGpu, // WebGPU cannot bind an empty buffer
    loadsByPathOnly: false,
    cache: "returned",
    cacheLocation: isGpu ? "gpu-buffer" : "cpu",
    hasInt8Cache: !isGpu,
    ...(isGpu && hasNarrowSubgroups(facts) ? { longestCall: LONGEST_NARROW_CALL } : {}),
  };
  const gpu: Gpu = { device: null, lost: null };
  const backend: Backend = {
    ort: inTurns(ort, async () => {
      if (isGpu && gpu.device === null) await watchGpu(ort, gpu);
      if (gpu.lost !== null) throw lostGpu(gpu.lost);
    }),
    capabilities,
    sessionOptions: { executionProviders: [choice.name], logSeverityLevel: 3 },
    makeCache: returnedCache,
  };
  return isGpu ? { ...backend, place: (data, dims) => placed(ort, gpu, data, dims) } : backend;
}

async function imported(load: () => Promise<unknown>): Promise<unknown> {
  try {
    return await load();
  } catch (error) {
    const reason = (error as Error).message;
    throw new InputError(`onnxruntime-web cannot be loaded (${reason}); install it and serve its files with the page`);
  }
}

/** That onnxruntime itself did not start is no fault of the artifact. */
function explainStart(error: unknown): unknown {
  const message = String((error as Error | null)?.message ?? error);
  if (!message.startsWith("no available backend found")) return error;
  const reason = message.split("ERR: ")[1] ?? message;
  return new BackendError(
    `onnxruntime-web cannot start (${reason}); serve its .wasm and .mjs files where wasmPaths says`,
  );
}

/** The device that the first session chose, and what became of it. */
interface Gpu {
  device: GpuDevice | null;
  lost: string | null;
}

/** Later versions of the package have a promise where this one has the device. */
async function watchGpu(ort: WebOrt, gpu: Gpu): Promise<void> {
  const device = (await ort.env.webgpu.device) as GpuDevice;
  gpu.device = device;
  void device.lost.then(({ message }) => {
    gpu.lost = message || "no reason given";
  });
}

function lostGpu(reason: string): BackendError {
  return new BackendError(`the GPU was lost (${reason}); reload the page, or load the model with backend: "wasm"`);
}

/** A slot input in a buffer of the GPU, where it stays until it is disposed of. */
function placed(ort: WebOrt, gpu: Gpu, data: Float32Array, dims: readonly number[]): Tensor {
  if (gpu.lost !== null) throw lostGpu(gpu.lost);
  const device = gpu.device as GpuDevice; // set by the session that was made before any adapter
  const size = Math.max(16, Math.ceil(data.byteLength / 16) * 16);
  const buffer = device.createBuffer({ size, usage: STORAGE_COPY, mappedAtCreation: true });
  new Float32Array(buffer.getMappedRange()).set(data);
  buffer.unmap();
  const options: GpuTensorOptions = { dataType: "float32", dims, dispose: () => buffer.destroy() };
  return ort.Tensor.fromGpuBuffer(buffer as never, options);
}

/**
 * The same package with sessions that give way between runs: a run in wasm ends in the turn in which it began, so
 * that without a pause no event, an abort among them, would be handled before a whole answer is written. `check`
 * throws where the device cannot be used any more; it is asked after a session was made, and after a run that failed.
 */
function inTurns(ort: Ort, check: () => Promise<void>): Ort {
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
      try {
        const results = fetches === undefined ? await session.run(feeds) : await session.run(feeds, fetches);
        await giveWay();
        return results;
      } catch (error) {
        await check();
        throw explainMemory(error, "computing an answer");
      }
    },
    release: () => session.release(),
  });
  const create = async (model: string | Uint8Array, options?: object): Promise<InferenceSession> => {
    const found = { ...options };
    try {
      const { InferenceSession: factory } = ort;
      const session = await (typeof model === "string" ? factory.create(model, found) : factory.create(model, found));
      await check();
      return wrap(session);
    } catch (error) {
      throw explainStart(explainMemory(error, "opening the graph"));
    }
  };
  return { Tensor: ort.Tensor, InferenceSession: { create }, env: ort.env };
}
