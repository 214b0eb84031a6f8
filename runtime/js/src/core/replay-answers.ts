/**
 * Replay the answers of a receipt: does the adapter of an encoder do here what it did where its receipt was written?
 *
 * Knows nothing about text: token ids, and what the graph gives for them with the factors and without.
 */

import { AdapterError } from "./errors.js";
import type { FolderSource } from "./files.js";
import type { Manifest } from "./format.js";
import { findMismatch, findOtherFactors, readReceipt } from "./receipt.js";

const NO_EFFECT = 1e-6; // of the numbers' own size; equal factors give equal numbers, so anything real lies above
const LEAST_SHARE = 0.1; // of the receipt's distance between with and without factors
const LARGEST_SHARE = 0.25; // of the distance that the factors must close
const NOISE = 4; // times the distance of both without factors: what arithmetic or another grid costs those as well
const OTHER_HEAD = 0.5; // of the numbers' size: a grid is nearer than this, another head is not
const ROUNDING = 1e-3; // of the numbers' size

/** All numbers of the output for rows of token ids with the adapter of a SPEC. */
export type Outputs = (rows: readonly (readonly number[])[], spec: string) => Promise<number[]>;

/** `reason` says in one line what was found; effects are the root mean square of what the factors change. */
export interface AnswerResult {
  readonly passed: boolean;
  readonly reason: string;
  readonly effectFound: number;
  readonly effectExpected: number;
  readonly seconds: number;
}

/** An answer of a receipt; its fields were checked when the receipt was read. */
interface Answer {
  readonly input_ids: readonly number[];
  readonly output: readonly number[];
  readonly base: readonly number[];
}

/**
 * Hold a loaded adapter to the receipt in `folder`; null where there is nothing to replay. Throws AdapterError with the
 * adapter's name and the reason.
 */
export async function checkAnswers(
  outputs: Outputs,
  manifest: Manifest,
  name: string,
  folder: FolderSource,
): Promise<AnswerResult | null> {
  const receipt = await readReceipt(folder);
  if (receipt === null) return null;
  const where = `adapter "${name}" (${folder.where})`;
  const wrong = findMismatch(receipt, manifest) ?? (await findOtherFactors(receipt, folder));
  if (wrong !== null) throw new AdapterError(`${where}: ${wrong}`);
  const answers = (receipt.answers ?? []) as readonly Answer[];
  if (answers.length === 0) return null;
  const result = await replay(outputs, manifest, name, answers);
  if (!result.passed) throw new AdapterError(`${where}: ${result.reason}`);
  return result;
}

/** Compute every answer of the receipt with the adapter's factors and without them, its head there in both. */
async function replay(
  outputs: Outputs,
  { model }: Manifest,
  name: string,
  answers: readonly Answer[],
): Promise<AnswerResult> {
  const started = Date.now();
  for (const { input_ids: ids } of answers) {
    const largest = ids.reduce((most, id) => Math.max(most, id), 0);
    if (largest >= model.vocabSize || ids.length > model.contextLength) {
      throw new AdapterError(
        `the receipt's answers cannot be read here (token ids up to ${largest} of ${model.vocabSize}, ${ids.length} ` +
          `tokens of ${model.contextLength}); train the adapter again`,
      );
    }
  }
  const rows = answers.map((answer) => answer.input_ids);
  const [found, base] = [await outputs(rows, name), await outputs(rows, `${name}:0`)];
  const [told, toldBase] = [answers.flatMap((answer) => answer.output), answers.flatMap((answer) => answer.base)];
  const { passed, reason } = judge(told, toldBase, found, base);
  const seconds = (Date.now() - started) / 1000;
  return { passed, reason, effectFound: apart(found, base), effectExpected: apart(told, toldBase), seconds };
}

function judge(
  told: readonly number[],
  toldBase: readonly number[],
  found: readonly number[],
  base: readonly number[],
): { passed: boolean; reason: string } {
  const advice = "re-measure it with `edgelora adapter receipt` if that is meant, else train or copy it again";
  const refused = (reason: string) => ({ passed: false, reason });
  if (found.length !== told.length) {
    return refused(
      `it gives ${found.length} numbers for the texts of its receipt, which has ${told.length}; is the receipt of ` +
        "another head?",
    );
  }
  const size = rms(toldBase) + rms(told);
  const [expected, effect] = [apart(told, toldBase), apart(found, base)];
  if (apart(base, toldBase) > OTHER_HEAD * rms(toldBase) + ROUNDING * size) {
    return refused(
      `without its factors it is ${apart(base, toldBase).toPrecision(3)} away from what its receipt says ` +
        `(${rms(toldBase).toPrecision(3)}): is its head that of another adapter? ${advice}`,
    );
  }
  if (expected > NO_EFFECT * size && !(effect > NO_EFFECT * size)) {
    return refused(`it does nothing here: the answers are those without its factors; ${advice}`);
  }
  if (effect < LEAST_SHARE * expected) {
    return refused(
      `it does next to nothing here: its factors change the answers by ${effect.toPrecision(3)}, its receipt says ` +
        `${expected.toPrecision(3)}; ${advice}`,
    );
  }
  const off = apart(found, told);
  const allowed = LARGEST_SHARE * apart(told, base) + NOISE * apart(toldBase, base) + ROUNDING * size;
  if (!(off <= allowed)) {
    return refused(
      `it does not do what its receipt says: its answers are ${off.toPrecision(3)} away from the recorded ones, at ` +
        `most ${allowed.toPrecision(3)} are expected; ${advice}`,
    );
  }
  return { passed: true, reason: `${off.toPrecision(3)} from its receipt, ${allowed.toPrecision(3)} allowed` };
}

function apart(one: readonly number[], other: readonly number[]): number {
  return rms(one.map((value, index) => value - (other[index] as number)));
}

function rms(values: readonly number[]): number {
  return Math.sqrt(values.reduce((sum, value) => sum + value ** 2, 0) / values.length);
}
