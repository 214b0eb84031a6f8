/**
 * What it takes to generate and to score, in one piece that is loaded with the first call.
 *
 * Knows nothing beyond what it names.
 */

export { Decoding, logitsAt, scoreChoices, scoreTokens } from "./generate.js";
export { groupRows } from "./groups.js";
export { actingFrom, actingNext, startsIn } from "./invocation.js";
export { makeRequest, ofRow } from "./request.js";
export { largestIndex, Sampler } from "./sampling.js";
