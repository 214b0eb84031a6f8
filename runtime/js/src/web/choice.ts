/**
 * Which execution provider an artifact gets in this browser, and why.
 *
 * Knows nothing about onnxruntime: facts of the browser and of the manifest go in, a choice and warnings come out.
 */

import { BackendError, type BackendFault, InputError } from "../core/errors.js";
import type { Manifest } from "../core/format.js";

const ASKED_FOR = "it was asked for";
const MAX_DEFAULT_THREADS = 4; // more only add waiting on small models

/** What runs the graph, and the reason, for people. */
export interface BackendChoice {
  readonly name: "webgpu" | "wasm";
  /** Threads of wasm; 1 with WebGPU. */
  readonly threads: number;
  readonly reason: string;
}

/** What was asked for; everything else is chosen. */
export interface Wish {
  readonly backend?: "webgpu" | "wasm" | undefined;
  readonly threads?: number | undefined;
  /**
   * Whether the model is opened again in wasm, and the call repeated, when the GPU is lost, computes no numbers or cannot
   * open the graph; `onWarning` is told. By default where `backend` is left out.
   */
  readonly fallback?: boolean | undefined;
}

/** What the browser can do. `gpu` says why there is none, or that the adapter computes on the CPU. */
export interface BrowserFacts {
  readonly gpu: "hardware" | "software" | "no navigator.gpu" | "no adapter";
  /** Invocations of a subgroup at least, where the adapter has subgroups. */
  readonly subgroupSize: number | null;
  readonly isIsolated: boolean;
  /** Whether there is memory that threads share; WebKitGTK has none, however isolated the page. */
  readonly hasSharedMemory: boolean;
  readonly cores: number;
}

/** Look at this page or worker. */
export async function browserFacts(): Promise<BrowserFacts> {
  const { gpu } = navigator as { gpu?: { requestAdapter(): Promise<GpuAdapter | null> } };
  const adapter = (await gpu?.requestAdapter().catch(() => null)) ?? null;
  const isSoftware = adapter?.info?.isFallbackAdapter ?? adapter?.isFallbackAdapter ?? false;
  const isThere = isSoftware || adapter?.info?.architecture === "swiftshader" ? "software" : "hardware";
  return {
    subgroupSize: adapter?.info?.subgroupMinSize ?? null,
    gpu: gpu === undefined ? "no navigator.gpu" : adapter === null ? "no adapter" : isThere,
    isIsolated: globalThis.crossOriginIsolated === true,
    hasSharedMemory: typeof SharedArrayBuffer === "function",
    cores: navigator.hardwareConcurrency || 1,
  };
}

interface GpuAdapter {
  readonly isFallbackAdapter?: boolean;
  readonly info?: {
    readonly isFallbackAdapter?: boolean;
    readonly architecture?: string;
    readonly subgroupMinSize?: number;
  };
}

