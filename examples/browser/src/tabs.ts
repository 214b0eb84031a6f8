/**
 * A tab for each of two artifacts, where a second one is served beside the first; its model is opened with its tab.
 *
 * Knows nothing about what a tab shows.
 */

import { find } from "./elements.ts";
import type { View } from "./view.ts";

const SECOND = new URLSearchParams(location.search).get("second") ?? "second"; // an address, as `?artifact=` is one

/** Show the tabs if there is a second artifact; `shown` is the view of the first, whose tab is called `first`. */
export async function showTabs(
  first: "chat" | "mailbox",
  open: (address: string) => Promise<View>,
  show: (view: View) => void,
  shown: View,
): Promise<void> {
  const isThere = await fetch(`${SECOND}/manifest.json`, { method: "HEAD" }).then(
    (response) => response.ok,
    () => false, // without a network the page has what it loaded before
  );
  if (!isThere) return;
  const views = new Map<string, View>([[first, shown]]);
  const tabs = (["chat", "mailbox"] as const).map((name) => ({ name, button: find(`tab-${name}`, HTMLButtonElement) }));
  const choose = async (name: string) => {
    for (const { name: other, button } of tabs) {
      button.ariaSelected = String(other === name);
      button.tabIndex = other === name ? 0 : -1;
    }
    const known = views.get(name) ?? (await open(SECOND));
    views.set(name, known);
    show(known);
  };
  for (const { name, button } of tabs) {
    button.addEventListener("click", () => void choose(name));
    button.addEventListener("keydown", ({ key }) => {
      if (key !== "ArrowLeft" && key !== "ArrowRight") return;
      const other = tabs.find((tab) => tab.name !== name)?.button;
      other?.focus();
      other?.click();
    });
  }
  find("tabs", HTMLElement).hidden = false;
}
