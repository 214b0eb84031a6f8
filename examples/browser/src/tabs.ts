/**
 * Tabs: one for each view, of which one is shown. A view that needs another model opens it with its tab.
 *
 * Knows nothing about what a tab shows.
 */

import { find } from "./elements.ts";
import type { View } from "./view.ts";

const TABS = ["chat", "compare", "mailbox", "receipts", "measure"] as const;
export type TabName = (typeof TABS)[number];

/** How a tab gets its view; called when it is first shown. */
export type Open = () => Promise<View>;

export class Tabs {
  readonly #opens = new Map<TabName, Open>();
  readonly #views = new Map<TabName, Promise<View>>();
  readonly #show: (view: View) => void;

  /** `show` puts a view into the place of the one before. */
  constructor(show: (view: View) => void) {
    this.#show = show;
    for (const name of TABS) {
      const button = find(`tab-${name}`, HTMLButtonElement);
      button.addEventListener("click", () => void this.choose(name));
      button.addEventListener("keydown", (event) => {
        const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
        if (step === undefined) return;
        const names = TABS.filter((item) => this.#opens.has(item));
        const next = names[(names.indexOf(name) + step + names.length) % names.length] as TabName;
        find(`tab-${next}`, HTMLButtonElement).focus();
        void this.choose(next);
      });
    }
  }

  add(name: TabName, open: Open): void {
    this.#opens.set(name, open);
    find(`tab-${name}`, HTMLButtonElement).hidden = false;
    find("tabs", HTMLElement).hidden = this.#opens.size < 2;
  }

  async choose(name: TabName): Promise<void> {
    for (const other of TABS) {
      const button = find(`tab-${other}`, HTMLButtonElement);
      button.ariaSelected = String(other === name);
      button.tabIndex = other === name ? 0 : -1;
    }
    const view = this.#views.get(name) ?? (this.#opens.get(name) as Open)();
    this.#views.set(name, view);
    const found = await view;
    if (find(`tab-${name}`, HTMLButtonElement).ariaSelected === "true") this.#show(found);
  }
}

/** Whether there is an artifact at `address`; without a network the page has what it loaded before. */
export function isServed(address: string): Promise<boolean> {
  return fetch(`${address}/manifest.json`, { method: "HEAD" }).then(
    (response) => response.ok,
    () => false,
  );
}
