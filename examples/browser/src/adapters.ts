/**
 * The choice of adapter: one of a list, or two of them with a slider between.
 *
 * Knows nothing about models; it says which SPEC was chosen.
 */

import { find, make } from "./elements.ts";

const BLEND = "+"; // no adapter can be called that
const SETTLED_MS = 60; // a slider that is being moved is not asked for at every step

export class AdapterPicker {
  readonly #choices = find("adapter-choices", HTMLElement);
  readonly #blend = find("blend", HTMLElement);
  readonly #first = find("blend-first", HTMLSelectElement);
  readonly #second = find("blend-second", HTMLSelectElement);
  readonly #share = find("blend-share", HTMLInputElement);
  readonly #onChoice: (spec: string, slides: boolean) => void;
  #chosen = "none";
  #timer = 0;

  /** `onChoice` is told of every choice, and whether it is a slider that is moved. */
  constructor(onChoice: (spec: string, slides: boolean) => void) {
    this.#onChoice = onChoice;
    for (const element of [this.#first, this.#second]) element.addEventListener("change", () => this.#changed(0));
    this.#share.addEventListener("input", () => this.#changed(SETTLED_MS));
  }

  /** The SPEC that is chosen. */
  get spec(): string {
    if (this.#chosen !== BLEND) return this.#chosen;
    const [first, second] = [this.#first.value, this.#second.value];
    const share = Number(this.#share.value) / 100;
    if (first === second || share === 0) return first;
    if (share === 1) return second;
    return `${first}:${(1 - share).toFixed(2)}+${second}:${share.toFixed(2)}`;
  }

  /** Show `first` and these adapters with their titles; with `blends` two can be mixed. */
  show(
    names: readonly string[],
    titleOf: (name: string) => string,
    first: { readonly spec: string; readonly text: string },
    blends: boolean,
  ): void {
    const options = [[first.spec, first.text], ...names.map((name) => [name, titleOf(name)])];
    if (blends && names.length > 1) options.push([BLEND, "blend two"]);
    this.#choices.replaceChildren(...options.map(([value, text]) => this.#option(value as string, text as string)));
    for (const [select, index] of [
      [this.#first, 0],
      [this.#second, 1],
    ] as const) {
      const before = select.value;
      select.replaceChildren(...names.map((name) => new Option(titleOf(name), name)));
      select.value = names.includes(before) ? before : (names[index] ?? "");
    }
    this.#showBlend();
  }

  /** Show `spec` as chosen, which is what answers; nothing is asked for. */
  select(spec: string): void {
    const isBlend = spec.includes(BLEND);
    this.#chosen = isBlend ? BLEND : spec;
    for (const input of this.#choices.querySelectorAll("input")) input.checked = input.value === this.#chosen;
    const [first, second] = spec.split(BLEND).map((part) => part.split(":"));
    if (first?.[0] !== undefined && second?.[0] !== undefined) {
      this.#first.value = first[0];
      this.#second.value = second[0];
      this.#share.value = String(Math.round(100 * Number(second[1] ?? 1)));
    }
    this.#showBlend();
  }

  #option(value: string, text: string): HTMLLabelElement {
    const label = make("label", "choice");
    const input = make("input", "");
    Object.assign(input, { type: "radio", name: "adapter", value, checked: value === this.#chosen });
    input.addEventListener("change", () => {
      this.#chosen = value;
      this.#changed(0);
    });
    label.append(input, make("span", "", text));
    return label;
  }

  #changed(wait: number): void {
    this.#showBlend();
    clearTimeout(this.#timer);
    this.#timer = window.setTimeout(() => this.#onChoice(this.spec, wait > 0), wait);
  }

  #showBlend(): void {
    this.#blend.hidden = this.#chosen !== BLEND;
    find("blend-spec", HTMLOutputElement).value = this.#blend.hidden ? "" : this.spec;
    const { value } = this.#share;
    this.#share.setAttribute("aria-valuetext", `${value} percent ${this.#second.value}`);
  }
}
