/**
 * The page's side of a model without a KV cache in a worker: the same methods, sent as messages.
 *
 * Knows nothing about onnxruntime or downloads.
 */

import type { EncoderModel } from "../core/encoder-model.js";
import type { AnswerResult } from "../core/replay-answers.js";
import type { EncoderApi, EncoderMethod } from "./protocol.js";
import { RemoteBase } from "./remote-base.js";

type Options = Readonly<Record<string, unknown>> & { readonly signal?: AbortSignal };

export class RemoteEncoder extends RemoteBase implements EncoderApi {
  probe(name: string): Promise<AnswerResult | null> {
    return this.line.ask({ kind: "probe", name }) as Promise<AnswerResult | null>;
  }

  classify = this.#sent("classify") as EncoderModel["classify"];
  classifyEach = this.#sent("classifyEach") as EncoderModel["classifyEach"];
  tag = this.#sent("tag") as EncoderModel["tag"];
  embed = this.#sent("embed") as EncoderModel["embed"];
  labels = this.#sent("labels") as EncoderModel["labels"];
  outputs = this.#sent("outputs") as EncoderModel["outputs"];

  #sent(method: EncoderMethod): (input: unknown, options?: Options) => Promise<unknown> {
    return (input, { signal, ...options } = {}) => this.line.ask({ kind: "encode", method, input, options }, signal);
  }
}
