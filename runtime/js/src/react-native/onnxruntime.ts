/**
 * onnxruntime-react-native as a backend of the core, and what its binding gets wrong without a word.
 *
 * Knows nothing about artifacts. Version 1.24.3 reads every typed array from the start of its buffer, drops the
 * options of a session that is made from bytes, and ends the app where an output is float16.
 */

import type * as reactNative from "onnxruntime-react-native";
import { inPlaceCache } from "../core/cache.js";
import { ArtifactError } from "../core/errors.js";
import type { Backend, Capabilities, InferenceSession, Ort, SessionOptions, Tensor } from "../core/ports.js";

const CAPABILITIES: Capabilities = Object.freeze({
  name: "onnxruntime-react-native, CPU",
  allowsRankZero: true,
  loadsByPathOnly: true,
  cache: "in-place",
  cacheLocation: "cpu",
  hasInt8Cache: false, // not in onnxruntime 1.24
});

/** The package with its traps closed. */
export function reactNativeBackend(ort: typeof reactNative, threads: number): Backend {
  const { Tensor: anyTensor } = ort satisfies Ort;
  const make = anyTensor as new (type: string, data: unknown, dims: readonly number[]) => Tensor;
  class OwnTensor extends make {
    constructor(type: string, data: ArrayBufferView, dims: readonly number[]) {
      if (data.byteOffset !== 0) {
        throw new Error(`a ${type} tensor over a view that starts at byte ${data.byteOffset}; copy it first`);
      }
      super(type, data, dims);
    }
  }
  const create = async (model: string | Uint8Array, options?: SessionOptions): Promise<InferenceSession> => {
    if (typeof model !== "string") throw new ArtifactError("onnxruntime-react-native loads graphs by path alone");
    const session = await ort.InferenceSession.create(model, options);
    const half = session.outputMetadata.filter((output) => output.isTensor && output.type === "float16");
    if (half.length === 0) return session;
    await session.release();
    const names = half.map((output) => output.name).join(", ");
    throw new ArtifactError(`${model}: float16 outputs ${names}, expected float32; export it with \`edgelora export\``);
  };
  return {
    ort: { Tensor: OwnTensor as Ort["Tensor"], InferenceSession: { create }, env: ort.env },
    capabilities: CAPABILITIES,
    makeCache: inPlaceCache,
    // A warning for each of hundreds of slot inputs helps nobody.
    sessionOptions: {
      executionProviders: ["cpu"],
      intraOpNumThreads: threads,
      interOpNumThreads: 1,
      logSeverityLevel: 3,
    },
    place: (data, dims) => new OwnTensor("float32", data.byteOffset === 0 ? data : data.slice(), dims),
  };
}
