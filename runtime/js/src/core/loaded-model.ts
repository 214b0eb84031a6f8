/// <reference lib="esnext.disposable" preserve="true" />
/**
 * What every loaded artifact has, whatever its task: adapters by name, one call at a time, a tokenizer.
 *
 * Knows nothing about what is computed; `token-model.ts` and `encoder-model.ts` do.
 */

import { throwIfAborted } from "./abort.js";
import type { AdapterSet } from "./adapter-set.js";
import type { BoundAdapter } from "./bound-adapter.js";
import { CallQueue } from "./call-queue.js";
import { AdapterError, BackendError, InputError } from "./errors.js";
import { asAddress, type FileProgress, type FolderSource } from "./files.js";
import type { Manifest, Task } from "./format.js";
import { once } from "./once.js";
import { show } from "./parse-json.js";
import type { ArtifactSource, Backend } from "./ports.js";
import type { CallOptions } from "./request.js";
import { parseSpec } from "./spec.js";
import type { Tokenizer } from "./text.js";

/** Options of `loadAdapter`. */
export interface LoadAdapterOptions extends CallOptions {
  /** Leave the receipt unread. */
  readonly trust?: boolean | undefined;
  /** Labels of its head, where the folder says nothing of them. */
  readonly labels?: readonly string[] | undefined;
  /** Told what has come of each file, where the folder is one at an address. */
  readonly onProgress?: ((progress: FileProgress) => void) | undefined;
}

/** Answers one call at a time, in the order of the calls. */
export abstract class LoadedModel<Item, Bound extends BoundAdapter> {
  readonly manifest: Manifest;
  protected readonly source: ArtifactSource;
  protected readonly known: AdapterSet<Item, Bound>;
  #backend: Backend;
  #spec = "none";
  readonly #tokenizer = once(() => this.#readTokenizer());
  readonly #queue = new CallQueue();
  #disposal: Promise<void> | null = null;

  constructor(source: ArtifactSource, manifest: Manifest, backend: Backend, known: AdapterSet<Item, Bound>) {
    this.manifest = manifest;
    this.#backend = backend;
    this.source = source;
    this.known = known;
  }

  /** What runs the graph, for people: "onnxruntime-node, CPU". */
  get backend(): string {
    return this.#backend.capabilities.name;
  }

  /** What the artifact is for. */
  get task(): Task {
    return this.manifest.task;
  }

  /** Names that a SPEC can use. */
  get adapters(): readonly string[] {
    return this.known.names;
  }

  /** The SPEC used where a call gives none. */
  get adapter(): string {
    return this.#spec;
  }

  /** Text in and out, read when it is first asked for; null when the artifact has no tokenizer. */
  get tokenizer(): Promise<Tokenizer | null> {
    return this.#tokenizer();
  }

  /**
   * Use `spec` from now on where a call gives none, and make it ready. A change drops the KV cache, but for what the base
   * computed before an activated adapter.
   */
  setAdapter(spec: string, options: CallOptions = {}): Promise<void> {
    return this.alone(async (signal) => {
      await this.use(spec, signal);
      throwIfAborted(signal);
      this.#spec = spec;
    }, options.signal);
  }

  /**
   * Make a PEFT folder known as `name` (replacing that name): a location as this place writes it, or any source. Throws
   * AdapterError when it does not fit, a receipt that names another base, grid, tokenizer or template, or other factors
   * among the reasons; `trust` leaves the receipt unread.
   */
  loadAdapter(name: string, folder: string | URL | FolderSource, options: LoadAdapterOptions = {}): Promise<void> {
    const { trust = false, labels = null, onProgress } = options;
    return this.alone(async (signal) => {
      const given = asAddress(name, folder);
      const source = typeof given === "string" ? this.source.folder(given) : given;
      await this.known.load(name, source, trust, labels, { signal, onProgress });
    }, options.signal);
  }

