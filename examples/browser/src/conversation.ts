/**
 * What was said, and how the page shows it.
 *
 * Knows nothing about models.
 */

import type { Message } from "@edgelora/runtime/web";
import { find, make } from "./elements.ts";

const MESSAGE_ABOUT_ADAPTER = "adapter";

export class Conversation {
  readonly #log = find("log", HTMLElement);
  #messages: Message[] = [];

  /** What a model is given for `text`: alone, or after what was said before. */
  ask(text: string, remembers: boolean): readonly Message[] {
    const question: Message = { role: "user", content: text };
    this.#messages = remembers ? [...this.#messages, question] : [question];
    const shown = make("article", "said");
    shown.append(make("h3", "visually-hidden", "You"), make("p", "", text));
    this.#log.append(shown);
    return this.#messages;
  }

  /** The place where an answer by `spec` appears. */
  begin(spec: string): ShownAnswer {
    const answer = new ShownAnswer(spec);
    this.#log.append(answer.element);
    answer.element.scrollIntoView({ block: "nearest" });
    return answer;
  }

  /** The answer belongs to what was said. */
  keep(text: string): void {
    this.#messages = [...this.#messages, { role: "assistant", content: text }];
  }

  clear(): void {
    this.#messages = [];
    this.#log.replaceChildren();
  }
}

/** One answer on the page. While it grows it is busy, so that a screen reader reads it once, when it is whole. */
export class ShownAnswer {
  readonly element = make("article", "answered");
  readonly #text = make("p", "text");
  readonly #note = make("p", "note");

  constructor(spec: string) {
    this.element.setAttribute("aria-busy", "true");
    const heading = make("h3", "", "");
    heading.append(make("span", "visually-hidden", "Answer by "), make("span", MESSAGE_ABOUT_ADAPTER, nameOf(spec)));
    this.element.append(heading, this.#text, this.#note);
  }

  add(text: string): void {
    this.#text.append(text);
  }

  /** From here on another adapter writes. */
  mark(spec: string, milliseconds: number): void {
    this.#text.append(make("span", "swap", `⇄ ${nameOf(spec)}, ${milliseconds.toFixed(1)} ms`));
  }

  end(note: string): void {
    this.#note.textContent = note;
    this.element.setAttribute("aria-busy", "false");
  }
}

function nameOf(spec: string): string {
  return spec === "none" ? "no adapter" : spec;
}
