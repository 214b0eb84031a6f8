/**
 * Run the cases of `runtime/conformance/cases.json` on loaded models, wherever those run, and say what differs.
 *
 * Knows nothing about where artifacts and cases come from; `runtime/conformance/README.md` says what a case means.
 */

import { ChatTemplate } from "../core/chat-template.js";
import { EdgeLoraError } from "../core/errors.js";
import type { Message, Tools } from "../core/messages.js";
import type { Model } from "../core/model.js";
import { Renderer, type Variables } from "../core/rendering.js";
import { checkSampling, largestIndex, Pcg32, Sampler, type SamplingOptions } from "../core/sampling.js";

/** One line of `cases.json`. */
export interface Case {
  readonly kind: string;
  readonly name: string;
  readonly artifact?: string;
  readonly [field: string]: unknown;
}

/** What one case gave; `failure` is null when the answer was the expected one. */
export interface CaseResult {
  readonly artifact: string | null;
  readonly kind: string;
  readonly name: string;
  readonly failure: string | null;
}

/** Opens the artifact of a name; asked for once, all its cases run on one model. */
export type LoadArtifact = (name: string) => Promise<Model>;

/** Run every case in order; never throws for a wrong answer. The models are disposed of at the end. */
export function runConformance(
  loadArtifact: LoadArtifact,
  cases: readonly Case[],
  onResult: (result: CaseResult) => void = () => {},
): Promise<CaseResult[]> {
  return runCases(loadArtifact, cases, runCase, onResult);
}

/** The same for any kind of models; `runCase` says why an answer is wrong, null where it is right. */
export async function runCases<Loaded extends { dispose(): Promise<void> }>(
  loadArtifact: (name: string) => Promise<Loaded>,
  cases: readonly Case[],
  runCase: (item: Case, load: (name: string) => Promise<Loaded>) => Promise<string | null>,
  onResult: (result: CaseResult) => void = () => {},
): Promise<CaseResult[]> {
  const models = new Map<string, Promise<Loaded>>();
  const load = (name: string) => {
    const model = models.get(name) ?? loadArtifact(name);
    models.set(name, model);
    return model;
  };
  const results: CaseResult[] = [];
  for (const item of cases) {
    const failure = await runCase(item, load).catch((error) => String(error));
    const result = { artifact: item.artifact ?? null, kind: item.kind, name: item.name, failure };
    results.push(result);
    onResult(result);
  }
  for (const model of models.values()) await model.then((item) => item.dispose()).catch(() => {});
  return results;
}

/** Why the answer is wrong, null when it is right. */
async function runCase(item: Case, load: LoadArtifact): Promise<string | null> {
  const check = CHECKS[item.kind];
  if (check === undefined) return `kind ${item.kind} is unknown`;
  return check(item as unknown as AnyCase, () => load(item.artifact as string));
}

/** Every field that some kind of case has. */
interface AnyCase {
  readonly seed: number;
  readonly stream: number;
  readonly expected: never;
  readonly sampling: Readonly<Record<string, number>>;
  readonly row: number;
  readonly prompt_ids: readonly number[];
  readonly logits: readonly (readonly number[])[];
  readonly text: string;
  readonly special: boolean;
  readonly expected_ids: unknown;
  readonly expected_text: string;
  readonly messages: readonly Message[];
  readonly add_generation_prompt?: boolean;
  readonly template: string;
  readonly variables?: Variables;
  readonly date?: string;
  readonly tools?: Tools;
  readonly answer: string;
  readonly adapter: string;
  readonly adapters: readonly string[];
  readonly input_ids: never;
  readonly positions: readonly number[];
  readonly columns: readonly number[];
  readonly expected_argmax: readonly number[];
  readonly tolerance: number;
  readonly max_new_tokens: number;
  readonly prompt: string;
  readonly raw: boolean;
  readonly choices: readonly string[];
  readonly expected_scores: readonly number[];
  readonly stop: readonly string[];
  readonly expected_reason: string;
  readonly expected_prompt_tokens: number;
  readonly message_has?: string;
  readonly may_refuse?: boolean;
}

type Check = (item: AnyCase, load: () => Promise<Model>) => Promise<string | null>;

