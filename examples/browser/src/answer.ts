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
  /** Another adapter was to go on and cannot; the one before does. */
  readonly onSwapFailed: (error: unknown) => void;
}

/** What is known at the end. */
export interface AnswerFigures {
  readonly text: string;
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

/** What the model writes until its end, a stop or a swap. */
type Part = ReturnType<RemoteModel["chat"]>;

export class Answer {
  readonly #model: RemoteModel;
  readonly #events: AnswerEvents;
  #part: Part | null = null;
  #next: string | null = null;
  #text = "";

  constructor(model: RemoteModel, events: AnswerEvents) {
    this.#model = model;
    this.#events = events;
  }

  /** End it with what is there. */
  stop(): void {
    this.#next = null;
    this.#part?.stop();
  }

  /** Let the adapter `spec` go on from here. */
  swap(spec: string): void {
    this.#next = spec;
    this.#part?.stop();
  }

  /** Write until the end, a stop, or `maxNewTokens` counted from the last swap. */
  async write(messages: readonly Message[], maxNewTokens: number): Promise<AnswerFigures> {
    let tokens = 0;
    let first: number | null = null;
    const steps = { count: 0, seconds: 0 };
    let part = this.#model.chat(messages, { maxNewTokens });
    while (true) {
      this.#part = part;
      for await (const piece of part) {
        this.#text += piece;
        this.#events.onText(piece);
      }
      const { usage, timings } = await part;
      tokens += usage.completionTokens;
      first ??= timings.firstTokenMs;
      if (timings.tokensPerSecond !== null) {
        steps.count += usage.completionTokens - 1;
        steps.seconds += (usage.completionTokens - 1) / timings.tokensPerSecond;
      }
      if (this.#next === null) break;
      const spec = this.#next;
      this.#next = null;
      try {
        this.#events.onSwap(spec, await swap(this.#model, spec));
      } catch (error) {
        this.#events.onSwapFailed(error);
      }
      part = this.#model.generate(await this.#continued(messages), { raw: true, maxNewTokens });
    }
    return {
      text: this.#text,
      tokens,
      firstTokenMs: first ?? 0,
      tokensPerSecond: steps.seconds > 0 ? steps.count / steps.seconds : null,
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
