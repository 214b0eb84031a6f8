/**
 * One loaded graph: how a session is made from a source, and that its inputs and outputs are those of the manifest.
 *
 * Knows nothing about tokens, adapters' values or how long anything is.
 */

import { cacheNames } from "./cache.js";
import { ArtifactError, EdgeLoraError } from "./errors.js";
import type { Manifest, Slot } from "./format.js";
import { joinSome, show } from "./parse-json.js";
import type {
  ArtifactSource,
  Backend,
  Feeds,
  Fetches,
  GraphSource,
  InferenceSession,
  Tensor,
  ValueMetadata,
} from "./ports.js";

/** What an input or output has to be: onnxruntime's name for its numbers, and sizes, null where any may come. */
type ValueType = readonly [numbers: string, ...sizes: (number | null)[]];

const COUNTERS: Readonly<Record<string, ValueType>> = {
  input_ids: ["int64", null, null],
  seqlens_k: ["int32", null],
  total_sequence_length: ["int32"],
  logits_positions: ["int64", null, null],
};

export class Graph {
  readonly #session: InferenceSession;

  private constructor(session: InferenceSession) {
    this.#session = session;
  }

  /** Load the graph with slots, or its twin without; throws ArtifactError when it cannot be, or has others. */
  static async open(source: ArtifactSource, manifest: Manifest, backend: Backend, withSlots: boolean): Promise<Graph> {
    const { file, weights, withoutSlots } = manifest.graph;
    const name = withSlots ? file : (withoutSlots ?? file);
    const where = `${source.where}/${name}`;
    const files = await source.graph(name, weights); // its own errors, an abort among them, are told as they are
    let session: InferenceSession;
    try {
      session = await createSession(files, source.where, manifest, backend);
    } catch (error) {
      if (error instanceof EdgeLoraError) throw error;
      throw new ArtifactError(`${where} cannot be loaded (${firstLine(error)}); export the artifact again`);
    }
    const wrong = findWrong(session, manifest, withSlots ? manifest.slots : []);
    if (wrong.length > 0) {
      await session.release();
      throw new ArtifactError(`${where} and the manifest disagree: inputs ${joinSome(wrong)}; export it again`);
    }
    return new Graph(session);
  }

  /** Compute the outputs; `fetches` names all of them where any has memory already. */
  run(feeds: Feeds, fetches: Fetches | null): Promise<Readonly<Record<string, Tensor>>> {
    return fetches === null ? this.#session.run(feeds) : this.#session.run(feeds, fetches);
  }

  release(): Promise<void> {
    return this.#session.release();
  }
}

/** Inputs and outputs that are not those of the manifest, in the order of their names. */
function findWrong(session: InferenceSession, manifest: Manifest, slots: readonly Slot[]): string[] {
  const { model, graph } = manifest;
  const kept: ValueType = [graph.kvCache, null, model.numKvHeads, null, model.headDim];
  const names = cacheNames(model);
  const inputs = new Map(Object.entries(COUNTERS));
  for (const { past } of names) inputs.set(past, kept);
  for (const { a, b, inFeatures, outFeatures } of slots) {
    inputs.set(a, ["float32", null, inFeatures, null]).set(b, ["float32", null, null, outFeatures]);
  }
  const outputs = new Map<string, ValueType>([["logits", ["float32", null, null, model.vocabSize]]]);
  for (const { present } of names) outputs.set(present, kept);
  const known = new Set(outputs.keys());
  const given = session.outputMetadata.filter(({ name }) => known.has(name)); // a graph may have more outputs
  return [...findDifferences(inputs, session.inputMetadata), ...findDifferences(outputs, given)].sort();
}

function findDifferences(expected: ReadonlyMap<string, ValueType>, found: readonly ValueMetadata[]): string[] {
  const missing = new Set(expected.keys());
  const wrong = found.flatMap(({ name, type = "no tensor", shape = [] }) => {
    missing.delete(name);
    const [numbers, ...sizes] = expected.get(name) ?? [null];
    if (numbers === null) return [`${name} is unknown`];
    const fits = (size: number | null, at: number) => size === (typeof shape[at] === "number" ? shape[at] : null);
    if (type === numbers && shape.length === sizes.length && sizes.every(fits)) return [];
    const wanted = sizes.map((size) => size ?? "any").join(", ");
    return [`${name} is ${type} ${show(shape)}, expected ${numbers} [${wanted}]`];
  });
  return [...wrong, ...Array.from(missing, (name) => `${name} is missing`)];
}

async function createSession(
  { model, externalData }: GraphSource,
  where: string,
  manifest: Manifest,
  backend: Backend,
): Promise<InferenceSession> {
  const { cache, cacheLocation, loadsByPathOnly, name: place } = backend.capabilities;
  if (loadsByPathOnly && (typeof model !== "string" || externalData !== undefined)) {
    throw new ArtifactError(`${where}: ${place} loads graphs by path alone; give a folder of the device`);
  }
  const isElsewhere = cache === "returned" && cacheLocation !== "cpu";
  const locations = isElsewhere ? cacheNames(manifest.model).map((item) => [item.present, cacheLocation]) : [];
  const options = {
    ...backend.sessionOptions,
    ...(externalData === undefined ? {} : { externalData }),
    ...(isElsewhere ? { preferredOutputLocation: Object.fromEntries(locations) } : {}),
  };
  const { InferenceSession: factory } = backend.ort;
  return typeof model === "string" ? factory.create(model, options) : factory.create(model, options);
}

function firstLine(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.trim().split("\n")[0] || "no reason given";
}