const CHECKS: Readonly<Record<string, Check>> = {
  async pcg32(item) {
    const generator = new Pcg32(BigInt(item.seed), item.stream);
    const expected = item.expected as readonly number[];
    return differ(
      expected.map(() => generator.nextUint32()),
      expected,
    );
  },

  async sampler(item) {
    const { sampling } = checkSampling(samplingOf(item));
    const sampler = new Sampler(sampling, item.prompt_ids, item.row);
    return differ(
      item.logits.map((row) => sampler.choose(Float32Array.from(row))),
      item.expected,
    );
  },

  async render(item) {
    const { variables = {}, date = null, add_generation_prompt: isPrompt = true, tools = null } = item;
    try {
      const renderer = new Renderer(await ChatTemplate.compile(item.template)).with(variables, date);
      const text = renderer.render(item.messages, isPrompt, tools);
      return item.message_has === undefined ? differ(text, item.expected_text) : `was not refused: ${text}`;
    } catch (error) {
      if (item.message_has === undefined && item.may_refuse !== true) throw error;
      return refusal(error, item.message_has ?? "the chat template");
    }
  },

  async encode(item, load) {
    const tokenizer = await textOf(await load());
    const ids = tokenizer.encode(item.text, item.special);
    return differ(ids, item.expected_ids) ?? differ(tokenizer.decode(ids), item.expected_text);
  },

  async chat(item, load) {
    const tokenizer = await textOf(await load());
    const text = tokenizer.render(item.messages, item.add_generation_prompt);
    const ids = tokenizer.encodeChat(item.messages, item.add_generation_prompt);
    return differ(text, item.expected_text) ?? differ(ids, item.expected_ids);
  },

  async after(item, load) {
    const model = await load();
    const ends = model.manifest.model.eosTokenIds;
    return differ((await textOf(model)).encodeAfter(item.prompt, item.text, item.special, ends), item.expected_ids);
  },

  async answer(item, load) {
    return differ((await textOf(await load())).encodeAnswer(item.messages, item.answer), item.expected_ids);
  },

  async logits(item, load) {
    const found = await (await load()).logits(item.input_ids, { adapter: item.adapter, positions: item.positions });
    const expected = item.expected as readonly (readonly number[])[];
    const numbers = found.flatMap((row) => item.columns.map((column) => row[column] as number));
    return apart(numbers, expected.flat(), item.tolerance) ?? differ(found.map(largestIndex), item.expected_argmax);
  },

  async tokens(item, load) {
    const options = { adapter: item.adapter, maxNewTokens: item.max_new_tokens, ...samplingOf(item) };
    return differ(await (await load()).generateIds(item.input_ids, options), item.expected_ids);
  },

  async batch(item, load) {
    const options = { adapter: item.adapters, maxNewTokens: item.max_new_tokens, ...samplingOf(item) };
    return differ(await (await load()).generateIds(item.input_ids, options), item.expected_ids);
  },

  async choices(item, load) {
    const { raw, adapter, choices } = item;
    const found = await (await load()).generate(item.prompt, { raw, adapter, choices });
    return differ(found.text, item.expected_text) ?? apart(found.choiceScores, item.expected_scores, item.tolerance);
  },

  async text(item, load) {
    const model = await load();
    const { raw, adapter, stop } = item;
    const options = { raw, adapter, stop, maxNewTokens: item.max_new_tokens, ...samplingOf(item) };
    const answer = model.generate(item.prompt, options);
    const pieces: string[] = [];
    for await (const piece of answer) pieces.push(piece);
    const found = await answer;
    const expected = [item.expected_text, item.expected_ids, item.expected_reason, item.expected_prompt_tokens];
    const wrong = differ([found.text, found.tokenIds, found.finishReason, found.usage.promptTokens], expected);
    return wrong ?? differ(pieces.join(""), item.expected_text) ?? differ(pieces.includes(""), false);
  },

  async error(item, load) {
    const model = await load();
    try {
      return `was not refused: ${await model.generateIds(item.input_ids, { adapter: item.adapter })}`;
    } catch (error) {
      return refusal(error, item.message_has ?? "");
    }
  },
};

/** Why `error` is not the refusal that was expected. */
export function refusal(error: unknown, messageHas: string): string | null {
  if (!(error instanceof EdgeLoraError)) return `refused with ${error}`;
  return error.message.includes(messageHas) ? null : `refused with "${error.message}"`;
}

/** The options of a case in camelCase. */
export function samplingOf(item: { readonly sampling: Readonly<Record<string, number>> }): SamplingOptions {
  const camel = (name: string) => name.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase());
  return Object.fromEntries(Object.entries(item.sampling).map(([name, value]) => [camel(name), value]));
}

export async function textOf(model: Model) {
  const tokenizer = await model.tokenizer;
  if (tokenizer === null) throw new Error("the artifact has no tokenizer");
  return tokenizer;
}

export function differ(found: unknown, expected: unknown): string | null {
  const [one, other] = [JSON.stringify(found), JSON.stringify(expected)];
  return one === other ? null : `found ${one}, expected ${other}`;
}

export function apart(found: readonly number[] | null, expected: readonly number[], tolerance: number): string | null {
  const isNear = expected.every((value, index) => Math.abs((found?.[index] ?? Number.NaN) - value) <= tolerance);
  if (isNear && found?.length === expected.length) return null;
  return `found ${JSON.stringify(found)}, expected ${JSON.stringify(expected)} within ${tolerance}`;
}
