/**
 * The model of an artifact that generates: takes text or token ids and gives text or token ids.
 *
 * Knows nothing about buffers, kernels or where files come from; `token-model.ts` does what needs no text.
 */

import { either, throwIfAborted } from "./abort.js";
import { Answer, type Answers, type Writing } from "./answer.js";
import { InputError } from "./errors.js";
import type { Manifest } from "./format.js";
import type { Forms } from "./forms.js";
import type { FinishReason, Process } from "./generate.js";
import type { Generation, Row, RowPiece } from "./generation.js";
import type { Message, Tools } from "./messages.js";
import { show } from "./parse-json.js";
import type { ArtifactSource, Backend } from "./ports.js";
import type { Request, TextOptions, WithAdapter, WithAdapters } from "./request.js";
import { Session } from "./session.js";
import type { Tokenizer } from "./text.js";
import { generating, TokenModel } from "./token-model.js";

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

/** Token ids, and how an answer is encoded behind them. */
interface Prompt {
  readonly ids: readonly number[];
  readonly encodeAnswer: (answer: string) => number[];
  /** The tools that it offers. */
  readonly tools: Tools | null;
}

/** Open an artifact whose manifest was read and whose files are there. */
export async function openText(
  source: ArtifactSource,
  manifest: Manifest,
  backend: Backend,
  twin: boolean,
  adapterBytes: number | null,
): Promise<TextModel> {
  const session = await Session.open(source, manifest, backend, twin);
  return new TextModel(source, manifest, backend, session, adapterBytes);
}

/**
 * A loaded artifact. It answers one call at a time, in the order of the calls. Every method that answers rejects with an
 * EdgeLoraError for what the user can put right, and with the signal's reason (an AbortError) when it was aborted.
 */
export class TextModel extends TokenModel {
  #forms: Promise<Forms> | null = null;

  /** Answer a prompt, or each of a list, rows together and each with an adapter of its own if wanted. */
  generate(prompt: string, options?: GenerateOptions & WithAdapter): Answer;
  generate(prompts: readonly string[], options?: GenerateOptions & WithAdapters): Answers;
  generate(prompt: string | readonly string[], options: GenerateOptions & WithAdapters = {}): Answer | Answers {
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
    if (!Array.isArray(prompt)) return this.#answerOne(encode, options);
    return new Answer<RowPiece, Generation[]>((writing) => this.#answer(encode, options, writing), options.signal);
  }

  /** Answer a conversation of `{role, content}` messages; the options are those of `generate`, and `tools`. */
  chat(messages: readonly Message[], options: ChatOptions & WithAdapter = {}): Answer {
    const encode = async () => [this.#encodeChat(await this.#templated(options), messages, options.tools ?? null)];
    return this.#answerOne(encode, options);
  }

  #answerOne(encode: () => Promise<Prompt[]>, options: TextOptions & WithAdapters): Answer {
    return new Answer<string, Generation>(async ({ push, stopped }) => {
      const answers = await this.#answer(encode, options, { push: ({ text }) => push(text), stopped });
      return answers[0] as Generation;
    }, options.signal);
  }

  #answer(
    encode: () => Promise<Prompt[]>,
    options: TextOptions & WithAdapters,
    writing: Writing<RowPiece>,
  ): Promise<Generation[]> {
    const startedMs = performance.now();
    return this.alone(async (signal) => {
      const { makeRequest } = await generating();
      const request = makeRequest({ ...options, signal: either(signal, writing.stopped) });
      const prompts = await encode();
      return request.choices === null
        ? this.#write(prompts, options.adapter, request, writing, startedMs)
        : this.#chooseAll(prompts, options.adapter, request, writing, startedMs);
    }, options.signal);
  }

