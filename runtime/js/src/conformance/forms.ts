/**
 * Run the cases of `runtime/conformance/forms.json` on loaded models: answers that keep a form.
 *
 * Knows nothing about where artifacts and cases come from; `runtime/conformance/README.md` says what a case means.
 */

import { Forms } from "../core/forms.js";
import type { Model } from "../core/model.js";
import type { Schema } from "../core/request.js";
import { type Case, type CaseResult, differ, type LoadArtifact, refusal, runCases, samplingOf, textOf } from "./run.js";

/** Run every case in order; never throws for a wrong answer. The models are disposed of at the end. */
export function runForms(
  loadArtifact: LoadArtifact,
  cases: readonly Case[],
  onResult: (result: CaseResult) => void = () => {},
): Promise<CaseResult[]> {
  return runCases(loadArtifact, cases, runCase, onResult);
}

async function runCase(item: Case, load: LoadArtifact): Promise<string | null> {
  const check = CHECKS[item.kind];
  if (check === undefined) return `kind ${item.kind} is unknown`;
  return check(item as unknown as FormCase, await load(item.artifact as string));
}

/** Every field that some kind of case has. */
interface FormCase {
  readonly prompt: string;
  readonly prompts: readonly string[];
  readonly raw: boolean;
  readonly adapter: string;
  readonly adapters: readonly string[];
  readonly sampling: Readonly<Record<string, number>>;
  readonly max_new_tokens: number;
  readonly schema: Schema | null;
  readonly schemas: readonly (Schema | null)[];
  readonly regex: string | null;
  readonly regexes: readonly (string | null)[];
  readonly walk: readonly number[];
  readonly expected: readonly (readonly number[])[];
  readonly expected_text: unknown;
  readonly expected_ids: unknown;
  readonly expected_reason: unknown;
  readonly message_has: string;
}

type Check = (item: FormCase, model: Model) => Promise<string | null>;

const CHECKS: Readonly<Record<string, Check>> = {
  async form(item, model) {
    const { raw, adapter } = item;
    const options = { raw, adapter, maxNewTokens: item.max_new_tokens, ...formOf(item), ...samplingOf(item) };
    const answer = model.generate(item.prompt, options);
    const pieces: string[] = [];
    for await (const piece of answer) pieces.push(piece);
    const found = await answer;
    const expected = [item.expected_text, item.expected_ids, item.expected_reason];
    return (
      differ([found.text, found.tokenIds, found.finishReason], expected) ?? differ(pieces.join(""), item.expected_text)
    );
  },

  async forms(item, model) {
    const found = await model.generate(item.prompts, {
      adapter: item.adapters,
      schema: item.schemas,
      regex: item.regexes,
      maxNewTokens: item.max_new_tokens,
    });
    return differ(
      [found.map(({ text }) => text), found.map(({ tokenIds }) => tokenIds), found.map((row) => row.finishReason)],
      [item.expected_text, item.expected_ids, item.expected_reason],
    );
  },

  async mask(item, model) {
    const tokenizer = await textOf(model);
    const { vocabSize } = model.manifest.model;
    const process = new Forms(tokenizer, model.manifest.model).start(item.schema, item.regex);
    const soFar = [3];
    for (const [step, expected] of item.expected.entries()) {
      if (step > 0) soFar.push(item.walk[step - 1] as number);
      const logits = new Float32Array(vocabSize);
      const isWhole = process(soFar, logits) === true;
      const wrong = differ(isWhole ? [] : sumUp(logits), expected);
      if (wrong !== null) return `step ${step}: ${wrong}`;
    }
    return null;
  },

  async form_refused(item, model) {
    try {
      return `was not refused: ${(await model.generate("x", formOf(item))).text}`;
    } catch (error) {
      return refusal(error, item.message_has);
    }
  },
};

function formOf({ schema, regex }: FormCase): { schema?: Schema; regex?: string } {
  return { ...(schema === null ? {} : { schema }), ...(regex === null ? {} : { regex }) };
}

/** How many tokens may follow, and a number that tells sets apart. */
function sumUp(logits: Float32Array): number[] {
  let [count, sum] = [0, 0];
  logits.forEach((logit, token) => {
    if (logit !== 0) return;
    count += 1;
    sum = (sum + ((token + 1) ** 3 % 65521)) % 65521;
  });
  return [count, sum];
}
