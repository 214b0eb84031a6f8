/**
 * One answer on the page: its words in the colours of the adapters that wrote them.
 *
 * Knows nothing about where words come from.
 */

import { make } from "./elements.ts";
import { fieldsOf } from "./fields.ts";
import { nameOf, paint } from "./voices.ts";

const NEAR = 80; // pixels below the window that still count as being read

/** While it grows it is busy, so that a screen reader reads it once, when it is whole. */
export class ShownAnswer {
  readonly element = make("article", "answered");
  readonly #author = make("span", "adapter");
  readonly #text = make("p", "text");
  readonly #note = make("p", "note");
  readonly #follows: boolean;
  #written = ""; // without the marks of swaps
  #words = make("span", "words");

  /** One that `follows` stays in sight while it grows. */
  constructor(spec: string, follows = true) {
    this.#follows = follows;
    const heading = make("h3", "", "");
    heading.append(make("span", "visually-hidden", "Answer by "), this.#author);
    this.element.append(heading, this.#text, this.#note);
    this.restart(spec);
  }

  get isEmpty(): boolean {
    return this.#text.textContent === "";
  }

  add(text: string): void {
    const isRead = this.#follows && this.#below() <= NEAR;
    this.#words.append(text);
    this.#written += text;
    if (isRead) this.#keepInSight();
  }

  /** From here on another adapter writes. */
  mark(spec: string, milliseconds: number): void {
    const mark = make("span", "swap", `⇄ ${nameOf(spec)}, ${milliseconds.toFixed(1)} ms`);
    paint(mark, spec);
    this.#text.append(mark);
    this.#write(spec);
  }

  /** All of it anew, by `spec`. */
  restart(spec: string): void {
    this.element.setAttribute("aria-busy", "true");
    this.#author.textContent = nameOf(spec);
    paint(this.element, spec);
    this.#text.replaceChildren();
    this.#written = "";
    this.element.querySelector(".fields")?.remove();
    this.#note.textContent = "";
    this.#write(spec);
  }

  /** It is whole; a JSON object is shown with its fields below. */
  end(note: string): void {
    const fields = fieldsOf(this.#written);
    if (fields !== null) this.#note.before(fields);
    this.#note.textContent = note;
    this.element.setAttribute("aria-busy", "false");
  }

  #write(spec: string): void {
    this.#words = make("span", "words");
    paint(this.#words, spec);
    this.#text.append(this.#words);
  }

  /** Pixels of it that are below the window. */
  #below(): number {
    return this.element.getBoundingClientRect().bottom - window.innerHeight;
  }

  /** What is being read stays in sight while it grows; who has scrolled away is left there. */
  #keepInSight(): void {
    const below = this.#below();
    if (below > 0) window.scrollBy({ top: below + 8, behavior: "instant" });
  }
}
