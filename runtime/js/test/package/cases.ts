/** The case that every consumer answers. */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { CONFORMANCE } from "../places.js";

/** Greedy tokens behind token ids. */
export interface TokensCase {
  readonly artifact: string;
  readonly adapter: string;
  readonly input_ids: readonly number[];
  readonly max_new_tokens: number;
  readonly expected_ids: readonly number[];
}

const { cases } = JSON.parse(readFileSync(join(CONFORMANCE, "cases.json"), "utf8")) as {
  cases: (TokensCase & { readonly kind: string; readonly sampling: object })[];
};

/** The first greedy one of the float32 artifact with an adapter on. */
export const CASE: TokensCase = cases.find(
  (item) =>
    item.kind === "tokens" &&
    item.artifact === "tiny-float" &&
    item.adapter !== "none" &&
    Object.keys(item.sampling).length === 0,
) as TokensCase;
