/**
 * A loaded artifact of a classifier, tagger or embedder: text in, labels, spans or vectors out.
 *
 * Knows nothing about buffers, kernels or where files come from.
 */

import { throwIfAborted } from "./abort.js";
import { AdapterSet } from "./adapter-set.js";
import { planCalls } from "./calls.js";
import { checkIds } from "./check-ids.js";
import { type EncodedText, encodeText } from "./encoded-text.js";
import { type EncoderInput, type EncoderOutput, EncoderSession } from "./encoder-session.js";
import { InputError } from "./errors.js";
import type { EncoderInfo, HeadInfo, Manifest, Task } from "./format.js";

import { readBaseHead } from "./head.js";
import { type BoundWithHead, HeadPacker, type PackedWithHead } from "./head-packer.js";
import { LoadedModel } from "./loaded-model.js";
import { findOffsets } from "./offsets.js";
import { show } from "./parse-json.js";
import type { ArtifactSource, Backend } from "./ports.js";
import type { AnswerResult } from "./replay-answers.js";
import type { CallOptions, WithAdapter, WithAdapters } from "./request.js";
import { largestIndex } from "./sampling.js";
import { type Classification, classifyLogits, scoreLabels } from "./scores.js";
import { findSpans, findWords, type Tagging } from "./spans.js";
import { planWindows } from "./windows.js";

const MOST_TOKENS = 512; // of the rows of a call, padding included: a GPU gains nothing by more, and they take memory
const MOST_IMAGES = 16;

const METHODS: Readonly<Partial<Record<Task, string>>> = {
  "text-classification": "classify",
  "image-classification": "classify",
  "token-classification": "tag",
  "feature-extraction": "embed",
};

/** The vector (hidden_size,) of one text; `truncated` where it was longer than the model reads. */
export interface Embedding {
  readonly vector: Float32Array;
  readonly truncated: boolean;
}

/**
 * A loaded artifact without a KV cache: what `load` gives here and `loadInWorker` of one in a worker. `LoadedEncoder`
 * says what each method does.
 */
export type EncoderModel = Pick<LoadedEncoder, keyof LoadedEncoder>;

/** Pixels of one image, (channels, height, width), as the model's own processor makes them. */
export type Pixels = Float32Array;

type OneCall = WithAdapter & CallOptions;
type ManyCalls = WithAdapters & CallOptions;

/** A row on its way through the graph, and whether it lost its end. */
interface Row {
  readonly input: EncoderInput;
  readonly truncated: boolean;
}

/** What came of a row, and what it means. */
interface Computed {
  readonly output: EncoderOutput;
  readonly head: HeadInfo | null;
}

/** Open an artifact whose manifest was read and whose files are there. */
export async function openEncoder(
  source: ArtifactSource,
  manifest: Manifest,
  backend: Backend,
  adapterBytes: number | null,
): Promise<EncoderModel> {
  const base = await readBaseHead(source, manifest);
  const session = await EncoderSession.open(source, manifest, backend);
  const packer = new HeadPacker(manifest, backend, base, () => known.names);
  const known: AdapterSet<PackedWithHead, BoundWithHead> = new AdapterSet(source, manifest, packer, adapterBytes);
  return new LoadedEncoder(source, manifest, backend, session, known);
}

/**
 * A loaded artifact without a KV cache. It answers one call at a time, in the order of the calls. `adapter` is a SPEC, or
 * one for each text, and what is set where it is left out. Texts are computed in groups that are about as long, and
 * answered in the order given.
 */
export class LoadedEncoder extends LoadedModel<PackedWithHead, BoundWithHead> {
  #session: EncoderSession;
  readonly #encoder: EncoderInfo;

  constructor(
    source: ArtifactSource,
    manifest: Manifest,
    backend: Backend,
    session: EncoderSession,
    known: AdapterSet<PackedWithHead, BoundWithHead>,
  ) {
    super(source, manifest, backend, known);
    this.#session = session;
    this.#encoder = manifest.encoder as EncoderInfo;
  }

