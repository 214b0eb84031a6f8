/**
 * One text answered by the base and by every adapter at once: a row of one batch each, streaming beside each other.
 *
 * Knows nothing about how the model was loaded.
 */

import type { RemoteModel } from "@edgelora/runtime/web";
import { find, showError } from "./elements.ts";
import { ShownAnswer } from "./shown-answer.ts";
import { ViewOfAll } from "./view.ts";

const MOST = 8; // columns; a batch of them is computed at once

export class SideBySide extends ViewOfAll<RemoteModel> {
  readonly panel = find("compare", HTMLElement);
  readonly #text = find("compare-prompt", HTMLTextAreaElement);
  readonly #columns = find("columns", HTMLElement);
  #running: { stop(): void } | null = null;

  constructor(model: RemoteModel) {
    super(model);
    find("compare-form", HTMLFormElement).addEventListener("submit", (event) => {
      event.preventDefault();
      void this.ask(this.#text.value.trim());
    });
    find("compare-stop", HTMLButtonElement).addEventListener("click", () => this.#running?.stop());
  }

  /** Answer `text` with everything that is there. */
  async ask(text: string): Promise<void> {
    if (this.#running !== null || text === "") return;
    this.#text.value = text;
    showError("compare-error", null);
    const specs = ["none", ...this.model.adapters].slice(0, MOST);
    const columns = specs.map((spec) => new ShownAnswer(spec, false));
    this.#columns.replaceChildren(...columns.map(({ element }) => element));
    const status = find("compare-status", HTMLElement);
    status.textContent = "";
    const started = performance.now();
    const maxNewTokens = find("compare-tokens", HTMLInputElement).valueAsNumber;
    const answer = this.model.generate(
      specs.map(() => text),
      { adapter: specs, maxNewTokens },
    );
    this.#running = answer;
    setBusy(true);
    try {
      for await (const { row, text: piece } of answer) columns[row]?.add(piece);
      const seconds = (performance.now() - started) / 1000;
      const answers = await answer;
      let tokens = 0;
      for (const [row, { usage, timings }] of answers.entries()) {
        const speed = timings.tokensPerSecond === null ? "" : `, ${timings.tokensPerSecond.toFixed(1)} tokens/s`;
        columns[row]?.end(`${usage.completionTokens} tokens${speed}`);
        tokens += usage.completionTokens;
      }
      status.textContent =
        `${specs.length} answers in one batch: ${tokens} tokens in ${seconds.toFixed(1)} s, ` +
        `${(tokens / seconds).toFixed(1)} tokens/s together.`;
    } catch (error) {
      for (const column of columns) column.end("This answer was not finished.");
      showError("compare-error", error);
    } finally {
      this.#running = null;
      setBusy(false);
    }
  }
}

function setBusy(isBusy: boolean): void {
  find("compare-send", HTMLButtonElement).disabled = isBusy;
  find("compare-stop", HTMLButtonElement).disabled = !isBusy;
}
