/**
 * The numbers that the page shows of this device.
 *
 * Knows nothing about how they come about.
 */

import { find, make } from "./elements.ts";

const NAMES = {
  backend: "Runs on",
  swap: "Last swap",
  firstToken: "First token after",
  speed: "Speed",
  memory: "Memory",
  download: "Model files",
} as const;

/** Show a number; the list keeps the order of the names above. */
export function showFigure(figure: keyof typeof NAMES, text: string): void {
  const list = find("figures", HTMLElement);
  if (list.childElementCount === 0) {
    for (const [key, name] of Object.entries(NAMES)) {
      const row = make("div", "");
      const value = make("dd", "", "not yet");
      value.id = `figure-${key}`;
      row.append(make("dt", "", name), value);
      list.append(row);
    }
  }
  find(`figure-${figure}`, HTMLElement).textContent = text;
}