  /** Hold an adapter to its receipt and replay its answers; null where the receipt has none, or there is none. */
  probe(name: string, options: CallOptions = {}): Promise<AnswerResult | null> {
    return this.alone(async (signal) => {
      await this.known.find(name, { signal });
      const outputs = async (rows: readonly (readonly number[])[], spec: string) => {
        const found = await this.#compute(rows, new Array<string>(rows.length).fill(spec), signal);
        return found.flatMap(({ output }) => [...output.data]);
      };
      const { checkAnswers } = await import("./replay-answers.js");
      return checkAnswers(outputs, this.manifest, name, this.known.folder(name, { signal }));
    }, options.signal);
  }

  /** Labels, problem and temperature of a SPEC's head; null where the model has no head. */
  labels(options: OneCall = {}): Promise<HeadInfo | null> {
    return this.alone(async (signal) => {
      const { heads } = await this.one(options.adapter, signal);
      return heads[0] ?? null;
    }, options.signal);
  }

  /** The label of a text or an image, or of each of a list, with the scores of all labels. */
  classify(input: string | Pixels, options?: OneCall): Promise<Classification>;
  classify(inputs: readonly (string | Pixels)[], options?: ManyCalls): Promise<Classification[]>;
  classify(
    input: string | Pixels | readonly (string | Pixels)[],
    options: ManyCalls = {},
  ): Promise<Classification | Classification[]> {
    return this.alone(async (signal) => {
      this.#checkTask("classify", "text-classification", "image-classification");
      const rows = await this.#rows(Array.isArray(input) ? input : [input]);
      const answers = await this.#classify(rows, this.specs(options.adapter, rows.length, "text"), signal);
      return Array.isArray(input) ? answers : (answers[0] as Classification);
    }, options.signal);
  }

