/**
 * A card for each adapter that replays the probe of its receipt, and plants a broken copy of it.
 *
 * Knows nothing about what a probe computes.
 */

import { AdapterError, filesFolder, type RemoteOf } from "@edgelora/runtime/web";
import { breakAdapter, type Damage } from "./broken.ts";
import { find, make } from "./elements.ts";
import { megabytes } from "./loading.ts";
import { ViewOfAll } from "./view.ts";
import { paint } from "./voices.ts";

const BROKEN = "broken-on-purpose";

type Info = RemoteOf<"any">["manifest"]["adapters"][number];

export class Receipts extends ViewOfAll {
  readonly panel = find("receipts", HTMLElement);

  constructor(model: RemoteOf<"any">) {
    super(model);
    const { adapterNames, adapters } = model.manifest;
    const cards = adapterNames.map((name, index) => {
      try {
        return this.#card(adapters[index] as Info);
      } catch (error) {
        return refusedCard(name, (error as Error).message);
      }
    });
    find("receipt-cards", HTMLElement).replaceChildren(...cards);
    find("no-receipts", HTMLElement).hidden = cards.length > 0;
  }

  #card(info: Info): HTMLElement {
    const { files } = this.model.manifest;
    const { name, path } = info;
    const own = [...files.keys()].filter((file) => file.startsWith(`${path}/`));
    const bytes = own.reduce((sum, file) => sum + (files.get(file)?.bytes ?? 0), 0);
    const card = make("article", "receipt");
    const title = make("h3", "adapter", info.title ?? name);
    paint(card, name);
    const facts = [`rank ${info.rank}`, megabytes(bytes), info.license].filter((item) => typeof item === "string");
    card.append(title, make("p", "note", facts.join(" · ")));
    if (!files.has(`${path}/receipt.json`)) {
      card.append(make("p", "result", "It has no receipt, so that there is nothing to replay."));
      return card;
    }
    const result = make("p", "result");
    result.setAttribute("role", "status");
    const buttons = make("div", "buttons");
    const act = (label: string, run: () => Promise<{ readonly isGood: boolean; readonly text: string }>) => {
      const button = make("button", "quiet", label);
      button.type = "button";
      button.addEventListener("click", async () => {
        result.className = "result";
        result.textContent = "Computing…";
        const { isGood, text } = await run();
        result.className = `result ${isGood ? "passed" : "refused"}`;
        result.textContent = text;
      });
      buttons.append(button);
    };
    act("Replay its probe", () => this.#replay(name));
    act("Plant a copy with one byte turned", () => this.#plant(path, "byte"));
    act("Plant a forged copy", () => this.#plant(path, "forged"));
    card.append(buttons, result);
    return card;
  }

  async #replay(name: string): Promise<{ isGood: boolean; text: string }> {
    try {
      const found = await this.model.probe(name);
      if (found === null) return { isGood: false, text: "Its receipt has no probe to replay." };
      return { isGood: true, text: `It proves itself in ${found.seconds.toFixed(1)} s: ${found.reason}.` };
    } catch (error) {
      return { isGood: false, text: `Refused: ${(error as Error).message}` };
    }
  }

  /** Load a broken copy as any adapter is loaded, and hold it to its receipt. */
  async #plant(path: string, damage: Damage): Promise<{ isGood: boolean; text: string }> {
    const { model } = this;
    let files: File[];
    try {
      files = await breakAdapter(path, damage);
    } catch (error) {
      return { isGood: false, text: `The copy could not be made: ${(error as Error).message}` };
    }
    try {
      await model.loadAdapter(BROKEN, await filesFolder(files, BROKEN));
      await model.probe(BROKEN);
      return { isGood: false, text: "It was taken: nothing in its receipt tells it from the real one." };
    } catch (error) {
      const isRefused = error instanceof AdapterError; // anything else says nothing about the adapter
      return {
        isGood: isRefused,
        text: `${isRefused ? "Refused, as it should be" : "Failed"}: ${(error as Error).message}`,
      };
    } finally {
      if (model.adapters.includes(BROKEN)) await model.unloadAdapter(BROKEN);
    }
  }
}

/** In the place of an adapter of which the manifest says what no runtime takes. */
function refusedCard(name: string, message: string): HTMLElement {
  const card = make("article", "receipt");
  paint(card, name);
  card.append(make("h3", "adapter", name), make("p", "result", `Refused: ${message}`));
  return card;
}
