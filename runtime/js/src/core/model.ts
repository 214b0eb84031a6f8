/**
 * The public model: opens an artifact, takes text or token ids and gives text or token ids.
 *
 * Knows nothing about buffers, kernels or where files come from.
 */

import { throwIfAborted } from "./abort.js";
import type { Backend } from "./backend.js";
import { InputError } from "./errors.js";
import { Decoding, type FinishReason, logitsAt, scoreChoices, scoreTokens } from "./generate.js";
import { type Manifest, readManifest, show } from "./manifest.js";
import { checkAdapter, type ProbeResult } from "./probe.js";
import { checkIds, type IdOptions, makeRequest, type Request, type TextOptions } from "./request.js";
import { largestIndex, Sampler } from "./sampling.js";
import { type BoundAdapter, Session } from "./session.js";
import type { ArtifactSource, FolderSource } from "./source.js";
import { AdapterSet } from "./swap.js";
import { type Message, readTokenizer, StopFilter, StreamDecoder, type Tokenizer, textPieces } from "./text.js";

const MAX_ROWS = 16; // rows computed together; longer lists are worked off in groups

/** One answer. `tokenIds` leaves out the end token; `choiceScores` are in the order of the choices given. */
export interface Generation {
  readonly text: string;
  readonly tokenIds: readonly number[];
  readonly finishReason: FinishReason;
  readonly promptTokens: number;
  readonly choiceScores: readonly number[] | null;
}

/** Options of `loadModel`; entry files add those of their place. */
export interface LoadOptions {
  /** Compare the hash of every file with the manifest, not the sizes alone. */
  readonly hashes?: boolean | undefined;
  /** Hold every adapter to its receipt: factors, base, and one replayed probe. */
  readonly probe?: boolean | undefined;
  /** Keep the graph without slots in memory beside the one with slots, for calls without an adapter. */
  readonly twin?: boolean | undefined;
}

/** One SPEC: `none`, `NAME`, `NAME:WEIGHT`, or several joined by `+`. Without one a call uses `model.adapter`. */
export interface WithAdapter {
  readonly adapter?: string | undefined;
}

/** One SPEC for all rows, or one for each. */
export interface WithAdapters {
  readonly adapter?: string | readonly string[] | undefined;
}

/** Options of `generate`. */
export interface GenerateOptions extends TextOptions {
  /** Leave out the chat template. */
  readonly raw?: boolean | undefined;
}

/** Token ids, and how an answer is encoded behind them. */
interface Prompt {
  readonly ids: readonly number[];
  readonly encodeAnswer: (answer: string) => number[];
}

type Whole = { readonly stream?: false | undefined };
type Streamed = { readonly stream: true };

/** Open an artifact. Throws ArtifactError for a damaged one, AdapterError naming an adapter that is not its receipt's. */
export async function loadModel(source: ArtifactSource, backend: Backend, options: LoadOptions = {}): Promise<Model> {
  const { hashes = false, probe = false, twin = false } = options;
  const manifest = await readManifest(source);
  await source.prepare(manifest.files, hashes);
  const model = new Model(source, manifest, backend, await Session.open(source, manifest, backend, twin));
  for (const info of probe ? manifest.adapters : []) await model.probe(info.name);
  return model;
}

/**
 * A loaded artifact. It answers one call at a time, in the order of the calls; a call during an open stream ends the
 * stream with an InputError at its next piece. Every method that answers rejects with an EdgeLoraError for what the
 * user can put right, and with the signal's reason (an AbortError) when it was aborted.
 */
export class Model {
  readonly manifest: Manifest;
  /** What runs the graph, for people: "onnxruntime-node, CPU". */
  readonly backend: string;
  readonly #source: ArtifactSource;
  readonly #session: Session;
  readonly #adapters: AdapterSet;
  readonly #endIds: ReadonlySet<number>;
  #spec = "none";
  #tokenizer: Promise<Tokenizer | null> | null = null;
  #isDisposed = false;
  #queue: Promise<unknown> = Promise.resolve();

