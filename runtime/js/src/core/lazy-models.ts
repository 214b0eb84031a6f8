/**
 * What is kept here, by code that is loaded when it is first asked for: an app that never asks does not carry it.
 *
 * Knows nothing about what keeps artifacts.
 */

import type { Models } from "./models.js";
import { once } from "./once.js";

/** The models that `open` gives, opened once. */
export function lazyModels(open: () => Promise<Models>): Models {
  const models = once(open);
  return {
    list: async () => (await models()).list(),
    size: async () => (await models()).size(),
    delete: async (address) => (await models()).delete(address),
    persist: async () => (await models()).persist(),
    estimate: async (address, options) => (await models()).estimate(address, options),
  };
}
