/**
 * A colour for every adapter, and one between two for a blend.
 *
 * Knows nothing about what is painted.
 */

const COUNT = 6; // colours of the style sheet, --voice-0 to --voice-5; then they begin again
const seen: string[] = [];

/** What a SPEC is called. */
export function nameOf(spec: string): string {
  return spec === "none" ? "no adapter" : spec;
}

/** The choice of no adapter. */
export const BASE = { spec: "none", text: nameOf("none") };

/** Give an element the colour of a SPEC; the base has that of all text. */
export function paint(element: HTMLElement, spec: string): void {
  element.style.setProperty("--voice", colourOf(spec));
}

function colourOf(spec: string): string {
  if (spec === "none") return "initial"; // unset, so that what uses it has a colour of its own
  const [first, second] = spec.split("+").map((part) => part.split(":")) as [string[], string[]?];
  const one = voiceOf(first[0] as string);
  if (second === undefined) return one;
  const share = Math.round(100 * Number(second[1] ?? 1));
  return `color-mix(in oklab, ${voiceOf(second[0] as string)} ${share}%, ${one})`;
}

function voiceOf(name: string): string {
  if (!seen.includes(name)) seen.push(name);
  return `var(--voice-${seen.indexOf(name) % COUNT})`;
}