  constructor(source: ArtifactSource, manifest: Manifest, backend: Backend, session: Session) {
    this.manifest = manifest;
    this.backend = backend.capabilities.name;
    this.#source = source;
    this.#session = session;
    this.#adapters = new AdapterSet(source, manifest, session);
    this.#endIds = new Set(manifest.model.eosTokenIds);
  }

  /** Names that a SPEC can use. */
  get adapters(): readonly string[] {
    return this.#adapters.names;
  }

  /** The SPEC used where a call gives none. */
  get adapter(): string {
    return this.#spec;
  }

  /** Text in and out, read when it is first asked for; null when the artifact has no tokenizer. */
  get tokenizer(): Promise<Tokenizer | null> {
    const info = this.manifest.tokenizer;
    this.#tokenizer ??= info === null ? Promise.resolve(null) : readTokenizer(this.#source, info);
    return this.#tokenizer;
  }

  /** Use `spec` from now on where a call gives none, and make it ready; a change drops the KV cache. */
  setAdapter(spec: string): Promise<void> {
    return this.#alone(async () => {
      const adapter = await this.#adapters.find(spec);
      if (adapter !== this.#session.adapter) await this.#session.begin(1, adapter);
      this.#spec = spec;
    });
  }

  /** Make a PEFT folder known as `name` (replacing that name): a location as this place writes it, or any source. */
  loadAdapter(name: string, folder: string | FolderSource): Promise<void> {
    const source = typeof folder === "string" ? this.#source.folder(folder) : folder;
    return this.#alone(() => this.#adapters.load(name, source));
  }

  /** Hold an adapter to its receipt and replay a probe of it; null where there is nothing to replay. */
  probe(name: string): Promise<ProbeResult | null> {
    return this.#alone(async () => {
      await this.#adapters.find(name);
      const lastLogits = async (ids: readonly number[], spec: string) => {
        const found = await logitsAt(this.#session, await this.#adapters.find(spec), this.#check(ids), [
          ids.length - 1,
        ]);
        return found[0] as Float32Array;
      };
      return checkAdapter(lastLogits, this.manifest, name, this.#adapters.folder(name));
    });
  }

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
      const tokenizer = await this.#text();
      return (texts as string[]).map((text) =>
        options.raw ? this.#encodeRaw(tokenizer, text) : this.#encodeChat(tokenizer, [{ role: "user", content: text }]),
      );
    };
    if (options.stream) return this.#stream(encode, options, Array.isArray(prompt));
    return this.#alone(async () => {
      const answers = await this.#answer(encode, options);
      return Array.isArray(prompt) ? answers : (answers[0] as Generation);
    });
  }

  /** Answer a conversation of `{role, content}` messages; the options are those of `generate`. */
  chat(messages: readonly Message[], options: TextOptions & WithAdapter & Streamed): AsyncIterable<string>;
  chat(messages: readonly Message[], options?: TextOptions & WithAdapter & Whole): Promise<Generation>;
  chat(
    messages: readonly Message[],
    options: TextOptions & WithAdapter & { readonly stream?: boolean | undefined } = {},
  ): AsyncIterable<string> | Promise<Generation> {
    const encode = async () => [this.#encodeChat(await this.#text(), messages)];
    if (options.stream) return this.#stream(encode, options, false);
    return this.#alone(async () => (await this.#answer(encode, options))[0] as Generation);
  }

  /** Continue token ids, or each list of a batch; what comes back leaves out the end token. */
  generateIds(ids: readonly number[], options?: IdOptions & WithAdapter): Promise<number[]>;
  generateIds(ids: readonly (readonly number[])[], options?: IdOptions & WithAdapters): Promise<number[][]>;
  generateIds(
    ids: readonly number[] | readonly (readonly number[])[],
    options: IdOptions & WithAdapters = {},
  ): Promise<number[] | number[][]> {
    return this.#alone(async () => {
      const isBatch = ids.length > 0 && ids.every((row) => Array.isArray(row));
      const rows = (isBatch ? ids : [ids]) as readonly (readonly number[])[];
      const request = makeRequest({ ...options, stop: undefined, choices: undefined } as IdOptions);
      const answers = rows.map((): number[] => []);
      const prompts = rows.map((row) => this.#check(row));
      for await (const [start, decoding] of this.#decodeGroups(prompts, options.adapter, request)) {
        for await (const [row, token] of decoding) answers[start + row]?.push(token);
      }
      return isBatch ? answers : (answers[0] as number[]);
    });
  }

  /** Logits (vocab_size,) after the token at each of `positions`, by default after every one. */
  logits(
    ids: readonly number[],
    options: WithAdapter & { readonly positions?: readonly number[] | undefined } = {},
  ): Promise<Float32Array[]> {
    return this.#alone(async () => {
      const row = this.#check(ids);
      const positions = options.positions ?? [...row.keys()];
      const isInside = (position: number) => Number.isInteger(position) && position >= 0 && position < row.length;
      if (positions.length === 0 || !positions.every(isInside)) {
        const last = row.length - 1;
        throw new InputError(`positions ${show(positions)}: expected indices from 0 to ${last}, at least one`);
      }
      return logitsAt(this.#session, await this.#one(options.adapter), row, positions);
    });
  }

  /** Log-probability (completion length,) of each completion token after the prompt and those before it. */
  score(
    promptIds: readonly number[],
    completionIds: readonly number[],
    options: WithAdapter = {},
  ): Promise<Float64Array> {
    return this.#alone(async () => {
      const row = this.#check([...promptIds, ...completionIds]);
      if (promptIds.length === 0) {
        throw new InputError("promptIds is empty; the first token of a text has no probability, give at least one");
      }
      const [prompt, completion] = [row.slice(0, promptIds.length), row.slice(promptIds.length)];
      return scoreTokens(this.#session, await this.#one(options.adapter), prompt, completion);
    });
  }

  /** Let go of sessions and device memory, after the calls that were made before; later ones are refused. */
  async dispose(): Promise<void> {
    if (this.#isDisposed) return;
    await this.#alone(() => {
      this.#isDisposed = true;
      return this.#session.dispose();
    });
  }

  /** Run `call` when those before it have ended, well or not. */
  #alone<Result>(call: () => Promise<Result>): Promise<Result> {
    const result = this.#queue.then(() => {
      if (this.#isDisposed) throw new InputError("this model was disposed of; load the artifact again");
      return call();
    });
    this.#queue = result.catch(() => {});
    return result;
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
    const [decoding, tokenizer] = await this.#alone(async () => {
      const prompts = (await encode()).map((prompt) => prompt.ids);
      const adapter = await this.#one(options.adapter);
      return [this.#decoding(prompts, adapter, request, 0), await this.#text()] as const;
    });
    const steps = decoding[Symbol.asyncIterator]();
    const nextStep = () => this.#alone(() => steps.next());
    async function* tokens(): AsyncGenerator<number> {
      for (let step = await nextStep(); !step.done; step = await nextStep()) yield step.value[1];
    }
    yield* textPieces(tokens(), new StreamDecoder(tokenizer), new StopFilter(request.stops));
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
    const tokenizer = await this.#text();
    const answers: Generation[] = [];
    for await (const [start, decoding] of this.#decodeGroups(prompts, adapter, request)) {
      const rows = prompts.slice(start, start + MAX_ROWS).map((prompt) => {
        const filter = new StopFilter(request.stops);
        return { prompt, filter, decoder: new StreamDecoder(tokenizer), ids: [] as number[], text: "" };
      });
      for await (const [index, token] of decoding) {
        const row = rows[index] as (typeof rows)[number];
        row.ids.push(token);
        row.text += row.filter.push(row.decoder.push(token));
        if (row.filter.isStopped) decoding.finish(index);
      }
      rows.forEach(({ prompt, filter, decoder, ids, text: shown }, index) => {
        const text = shown + filter.push(decoder.flush()) + filter.flush();
        const finishReason = filter.isStopped ? "stop" : (decoding.reasons[index] as FinishReason);
        answers.push({ text, tokenIds: ids, finishReason, promptTokens: prompt.length, choiceScores: null });
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
    const specs = this.#specs(adapter, prompts.length);
    for (const spec of specs) this.#adapters.parse(spec); // an unknown name is reported before anything is computed
    const answers: Generation[] = [];
    for (const [row, { ids: prompt }] of prompts.entries()) {
      const choices = encoded[row] as number[][];
      throwIfAborted(signal);
      const bound = await this.#adapters.find(specs[row] as string);
      const scores = await scoreChoices(this.#session, bound, prompt, choices, eosTokenIds, signal);
      const best = largestIndex(Float64Array.from(scores));
      const [text, tokenIds] = [texts[best] as string, choices[best] as number[]];
      answers.push({ text, tokenIds, finishReason: "choice", promptTokens: prompt.length, choiceScores: scores });
    }
    return answers;
  }

  /** Groups of rows with the index of their first; each must be worked off before the next is asked for. */
  async *#decodeGroups(
    prompts: readonly (readonly number[])[],
    adapter: string | readonly string[] | undefined,
    request: Request,
  ): AsyncGenerator<readonly [number, Decoding]> {
    const specs = this.#specs(adapter, prompts.length);
    for (const spec of specs) this.#adapters.parse(spec);
    for (let start = 0; start < prompts.length; start += MAX_ROWS) {
      const found = await this.#adapters.findRows(specs.slice(start, start + MAX_ROWS));
      yield [start, this.#decoding(prompts.slice(start, start + MAX_ROWS), found, request, start)];
    }
  }

  #decoding(
    prompts: readonly (readonly number[])[],
    adapter: BoundAdapter,
    { sampling, maxNewTokens, signal }: Request,
    start: number,
  ): Decoding {
    const samplers = prompts.map((ids, row) => new Sampler(sampling, ids, start + row));
    return new Decoding(this.#session, { adapter, prompts, samplers, maxNewTokens, endIds: this.#endIds, signal });
  }

  #one(adapter: string | readonly string[] | undefined): Promise<BoundAdapter> {
    return this.#adapters.find(this.#specs(adapter, 1)[0] as string);
  }

  #specs(adapter: string | readonly string[] | undefined, rows: number): readonly string[] {
    if (rows === 0) throw new InputError("the batch is empty; give at least one prompt");
    if (!Array.isArray(adapter)) return new Array<string>(rows).fill((adapter as string | undefined) ?? this.#spec);
    if (adapter.length === rows) return adapter;
    throw new InputError(`${adapter.length} adapters for ${rows} prompts; give one SPEC, or one for each prompt`);
  }

  #encodeRaw(tokenizer: Tokenizer, text: string): Prompt {
    const ends = this.manifest.model.eosTokenIds;
    const ids = this.#check(tokenizer.encodePrompt(text, true, ends));
    return { ids, encodeAnswer: (answer) => tokenizer.encodeAfter(text, answer, true, ends) };
  }

  #encodeChat(tokenizer: Tokenizer, messages: readonly Message[]): Prompt {
    const ids = this.#check(tokenizer.encodeChat(messages));
    return { ids, encodeAnswer: (answer) => tokenizer.encodeAnswer(messages, answer) };
  }

  #check(ids: readonly number[]): number[] {
    return checkIds(ids, this.manifest.model);
  }

  async #text(): Promise<Tokenizer> {
    const tokenizer = await this.tokenizer;
    if (tokenizer !== null) return tokenizer;
    throw new InputError(`${this.manifest.model.name} was exported without a tokenizer; use generateIds`);
  }
}
