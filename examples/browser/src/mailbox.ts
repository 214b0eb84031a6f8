/**
 * The mailbox: what the adapters of an encoder make of a text, all of them in one call, or one after a click.
 *
 * Knows nothing about how the model was loaded. Works with any task that reads a text once.
 */

import type { Classification, RemoteEncoder, Tagging } from "@edgelora/runtime/web";
import { find, make, showError } from "./elements.ts";
import { showFigure } from "./figures.ts";
import type { View } from "./view.ts";
import { BASE, nameOf } from "./voices.ts";

const ALL = "*"; // no adapter can be called that
const NUMBERS_SHOWN = 6; // of a vector
const VERBS: Readonly<Record<string, string>> = {
  "text-classification": "Sort",
  "token-classification": "Tag",
  "feature-extraction": "Embed",
};

export class Mailbox implements View {
  readonly model: RemoteEncoder;
  readonly panel = find("mailbox", HTMLElement);
  readonly blends = false;
  readonly picks = true;
  readonly first: View["first"];
  readonly #text = find("mail", HTMLTextAreaElement);
  readonly #answers = find("mail-answers", HTMLElement);
  readonly #used = new Set<string>();
  #spec: string;
  #before: { readonly spec: string; readonly vector: Float32Array }[] = [];

  constructor(model: RemoteEncoder) {
    this.model = model;
    this.first = model.adapters.length > 1 ? { spec: ALL, text: "all of them" } : BASE;
    this.#spec = this.first.spec;
    find("sort", HTMLButtonElement).textContent = VERBS[model.task] ?? "Read";
    find("mail-form", HTMLFormElement).addEventListener("submit", (event) => {
      event.preventDefault();
      void this.#answer();
    });
    if (model.task === "image-classification") {
      showError(
        "mail-error",
        "this artifact reads images, which this page does not make ready; call classify() with pixels",
      );
      find("sort", HTMLButtonElement).disabled = true;
    }
  }

  get spec(): string {
    return this.#spec;
  }

  async ask(text: string): Promise<void> {
    this.#text.value = text;
    await this.#answer();
  }

  /** Answer anew at once where there is a text: that is what a swap is here. */
  async choose(spec: string): Promise<void> {
    if (spec !== ALL) await this.model.setAdapter(spec);
    this.#spec = spec;
    await this.#answer();
  }

  async #answer(): Promise<void> {
    const text = this.#text.value.trim();
    showError("mail-error", null);
    if (text === "") return;
    const specs = this.#spec === ALL ? this.model.adapters : [this.#spec];
    this.#answers.setAttribute("aria-busy", "true");
    try {
      const started = performance.now();
      const rows = await this.#read(text, specs);
      const milliseconds = performance.now() - started;
      this.#answers.replaceChildren(...rows);
      const isOne = this.model.task === "text-classification" && this.model.manifest.encoder?.oneAdapter === false;
      const count = specs.length === 1 ? "one adapter" : `${specs.length} adapters${isOne ? " in one call" : ""}`;
      const isNew = specs.some((spec) => !this.#used.has(spec)); // its files are read, and it is packed
      const told = `${milliseconds.toFixed(1)} ms for ${count}${isNew ? " (the first time)" : ""}`;
      for (const spec of specs) this.#used.add(spec);
      showFigure("answer", told);
      find("mail-status", HTMLElement).textContent = `${told}.`;
    } catch (error) {
      showError("mail-error", error);
    } finally {
      this.#answers.setAttribute("aria-busy", "false");
    }
  }

  async #read(text: string, specs: readonly string[]): Promise<HTMLElement[]> {
    const texts = new Array<string>(specs.length).fill(text);
    switch (this.model.task) {
      case "text-classification": {
        const found = await this.model.classifyEach(text, { adapters: specs });
        return [...found].map(([spec, answer]) => row(spec, ...labelsOf(answer)));
      }
      case "token-classification": {
        const found = await this.model.tag(texts, { adapter: specs });
        return found.map((answer, index) => row(specs[index] as string, marked(text, answer)));
      }
      default: {
        const found = await this.model.embed(texts, { adapter: specs });
        const vectors = found.map(({ vector }, index) => ({ spec: specs[index] as string, vector }));
        const rows = vectors.map(({ spec, vector }) => row(spec, make("p", "", this.#vectorText(spec, vector))));
        this.#before = vectors;
        return rows;
      }
    }
  }

  /** The beginning of a vector, and how near it is to the one before. */
  #vectorText(spec: string, vector: Float32Array): string {
    const shown = [...vector.subarray(0, NUMBERS_SHOWN)].map((value) => value.toFixed(3)).join(", ");
    const before = this.#before.find((item) => item.spec === spec)?.vector;
    const near = before === undefined ? "" : `; cosine to the text before ${cosine(vector, before).toFixed(3)}`;
    return `${vector.length} numbers: ${shown}, …${near}`;
  }
}

function row(spec: string, ...content: readonly HTMLElement[]): HTMLElement {
  const item = make("article", "answered sorted");
  item.append(make("h3", "adapter", nameOf(spec)), ...content);
  return item;
}

/** The labels that hold, and every score behind them. */
function labelsOf({ labels, scores, truncated }: Classification): HTMLElement[] {
  const answer = make("p", "label", labels.join(", ") || "none of its labels");
  const list = make("ul", "scores");
  const sorted = [...scores].sort(([, one], [, other]) => other - one).slice(0, 4);
  for (const [label, score] of sorted) {
    const item = make("li", "");
    const isShare = score >= 0 && score <= 1;
    const meter = make("meter", "");
    Object.assign(meter, { min: 0, max: 1, value: isShare ? score : 0, ariaHidden: "true" });
    const value = isShare ? `${(100 * score).toFixed(1)} %` : score.toFixed(3);
    item.append(make("span", "", label), meter, make("span", "value", value));
    list.append(item);
  }
  const more = scores.size > sorted.length ? [make("p", "note", `and ${scores.size - sorted.length} more labels`)] : [];
  return [answer, list, ...more, ...(truncated ? [make("p", "note", "The end of the text was not read.")] : [])];
}

/** The text with its spans marked; places are in code points. */
function marked(text: string, { spans }: Tagging): HTMLElement {
  const characters = [...text];
  const shown = make("p", "text");
  let place = 0;
  for (const { start, end, label, score } of spans) {
    const mark = make("mark", "", characters.slice(start, end).join(""));
    mark.append(make("span", "swap", `${label} ${(100 * score).toFixed(0)} %`));
    shown.append(characters.slice(place, start).join(""), mark);
    place = end;
  }
  shown.append(characters.slice(place).join(""));
  return shown;
}

function cosine(one: Float32Array, other: Float32Array): number {
  const product = (left: Float32Array, right: Float32Array) =>
    left.reduce((sum, value, index) => sum + value * (right[index] as number), 0);
  return product(one, other) / Math.sqrt(product(one, one) * product(other, other));
}
