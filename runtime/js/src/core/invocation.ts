/**
 * Where an activated adapter (aLoRA) begins to act: at the last place of its invocation in a prompt. Loaded with the first
 * call.
 *
 * Knows nothing about graphs. What comes before goes through the base, so that one KV cache of it serves every such
 * adapter.
 */

import type { AdapterSet } from "./adapter-set.js";
import type { Acting, BoundAdapter } from "./bound-adapter.js";
import { AdapterError, InputError } from "./errors.js";
import type { Watch } from "./files.js";
import { show } from "./parse-json.js";
import type { Tokenizer } from "./text.js";

const MOST_SHOWN = 8; // token ids

type Known<Item> = AdapterSet<Item, BoundAdapter>;

/** Token ids from whose last place in a prompt on a SPEC acts; none where it acts on every token. */
async function invocationOf<Item>(known: Known<Item>, text: string, watch: Watch): Promise<readonly number[]> {
  const spec = known.parse(text);
  let found: readonly number[] = [];
  for (const { name } of spec) {
    found = await known.invocation(name, watch);
    if (spec.length > 1 && found.length > 0) {
      throw new AdapterError(
        `adapter SPEC ${show(text)}: ${name} acts from its invocation on and no blend can; use it alone`,
      );
    }
  }
  return found;
}

/**
 * Index in a prompt from which a SPEC acts, null where it acts on every token; throws InputError where an activated
 * adapter would do nothing.
 */
async function startIn<Item>(
  known: Known<Item>,
  spec: string,
  prompt: readonly number[],
  tokenizer: () => Promise<Tokenizer | null>,
  watch: Watch,
): Promise<number | null> {
  const invocation = await invocationOf(known, spec, watch);
  if (invocation.length === 0) return null;
  const start = findLast(prompt, invocation);
  if (start >= 0) return start;
  const shown = invocation.slice(0, MOST_SHOWN).join(", ") + (invocation.length > MOST_SHOWN ? ", …" : "");
  const text = (await tokenizer())?.decode(invocation, false) ?? null;
  const words = text === null ? `token ids ${shown}` : `${show(text)} (token ids ${shown})`;
  throw new InputError(
    `adapter ${show(spec)} acts from its invocation on, ${words}, which the prompt does not have: it would do nothing; ` +
      `put the invocation into the prompt, or use the adapter "none"`,
  );
}

/** The same for each row, its SPEC and its prompt. */
export async function startsIn<Item>(
  known: Known<Item>,
  specs: readonly string[],
  prompts: readonly (readonly number[])[],
  tokenizer: () => Promise<Tokenizer | null>,
  watch: Watch,
): Promise<(number | null)[]> {
  const starts: (number | null)[] = [];
  for (const [row, ids] of prompts.entries()) {
    starts.push(await startIn(known, specs[row] as string, ids, tokenizer, watch));
  }
  return starts;
}

/** A SPEC that is set: as it acts on what comes next, if nothing stands before that. */
export async function actingNext<Item>(known: Known<Item>, spec: string, watch: Watch): Promise<Acting> {
  const isActivated = (await invocationOf(known, spec, watch)).length > 0;
  return actingFrom(known, spec, isActivated ? 0 : null, watch);
}

/** A SPEC in a row on which it acts from `start` on, null for every token. */
export async function actingFrom<Item>(
  known: Known<Item>,
  spec: string,
  start: number | null,
  watch: Watch,
): Promise<Acting> {
  const before = start === null ? null : await known.find("none", watch);
  return { adapter: await known.find(spec, watch), start: start ?? 0, before };
}

/** Index in `ids` where `part`, which is not empty, stands for the last time; -1 where it stands nowhere. */
function findLast(ids: readonly number[], part: readonly number[]): number {
  let start = ids.length - part.length;
  while (start >= 0 && !part.every((token, index) => ids[start + index] === token)) start -= 1;
  return Math.max(start, -1);
}
