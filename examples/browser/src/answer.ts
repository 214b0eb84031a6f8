/**
 * One answer as it is written: streamed, stopped, or carried on by another adapter from the word it has come to.
 *
 * Knows nothing about the page.
 */

import type { Message, RemoteModel } from "@edgelora/runtime/web";

/** What happens while an answer is written. */
export interface AnswerEvents {
  /** Text that was added. */
  readonly onText: (text: string) => void;
  /** Another adapter goes on; how long the switch took. */
  readonly onSwap: (spec: string, milliseconds: number) => void;
}

/** What is known at the end. */
export interface AnswerFigures {
  readonly text: string;
  /** Pieces of text: one for each token, but for characters that take several. */
  readonly tokens: number;
  readonly firstTokenMs: number;
  /** While one adapter writes, from its first token on: without the time that reading the text takes. */
  readonly tokensPerSecond: number | null;
}

/** Make `spec` the adapter that answers; milliseconds, without the token that may be under way. */
export async function swap(model: RemoteModel, spec: string): Promise<number> {
  await model.setAdapter(model.adapter); // changes nothing; its turn comes when the running step has ended
  const started = performance.now();
  await model.setAdapter(spec);
  return performance.now() - started;
}

export class Answer {
  readonly #model: RemoteModel;
  readonly #events: AnswerEvents;
  #ending = new AbortController();
  #next: string | null = null;
  #text = "";

  constructor(model: RemoteModel, events: AnswerEvents) {
    this.#model = model;
    this.#events = events;
  }

  /** End it with what is there. */
  stop(): void {
    this.#next = null;
    this.#ending.abort();
  }

  /** Let the adapter `spec` go on from here. */
  swap(spec: string): void {
    this.#next = spec;
    this.#ending.abort();
  }

  /** Write until the end, a stop, or `maxNewTokens` counted from the last swap. */
  async write(messages: readonly Message[], maxNewTokens: number): Promise<AnswerFigures> {
    const started = performance.now();
    let first: number | null = null;
    let tokens = 0;
    let last: number | null = null;
    const steps = { count: 0, milliseconds: 0 };
    let pieces = this.#model.chat(messages, { maxNewTokens, stream: true, signal: this.#ending.signal });
    while (true) {
      try {
        for await (const piece of pieces) {
          const now = performance.now();
          first ??= now;
          if (last !== null) {
            steps.count += 1;
            steps.milliseconds += now - last;
          }
          last = now;
          tokens += 1;
          this.#text += piece;
          this.#events.onText(piece);
        }
        break;
      } catch (error) {
        if (!this.#ending.signal.aborted) throw error;
        if (this.#next === null) break;
        const spec = this.#next;
        this.#next = null;
        last = null;
        this.#ending = new AbortController();
        this.#events.onSwap(spec, await swap(this.#model, spec));
        const prompt = await this.#continued(messages);
        pieces = this.#model.generate(prompt, { raw: true, maxNewTokens, stream: true, signal: this.#ending.signal });
      }
    }
    return {
      text: this.#text,
      tokens,
      firstTokenMs: (first ?? performance.now()) - started,
      tokensPerSecond: steps.milliseconds > 0 ? (1000 * steps.count) / steps.milliseconds : null,
    };
  }

  /** The rendered conversation with the beginning of the answer behind it. */
  async #continued(messages: readonly Message[]): Promise<string> {
    const tokenizer = await this.#model.tokenizer;
    if (tokenizer === null) throw new Error("this artifact has no tokenizer");
    const text = tokenizer.render(messages) + this.#text;
    // Raw text gets the tokenizer's own first token, which many templates have written already.
    const { bosToken } = this.#model.manifest.tokenizer ?? { bosToken: null };
    const isTwice = bosToken !== null && text.startsWith(bosToken) && tokenizer.encode("", true).length > 0;
    return isTwice ? text.slice(bosToken.length) : text;
  }
}
