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

export class Chat implements View {
  readonly model: RemoteModel;
  readonly panel = find("chat", HTMLElement);
  readonly blends = true;
  readonly first = { spec: "none", text: "no adapter" };
  readonly #onSwap: (spec: string, milliseconds: number) => void;
  readonly #onEnd: () => void;
  readonly #conversation = new Conversation();
  #running: Answer | null = null;

  /** `onSwap` is told of every other adapter that answers, `onEnd` of every answer. */
  constructor(model: RemoteModel, onSwap: (spec: string, milliseconds: number) => void, onEnd: () => void) {
    this.model = model;
    this.#onSwap = onSwap;
    this.#onEnd = onEnd;
    this.#connect();
  }

  focus(): void {
    find("prompt", HTMLTextAreaElement).focus();
  }

  /** Make `spec` answer from now on, an answer that is being written included. */
  async choose(spec: string): Promise<void> {
    if (this.#running !== null) this.#running.swap(spec);
    else this.#onSwap(spec, await swap(this.model, spec));
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
    const messages = this.#conversation.ask(text, find("keeps-conversation", HTMLInputElement).checked);
    const shown = this.#conversation.begin(this.model.adapter);
    showError("answer-error", null);
    this.#running = new Answer(this.model, {
      onText: (piece) => shown.add(piece),
      onSwap: (spec, milliseconds) => {
        shown.mark(spec, milliseconds);
        this.#onSwap(spec, milliseconds);
      },
    });
    setBusy(true);
    prompt.value = "";
    try {
      const { text: answer, tokens, firstTokenMs, tokensPerSecond } = await this.#running.write(messages, maxNewTokens);
      const speed = tokensPerSecond === null ? "" : `, ${tokensPerSecond.toFixed(1)} tokens/s`;
      this.#conversation.keep(answer);
      shown.end(`${tokens} token${tokens === 1 ? "" : "s"}${speed}`);
      showFigure("firstToken", `${Math.round(firstTokenMs)} ms`);
      if (tokensPerSecond !== null) showFigure("speed", `${tokensPerSecond.toFixed(1)} tokens/s`);
    } catch (error) {
      shown.end("");
      showError("answer-error", error);
      prompt.value = text;
    } finally {
      this.#running = null;
      setBusy(false);
      this.#onEnd();
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
