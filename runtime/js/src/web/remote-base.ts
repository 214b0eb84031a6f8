/// <reference lib="esnext.disposable" preserve="true" />
/**
 * What models of every task have in a worker, as the page sees them.
 *
 * Knows nothing about answers.
 */

import type { AddressOptions } from "../core/address.js";
import { asAddress, type FileProgress, type FolderSource } from "../core/files.js";
import type { FileInfo, Manifest, Task } from "../core/format.js";
import type { LoadAdapterOptions } from "../core/loaded-model.js";
import { once } from "../core/once.js";
import type { CallOptions } from "../core/request.js";
import type { Tokenizer } from "../core/text.js";
import type { SentPlace } from "./artifact.js";
import type { BackendChoice } from "./choice.js";
import { copyAdapter } from "./folders.js";
import type { Line } from "./line.js";
import { absolute, openPlace } from "./open-place.js";
import { baseAddress } from "./place.js";
import type { Loaded, ModelState, SentMethod } from "./protocol.js";
import { receiveManifest } from "./sent-manifest.js";

/** What every model in a worker has beside the methods of its task. */
export interface InWorker {
  readonly choice: BackendChoice;
  /** Memory that wasm has taken: weights, cache and what a run needs; with WebGPU most of that lies on the GPU instead. */
  wasmBytes(): Promise<number>;
}

/** What models of all tasks have in a worker. */
export class RemoteBase implements InWorker {
  readonly manifest: Manifest;
  protected readonly line: Line;
  readonly #where: SentPlace;
  readonly #asking: AddressOptions;
  readonly #tokenizer = once(() => this.#readTokenizer());
  #ending: Promise<void> | null = null;

  constructor(line: Line, where: SentPlace, asking: AddressOptions, { manifest }: Loaded) {
    this.manifest = receiveManifest(manifest);
    this.line = line;
    this.#where = where;
    this.#asking = asking;
  }

  get task(): Task {
    return this.manifest.task;
  }

  get adapters(): readonly string[] {
    return this.#state.adapters;
  }

  get adapter(): string {
    return this.#state.adapter;
  }

  get backend(): string {
    return this.#state.backend;
  }

  get choice(): BackendChoice {
    return this.#state.choice;
  }

  /** As of the last answer; a model that was loaded has one. */
  get #state(): ModelState {
    return this.line.state as ModelState;
  }

  /** A second one in the page, from the same cache: its methods answer without waiting, which a worker's cannot. */
  get tokenizer(): Promise<Tokenizer | null> {
    return this.#tokenizer();
  }

  async setAdapter(spec: string, options: CallOptions = {}): Promise<void> {
    await this.sent("setAdapter", [spec], options);
  }

  async loadAdapter(name: string, folder: string | URL | FolderSource, given: LoadAdapterOptions = {}): Promise<void> {
    const { signal, onProgress, ...options } = given;
    const from = asAddress(name, folder);
    const isAddress = typeof from === "string";
    const copy = isAddress ? absolute(from, baseAddress()) : await copyAdapter(from, { signal, onProgress });
    const onFile = (progress: unknown) => onProgress?.(progress as FileProgress);
    await this.line.ask({ kind: "loadAdapter", name, folder: copy, options }, signal, onFile);
  }

  async unloadAdapter(name: string, options: CallOptions = {}): Promise<void> {
    await this.sent("unloadAdapter", [name], options);
  }

  /** Call a method of the model with these arguments, and options whose signal stays here. */
  protected sent(method: SentMethod, args: readonly unknown[], given: object = {}): Promise<unknown> {
    const { signal, ...options } = given as { readonly signal?: AbortSignal };
    return this.line.ask({ kind: "call", method, args, options }, signal);
  }

  wasmBytes(): Promise<number> {
    return this.line.ask({ kind: "wasmBytes" }) as Promise<number>;
  }

  dispose(): Promise<void> {
    // The worker's memory goes with it, whatever it says.
    this.#ending ??= this.line
      .ask({ kind: "dispose" })
      .catch(() => {})
      .then(() => this.line.end());
    return this.#ending;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  async #readTokenizer(): Promise<Tokenizer | null> {
    const { tokenizer, files } = this.manifest;
    if (tokenizer === null) return null;
    const { readTokenizer } = await import("../core/text.js"); // many a page has no use for it
    const source = await openPlace(this.#where, this.#asking);
    try {
      const names = [tokenizer.file, tokenizer.chatTemplate].filter((name) => name !== null);
      await source.fill(new Map(names.map((name) => [name, files.get(name) as FileInfo])), false);
      return await readTokenizer(source, tokenizer);
    } finally {
      source.close();
    }
  }
}
