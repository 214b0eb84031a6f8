/**
 * An answer that is a JSON object, as a table of its fields.
 *
 * Knows nothing about what the fields mean.
 */

import { make } from "./elements.ts";

/** The fields of `text`, or null where it is no JSON object of plain values. */
export function fieldsOf(text: string): HTMLElement | null {
  let found: unknown;
  try {
    found = JSON.parse(text);
  } catch {
    return null;
  }
  if (typeof found !== "object" || found === null || Array.isArray(found)) return null;
  const entries = Object.entries(found);
  if (entries.length === 0 || entries.some(([, value]) => typeof value === "object")) return null;
  const list = make("dl", "fields");
  for (const [name, value] of entries) {
    const row = make("div", "");
    row.append(make("dt", "", name), make("dd", "", String(value)));
    list.append(row);
  }
  return list;
}
