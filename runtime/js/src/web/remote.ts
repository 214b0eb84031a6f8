/**
 * The page's side of a model in a worker: the same methods, sent as messages.
 *
 * Knows nothing about onnxruntime or downloads.
 */

import type { EncoderModel } from "../core/encoder-model.js";
import { BackendError, InputError } from "../core/errors.js";
import type { ForTask, Model, ModelOf, Wanted } from "../core/model.js";
import type { ProbeResult } from "../core/probe.js";
import type { CallOptions } from "../core/request.js";
import type { Place, Progress } from "./artifact.js";
import { Line } from "./line.js";
import type { WebOptions } from "./load.js";
import { toSend } from "./open-place.js";
import { openStore } from "./open-store.js";
import { baseAddress, ortFolder } from "./place.js";
import type { Loaded } from "./protocol.js";
import { type InWorker, RemoteBase } from "./remote-base.js";

type Options = Readonly<Record<string, unknown>> & { readonly signal?: AbortSignal };

/** A model in a worker, as `loadInWorker` makes it. */
export type RemoteModel = Model & InWorker;

/** The same of a model without a KV cache. */
export type RemoteEncoder = EncoderModel & InWorker;

/** The model of a task in a worker. */
export type RemoteOf<Want extends Wanted> = ModelOf<Want> & InWorker;

/** Start `worker` and open an artifact in it. Rejects as `load` does; the worker is then ended. */
export async function openRemote<Want extends Wanted = "text-generation">(
  worker: Worker,
  place: Place,
  options: WebOptions & ForTask<Want>,
): Promise<RemoteOf<Want>> {
  const { signal, onProgress, onWarning, makeRoom, ...sent } = options;
  const line = new Line(worker, onWarning);
  const wasmPaths = ortFolder(sent.wasmPaths);
  try {
    const where = await toSend(place, baseAddress());
    if (typeof where === "string") void openStore(); // what the worker puts there is to outlive it
    const load = async (mustKeep: boolean | undefined) => {
      const call = { kind: "load", place: where, options: { ...sent, wasmPaths, mustKeep } } as const;
      return (await line.ask(call, signal, (progress) => onProgress?.(progress as Progress))) as Loaded;
    };
    const asksForRoom = async (error: unknown) => {
      const isFull = error instanceof BackendError && error.fault === "no-room";
      if (!isFull || makeRoom === undefined || typeof where !== "string") throw error;
      const { makeRoomFor, WebModels } = await import("./later.js");
      await makeRoomFor(new WebModels(await openStore()), where, { ...sent, signal }, makeRoom);
      return load(sent.mustKeep);
    };
    // Functions cannot be sent: the worker says that there is no room, and the page asks what may go.
    const loaded = await load(makeRoom === undefined ? sent.mustKeep : true).catch(asksForRoom);
    if (loaded.manifest.task === "text-generation") {
      return new Remote(line, where, sent, loaded) as unknown as RemoteOf<Want>;
    }
    const { RemoteEncoder } = await import("./remote-encoder.js"); // a chat has no use for it
    return new RemoteEncoder(line, where, sent, loaded) as unknown as RemoteOf<Want>;
  } catch (error) {
    line.end();
    throw error;
  }
}

/** Options as they are; throws InputError for those that cannot be sent. */
function sendable<Given extends object>(options: Given): Given {
  if ("processLogits" in options && options.processLogits !== undefined) {
    throw new InputError("processLogits is a function, which no worker can be given; use load() for it");
  }
  return options;
}

class Remote extends RemoteBase implements RemoteModel {
  probe(name: string, options: CallOptions = {}): Promise<ProbeResult | null> {
    return this.sent("probe", [name], options) as Promise<ProbeResult | null>;
  }

  generate: Model["generate"] = ((prompt: string | readonly string[], given: Options = {}) => {
    const { signal, ...options } = sendable(given);
    return this.line.answer({ kind: "generate", prompt, options }, signal);
  }) as Model["generate"];

  chat: Model["chat"] = (messages, given = {}) => {
    const { signal, ...options } = sendable(given);
    return this.line.answer({ kind: "chat", messages, options }, signal);
  };

  generateIds: Model["generateIds"] = ((ids: readonly number[], options: Options = {}) =>
    this.sent("generateIds", [ids], sendable(options))) as Model["generateIds"];

  logits(ids: readonly number[], options: Parameters<Model["logits"]>[1] = {}): Promise<Float32Array[]> {
    return this.sent("logits", [ids], options) as Promise<Float32Array[]>;
  }

  score(
    promptIds: readonly number[],
    completionIds: readonly number[],
    options: Parameters<Model["score"]>[2] = {},
  ): Promise<Float64Array> {
    return this.sent("score", [promptIds, completionIds], options) as Promise<Float64Array>;
  }
}
