/**
 * Text in and out: tokenizer, chat template, streaming decoder, stop strings.
 *
 * Knows nothing about graphs or sampling; the only file that loads `@huggingface/tokenizers` and `@huggingface/jinja`.
 */

import { correctBytes } from "./byte-fallback.js";
import { ArtifactError, InputError } from "./errors.js";
import { show, type TokenizerInfo } from "./manifest.js";
import { type FolderSource, readText } from "./source.js";

/** One message of a conversation; templates may use more fields than these. */
export interface Message {
  readonly role: string;
  readonly content?: unknown;
  readonly [field: string]: unknown;
}

/** What is used of a tokenizer of `@huggingface/tokenizers`, whose own types do not resolve under "nodenext". */
interface Codec {
  readonly decoder?: Parameters<typeof correctBytes>[0];
  encode(text: string, options: { add_special_tokens: boolean }): { readonly ids: (number | undefined)[] };
  decode(ids: number[], options: { skip_special_tokens: boolean; clean_up_tokenization_spaces: boolean }): string;
}

/** What is used of a template of `@huggingface/jinja`. */
interface Renderer {
  render(items: Record<string, unknown>): string;
}

const REPLACEMENT = "\ufffd"; // what a decoder writes for bytes that are no complete UTF-8 character

/** Encodes, decodes and renders chats as transformers does with the same files. */
export class Tokenizer {
  readonly chatTemplate: string | null;
  readonly #codec: Codec;
  readonly #renderer: Renderer | null;
  readonly #special: Readonly<Record<string, string>>;

  constructor(codec: Codec, renderer: Renderer | null, chatTemplate: string | null, info: TokenizerInfo) {
    this.chatTemplate = chatTemplate;
    this.#codec = codec;
    this.#renderer = renderer;
    const special = {
      bos_token: info.bosToken,
      eos_token: info.eosToken,
      pad_token: info.padToken,
      unk_token: info.unkToken,
    };
    this.#special = Object.fromEntries(Object.entries(special).filter((pair): pair is [string, string] => !!pair[1]));
  }

  /** Token ids of `text`; `special` adds the tokenizer's own special tokens. */
  encode(text: string, special = true): number[] {
    const { ids } = this.#codec.encode(text, { add_special_tokens: special });
    return ids.filter((id) => id !== undefined);
  }

  /** Text of `ids` without special tokens. */
  decode(ids: readonly number[]): string {
    if (ids.length === 0) return "";
    return this.#codec.decode([...ids], { skip_special_tokens: true, clean_up_tokenization_spaces: false });
  }

