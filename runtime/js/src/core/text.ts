/**
 * Text into token ids and back, and what stands where: prompts, and answers behind them.
 *
 * Knows nothing about graphs or sampling; the only file that loads `@huggingface/tokenizers`.
 */

import { correctBytes } from "./byte-fallback.js";
import type { ChatTemplate } from "./chat-template.js";
import { ArtifactError, InputError } from "./errors.js";
import { type FolderSource, readText } from "./files.js";
import type { TokenizerInfo } from "./format.js";
import type { Message, Tools } from "./messages.js";
import { oneLine, parseJson, show } from "./parse-json.js";
import type { Renderer, Variables } from "./rendering.js";
import type { Decoder } from "./token-bytes.js";

/** What is used of a tokenizer of `@huggingface/tokenizers`, whose own types do not resolve under "nodenext". */
export interface Codec {
  readonly decoder?: Parameters<typeof correctBytes>[0];
  readonly splitter_unnormalized: { split(text: string): string[] };
  readonly added_tokens_map: ReadonlyMap<string, { readonly id: number }>;
  readonly normalizer: ((text: string) => string) | null;
  readonly pre_tokenizer: (PreTokenizer & ((text: string, options: { section_index: number }) => string[])) | null;
  readonly model: ((words: string[]) => string[]) & {
    readonly tokens_to_ids: ReadonlyMap<string, number>;
    readonly unk_token_id?: number;
  };
  encode(text: string, options: { add_special_tokens: boolean }): { readonly ids: (number | undefined)[] };
  decode(ids: number[], options: { skip_special_tokens: boolean; clean_up_tokenization_spaces: boolean }): string;
}

/** How a tokenizer takes a text apart before its model does. */
export interface PreTokenizer {
  readonly config?: { readonly type?: string };
  readonly tokenizers?: readonly PreTokenizer[];
}

/** A token that was added to the vocabulary, as tokenizer.json has it. */
interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly special: boolean;
}

/** Encodes, decodes and renders chats as transformers does with the same files. */
export class Tokenizer {
  readonly chatTemplate: string | null;
  /** For what is not text in, ids out. */
  readonly codec: Codec;
  readonly #renderer: Renderer | null;
  /** What a tokenizer.json says of how tokens become text. */
  readonly decoder: Decoder | null;
  readonly added: readonly AddedToken[];
  readonly #kept: ReadonlyMap<number, string>;

  constructor(
    codec: Codec,
    decoder: Decoder | null,
    added: readonly AddedToken[],
    renderer: Renderer | null,
    chatTemplate: string | null,
    kept: ReadonlyMap<number, string> = new Map(),
  ) {
    this.decoder = decoder;
    this.chatTemplate = chatTemplate;
    this.codec = codec;
    this.added = added;
    this.#renderer = renderer;
    this.#kept = kept;
  }

  /** Token ids of `text`; `special` adds the tokenizer's own special tokens. */
  encode(text: string, special = true): number[] {
    const { ids } = this.codec.encode(text, { add_special_tokens: special });
    return ids.filter((id) => id !== undefined);
  }

  /** Text of `ids`, without special tokens unless `skipsSpecial` is false. */
  decode(ids: readonly number[], skipsSpecial: boolean = true): string {
    const place = this.#kept.size === 0 ? -1 : ids.findIndex((id) => this.#kept.has(id));
    if (place >= 0) {
      const mark = this.#kept.get(ids[place] as number);
      return this.decode(ids.slice(0, place), skipsSpecial) + mark + this.decode(ids.slice(place + 1), skipsSpecial);
    }
    if (ids.length === 0) return "";
    return this.codec.decode([...ids], { skip_special_tokens: skipsSpecial, clean_up_tokenization_spaces: false });
  }

