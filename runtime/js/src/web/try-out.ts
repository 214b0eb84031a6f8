/**
 * See at the end of a load whether a GPU can compute.
 *
 * Knows nothing about GPUs: a token or an image goes through the graph, and the model checks what comes out.
 */

import type { EncoderModel } from "../core/encoder-model.js";
import type { Model } from "../core/model.js";

/** Compute the least that can be computed; disposes of the model where that fails. */
export async function tryOut(model: Model | EncoderModel, signal: AbortSignal | undefined): Promise<void> {
  try {
    const { encoder, adapters } = model.manifest;
    if (encoder === null) {
      await (model as Model).logits([0], { adapter: "none", signal });
      return;
    }
    const hasHead = encoder.head.length === 0 || encoder.baseHead !== null;
    const adapter = hasHead ? "none" : adapters[0]?.name;
    if (adapter === undefined) return; // nothing can be computed until an adapter brings a head
    const pixels = encoder.imageSize.reduce((product, size) => product * size, 1);
    const input = encoder.imageSize.length > 0 ? new Float32Array(pixels) : [0];
    await (model as EncoderModel).outputs([input], { adapter, signal });
  } catch (error) {
    await model.dispose();
    throw error;
  }
}
