/**
 * The public model: opens an artifact, takes text or token ids and gives text or token ids.
 *
 * Knows nothing about buffers, kernels or where files come from; `token-model.ts` does what needs no text.
 */

import { throwIfAborted } from "./abort.js";
import type { EncoderModel } from "./encoder-model.js";
import { ArtifactError, InputError } from "./errors.js";
import type { Task } from "./format.js";
import { type FinishReason, scoreChoices } from "./generate.js";
import { readManifest } from "./manifest.js";
import type { Message, Tools } from "./messages.js";
import { show } from "./parse-json.js";
import type { ArtifactSource, Backend } from "./ports.js";
import {
  type CallOptions,
  makeRequest,
  type Request,
  type TextOptions,
  type WithAdapter,
  type WithAdapters,
} from "./request.js";
import { largestIndex } from "./sampling.js";
import { Session } from "./session.js";
import { StopFilter, StreamDecoder, textPieces } from "./stream.js";
import { checkTemplate, type Tokenizer } from "./text.js";
import { TokenModel } from "./token-model.js";

/** One answer. `tokenIds` leaves out the end token; `choiceScores` are in the order of the choices given. */
export interface Generation {
  readonly text: string;
  readonly tokenIds: readonly number[];
  readonly finishReason: FinishReason;
  readonly promptTokens: number;
  readonly choiceScores: readonly number[] | null;
}

/** Options of `loadModel`; entry files add those of their place. */
export interface LoadOptions extends CallOptions {
  /** Compare the hash of every file with the manifest, not the sizes alone. */
  readonly hashes?: boolean | undefined;
  /** Hold every adapter to its receipt: factors, base, and one replayed probe. */
  readonly probe?: boolean | undefined;
  /** Keep the graph without slots in memory beside the one with slots, for calls without an adapter. */
  readonly twin?: boolean | undefined;
  /** Bounds the memory of adapters: beyond it those not used for longest are dropped, and read again when asked for. */
  readonly adapterBytes?: number | undefined;
}

/** Options of `generate`. */
export interface GenerateOptions extends TextOptions {
  /** Leave out the chat template. */
  readonly raw?: boolean | undefined;
}

/** Options of `chat`. */
export interface ChatOptions extends TextOptions {
  /** JSON schemas of functions, for templates that know them. */
  readonly tools?: Tools | undefined;
}

const GENERATION = "text-generation";

/** Token ids, and how an answer is encoded behind them. */
interface Prompt {
  readonly ids: readonly number[];
  readonly encodeAnswer: (answer: string) => number[];
}

type Whole = { readonly stream?: false | undefined };
type Streamed = { readonly stream: true };

/** What `load` is asked for: a task, or whatever the artifact is made for. */
export type Wanted = Task | "any";

/** The model of a task. */
export type ModelOf<Want extends Wanted> = Want extends "any"
  ? Model | EncoderModel
  : Want extends "text-generation"
    ? Model
    : EncoderModel;

/** Names what is wanted, so that the model has the type of it. */
export interface ForTask<Want extends Wanted> {
  /**
   * What the artifact must be for. Where it is left out every artifact is taken, but the type is that of a model which
   * generates; `any` has the type of both.
   */
  readonly task?: Want | undefined;
}

/**
 * Open an artifact. Throws ArtifactError for a damaged one and one of another task, AdapterError naming an adapter that is
 * not its receipt's, and the reason of an aborted `signal`, which ends with the load; nothing is left open then.
 */
export async function loadModel<Want extends Wanted = "text-generation">(
  source: ArtifactSource,
  backend: Backend,
  options: LoadOptions & ForTask<Want> = {},
): Promise<ModelOf<Want>> {
  const { hashes = false, probe = false, twin = false, adapterBytes = null, signal } = options;
  if (adapterBytes !== null && !(Number.isSafeInteger(adapterBytes) && adapterBytes > 0)) {
    throw new InputError(`adapterBytes is ${show(adapterBytes)}, expected a whole number from 1`);
  }
  throwIfAborted(signal);
  const manifest = await readManifest(source);
  throwIfAborted(signal);
  const wanted: Wanted = options.task ?? "any";
  if (wanted !== "any" && wanted !== manifest.task) {
    throw new ArtifactError(`${source.where} is for ${manifest.task}, expected ${wanted}; load another artifact`);
  }
  await source.prepare(manifest.files, hashes);
  throwIfAborted(signal);
  if (manifest.tokenizer !== null) await checkTemplate(source, manifest.tokenizer);
  throwIfAborted(signal);
  let model: Model | EncoderModel;
  if (manifest.task === GENERATION) {
    const session = await Session.open(source, manifest, backend, twin);
    model = new Model(source, manifest, backend, session, adapterBytes);
  } else {
    const { openEncoder } = await import("./encoder-model.js"); // a chat has no use for it
    model = await openEncoder(source, manifest, backend, adapterBytes);
  }
  try {
    for (const info of probe ? manifest.adapters : []) await model.probe(info.name, { signal });
    throwIfAborted(signal); // opening a graph cannot be ended, so that this may be the first chance
  } catch (error) {
    await model.dispose(); // a session of wasm or of a GPU is collected by nobody
    throw error;
  }
  return model as ModelOf<Want>;
}

