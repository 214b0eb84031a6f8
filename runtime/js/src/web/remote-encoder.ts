/**
 * The page's side of a model without a KV cache in a worker: the same methods, sent as messages.
 *
 * Knows nothing about onnxruntime or downloads.
 */

import type { EncoderModel } from "../core/encoder-model.js";
import type { HeadInfo } from "../core/format.js";
import type { AnswerResult } from "../core/replay-answers.js";
import type { CallOptions } from "../core/request.js";
import type { SentMethod } from "./protocol.js";
import { RemoteBase } from "./remote-base.js";

export class RemoteEncoder extends RemoteBase implements EncoderModel {
  classify = this.#method("classify") as EncoderModel["classify"];
  classifyEach = this.#method("classifyEach") as EncoderModel["classifyEach"];
  tag = this.#method("tag") as EncoderModel["tag"];
  embed = this.#method("embed") as EncoderModel["embed"];
  outputs = this.#method("outputs") as EncoderModel["outputs"];

  probe(name: string, options: CallOptions = {}): Promise<AnswerResult | null> {
    return this.sent("probe", [name], options) as Promise<AnswerResult | null>;
  }

  labels(options: Parameters<EncoderModel["labels"]>[0] = {}): Promise<HeadInfo | null> {
    return this.sent("labels", [], options) as Promise<HeadInfo | null>;
  }

  #method(name: SentMethod): (input: unknown, options?: object) => Promise<unknown> {
    return (input, options = {}) => this.sent(name, [input], options);
  }
}
