/**
 * The numbers that the page shows of this device.
 *
 * Knows nothing about how they come about.
 */

import { find, make } from "./elements.ts";

const NAMES = {
  backend: "Runs on",
  answer: "Last answer",
  swap: "Last swap",
  firstToken: "First token after",
  speed: "Speed",
  memory: "Memory",
  download: "Model files",
} as const;

/** Show a number; the list has those that are known, in the order of the names above. */
export function showFigure(figure: keyof typeof NAMES, text: string): void {
  const list = find("figures", HTMLElement);
  if (document.getElementById(`figure-${figure}`) === null) {
    const row = make("div", "");
    const value = make("dd", "");
    value.id = `figure-${figure}`;
    row.append(make("dt", "", NAMES[figure]), value);
    const keys = Object.keys(NAMES);
    const behind = keys.slice(keys.indexOf(figure) + 1).map((key) => document.getElementById(`figure-${key}`));
    list.insertBefore(row, behind.find((item) => item !== null)?.parentElement ?? null);
  }
  find(`figure-${figure}`, HTMLElement).textContent = text;
}
