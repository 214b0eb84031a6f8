/**
 * Replay a probe of a receipt: does the adapter do here what it did where its receipt was written?
 *
 * Knows nothing about text or training: token ids, log-probabilities, and two runs of the graph.
 */

import { AdapterError } from "./errors.js";
import type { FolderSource } from "./files.js";
import type { Manifest } from "./format.js";
import { findMismatch, findOtherFactors, type Receipt, readReceipt } from "./receipt.js";
import { logSoftmax } from "./sampling.js";

const NO_EFFECT = 1e-9; // nats; equal graphs give equal numbers, so anything real lies above
const LEAST_SHARE = 0.1; // of the receipt's KL between base and adapted
const LARGEST_SHARE = 0.25; // of the distance that the adapter must close between the base and what the receipt says
const NOISE = 4; // times the distance of both bases: what the kernels' arithmetic or another grid costs the base as well
const ROUNDING = 1e-3; // nats; stored log-probabilities are rounded, and 8-bit activations move small effects
const TINY = 1e-6; // probabilities below cannot be told from rounded ones

/** Logits (vocab_size,) after the last of `ids` with the adapter of a SPEC. */
export type LastLogits = (ids: readonly number[], spec: string) => Promise<Float32Array>;

/** `reason` says in one line what was found; the KL is that between base and adapted, in nats. */
export interface ProbeResult {
  readonly passed: boolean;
  readonly reason: string;
  readonly klFound: number;
  readonly klExpected: number;
  readonly seconds: number;
}

/** The likeliest tokens of one distribution; what is left is one more, nameless one. */
interface TopTokens {
  readonly ids: readonly number[];
  readonly logprobs: readonly number[];
}

/** A prompt, and what base and adapted model said next where the receipt was written. */
interface Probe {
  readonly input_ids: readonly number[];
  readonly kl: number; // nats, base || adapted, over the whole vocabulary
  readonly base: TopTokens;
  readonly adapted: TopTokens;
}

/**
 * Hold a loaded adapter to the receipt in `folder`; null where there is nothing to replay. Throws AdapterError with the
 * adapter's name and the reason.
 */
export async function checkAdapter(
  lastLogits: LastLogits,
  manifest: Manifest,
  name: string,
  folder: FolderSource,
): Promise<ProbeResult | null> {
  const receipt = await readReceipt(folder);
  if (receipt === null) return null;
  const where = `adapter "${name}" (${folder.where})`;
  const wrong = findMismatch(receipt, manifest) ?? (await findOtherFactors(receipt, folder));
  if (wrong !== null) throw new AdapterError(`${where}: ${wrong}`);
  if ((receipt.probes ?? []).length === 0) return null;
  const result = await replay(lastLogits, manifest.model.vocabSize, name, receipt);
  if (!result.passed) throw new AdapterError(`${where}: ${result.reason}`);
  return result;
}

/** Run the probe with the largest effect with and without the adapter and compare with the receipt. */
async function replay(lastLogits: LastLogits, vocabSize: number, name: string, receipt: Receipt): Promise<ProbeResult> {
  const started = Date.now();
  const probe = readProbes(receipt, vocabSize).reduce((best, item) => (item.kl > best.kl ? item : best));
  const base = logSoftmax(await lastLogits(probe.input_ids, "none"));
  const adapted = logSoftmax(await lastLogits(probe.input_ids, name));
  const found = base.reduce((sum, value, token) => sum + Math.exp(value) * (value - (adapted[token] as number)), 0);
  const { passed, reason } = judge(probe, base, adapted, found);
  return { passed, reason, klFound: found, klExpected: probe.kl, seconds: (Date.now() - started) / 1000 };
}

/** The probes of a receipt, whose fields were checked when it was read; throws AdapterError for another vocabulary. */
function readProbes(receipt: Receipt, vocabSize: number): readonly Probe[] {
  const probes = (receipt.probes ?? []) as readonly Probe[];
  let largest = 0;
  for (const { input_ids: ids, base, adapted } of probes) {
    for (const id of [...ids, ...base.ids, ...adapted.ids]) largest = Math.max(largest, id);
  }
  if (largest < vocabSize) return probes;
  throw new AdapterError(
    `the receipt's probes cannot be read (token ids go up to ${largest}, the vocabulary has ${vocabSize}); train the ` +
      "adapter again",
  );
}

/** `base` and `adapted` are log-probabilities (vocab_size,) of this graph, `found` their KL. */
function judge(
  probe: Probe,
  base: Float64Array,
  adapted: Float64Array,
  found: number,
): { passed: boolean; reason: string } {
  const advice = "re-measure it with `edgelora adapter receipt` if that is meant, else train or copy it again";
  const refused = (reason: string) => ({ passed: false, reason: `${reason}; ${advice}` });
  if (!(found > NO_EFFECT)) {
    return refused(`it does nothing here: the answers are those of the base (KL ${found.toPrecision(2)} nats)`);
  }
  if (found < LEAST_SHARE * probe.kl) {
    return refused(
      `it does next to nothing here: KL between base and adapted is ${found.toPrecision(3)} nats, its receipt says ` +
        probe.kl.toPrecision(3),
    );
  }
  const apart = divergence(probe.adapted, adapted);
  const noise = NOISE * divergence(probe.base, base) + ROUNDING;
  const allowed = LARGEST_SHARE * divergence(probe.adapted, base) + noise;
  if (!(apart <= allowed)) {
    return refused(
      `it does not do what its receipt says: its answer to the probe is ${apart.toPrecision(3)} nats away from the ` +
        `recorded one, at most ${allowed.toPrecision(3)} are expected`,
    );
  }
  return { passed: true, reason: `${apart.toPrecision(3)} nats from its receipt, ${allowed.toPrecision(3)} allowed` };
}

/** KL (nats) from the stored distribution to `logprobs` (vocab_size,), with all other tokens as one. */
function divergence(stored: TopTokens, logprobs: Float64Array): number {
  const p = withRest(stored.logprobs.map(Math.exp));
  const q = withRest(stored.ids.map((id) => Math.exp(logprobs[id] as number)));
  return Math.max(
    0,
    p.reduce((sum, value, index) => sum + value * Math.log(value / (q[index] as number)), 0),
  );
}

function withRest(shares: readonly number[]): number[] {
  const rest = 1 - shares.reduce((sum, share) => sum + share, 0);
  return [...shares, rest].map((share) => Math.max(share, TINY));
}
