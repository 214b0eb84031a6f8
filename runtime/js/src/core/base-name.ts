/**
 * Whether an adapter names another base than the one that is here; a name alone is no proof.
 */

import { show } from "./parse-json.js";

/** A line where both are known and differ; `ours` are names of one base, the first for people. */
export function findOtherName(named: string | null, ours: readonly (string | null)[], what: string): string | null {
  const names = ours.filter((name): name is string => name !== null && name !== "");
  const known = names.map(shortName).filter((name) => name !== null);
  const short = named === null ? null : shortName(named);
  if (short === null || known.length === 0 || known.includes(short)) return null;
  return (
    `adapter_config.json names the base ${show(named)}, ${what} ${show(names[0])}; without a receipt nobody knows ` +
    "whether they are the same, and `edgelora adapter receipt` writes one"
  );
}

/** What a hub id, with a revision or not, a path and a place in a hub's cache have in common; null if nothing. */
function shortName(base: string): string | null {
  let place = base.replaceAll("\\", "/");
  const before = place.slice(0, Math.max(0, place.indexOf("@")));
  if (before.split("/").length === 2 && !/^[/.~]/.test(before)) place = before; // owner/name@revision
  const parts = place.split("/").filter((part) => part !== "" && part !== ".");
  const cached = parts.find((part) => part.startsWith("models--"))?.split("--"); // models--owner--name
  const found = cached === undefined ? parts.at(-1) : cached.slice(Math.min(2, cached.length - 1)).join("--");
  const name = (found ?? "").replace(/[A-Z]/g, (letter) => letter.toLowerCase()).replace(/\.gguf$/, "");
  return ["", ".."].includes(name) || /^[0-9a-f]{40}$/.test(name) ? null : name;
}