  /** Forget `name` and give its memory back; throws AdapterError for an unknown name and the one that is set. */
  unloadAdapter(name: string, options: CallOptions = {}): Promise<void> {
    return this.alone(async () => {
      if (parseSpec(this.#spec).some((term) => term.name === name)) {
        throw new AdapterError(`adapter ${show(name)} is in use (${show(this.#spec)} is set); set another one first`);
      }
      this.known.unload(name);
    }, options.signal);
  }

  /**
   * Let go of sessions and device memory. Calls that are under way or waiting reject at once, as later ones do; the
   * promise resolves when the step that is being computed has ended and everything is free, however often it is asked.
   */
  dispose(): Promise<void> {
    this.#disposal ??= this.#dispose();
    return this.#disposal;
  }

  /** `await using model = await load(...)` disposes of the model where its block ends. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.dispose();
  }

  async #readTokenizer(): Promise<Tokenizer | null> {
    const info = this.manifest.tokenizer;
    if (info === null) return null;
    const { readTokenizer } = await import("./text.js"); // token ids have no use for it
    return readTokenizer(this.source, info);
  }

  async #dispose(): Promise<void> {
    await this.#queue.close(new InputError("this model was disposed of; load the artifact again"));
    this.known.dispose();
    await this.release();
    this.source.close?.();
  }

  /**
   * Run `call` when those before it have ended, well or not; the promise rejects at once where `given` is aborted or the
   * model disposed of, and the call ends when it looks at its signal.
   */
  protected alone<Result>(
    call: (signal: AbortSignal) => Promise<Result>,
    given?: AbortSignal | undefined,
  ): Promise<Result> {
    return this.#queue.run((signal) => this.recovered(() => call(signal)), given);
  }

  /** What `compute` gives, once more in another place where the device fails and there is one. */
  protected async recovered<Result>(compute: () => Promise<Result>): Promise<Result> {
    try {
      return await compute();
    } catch (error) {
      if (!(await this.recover(error))) throw error;
      return compute();
    }
  }

  /** Move to the other place if there is one, and the error says that this one failed; whether that was done. */
  protected async recover(error: unknown): Promise<boolean> {
    const { fallback } = this.#backend;
    if (fallback === undefined || !isDeviceFault(error)) return false;
    const backend = await fallback(error);
    const leave = await this.moveTo(backend);
    this.known.moveTo(backend);
    this.#backend = backend;
    void leave().catch(() => {}); // a session whose device is gone may never say that it has ended
    return true;
  }

  /** The tokenizer; throws InputError, which says what to use instead, where there is none. */
  protected async text(instead: string): Promise<Tokenizer> {
    const tokenizer = await this.tokenizer;
    if (tokenizer !== null) return tokenizer;
    throw new InputError(`${this.manifest.model.name} was exported without a tokenizer; use ${instead}`);
  }

  /** The adapter of a SPEC, or the one that is set, packed and bound. */
  protected one(adapter: string | readonly string[] | undefined, signal: AbortSignal | undefined): Promise<Bound> {
    return this.known.find(this.specs(adapter, 1)[0] as string, { signal });
  }

  /** One SPEC for each of `rows`: those given, or the one that is set. */
  protected specs(
    adapter: string | readonly string[] | undefined,
    rows: number,
    what: string = "prompt",
  ): readonly string[] {
    if (rows === 0) throw new InputError(`the batch is empty; give at least one ${what}`);
    if (!Array.isArray(adapter)) return new Array<string>(rows).fill((adapter as string | undefined) ?? this.#spec);
    if (adapter.length === rows) return adapter;
    throw new InputError(`${adapter.length} adapters for ${rows} ${what}s; give one SPEC, or one for each ${what}`);
  }

  /** Make ready what is set. */
  protected abstract use(spec: string, signal: AbortSignal): Promise<void>;

  /** Let go of the graphs. */
  protected abstract release(): Promise<void>;

  /** Open the graphs on another backend; returns how to let go of those that were used until then. */
  protected abstract moveTo(backend: Backend): Promise<() => Promise<void>>;
}

/** Whether another device may do what this one did not. */
function isDeviceFault(error: unknown): error is BackendError {
  return error instanceof BackendError && (error.fault === "device-lost" || error.fault === "no-numbers");
}
