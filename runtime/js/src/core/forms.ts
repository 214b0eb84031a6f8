/**
 * Answers that keep their form: the masks of a model, made when a form is first asked for.
 *
 * Knows nothing about sessions; `model.ts` loads it with a schema or a regular expression alone.
 */

import { InputError } from "./errors.js";
import { FormMask, readForm, Vocabulary } from "./form-mask.js";
import type { ModelInfo } from "./format.js";
import type { Process } from "./generate.js";
import type { Tokenizer } from "./text.js";
import { dropsBlank, tokenBytes } from "./token-bytes.js";

/** The forms that answers of one model keep to. */
export class Forms {
  readonly #vocabulary: Vocabulary;

  constructor(tokenizer: Tokenizer, info: ModelInfo) {
    const { codec, decoder, added } = tokenizer;
    const contents = new Map(added.map(({ content, id }) => [content, id]));
    const special = new Set(added.flatMap((token) => (token.special ? [token.id] : [])));
    const tokens = tokenBytes(codec.model.tokens_to_ids, decoder, contents, special);
    this.#vocabulary = new Vocabulary(tokens, info.vocabSize, info.eosTokenIds, dropsBlank(decoder));
  }

  /** What keeps one answer to its form. Throws InputError naming what is not read, or too large. */
  start(schema: unknown, regex: unknown): Process {
    if (schema !== null && regex !== null) throw new InputError("schema and regex exclude each other; leave one out");
    const mask = new FormMask(this.#vocabulary.hold(readForm(schema, regex)), this.#vocabulary);
    return (tokenIds, logits) => mask.process(tokenIds, logits);
  }
}
