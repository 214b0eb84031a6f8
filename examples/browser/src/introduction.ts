/**
 * What the chosen adapter is for, in the words of the artifact, and texts to try it with.
 *
 * Knows nothing about models: words of a manifest go in.
 */

import { find, make } from "./elements.ts";

/** What a manifest says of an adapter to people. */
export interface Introduced {
  readonly name: string;
  readonly title: string | null;
  readonly description: string | null;
  readonly examples: readonly string[];
  readonly license: string | null;
}

/** What a manifest says of each adapter. One whose entry is wrong says nothing here, and is refused when it is chosen. */
export function introductions(names: readonly string[], adapters: readonly Introduced[]): readonly Introduced[] {
  return names.map((name, index) => {
    try {
      return adapters[index] as Introduced;
    } catch {
      return { name, title: null, description: null, examples: [], license: null };
    }
  });
}

/** Introduce the adapters of `spec`; without one there is a text of each. `onExample` gets a text that was chosen. */
export function introduce(adapters: readonly Introduced[], spec: string, onExample: (text: string) => void): void {
  const names = spec.split("+").map((part) => part.split(":")[0]);
  const meant = adapters.filter(({ name }) => names.includes(name));
  const words = meant.map(({ description, license }) => [description, license && `(${license})`].filter(Boolean));
  find("about-text", HTMLElement).textContent = words.flat().join(" ");
  const isOne = meant.length === 1;
  const texts = (meant.length > 0 ? meant : adapters).flatMap(({ examples }) =>
    isOne ? examples : examples.slice(0, 1),
  );
  find("examples", HTMLElement).replaceChildren(
    ...[...new Set(texts)].map((text) => {
      const chip = make("button", "quiet chip", text);
      chip.type = "button";
      chip.addEventListener("click", () => onExample(text));
      return chip;
    }),
  );
}

/** What an adapter is called on the page. */
export function titleOf(adapters: readonly Introduced[], name: string): string {
  return adapters.find((item) => item.name === name)?.title ?? name;
}
