/**
 * Logits of a head as scores of its labels.
 *
 * Knows nothing about texts or graphs; `docs/format.md` ("Heads") is the definition.
 */

import type { HeadInfo } from "./format.js";
import { largestIndex } from "./sampling.js";

const CHOSEN = 0.5; // the score from which on a label of several is one of the text's

/**
 * `label` is the likeliest and `score` its score; `labels` are those that hold, one unless several may. `truncated` is
 * whether the text was longer than the model reads, so that its end had no say.
 */
export interface Classification {
  readonly label: string;
  readonly score: number;
  /** Of every label, in the order of the head. */
  readonly scores: ReadonlyMap<string, number>;
  readonly labels: readonly string[];
  readonly truncated: boolean;
}

/** Scores (labels,) of logits (labels,): calibrated probabilities, or the numbers of a regression. */
export function scoreLabels(logits: Float32Array, { problemType, temperature }: HeadInfo): Float64Array {
  const scaled = Float64Array.from(logits, (logit) => logit / temperature);
  if (problemType === "regression") return scaled;
  if (problemType === "multi_label_classification") return scaled.map((value) => 1 / (1 + Math.exp(-value)));
  const peak = scaled[largestIndex(scaled)] as number;
  const shares = scaled.map((value) => Math.exp(value - peak));
  const total = shares.reduce((sum, share) => sum + share, 0);
  return shares.map((share) => share / total);
}

/** The answer for one text of logits (labels,). */
export function classifyLogits(logits: Float32Array, head: HeadInfo, truncated: boolean): Classification {
  const scores = scoreLabels(logits, head);
  const best = largestIndex(logits);
  const label = head.labels[best] as string;
  const isMulti = head.problemType === "multi_label_classification";
  const labels = isMulti ? head.labels.filter((_, index) => (scores[index] as number) >= CHOSEN) : [label];
  const byLabel = new Map(head.labels.map((name, index) => [name, scores[index] as number]));
  return { label, score: scores[best] as number, scores: byLabel, labels, truncated };
}
