/**
 * One loaded graph: how a session is made from a source, and that its inputs and outputs are those of the manifest.
 *
 * Knows nothing about tokens, adapters' values or how long anything is.
 */

import { ArtifactError, EdgeLoraError } from "./errors.js";
import type { Manifest } from "./format.js";
import type { GraphForm, ValueType } from "./graph-values.js";
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

export class Graph {
  readonly #session: InferenceSession;

  private constructor(session: InferenceSession) {
    this.#session = session;
  }

  /** Load the graph of a form; throws ArtifactError when it cannot be, or has other inputs or outputs. */
  static async open(source: ArtifactSource, manifest: Manifest, backend: Backend, form: GraphForm): Promise<Graph> {
    const where = `${source.where}/${form.file}`;
    const files = await source.graph(form.file, manifest.graph.weights); // its own errors, an abort among them, are told as they are
    let session: InferenceSession;
    try {
      session = await createSession(files, source.where, form, backend);
    } catch (error) {
      if (error instanceof EdgeLoraError) throw error;
      throw new ArtifactError(`${where} cannot be loaded (${firstLine(error)}); export the artifact again`);
    }
    const wrong = findWrong(session, form);
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
function findWrong(session: InferenceSession, { inputs, outputs }: GraphForm): string[] {
  const given = session.outputMetadata.filter(({ name }) => outputs.has(name)); // a graph may have more outputs
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
  { locations }: GraphForm,
  backend: Backend,
): Promise<InferenceSession> {
  const { loadsByPathOnly, name: place } = backend.capabilities;
  if (loadsByPathOnly && (typeof model !== "string" || externalData !== undefined)) {
    throw new ArtifactError(`${where}: ${place} loads graphs by path alone; give a folder of the device`);
  }
  const options = {
    ...backend.sessionOptions,
    ...(externalData === undefined ? {} : { externalData }),
    ...(locations === null ? {} : { preferredOutputLocation: locations }),
  };
  const { InferenceSession: factory } = backend.ort;
  return typeof model === "string" ? factory.create(model, options) : factory.create(model, options);
}

function firstLine(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.trim().split("\n")[0] || "no reason given";
}