/**
 * A loaded artifact. It answers one call at a time, in the order of the calls; a call during an open stream ends the
 * stream with an InputError at its next piece. Every method that answers rejects with an EdgeLoraError for what the
 * user can put right, and with the signal's reason (an AbortError) when it was aborted.
 */
export class Model extends TokenModel {
  /** Answer a prompt, or each of a list; with `stream` text comes as it is made. */
  generate(prompt: string, options: GenerateOptions & WithAdapter & Streamed): AsyncIterable<string>;
  generate(prompt: string, options?: GenerateOptions & WithAdapter & Whole): Promise<Generation>;
  generate(prompts: readonly string[], options?: GenerateOptions & WithAdapters & Whole): Promise<Generation[]>;
  generate(
    prompt: string | readonly string[],
    options: GenerateOptions & WithAdapters & { readonly stream?: boolean | undefined } = {},
  ): AsyncIterable<string> | Promise<Generation | Generation[]> {
    const encode = async (): Promise<Prompt[]> => {
      const texts: readonly unknown[] = Array.isArray(prompt) ? prompt : [prompt];
      for (const text of texts) {
        if (typeof text !== "string") {
          throw new InputError(`prompt is ${show(text)}, expected text; use chat() for messages`);
        }
      }
      if (options.raw && (options.template !== undefined || options.date !== undefined)) {
        throw new InputError("template and date are for the chat template, which raw leaves out; leave one out");
      }
      const tokenizer = options.raw ? await this.text("generateIds") : await this.#templated(options);
      return (texts as string[]).map((text) =>
        options.raw ? this.#encodeRaw(tokenizer, text) : this.#encodeChat(tokenizer, [{ role: "user", content: text }]),
      );
    };
    if (options.stream) return this.#stream(encode, options, Array.isArray(prompt));
    return this.alone(async (signal) => {
      const answers = await this.#answer(encode, { ...options, signal });
      return Array.isArray(prompt) ? answers : (answers[0] as Generation);
    }, options.signal);
  }

