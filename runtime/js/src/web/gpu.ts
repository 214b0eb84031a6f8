/**
 * The device that onnxruntime-web chose: what lies in its memory, and that it may be lost.
 *
 * Knows nothing about graphs.
 */

import { BackendError } from "../core/errors.js";
import type { Ort, Tensor } from "../core/ports.js";

const LOSS_MS = 300; // after which a run has not failed for want of the device, whose loss is told a little later

/** What is used of the package beside `Ort`. */
export interface GpuOrt extends Ort {
  readonly env: { readonly webgpu: { readonly device?: unknown } };
  readonly Tensor: Ort["Tensor"] & {
    fromGpuBuffer(buffer: never, options: GpuTensorOptions): Tensor;
  };
}

interface GpuTensorOptions {
  readonly dataType: "float32";
  readonly dims: readonly number[];
  readonly dispose: () => void;
}

/** The part of WebGPU that is used; TypeScript's own library has no types for it yet. */
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

export class Gpu {
  readonly #ort: GpuOrt;
  #device: GpuDevice | null = null;
  #fault: BackendError | null = null;
  #loss: Promise<never> | null = null;

  constructor(ort: GpuOrt) {
    this.#ort = ort;
  }

  get isLost(): boolean {
    return this.#fault !== null;
  }

  /** Look after the device from now on; called when the first session has chosen it. */
  async watch(): Promise<void> {
    if (this.#device !== null) return;
    // Later versions of the package have a promise where this one has the device.
    const device = (await this.#ort.env.webgpu.device) as GpuDevice;
    this.#device = device;
    this.#loss = device.lost.then(({ message }) => {
      this.#fault = lostGpu(message || "no reason given");
      throw this.#fault;
    });
    this.#loss.catch(() => {});
  }

  /** What `work` gives; throws BackendError as soon as the device is lost, also where `work` never ends then. */
  async during<Result>(work: () => Promise<Result>): Promise<Result> {
    if (this.#fault !== null) throw this.#fault;
    if (this.#loss === null) return work();
    const working = work();
    try {
      return await Promise.race([working, this.#loss]);
    } catch (error) {
      working.catch(() => {});
      await Promise.race([this.#loss, new Promise((resolve) => setTimeout(resolve, LOSS_MS))]);
      throw error;
    }
  }

  /** Numbers in a buffer of the GPU, where they stay until the tensor is disposed of. */
  place(data: Float32Array, dims: readonly number[]): Tensor {
    if (this.#fault !== null) throw this.#fault;
    const device = this.#device as GpuDevice; // set by the session that was made before any adapter
    const size = Math.max(16, Math.ceil(data.byteLength / 16) * 16);
    const buffer = device.createBuffer({ size, usage: STORAGE_COPY, mappedAtCreation: true });
    new Float32Array(buffer.getMappedRange()).set(data);
    buffer.unmap();
    const options: GpuTensorOptions = { dataType: "float32", dims, dispose: () => buffer.destroy() };
    return this.#ort.Tensor.fromGpuBuffer(buffer as never, options);
  }
}

function lostGpu(reason: string): BackendError {
  return new BackendError(
    `the GPU was lost (${reason}); reload the page, or load the model with backend: "wasm"`,
    "device-lost",
  );
}
