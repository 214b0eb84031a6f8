/**
 * The chat: asks a model, shows what it writes, lets another adapter go on in the middle.
 *
 * Knows nothing about how it was loaded, or what else the page shows.
 */

import type { RemoteModel } from "@edgelora/runtime/web";
import { Answer, swap } from "./answer.ts";
import { Conversation } from "./conversation.ts";
import { find, showError } from "./elements.ts";
import { showFigure } from "./figures.ts";
import type { View } from "./view.ts";

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
  readonly first = { spec: "none", text: "no adapter" };
  readonly #events: ChatEvents;
  readonly #conversation = new Conversation();
  #running: Answer | null = null;

  constructor(model: RemoteModel, events: ChatEvents) {
    this.model = model;
    this.#events = events;
    this.#connect();
  }

  get spec(): string {
    return this.model.adapter;
  }

  /** Make `spec` answer from now on, an answer that is being written included. */
  async choose(spec: string): Promise<void> {
    if (this.#running !== null) this.#running.swap(spec);
    else this.#events.onSwap(spec, await swap(this.model, spec));
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
      this.#conversation.clear();
      prompt.focus();
    });
  }

  async #ask(text: string): Promise<void> {
    const prompt = find("prompt", HTMLTextAreaElement);
    const maxNewTokens = find("max-tokens", HTMLInputElement).valueAsNumber;
    const remembers = find("keeps-conversation", HTMLInputElement).checked;
    const exchange = this.#conversation.begin(text, remembers, this.model.adapter);
    const shown = exchange.answer;
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
    prompt.value = "";
    try {
      const {
        text: answer,
        tokens,
        firstTokenMs,
        tokensPerSecond,
      } = await this.#running.write(exchange.messages, maxNewTokens);
      const speed = tokensPerSecond === null ? "" : `, ${tokensPerSecond.toFixed(1)} tokens/s`;
      exchange.keep(answer);
      shown.end(`${tokens} token${tokens === 1 ? "" : "s"}${speed}`);
      showFigure("firstToken", `${Math.round(firstTokenMs)} ms`);
      if (tokensPerSecond !== null) showFigure("speed", `${tokensPerSecond.toFixed(1)} tokens/s`);
    } catch (error) {
      shown.end("This answer was not finished.");
      exchange.drop();
      showError("answer-error", error);
      prompt.value = text;
    } finally {
      this.#running = null;
      setBusy(false);
      this.#events.onEnd();
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
