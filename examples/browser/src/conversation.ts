/**
 * What was said, and how the page shows it.
 *
 * Knows nothing about models.
 */

import type { Message } from "@edgelora/runtime/web";
import { find, make } from "./elements.ts";
import { ShownAnswer } from "./shown-answer.ts";

/** A text and its answer while it comes. */
export interface Exchange {
  /** What a model is given: the text alone, or after what was said before. */
  readonly messages: readonly Message[];
  readonly answer: ShownAnswer;
  /** Text and answer belong to what was said, unless the page was cleared in the meantime. */
  keep(text: string): void;
  /** The answer failed: what came of it stays to be read, and is no part of what was said. */
  drop(): void;
}

export class Conversation {
  readonly #log = find("log", HTMLElement);
  #said: readonly Message[] = [];
  #last: Exchange | null = null;

  /** Show `text` and a place where the answer by `spec` appears. */
  begin(text: string, remembers: boolean, spec: string): Exchange {
    const messages: readonly Message[] = [...(remembers ? this.#said : []), { role: "user", content: text }];
    const question = make("article", "said");
    question.append(make("h3", "visually-hidden", "You"), make("p", "", text));
    const answer = new ShownAnswer(spec);
    this.#log.append(question, answer.element);
    answer.element.scrollIntoView({ block: "nearest" });
    const exchange: Exchange = {
      messages,
      answer,
      keep: (content) => {
        if (this.#last === exchange) this.#said = [...messages, { role: "assistant", content }];
      },
      drop: () => {
        if (answer.isEmpty) for (const element of [question, answer.element]) element.remove();
      },
    };
    this.#last = exchange;
    return exchange;
  }

  clear(): void {
    this.#said = [];
    this.#last = null;
    this.#log.replaceChildren();
  }
}