  /** Answer a conversation of `{role, content}` messages; the options are those of `generate`, and `tools`. */
  chat(messages: readonly Message[], options: ChatOptions & WithAdapter & Streamed): AsyncIterable<string>;
  chat(messages: readonly Message[], options?: ChatOptions & WithAdapter & Whole): Promise<Generation>;
  chat(
    messages: readonly Message[],
    options: ChatOptions & WithAdapter & { readonly stream?: boolean | undefined } = {},
  ): AsyncIterable<string> | Promise<Generation> {
    const encode = async () => [this.#encodeChat(await this.#templated(options), messages, options.tools ?? null)];
    if (options.stream) return this.#stream(encode, options, false);
    return this.alone(
      async (signal) => (await this.#answer(encode, { ...options, signal }))[0] as Generation,
      options.signal,
    );
  }

  /** Pieces of one answer. Only a step that is being computed holds up other calls, so that a stream may be abandoned. */
  async *#stream(
    encode: () => Promise<Prompt[]>,
    options: TextOptions & WithAdapters,
    isList: boolean,
  ): AsyncGenerator<string> {
    const request = makeRequest(options);
    if (isList || request.choices !== null) {
      throw new InputError("stream takes one prompt and no choices; leave stream out for the others");
    }
    const [decoding, tokenizer, stopIds] = await this.alone(async () => {
      const tokenizer = await this.text("generateIds");
      const stopIds = tokenizer.findStops(request.stops);
      const [prompt] = (await encode()) as [Prompt];
      const adapter = await this.one(options.adapter, request.signal);
      return [this.decoding([[0, prompt.ids]], adapter, request), tokenizer, stopIds] as const;
    });
    const steps = decoding[Symbol.asyncIterator]();
    const nextStep = () => this.alone(() => steps.next(), request.signal);
    async function* tokens(): AsyncGenerator<number> {
      for (let step = await nextStep(); !step.done; step = await nextStep()) yield step.value[1];
    }
    yield* textPieces(tokens(), new StreamDecoder(tokenizer), new StopFilter(request.stops), stopIds);
  }

  async #answer(encode: () => Promise<Prompt[]>, options: TextOptions & WithAdapters): Promise<Generation[]> {
    const request = makeRequest(options);
    const prompts = await encode();
    const { choices } = request;
    return choices === null
      ? this.#write(
          prompts.map((prompt) => prompt.ids),
          options.adapter,
          request,
        )
      : this.#chooseAll(prompts, options.adapter, choices, request.signal);
  }

  async #write(
    prompts: readonly (readonly number[])[],
    adapter: string | readonly string[] | undefined,
    request: Request,
  ): Promise<Generation[]> {
    const tokenizer = await this.text("generateIds");
    const stopIds = tokenizer.findStops(request.stops);
    const answers: Generation[] = [];
    for await (const [group, decoding] of this.decodeGroups(prompts, adapter, request)) {
      const rows = group.map((index) => {
        const filter = new StopFilter(request.stops);
        return { index, filter, decoder: new StreamDecoder(tokenizer), ids: [] as number[], text: "" };
      });
      for await (const [index, token] of decoding) {
        const row = rows[index] as (typeof rows)[number];
        row.ids.push(token);
        row.text += row.filter.push(row.decoder.push(token));
        if (row.filter.isStopped || stopIds.has(token)) decoding.finish(index);
      }
      rows.forEach(({ index, filter, decoder, ids, text: shown }, place) => {
        const text = shown + filter.push(decoder.flush()) + filter.flush();
        const finishReason = filter.isStopped ? "stop" : (decoding.reasons[place] as FinishReason);
        const promptTokens = (prompts[index] as readonly number[]).length;
        answers[index] = { text, tokenIds: ids, finishReason, promptTokens, choiceScores: null };
      });
    }
    return answers;
  }

  async #chooseAll(
    prompts: readonly Prompt[],
    adapter: string | readonly string[] | undefined,
    texts: readonly string[],
    signal: AbortSignal | undefined,
  ): Promise<Generation[]> {
    const { contextLength, eosTokenIds } = this.manifest.model;
    const encoded = prompts.map(({ ids, encodeAnswer }) => {
      const choices = texts.map(encodeAnswer);
      const total = ids.length + Math.max(...choices.map((choice) => choice.length));
      if (total <= contextLength) return choices;
      throw new InputError(
        `prompt and longest choice are ${total} tokens, the context length is ${contextLength}; shorten them`,
      );
    });
    const specs = this.specs(adapter, prompts.length);
    for (const spec of specs) this.known.parse(spec); // an unknown name is reported before anything is computed
    const answers: Generation[] = [];
    for (const [row, { ids: prompt }] of prompts.entries()) {
      const choices = encoded[row] as number[][];
      throwIfAborted(signal);
      const bound = await this.known.find(specs[row] as string);
      const scores = await scoreChoices(this.session, bound, prompt, choices, eosTokenIds, signal);
      const best = largestIndex(Float64Array.from(scores));
      const [text, tokenIds] = [texts[best] as string, choices[best] as number[]];
      answers.push({ text, tokenIds, finishReason: "choice", promptTokens: prompt.length, choiceScores: scores });
    }
    return answers;
  }

  #encodeRaw(tokenizer: Tokenizer, text: string): Prompt {
    const ends = this.manifest.model.eosTokenIds;
    const ids = this.check(tokenizer.encodePrompt(text, true, ends));
    return { ids, encodeAnswer: (answer) => tokenizer.encodeAfter(text, answer, true, ends) };
  }

  #encodeChat(tokenizer: Tokenizer, messages: readonly Message[], tools: Tools | null = null): Prompt {
    const ids = this.check(tokenizer.encodeChat(messages, true, tools));
    return { ids, encodeAnswer: (answer) => tokenizer.encodeAnswer(messages, answer, tools) };
  }

  async #templated({
    template = {},
    date = null,
  }: Pick<TextOptions, "template"> & { date?: string | undefined | null }): Promise<Tokenizer> {
    return (await this.text("generateIds")).withTemplate(template, date);
  }
}
