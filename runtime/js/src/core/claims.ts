/**
 * Which modules an adapter's configuration claims: those that PEFT gave factors, and then has factors for.
 *
 * Knows nothing about factors.
 */

import { matchesWhole } from "./patterns.js";

/** A pattern for the whole name, or names and endings of names. */
export type Targets = string | readonly string[];

/** What a configuration takes out of its `target_modules`; nothing where it is empty. */
export interface Narrowing {
  /** `exclude_modules`. */
  readonly excluded: Targets;
  /** `layers_to_transform`. */
  readonly layers: readonly number[];
  /** `layers_pattern`: names of the lists that these count in, whatever stands there if none. */
  readonly lists: readonly string[];
}

/** PEFT's rule: a text is a pattern for the whole name, a list holds endings of names. */
export function isTarget(module: string, targets: Targets | null): boolean {
  if (targets === null) return false;
  if (typeof targets === "string") return matchesWhole(targets, module);
  return targets.some((target) => module === target || module.endsWith(`.${target}`));
}

/** PEFT's rule: a module that `target_modules` have by its whole name is claimed in any layer. */
export function claims(module: string, targets: Targets | null, narrowing: Narrowing): boolean {
  const { excluded, layers, lists } = narrowing;
  if (!isTarget(module, targets) || isTarget(module, excluded)) return false;
  if (layers.length === 0 || (Array.isArray(targets) && targets.includes(module))) return true;
  return layers.includes(layerOf(module, lists));
}

/** The number behind the first of `lists` that has one; of any list but one at the very beginning if none; else NaN. */
function layerOf(module: string, lists: readonly string[]): number {
  for (const name of lists) {
    const found = new RegExp(`(?:^|\\.)${name.replaceAll(".", "\\.")}\\.([0-9]+)\\.`).exec(module);
    if (found !== null) return Number(found[1]);
  }
  return lists.length > 0 ? Number.NaN : Number(/^.*?\.[^.]*\.([0-9]+)\./.exec(module)?.[1]);
}