/** The choice, and what the user should know of it. Throws BackendError where the wish cannot be met. */
export function chooseBackend(
  facts: BrowserFacts,
  manifest: Pick<Manifest, "target" | "record"> & Partial<Pick<Manifest, "encoder">>,
  wish: Wish,
): { readonly choice: BackendChoice; readonly warnings: readonly string[] } {
  const { backend, threads } = wish;
  if (backend !== undefined && backend !== "webgpu" && backend !== "wasm") {
    throw new InputError(`backend is "${backend}", expected "webgpu" or "wasm", or nothing to let the runtime choose`);
  }
  if (threads !== undefined && (!Number.isInteger(threads) || threads < 1)) {
    throw new InputError(`threads is ${threads}, expected a whole number from 1`);
  }
  const hasGpu = facts.gpu === "hardware" || facts.gpu === "software";
  if (backend === "webgpu" && !hasGpu) {
    throw new BackendError(
      `WebGPU was asked for, but this browser has none (${facts.gpu}); leave backend out to run in wasm, or use a ` +
        "browser with WebGPU",
      "no-webgpu",
    );
  }
  const isForWasm = manifest.target === "web-wasm";
  const isNarrow = hasNarrowSubgroups(facts);
  const isWrong = isNarrow && Boolean(manifest.encoder); // a text of an encoder cannot go through in pieces
  const isBest = facts.gpu === "hardware" && !isForWasm && !isWrong;
  const takesGpu = backend === "webgpu" || (backend === undefined && isBest);
  if (takesGpu) {
    const reason = backend === "webgpu" ? ASKED_FOR : "this browser has WebGPU";
    const warnings: string[] = [];
    if (isForWasm) warnings.push("this artifact was exported for web-wasm; on WebGPU export it for web-webgpu");
    if (isWrong) {
      warnings.push(
        `this GPU has subgroups of ${facts.subgroupSize}, with which onnxruntime-web gives wrong answers to texts of ` +
          `${LONGEST_NARROW_CALL + 1} tokens or more; run it in wasm`,
      );
    }
    return { choice: { name: "webgpu", threads: 1, reason }, warnings };
  }
  const warnings: string[] = [];
  const lack = !facts.isIsolated
    ? "a cross-origin isolated page (COOP and COEP headers)"
    : !facts.hasSharedMemory && "SharedArrayBuffer";
  if (lack && threads !== undefined && threads > 1) warnings.push(`${threads} threads need ${lack}; one is used`);
  if (multipliesNBits(manifest)) {
    warnings.push(
      "this artifact multiplies with MatMulNBits, which takes 30 times as long in wasm as what --target web-wasm exports; " +
        "export it for that",
    );
  }
  const reason =
    backend === "wasm"
      ? ASKED_FOR
      : isForWasm
        ? "the artifact was exported for it"
        : facts.gpu === "software"
          ? "the WebGPU of this browser computes on the CPU"
          : hasGpu
            ? `the GPU has subgroups of ${facts.subgroupSize}`
            : `this browser has no WebGPU (${facts.gpu})`;
  const wanted = threads ?? Math.min(MAX_DEFAULT_THREADS, facts.cores);
  const why = lack ? `; one thread, because more need ${lack}` : "";
  return {
    choice: { name: "wasm", threads: lack ? 1 : wanted, reason: `${reason}${why}` },
    warnings,
  };
}

/** Tokens up to which a call is right where subgroups are narrow. */
export const LONGEST_NARROW_CALL = 31;

/**
 * onnxruntime-web 1.30 computes attention over 32 tokens and more with a kernel that takes subgroups of 8 for granted:
 * with 4 (old Mali GPUs, SwiftShader), what comes after the fourth token is wrong.
 */
export function hasNarrowSubgroups({ subgroupSize }: BrowserFacts): boolean {
  return subgroupSize !== null && subgroupSize < 8;
}

/** What the compiler reported of its graph; an artifact without a report gets no warning. */
function multipliesNBits({ record }: Pick<Manifest, "record">): boolean {
  const report = record.report as { readonly nodes?: Readonly<Record<string, number>> } | null | undefined;
  return (report?.nodes?.MatMulNBits ?? 0) > 0;
}

/** Wasm in the place of a GPU that failed. */
export function chooseInstead(
  facts: BrowserFacts,
  manifest: Parameters<typeof chooseBackend>[1],
  { threads }: Wish,
  { fault }: BackendError,
): ReturnType<typeof chooseBackend> {
  const { choice, warnings } = chooseBackend(facts, manifest, { backend: "wasm", threads });
  const reason = GPU_FAULTS[fault] ?? "the GPU failed";
  return { choice: { ...choice, reason: choice.reason.replace(ASKED_FOR, reason) }, warnings };
}

const GPU_FAULTS: Partial<Record<BackendFault, string>> = {
  "device-lost": "the GPU was lost",
  "no-numbers": "the GPU computed no numbers",
};

/** The choice in words. */
export function describeChoice({ name, threads, reason }: BackendChoice): string {
  const place = name === "webgpu" ? "WebGPU" : threads === 1 ? "wasm, 1 thread" : `wasm, ${threads} threads`;
  return `onnxruntime-web, ${place} (${reason})`;
}