  /**
   * What each adapter says of one text, or image, by its SPEC: all of those that are loaded where none are given. A
   * short text goes through the graph once for all of them, unless its rows must share an adapter.
   */
  classifyEach(
    input: string | Pixels,
    options: CallOptions & { readonly adapters?: readonly string[] | undefined } = {},
  ): Promise<ReadonlyMap<string, Classification>> {
    return this.alone(async (signal) => {
      this.#checkTask("classifyEach", "text-classification", "image-classification");
      if (options.adapters !== undefined && !Array.isArray(options.adapters)) {
        throw new InputError(`adapters is ${show(options.adapters)}, expected a list of SPECs`);
      }
      if (Array.isArray(input)) {
        throw new InputError(`classifyEach reads one text or image at a time, this is a list of ${input.length}`);
      }
      const [row] = (await this.#rows([input])) as [Row];
      const specs = [...new Set(options.adapters ?? this.adapters)];
      if (specs.length === 0) throw new InputError("there are no adapters to classify with; load some, or give SPECs");
      const answers = await this.#classify(new Array<Row>(specs.length).fill(row), specs, signal);
      return new Map(specs.map((spec, index) => [spec, answers[index] as Classification]));
    }, options.signal);
  }

  /** Spans of a text, or of each of a list, in characters; a long text is read in windows that overlap. */
  tag(text: string, options?: OneCall): Promise<Tagging>;
  tag(texts: readonly string[], options?: ManyCalls): Promise<Tagging[]>;
  tag(text: string | readonly string[], options: ManyCalls = {}): Promise<Tagging | Tagging[]> {
    return this.alone(async (signal) => {
      this.#checkTask("tag", "token-classification");
      const texts: readonly string[] = typeof text === "string" ? [text] : text;
      const specs = this.specs(options.adapter, texts.length, "text");
      const encoded = await this.#encode(texts);
      const { codec } = await this.text("outputs");
      const places = texts.map((item) => findOffsets(codec, item));
      const plans = encoded.map((item) =>
        item.ids.length === 0 ? [] : planWindows(item.ids.length, this.#room(item)),
      );
      const rows = plans.flatMap((plan, index) =>
        plan.map(({ start, end }) => (encoded[index] as EncodedText).cut(start, end)),
      );
      const specOfRow = plans.flatMap((plan, index) => plan.map(() => specs[index] as string));
      const found = await this.#compute(rows, specOfRow, signal);
      let place = 0;
      const answers = texts.map((item, index): Tagging => {
        const { before } = encoded[index] as EncodedText;
        const plan = plans[index] as (typeof plans)[number];
        const tokens: { label: string; score: number }[] = [];
        for (const { start, first, last } of plan) {
          const { output, head } = found[place++] as Computed;
          for (let token = first; token < last; token++) {
            tokens.push(answerAt(output, before.length + token - start, head as HeadInfo));
          }
        }
        const words = findWords(item, places[index] as (typeof places)[number]);
        const own = words.map(({ token }) => tokens[token] as (typeof tokens)[number]);
        const labels = own.map(({ label }) => label);
        const scores = own.map(({ score }) => score);
        return { spans: findSpans(item, words, labels, scores), windows: plan.length };
      });
      return typeof text === "string" ? (answers[0] as Tagging) : answers;
    }, options.signal);
  }

  /** The vector of a text, or of each of a list; a text that is longer than the model reads is cut at its end. */
  embed(text: string, options?: OneCall): Promise<Embedding>;
  embed(texts: readonly string[], options?: ManyCalls): Promise<Embedding[]>;
  embed(text: string | readonly string[], options: ManyCalls = {}): Promise<Embedding | Embedding[]> {
    return this.alone(async (signal) => {
      this.#checkTask("embed", "feature-extraction");
      const rows = await this.#rows(typeof text === "string" ? [text] : text);
      const inputs = rows.map((row) => row.input);
      const found = await this.#compute(inputs, this.specs(options.adapter, rows.length, "text"), signal);
      const answers = found.map(({ output }, index) => {
        return { vector: output.data, truncated: (rows[index] as Row).truncated };
      });
      return typeof text === "string" ? (answers[0] as Embedding) : answers;
    }, options.signal);
  }

  /** The graph's output for each row of token ids, special tokens included, or of pixels. */
  outputs(rows: readonly EncoderInput[], options: ManyCalls = {}): Promise<EncoderOutput[]> {
    return this.alone(async (signal) => {
      if (!Array.isArray(rows)) throw new InputError(`rows is ${show(rows)}, expected a list of rows`);
      const checked = (rows as readonly EncoderInput[]).map((row) =>
        this.#isOfImages ? this.#image(row) : this.#ids(row),
      );
      const specs = this.specs(options.adapter, checked.length, "row");
      return (await this.#compute(checked, specs, signal)).map(({ output }) => output);
    }, options.signal);
  }

  protected override async use(spec: string, signal: AbortSignal): Promise<void> {
    await this.known.find(spec, { signal });
  }

  protected override release(): Promise<void> {
    return this.#session.dispose();
  }

  protected override async moveTo(backend: Backend): Promise<() => Promise<void>> {
    const before = this.#session;
    this.#session = await EncoderSession.open(this.source, this.manifest, backend);
    return () => before.dispose();
  }

  async #classify(rows: readonly Row[], specs: readonly string[], signal: AbortSignal): Promise<Classification[]> {
    const inputs = rows.map((row) => row.input);
    const found = await this.#compute(inputs, specs, signal);
    return found.map(({ output, head }, index) =>
      classifyLogits(output.data, head as HeadInfo, (rows[index] as Row).truncated),
    );
  }

  /** Outputs in the order of `rows`, each without the padding of tokens and labels. */
  async #compute(rows: readonly EncoderInput[], specs: readonly string[], signal: AbortSignal): Promise<Computed[]> {
    if (rows.length === 0) return [];
    for (const spec of specs) this.known.parse(spec); // an unknown name is reported before anything is computed
    const lengths = rows.map((row) => (this.#isOfImages ? 1 : row.length));
    const most = this.#isOfImages ? MOST_IMAGES : MOST_TOKENS;
    const found = new Array<Computed>(rows.length);
    for (const call of planCalls(lengths, specs, most, this.#encoder.oneAdapter)) {
      throwIfAborted(signal);
      const adapter = await this.known.findRows(
        call.map((index) => specs[index] as string),
        { signal },
      );
      const inputs = call.map((index) => rows[index] as EncoderInput);
      const outputs = await this.#session.run(inputs, adapter);
      call.forEach((index, place) => {
        const head = adapter.heads[adapter.rows === 1 ? 0 : place] ?? null;
        found[index] = { output: outputs[place] as EncoderOutput, head };
      });
    }
    return found;
  }

  async #rows(inputs: unknown): Promise<Row[]> {
    if (!Array.isArray(inputs)) {
      const kind = this.#isOfImages ? "pixels, or a list of them" : "a text or a list of texts";
      throw new InputError(`what is to be read is ${show(inputs)}, expected ${kind}`);
    }
    if (this.#isOfImages) return inputs.map((pixels) => ({ input: this.#image(pixels), truncated: false }));
    return (await this.#encode(inputs)).map((item, index) => {
      const room = this.#room(item);
      const input = item.cut(0, room);
      if (input.length > 0) return { input, truncated: item.ids.length > room };
      throw new InputError(`text ${index + 1} has no tokens, and this model reads at least one; leave it out`);
    });
  }

  async #encode(texts: unknown): Promise<EncodedText[]> {
    const wrong = Array.isArray(texts) ? texts.findIndex((text) => typeof text !== "string") : 0;
    if (!Array.isArray(texts) || wrong >= 0) {
      const found = Array.isArray(texts) ? texts[wrong] : texts;
      throw new InputError(`text is ${show(found)}, expected a text or a list of texts`);
    }
    const { codec } = await this.text("outputs");
    return (texts as readonly string[]).map((text) => encodeText(codec, text));
  }

  /** Tokens of a text that are read at once. */
  #room({ before, after }: EncodedText): number {
    const { contextLength, name } = this.manifest.model;
    const room = contextLength - before.length - after.length;
    if (room >= 1) return room;
    throw new InputError(`${name} reads ${contextLength} tokens, fewer than its special ones`);
  }

  #ids(row: EncoderInput): number[] {
    return checkIds(row, this.manifest.model);
  }

  #image(pixels: unknown): Pixels {
    const size = this.#encoder.imageSize;
    const count = size.reduce((product, item) => product * item, 1);
    if (pixels instanceof Float32Array && pixels.length === count && pixels.every(Number.isFinite)) return pixels;
    const found = pixels instanceof Float32Array ? `${pixels.length} float32 numbers` : show(pixels);
    throw new InputError(
      `pixels are ${found}, expected a Float32Array of [${size.join(", ")}], all finite; prepare images as the model's ` +
        "processor does",
    );
  }

  get #isOfImages(): boolean {
    return this.#encoder.imageSize.length > 0;
  }

  #checkTask(method: string, ...tasks: readonly Task[]): void {
    if (!tasks.includes(this.task))
      throw new InputError(`${method}() is not for ${this.task}; use ${METHODS[this.task]}()`);
  }
}

/** The label of one token of (tokens, labels). */
function answerAt({ dims, data }: EncoderOutput, token: number, head: HeadInfo): { label: string; score: number } {
  const width = dims[1] as number;
  const logits = data.subarray(token * width, (token + 1) * width);
  const best = largestIndex(logits);
  return { label: head.labels[best] as string, score: scoreLabels(logits, head)[best] as number };
}