  async #write(
    prompts: readonly Prompt[],
    adapter: string | readonly string[] | undefined,
    request: Request,
    { push, stopped }: Writing<RowPiece>,
    startedMs: number,
  ): Promise<Generation[]> {
    const tokenizer = await this.text("generateIds");
    const stopIds = tokenizer.findStops(request.stops);
    const { marked, readers } = await readCalls(tokenizer, prompts);
    const { Row } = await import("./generation.js");
    const rows = prompts.map(({ ids }, row) => {
      return new Row(marked, request.stops, stopIds, ids.length, startedMs, readers[row]);
    });
    const reasons = new Map<number, FinishReason>(); // of the rows that came to their end
    const show = (row: number, text: string) => text !== "" && push({ row, text });
    try {
      const encoded = prompts.map(({ ids }) => ids);
      for await (const [group, decoding] of this.decodeGroups(encoded, adapter, request)) {
        for await (const [place, token] of decoding) {
          const index = group[place] as number;
          const row = rows[index] as Row;
          show(index, row.push(token));
          if (row.isStopped) decoding.finish(place);
        }
        group.forEach((index, place) => {
          reasons.set(index, decoding.reasons[place] as FinishReason);
          show(index, (rows[index] as Row).flush());
        });
      }
    } catch (error) {
      if (!stopped.aborted) throw error;
    }
    return rows.map((row, index) => row.end(reasons.get(index) ?? "cancelled"));
  }

  async #chooseAll(
    prompts: readonly Prompt[],
    adapter: string | readonly string[] | undefined,
    request: Request,
    { push }: Writing<RowPiece>,
    startedMs: number,
  ): Promise<Generation[]> {
    const { choices: texts, signal } = request as Request & { readonly choices: readonly string[] };
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
    // An unknown name is reported before anything is computed.
    const ids = prompts.map((prompt) => prompt.ids);
    await this.starts(specs, ids, signal);
    const { readers } = await readCalls(await this.text("generateIds"), prompts);
    const { largestIndex, scoreChoices } = await generating();
    const { asMessage } = await import("./generation.js");
    const answers: Generation[] = [];
    for (const [row, { ids: prompt }] of prompts.entries()) {
      const choices = encoded[row] as number[][];
      throwIfAborted(signal);
      const scores = await this.recovered(async () => {
        const acting = await this.acting(specs[row] as string, prompt, signal);
        return scoreChoices(this.session, acting, prompt, choices, eosTokenIds, signal);
      });
      const best = largestIndex(Float64Array.from(scores));
      const [text, tokenIds] = [texts[best] as string, choices[best] as number[]];
      const reader = readers[row];
      const found = reader ? { shown: reader.push(text), ...reader.end() } : { shown: "", text, calls: [] };
      const shown = found.shown + found.text;
      if (shown !== "") push({ row, text: shown });
      answers.push({
        ...asMessage(shown, found.calls),
        tokenIds,
        finishReason: "choice",
        usage: { promptTokens: prompt.length, completionTokens: tokenIds.length },
        timings: { firstTokenMs: performance.now() - startedMs, tokensPerSecond: null },
        choiceScores: scores,
      });
    }
    return answers;
  }

  /** First what the user does, then the form. */
  protected override async process(request: Request, index: number, count: number): Promise<Process | null> {
    const { ofRow } = await generating();
    const process = await super.process(request, index, count);
    const schema = ofRow("schema", request.schemas, index, count);
    const regex = ofRow("regex", request.regexes, index, count);
    if (schema === null && regex === null) return process;
    this.#forms ??= this.#openForms();
    const mask = (await this.#forms).start(schema, regex);
    if (process === null) return mask;
    return async (tokenIds, logits) => (await process(tokenIds, logits)) === true || mask(tokenIds, logits);
  }

  async #openForms(): Promise<Forms> {
    const tokenizer = await this.text("generateIds");
    const { Forms } = await import("./forms.js"); // most answers have none
    return new Forms(tokenizer, this.manifest.model);
  }

  #encodeRaw(tokenizer: Tokenizer, text: string): Prompt {
    const ends = this.manifest.model.eosTokenIds;
    const ids = this.check(tokenizer.encodePrompt(text, true, ends));
    return { ids, encodeAnswer: (answer) => tokenizer.encodeAfter(text, answer, true, ends), tools: null };
  }

  #encodeChat(tokenizer: Tokenizer, messages: readonly Message[], tools: Tools | null = null): Prompt {
    const ids = this.check(tokenizer.encodeChat(messages, true, tools));
    return { ids, encodeAnswer: (answer) => tokenizer.encodeAnswer(messages, answer, tools), tools };
  }

  async #templated({ template = {}, date }: Pick<TextOptions, "template" | "date">): Promise<Tokenizer> {
    return (await this.text("generateIds")).withTemplate(template, date);
  }
}

/** Who takes the tool calls out of each answer, and a tokenizer that leaves their marks in the text. */
async function readCalls(tokenizer: Tokenizer, prompts: readonly Prompt[]) {
  if (prompts.every(({ tools }) => tools === null)) return { marked: tokenizer, readers: [] };
  const { CallReader, MARKS } = await import("./tool-calls.js");
  const readers = prompts.map(({ tools }) => (tools === null ? null : new CallReader(tools)));
  return { marked: tokenizer.keeping(MARKS), readers };
}
