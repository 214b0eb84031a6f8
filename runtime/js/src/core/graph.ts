/**
 * One loaded graph: how a session is made from a source, and that its inputs are those of the manifest.
 *
 * Knows nothing about tokens, adapters' values or how long anything is.
 */

import { cacheNames } from "./cache.js";
import { ArtifactError, EdgeLoraError } from "./errors.js";
import type { Manifest } from "./format.js";
import { slotInputNames } from "./packing.js";
import type { ArtifactSource, Backend, Feeds, Fetches, GraphSource, InferenceSession, Tensor } from "./ports.js";

const COUNTERS = ["input_ids", "seqlens_k", "total_sequence_length", "logits_positions"];

export class Graph {
  readonly #session: InferenceSession;

  private constructor(session: InferenceSession) {
    this.#session = session;
  }

  /** Load the graph with slots, or its twin without; throws ArtifactError when it cannot be, or has other inputs. */
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
    const slots = withSlots ? slotInputNames(manifest.slots) : [];
    const expected = new Set([...COUNTERS, ...cacheNames(manifest.model).map((item) => item.past), ...slots]);
    const found = new Set(session.inputNames);
    const wrong = [
      ...[...expected].filter((item) => !found.has(item)).map((item) => `${item} is missing`),
      ...[...found].filter((item) => !expected.has(item)).map((item) => `${item} is unknown`),
    ];
    if (wrong.length > 0) {
      await session.release();
      const inputs = wrong.sort().join("; ");
      throw new ArtifactError(`${where} and the manifest disagree: inputs ${inputs}; export it again`);
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