  /** The same tokenizer that decodes those special tokens to text which are among `marks`. */
  keeping(marks: readonly string[]): Tokenizer {
    const kept = this.added.filter(({ special, content }) => special && marks.includes(content));
    const byId = new Map(kept.map(({ id, content }) => [id, content]));
    return new Tokenizer(this.codec, this.decoder, this.added, this.#renderer, this.chatTemplate, byId);
  }

  /** The same tokenizer whose template gets these variables too, and `date` (YYYY-MM-DD) as today. */
  withTemplate(variables: Variables, date: string | null = null): Tokenizer {
    const renderer = this.#renderer?.with(variables, date) ?? null;
    return new Tokenizer(this.codec, this.decoder, this.added, renderer, this.chatTemplate);
  }

  /** The chat template over `messages`; throws InputError when there is none or it refuses them. */
  render(messages: readonly Message[], addGenerationPrompt = true, tools: Tools | null = null): string {
    if (this.#renderer === null) {
      throw new InputError("this artifact has no chat template; give raw text (raw: true)");
    }
    return this.#renderer.render(messages, addGenerationPrompt, tools);
  }

  /** Token ids of the rendered chat; the template writes its own special tokens. */
  encodeChat(messages: readonly Message[], addGenerationPrompt = true, tools: Tools | null = null): number[] {
    return this.encode(this.render(messages, addGenerationPrompt, tools), false);
  }

  /** Token ids of a text that is to be continued: without the end token that some tokenizers put after all. */
  encodePrompt(prompt: string, special = true, endIds: readonly number[] = []): number[] {
    const ids = this.encode(prompt, special);
    return endIds.includes(ids.at(-1) ?? -1) ? ids.slice(0, -1) : ids;
  }

  /**
   * Token ids of `text` where it follows `prompt`, whose own ids stay those of `encodePrompt`: what follows the prompt
   * when both are encoded together; where a token would reach over the border, those of `text` alone. `special` and
   * `endIds` are those the prompt is encoded with.
   */
  encodeAfter(prompt: string, text: string, special = false, endIds: readonly number[] = []): number[] {
    const before = this.encodePrompt(prompt, special, endIds);
    const together = this.encodePrompt(prompt + text, special, endIds);
    const isWhole = before.every((id, index) => together[index] === id);
    return isWhole ? together.slice(before.length) : this.encode(text, false);
  }

  /**
   * Token ids of `answer` behind the rendered `messages`, as training learns it and `choices` score it. A template that
   * writes white space before a finished answer has it in front, unless the tokens would no longer decode to the answer.
   */
  encodeAnswer(messages: readonly Message[], answer: string, tools: Tools | null = null): number[] {
    const prompt = this.render(messages, true, tools);
    const opening = this.#findOpening(messages, prompt, answer, tools);
    if (opening !== "") {
      const ids = this.encodeAfter(prompt, opening + answer);
      if (this.#isDecoded(this.encodePrompt(prompt, false), ids, answer)) return ids;
    }
    return this.encodeAfter(prompt, answer);
  }

  /**
   * The ids of those stop strings that are special tokens, which never come out as text. Throws InputError for one that
   * holds more than a special token: nothing that is generated could match it.
   */
  findStops(stops: readonly string[]): Set<number> {
    const special = this.added.filter((token) => token.special);
    const found = new Set<number>();
    for (const stop of stops) {
      const whole = special.find((token) => token.content === stop);
      if (whole !== undefined) {
        found.add(whole.id);
        continue;
      }
      const [inside] = this.encode(stop, false).flatMap((id) => special.find((token) => token.id === id) ?? []);
      if (inside !== undefined) {
        throw new InputError(
          `the stop string ${show(stop)} holds the special token ${show(inside.content)}, which is no part of an ` +
            `answer's text; give ${show(inside.content)} alone`,
        );
      }
    }
    return found;
  }

  /** Whether `ids` decode to exactly `text`, alone (some decoders drop a blank in front) or behind the prompt. */
  #isDecoded(promptIds: readonly number[], ids: readonly number[], text: string): boolean {
    if (this.decode(ids) === text) return true;
    const before = this.decode(promptIds);
    const together = this.decode([...promptIds, ...ids]);
    return together.startsWith(before) && together.slice(before.length) === text;
  }

  /** The white space that the template writes between the prompt and a finished answer. */
  #findOpening(messages: readonly Message[], prompt: string, answer: string, tools: Tools | null): string {
    let finished: string;
    try {
      finished = this.render([...messages, { role: "assistant", content: answer }], false, tools);
    } catch (error) {
      if (error instanceof InputError) return "";
      throw error;
    }
    const rest = finished.startsWith(prompt) ? finished.slice(prompt.length) : "";
    const opening = rest.slice(0, Math.max(0, rest.indexOf(answer)));
    return opening.trim() === "" ? opening : "";
  }
}

/** The tokenizer of an artifact. */
export async function readTokenizer(source: FolderSource, info: TokenizerInfo): Promise<Tokenizer> {
  const { codec, decoder, added } = await readCodec(source, info.file);
  if (info.chatTemplate === null) return new Tokenizer(codec, decoder, added, null, null);
  const { content, template } = await readTemplate(source, info.chatTemplate);
  const { Renderer } = await import("./rendering.js");
  const special = {
    bos_token: info.bosToken,
    eos_token: info.eosToken,
    pad_token: info.padToken,
    unk_token: info.unkToken,
  };
  const given = Object.entries(special).filter(([, token]) => token !== null);
  const renderer = new Renderer(template, Object.fromEntries(given));
  return new Tokenizer(codec, decoder, added, renderer, content).withTemplate(info.templateVariables);
}

/** Throw ArtifactError for a chat template that cannot be rendered as transformers does. */
export async function checkTemplate(source: FolderSource, info: TokenizerInfo): Promise<void> {
  if (info.chatTemplate !== null) await readTemplate(source, info.chatTemplate);
}

async function readTemplate(
  source: FolderSource,
  file: string,
): Promise<{ readonly content: string; readonly template: ChatTemplate }> {
  const content = await readText(source, file);
  const { ChatTemplate } = await import("./chat-template.js");
  return { content, template: await ChatTemplate.compile(content) };
}

async function readCodec(
  source: FolderSource,
  file: string,
): Promise<{ readonly codec: Codec; readonly decoder: Decoder | null; readonly added: readonly AddedToken[] }> {
  const where = `${source.where}/${file}`;
  const data = parseJson(await source.bytes(file), where, ArtifactError, "export the artifact again") as {
    readonly model?: { readonly vocab?: unknown };
    readonly decoder?: Decoder | null;
    readonly added_tokens?: readonly AddedToken[];
  } | null;
  if (typeof data?.model?.vocab !== "object") {
    throw new ArtifactError(`${where} has no model with a vocab; expected a file of the tokenizers library`);
  }
  const { Tokenizer: JsTokenizer } = await import("@huggingface/tokenizers");
  try {
    const codec = new JsTokenizer(data, {}) as unknown as Codec;
    correctBytes(codec.decoder);
    return { codec, decoder: data.decoder ?? null, added: data.added_tokens ?? [] };
  } catch (error) {
    const reason = oneLine((error as Error).message);
    throw new ArtifactError(`${where} cannot be used (${reason}); export the artifact again`);
  }
}
