/**
 * The chat: asks a model, shows what it writes, lets another adapter go on in the middle.
 *
 * Knows nothing about how it was loaded, or what else the page shows.
 */

import type { RemoteModel } from "@edgelora/runtime/web";
import { Answer, swap } from "./answer.ts";
import { Conversation, type Exchange } from "./conversation.ts";
import { find, showError } from "./elements.ts";
import { showFigure } from "./figures.ts";
import type { View } from "./view.ts";
import { BASE } from "./voices.ts";

/** What a chat tells of. */
export interface ChatEvents {
  /** Another adapter answers; how long the switch took. */
  readonly onSwap: (spec: string, milliseconds: number) => void;
  /** It cannot, and an answer that is being written goes on with the adapter before. */
  readonly onSwapFailed: (error: unknown) => void;
  readonly onEnd: () => void;
}

export class Chat implements View {
  readonly model: RemoteModel;
  readonly panel = find("chat", HTMLElement);
  readonly blends = true;
  readonly picks = true;
  readonly first = BASE;
  readonly #events: ChatEvents;
  readonly #conversation = new Conversation();
  #running: Answer | null = null;
  #last: Exchange | null = null;
  #written: Promise<boolean> = Promise.resolve(true);
  #wanted: string | null = null;
  #isRewriting = false;

  constructor(model: RemoteModel, events: ChatEvents) {
    this.model = model;
    this.#events = events;
    this.#connect();
  }

  get spec(): string {
    return this.model.adapter;
  }

  /** Make `spec` answer from now on, an answer that is being written included; a slider has the last one rewritten. */
  async choose(spec: string, slides: boolean): Promise<void> {
    if (slides && this.#last !== null) await this.#rewrite(spec);
    else if (this.#running !== null) this.#running.swap(spec);
    else this.#events.onSwap(spec, await swap(this.model, spec));
  }

  async ask(text: string): Promise<void> {
    find("prompt", HTMLTextAreaElement).value = text;
    find("composer", HTMLFormElement).requestSubmit();
  }

  #connect(): void {
    const prompt = find("prompt", HTMLTextAreaElement);
    const form = find("composer", HTMLFormElement);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.#running === null && prompt.value.trim() !== "") void this.#ask(prompt.value.trim());
    });
    prompt.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        form.requestSubmit();
      }
    });
    find("stop", HTMLButtonElement).addEventListener("click", () => this.#running?.stop());
    find("clear", HTMLButtonElement).addEventListener("click", () => {
      this.#running?.stop();
      this.#last = null;
      this.#conversation.clear();
      prompt.focus();
    });
  }

  async #ask(text: string): Promise<void> {
    const prompt = find("prompt", HTMLTextAreaElement);
    const remembers = find("keeps-conversation", HTMLInputElement).checked;
    const exchange = this.#conversation.begin(text, remembers, this.model.adapter);
    this.#last = exchange;
    prompt.value = "";
    this.#written = this.#write(exchange);
    if (await this.#written) return;
    exchange.drop();
    prompt.value = text;
  }

  /** Write the answer of an exchange; false, with the reason on the page, where that fails. */
  async #write({ messages, answer: shown, keep }: Exchange): Promise<boolean> {
    const maxNewTokens = find("max-tokens", HTMLInputElement).valueAsNumber;
    showError("answer-error", null);
    this.#running = new Answer(this.model, {
      onText: (piece) => shown.add(piece),
      onSwap: (spec, milliseconds) => {
        shown.mark(spec, milliseconds);
        this.#events.onSwap(spec, milliseconds);
      },
      onSwapFailed: this.#events.onSwapFailed,
    });
    setBusy(true);
    try {
      const { text, tokens, firstTokenMs, tokensPerSecond } = await this.#running.write(messages, maxNewTokens);
      const speed = tokensPerSecond === null ? "" : `, ${tokensPerSecond.toFixed(1)} tokens/s`;
      keep(text);
      shown.end(`${tokens} token${tokens === 1 ? "" : "s"}${speed}`);
      showFigure("firstToken", `${Math.round(firstTokenMs)} ms`);
      if (tokensPerSecond !== null) showFigure("speed", `${tokensPerSecond.toFixed(1)} tokens/s`);
      return true;
    } catch (error) {
      shown.end("This answer was not finished.");
      showError("answer-error", error);
      return false;
    } finally {
      this.#running = null;
      setBusy(false);
      this.#events.onEnd();
    }
  }

  /** Write the last answer anew with another blend; of those that a slider passes the newest counts. */
  async #rewrite(spec: string): Promise<void> {
    this.#wanted = spec;
    this.#running?.stop();
    if (this.#isRewriting) return;
    this.#isRewriting = true;
    try {
      await this.#written;
      while (this.#wanted !== null && this.#last !== null) {
        const next = this.#wanted;
        this.#wanted = null;
        this.#events.onSwap(next, await swap(this.model, next));
        this.#last.answer.restart(next);
        this.#written = this.#write(this.#last);
        await this.#written;
      }
    } finally {
      this.#isRewriting = false;
    }
  }
}

function setBusy(isBusy: boolean): void {
  const stop = find("stop", HTMLButtonElement);
  const hadFocus = document.activeElement === stop;
  find("send", HTMLButtonElement).disabled = isBusy;
  stop.disabled = !isBusy;
  if (!isBusy && hadFocus) find("prompt", HTMLTextAreaElement).focus(); // a disabled button would lose it
}
