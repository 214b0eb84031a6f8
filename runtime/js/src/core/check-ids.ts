/**
 * The token ids of one call, held to what the model can take.
 *
 * Knows nothing about where they come from.
 */

import { InputError } from "./errors.js";
import type { ModelInfo } from "./format.js";
import { show } from "./parse-json.js";

/** `ids` as numbers that the model can take; throws InputError for what it cannot. */
export function checkIds(ids: ArrayLike<number>, info: ModelInfo): number[] {
  const checked = Array.from(ids);
  if (checked.length === 0) {
    throw new InputError("the prompt has no tokens; give some text (an empty raw prompt has nothing to go on)");
  }
  if (checked.length > info.contextLength) {
    throw new InputError(
      `the prompt is ${checked.length} tokens, the context length of ${info.name} is ${info.contextLength}; shorten it`,
    );
  }
  const odd = checked.find((id) => !Number.isInteger(id));
  if (odd !== undefined) throw new InputError(`token ids hold ${show(odd)}, expected a list of whole numbers`);
  let [least, largest] = [checked[0] ?? 0, checked[0] ?? 0];
  for (const id of checked) {
    if (id < least) least = id;
    if (id > largest) largest = id;
  }
  if (least < 0 || largest >= info.vocabSize) {
    throw new InputError(
      `token ids go from ${least} to ${largest}, expected 0 to ${info.vocabSize - 1}; was another tokenizer used?`,
    );
  }
  return checked;
}
