/**
 * One finished answer, and the row of a batch that becomes one.
 *
 * Knows nothing about models: tokens go in, text and figures come out.
 */

import type { FinishReason } from "./generate.js";
import type { Message } from "./messages.js";
import { StopFilter, StreamDecoder } from "./stream.js";
import type { Tokenizer } from "./text.js";
import type { CallReader, ToolCall } from "./tool-calls.js";

/** How many tokens went through the model. */
export interface Usage {
  readonly promptTokens: number;
  /** Those of the answer, without its end token. */
  readonly completionTokens: number;
}

/** How long it took, in the place where the model runs. */
export interface Timings {
  /** From the call to the first token: calls before it, reading the prompt. Null when there was none. */
  readonly firstTokenMs: number | null;
  /** From the first token to the last; null for fewer than two. */
  readonly tokensPerSecond: number | null;
}

/** One answer. `tokenIds` leaves out the end token; `choiceScores` are in the order of the choices given. */
export interface Generation {
  /** Without the tool calls in it. */
  readonly text: string;
  /** What the model wants to have called; empty unless tools were given. */
  readonly toolCalls: readonly ToolCall[];
  /** Text and calls as the message that goes before the next one. */
  readonly message: Message;
  readonly tokenIds: readonly number[];
  readonly finishReason: FinishReason;
  readonly usage: Usage;
  readonly timings: Timings;
  readonly choiceScores: readonly number[] | null;
}

/** A piece of one of several answers. */
export interface RowPiece {
  /** Its index in the list of prompts. */
  readonly row: number;
  readonly text: string;
}

/** One row while it is written: tokens in, text out, and what is known of it at the end. */
export class Row {
  readonly #tokenIds: number[] = [];
  readonly #promptTokens: number;
  readonly #startedMs: number;
  readonly #filter: StopFilter;
  readonly #decoder: StreamDecoder;
  readonly #stopIds: ReadonlySet<number>;
  readonly #reader: CallReader | null;
  #text = "";
  #calls: readonly ToolCall[] = [];
  #firstMs = 0;
  #lastMs = 0;
  #isStopped = false;

  /**
   * `startedMs` is when it was asked for, by `performance.now()`; `stopIds` end it as `stops` do; `reader` takes tool
   * calls out of its text.
   */
  constructor(
    tokenizer: Tokenizer,
    stops: readonly string[],
    stopIds: ReadonlySet<number>,
    promptTokens: number,
    startedMs: number,
    reader: CallReader | null = null,
  ) {
    this.#reader = reader;
    this.#filter = new StopFilter(stops);
    this.#decoder = new StreamDecoder(tokenizer);
    this.#stopIds = stopIds;
    this.#promptTokens = promptTokens;
    this.#startedMs = startedMs;
  }

  /** Whether a stop string or id has come. */
  get isStopped(): boolean {
    return this.#isStopped;
  }

  /** The text that `token` lets out, possibly empty. */
  push(token: number): string {
    this.#lastMs = performance.now();
    if (this.#tokenIds.length === 0) this.#firstMs = this.#lastMs;
    this.#tokenIds.push(token);
    const text = this.#filter.push(this.#decoder.push(token));
    this.#isStopped = this.#filter.isStopped || this.#stopIds.has(token);
    return this.#add(this.#reader?.push(text) ?? text);
  }

  /** The text that was held back. */
  flush(): string {
    const text = this.#filter.push(this.#decoder.flush()) + this.#filter.flush();
    if (this.#reader === null) return this.#add(text);
    const shown = this.#reader.push(text);
    const rest = this.#reader.end();
    this.#calls = rest.calls;
    return this.#add(shown + rest.text);
  }

  /** The answer, which ends for `reason` unless a stop string came. */
  end(reason: FinishReason): Generation {
    const count = this.#tokenIds.length;
    const milliseconds = this.#lastMs - this.#firstMs;
    return {
      ...asMessage(this.#text, this.#calls),
      tokenIds: this.#tokenIds,
      finishReason: this.#isStopped ? "stop" : reason,
      usage: { promptTokens: this.#promptTokens, completionTokens: count },
      timings: {
        firstTokenMs: count > 0 ? this.#firstMs - this.#startedMs : null,
        tokensPerSecond: milliseconds > 0 ? (1000 * (count - 1)) / milliseconds : null,
      },
      choiceScores: null,
    };
  }

  #add(text: string): string {
    this.#text += text;
    return text;
  }
}

/** Text and calls of an answer, also as a message of the conversation. */
export function asMessage(
  text: string,
  toolCalls: readonly ToolCall[] = [],
): Pick<Generation, "text" | "toolCalls" | "message"> {
  const calls = toolCalls.map(({ id, ...call }) => ({ id, type: "function", function: call }));
  const message = { role: "assistant", content: text, ...(calls.length > 0 ? { tool_calls: calls } : {}) };
  return { text, toolCalls, message };
}