  /** The chat template over `messages`; throws InputError when there is none or it refuses them. */
  render(messages: readonly Message[], addGenerationPrompt = true): string {
    if (this.#renderer === null) {
      throw new InputError("this artifact has no chat template; give raw text (raw: true)");
    }
    if (!Array.isArray(messages) || messages.length === 0) {
      throw new InputError(`messages is ${show(messages)}, expected a list of at least one {role, content}`);
    }
    messages.forEach((message: unknown, index) => {
      if (typeof message !== "object" || message === null || !("role" in message)) {
        throw new InputError(`message ${index} is ${show(message)}, expected {role, content}`);
      }
    });
    try {
      return this.#renderer.render({
        messages,
        tools: null,
        documents: null,
        add_generation_prompt: addGenerationPrompt,
        ...this.#special,
      });
    } catch (error) {
      throw new InputError(`the chat template refuses these messages: ${(error as Error).message}`);
    }
  }

  /** Token ids of the rendered chat; the template writes its own special tokens. */
  encodeChat(messages: readonly Message[], addGenerationPrompt = true): number[] {
    return this.encode(this.render(messages, addGenerationPrompt), false);
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
  encodeAnswer(messages: readonly Message[], answer: string): number[] {
    const prompt = this.render(messages);
    const opening = this.#findOpening(messages, prompt, answer);
    if (opening !== "") {
      const ids = this.encodeAfter(prompt, opening + answer);
      if (this.#isDecoded(this.encodePrompt(prompt, false), ids, answer)) return ids;
    }
    return this.encodeAfter(prompt, answer);
  }

  /** Whether `ids` decode to exactly `text`, alone (some decoders drop a blank in front) or behind the prompt. */
  #isDecoded(promptIds: readonly number[], ids: readonly number[], text: string): boolean {
    if (this.decode(ids) === text) return true;
    const before = this.decode(promptIds);
    const together = this.decode([...promptIds, ...ids]);
    return together.startsWith(before) && together.slice(before.length) === text;
  }

  /** The white space that the template writes between the prompt and a finished answer. */
  #findOpening(messages: readonly Message[], prompt: string, answer: string): string {
    let finished: string;
    try {
      finished = this.render([...messages, { role: "assistant", content: answer }], false);
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
  const content = await readText(source, info.file);
  const template = info.chatTemplate === null ? null : await readText(source, info.chatTemplate);
  return makeTokenizer(content, template, info, `${source.where}/${info.file}`);
}

async function makeTokenizer(
  content: string,
  template: string | null,
  info: TokenizerInfo,
  where: string,
): Promise<Tokenizer> {
  let data: { model?: { vocab?: unknown } } | null;
  try {
    data = JSON.parse(content);
  } catch (error) {
    throw new ArtifactError(`${where} is not JSON (${(error as Error).message}); export the artifact again`);
  }
  if (typeof data?.model?.vocab !== "object") {
    throw new ArtifactError(`${where} has no model with a vocab; expected a file of the tokenizers library`);
  }
  const { Tokenizer: JsTokenizer } = await import("@huggingface/tokenizers");
  let codec: Codec;
  try {
    codec = new JsTokenizer(data, {}) as unknown as Codec;
    correctBytes(codec.decoder);
  } catch (error) {
    throw new ArtifactError(`${where} cannot be used (${(error as Error).message}); export the artifact again`);
  }
  if (template === null) return new Tokenizer(codec, null, null, info);
  const { Template } = await import("@huggingface/jinja");
  let renderer: Renderer;
  try {
    renderer = new Template(template);
  } catch (error) {
    const reason = (error as Error).message;
    throw new ArtifactError(`the chat template is malformed (${reason}); export the artifact again`);
  }
  return new Tokenizer(codec, renderer, template, info);
}

/** Turns one token at a time into text; what is not yet a whole UTF-8 character waits for the next token. */
export class StreamDecoder {
  readonly #tokenizer: Tokenizer;
  readonly #ids: number[] = [];
  #start = 0; // decoding from here on keeps the cost of a step independent of the length so far
  #shown = 0; // ids whose text was handed out

  constructor(tokenizer: Tokenizer) {
    this.#tokenizer = tokenizer;
  }

  /** The text that `token` completes, possibly empty. */
  push(token: number): string {
    this.#ids.push(token);
    return this.#take(false);
  }

  /** What waits at the end; an incomplete character becomes U+FFFD. */
  flush(): string {
    return this.#take(true);
  }

  #take(isLast: boolean): string {
    // Decoders may drop a leading blank, so the tokens shown last are decoded again in front of the new ones.
    const before = this.#tokenizer.decode(this.#ids.slice(this.#start, this.#shown));
    const after = this.#tokenizer.decode(this.#ids.slice(this.#start));
    if (after.length <= before.length || (after.endsWith(REPLACEMENT) && !isLast)) return "";
    this.#start = this.#shown;
    this.#shown = this.#ids.length;
    return after.slice(before.length);
  }
}

/** Passes text through until a stop string appears; no character of one is ever let out. */
export class StopFilter {
  readonly #stops: readonly string[];
  #held = "";
  isStopped = false;

  constructor(stops: readonly string[]) {
    this.#stops = stops;
  }

  /** What can be shown now. After a stop string `isStopped` is set and nothing more comes. */
  push(text: string): string {
    if (this.isStopped) return "";
    this.#held += text;
    const found = this.#stops.map((stop) => this.#held.indexOf(stop)).filter((position) => position >= 0);
    this.isStopped = found.length > 0;
    const held = this.isStopped ? "" : this.#longestOverlap();
    const shown = this.isStopped
      ? this.#held.slice(0, Math.min(...found))
      : this.#held.slice(0, -held.length || undefined);
    this.#held = held;
    return shown;
  }

  /** What was held back and turned out to be no stop string. */
  flush(): string {
    const shown = this.#held;
    this.#held = "";
    return shown;
  }

  /** The longest end of the held text that begins a stop string. */
  #longestOverlap(): string {
    let longest = 0;
    for (const stop of this.#stops) {
      let length = Math.min(this.#held.length, stop.length - 1);
      while (length > longest && !this.#held.endsWith(stop.slice(0, length))) length -= 1;
      longest = Math.max(longest, length);
    }
    return this.#held.slice(this.#held.length - longest);
  }
}

/** Text of a stream of tokens, piece by piece, ending early at a stop string. */
export async function* textPieces(
  tokens: AsyncIterable<number>,
  decoder: StreamDecoder,
  filter: StopFilter,
): AsyncGenerator<string> {
  for await (const token of tokens) {
    const piece = filter.push(decoder.push(token));
    if (piece !== "") yield piece;
    if (filter.isStopped) return;
  }
  const rest = filter.push(decoder.flush()) + filter.flush();
  if (rest !== "") yield rest;
}
