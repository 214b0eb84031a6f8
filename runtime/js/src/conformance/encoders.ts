/**
 * Run the cases of `runtime/conformance/encoders.json` on loaded models, wherever those run, and say what differs.
 *
 * Knows nothing about where artifacts and cases come from; `runtime/conformance/README.md` says what a case means.
 */

import type { EncoderModel } from "../core/encoder-model.js";
import type { EncoderInput } from "../core/encoder-session.js";
import type { Classification } from "../core/scores.js";
import type { Tagging } from "../core/spans.js";
import { apart, type Case, type CaseResult, differ, refusal, runCases } from "./run.js";

/** What a case needs of a model; one in a worker has it too. */
export type Encoder = Pick<
  EncoderModel,
  | "adapters"
  | "classify"
  | "classifyEach"
  | "dispose"
  | "embed"
  | "loadAdapter"
  | "outputs"
  | "probe"
  | "tag"
  | "unloadAdapter"
>;

/** Opens the artifact of a name; asked for once, all its cases run on one model. */
export type LoadEncoder = (name: string) => Promise<Encoder>;

type Nested = number | readonly Nested[];

/** The answer that a case expects; numbers within `tolerance`. */
interface Expected {
  readonly label: string;
  readonly labels: readonly string[];
  readonly scores: Readonly<Record<string, number>>;
  readonly truncated: boolean;
}

/** Every field that some kind of case has. */
interface AnyCase {
  readonly adapters: readonly string[];
  readonly adapter: string;
  readonly input_ids?: readonly (readonly number[])[];
  readonly pixel_values?: readonly Nested[];
  readonly texts: readonly string[];
  readonly text: string;
  readonly expected: never;
  readonly truncated: readonly boolean[];
  readonly tolerance: number;
  readonly method: "classify" | "tag" | "embed";
  readonly folder: string;
  readonly labels: readonly string[] | null;
  readonly trust: boolean;
  readonly probe: boolean;
  readonly accepted?: boolean;
  readonly message_has: string;
}

/** Run every case in order; `locate` gives the place of an adapter folder as the models take it. */
export function runEncoders(
  loadArtifact: LoadEncoder,
  locate: (folder: string) => string,
  cases: readonly Case[],
  onResult: (result: CaseResult) => void = () => {},
): Promise<CaseResult[]> {
  const run = async (item: Case, load: LoadEncoder): Promise<string | null> => {
    const check = CHECKS[item.kind];
    if (check === undefined) return `kind ${item.kind} is unknown`;
    return check(item as unknown as AnyCase, await load(item.artifact as string), locate);
  };
  return runCases(loadArtifact, cases, run, onResult);
}

type Check = (item: AnyCase, model: Encoder, locate: (folder: string) => string) => Promise<string | null>;

const CHECKS: Readonly<Record<string, Check>> = {
  async outputs(item, model) {
    const rows: readonly EncoderInput[] = item.input_ids ?? pixelsOf(item);
    const found = await model.outputs(rows, { adapter: item.adapters });
    const expected = item.expected as readonly Nested[];
    const sizes = found.map(({ dims, data }) => dims.reduce((product, size) => product * size, 1) - data.length);
    return firstOf(
      differ(
        sizes,
        sizes.map(() => 0),
      ),
      ...found.map(({ data }, index) => apart([...data], flat(expected[index] as Nested), item.tolerance)),
      differ(found.length, expected.length),
    );
  },

  async classify(item, model) {
    const inputs = item.texts ?? pixelsOf(item);
    const expected = item.expected as readonly Expected[];
    const found = await model.classify(inputs, { adapter: item.adapters });
    const alone: Classification[] = [];
    for (const [index, input] of inputs.entries()) {
      alone.push(await model.classify(input, { adapter: item.adapters[index] }));
    }
    const wrong = [found, alone].flatMap((answers) =>
      answers.map((answer, index) => unlike(answer, expected[index] as Expected, item.tolerance)),
    );
    return firstOf(...wrong, differ(found.length, expected.length));
  },

  async each(item, model) {
    const expected = item.expected as Readonly<Record<string, Expected>>;
    const found = await model.classifyEach(item.text, { adapters: item.adapters });
    return firstOf(
      differ([...found.keys()], item.adapters),
      ...[...found].map(([spec, answer]) => unlike(answer, expected[spec] as Expected, item.tolerance)),
    );
  },

  async tag(item, model) {
    const { adapter, tolerance } = item;
    const expected = item.expected as Tagging;
    const alone = await model.tag(item.text, { adapter });
    const [, among] = await model.tag(["my mail", item.text, ""], { adapter });
    const plain = ({ spans, windows }: Tagging) => [
      windows,
      ...spans.map(({ start, end, label, text }) => [start, end, label, text]),
    ];
    const scores = ({ spans }: Tagging) => spans.map((span) => span.score);
    return firstOf(
      ...[alone, among as Tagging].flatMap((found) => [
        differ(plain(found), plain(expected)),
        apart(scores(found), scores(expected), tolerance),
      ]),
    );
  },

  async embed(item, model) {
    const expected = item.expected as readonly (readonly number[])[];
    const found = await model.embed(item.texts, { adapter: item.adapters });
    const alone = await model.embed(item.texts[2] as string, { adapter: item.adapters[2] });
    return firstOf(
      ...found.map(({ vector }, index) => apart([...vector], expected[index] as readonly number[], item.tolerance)),
      apart([...alone.vector], expected[2] as readonly number[], item.tolerance),
      differ(
        found.map(({ truncated }) => truncated),
        item.truncated,
      ),
    );
  },

  async refused(item, model) {
    const call = model[item.method] as (texts: readonly string[], options: object) => Promise<unknown>;
    return refused(item, () => call.call(model, item.texts, { adapter: item.adapters }));
  },

  async adapter(item, model, locate) {
    const { trust, labels } = item;
    const take = async () => {
      await model.loadAdapter("given", locate(item.folder), { trust, labels: labels ?? undefined });
      if (item.probe) await model.probe("given");
    };
    try {
      if (!item.accepted) return await refused(item, take);
      await take();
      return null;
    } finally {
      if (model.adapters.includes("given")) await model.unloadAdapter("given");
    }
  },
};

async function refused({ message_has: words }: AnyCase, call: () => Promise<unknown>): Promise<string | null> {
  try {
    return `was not refused: ${JSON.stringify(await call())}`;
  } catch (error) {
    // Names stand in the quotes of each language.
    return refusal(error, words) === null ? null : refusal(error, words.replaceAll("'", '"'));
  }
}

function unlike({ scores, ...found }: Classification, expected: Expected, tolerance: number): string | null {
  const { label, labels, truncated } = expected;
  return firstOf(
    differ([found.label, found.labels, found.truncated], [label, labels, truncated]),
    differ([...scores.keys()], Object.keys(expected.scores)),
    apart([...scores.values()], Object.values(expected.scores), tolerance),
    differ(found.score, scores.get(label)),
  );
}

function pixelsOf({ pixel_values: pixels = [] }: AnyCase): Float32Array[] {
  return pixels.map((image) => Float32Array.from(flat(image)));
}

function flat(values: Nested): number[] {
  return typeof values === "number" ? [values] : values.flatMap(flat);
}

function firstOf(...found: readonly (string | null)[]): string | null {
  return found.find((item) => item !== null) ?? null;
}
