/**
 * One call on onnxruntime without a KV cache: token ids or pixels go in, the numbers of the output come out.
 *
 * Knows nothing about text, labels or adapter files.
 */

import type { EncoderInfo, Manifest } from "./format.js";
import { Graph } from "./graph.js";
import { type GraphForm, slotValues, type ValueType } from "./graph-values.js";
import type { BoundWithHead } from "./head-packer.js";
import { checkNumbers } from "./numbers.js";
import type { ArtifactSource, Backend, Feeds, Tensor } from "./ports.js";

/** Token ids with the tokenizer's special tokens, or the pixels of an image, (channels, height, width). */
export type EncoderInput = readonly number[] | Float32Array;

/** The output for one input: (labels,), (tokens, labels) or (hidden_size,). */
export interface EncoderOutput {
  readonly dims: readonly number[];
  readonly data: Float32Array;
}

export class EncoderSession {
  readonly #graph: Graph;
  readonly #encoder: EncoderInfo;
  readonly #backend: Backend;

  private constructor(graph: Graph, encoder: EncoderInfo, backend: Backend) {
    this.#graph = graph;
    this.#encoder = encoder;
    this.#backend = backend;
  }

  /** Load the graph; throws ArtifactError when it cannot be, or has other inputs or outputs than the manifest says. */
  static async open(source: ArtifactSource, manifest: Manifest, backend: Backend): Promise<EncoderSession> {
    const graph = await Graph.open(source, manifest, backend, encoderForm(manifest));
    return new EncoderSession(graph, manifest.encoder as EncoderInfo, backend);
  }

  /** The outputs of rows that are computed together, without what is padding; one adapter for all, or one for each. */
  async run(rows: readonly EncoderInput[], adapter: BoundWithHead): Promise<EncoderOutput[]> {
    const feeds = Object.fromEntries(adapter.inputs);
    Object.assign(feeds, this.#encoder.inputs.length === 1 ? this.#pixels(rows) : this.#tokens(rows));
    const results = await this.#graph.run(feeds, null);
    const { data: computed, dims } = results[this.#encoder.output] as Tensor;
    const data = checkNumbers(computed as Float32Array, this.#backend.capabilities.name);
    const last = dims.at(-1) as number;
    const size = dims.slice(1).reduce((product, count) => product * count, 1);
    return rows.map((row, index) => {
      const all = data.subarray(index * size, (index + 1) * size);
      const labels = adapter.heads[adapter.rows === 1 ? 0 : index]?.labels.length ?? last;
      if (dims.length === 2) return { dims: [labels], data: all.slice(0, labels) };
      const own = new Float32Array(row.length * labels);
      for (let token = 0; token < row.length; token++) {
        own.set(all.subarray(token * last, token * last + labels), token * labels);
      }
      return { dims: [row.length, labels], data: own };
    });
  }

  dispose(): Promise<void> {
    return this.#graph.release();
  }

  #tokens(rows: readonly EncoderInput[]): Feeds {
    const longest = Math.max(...rows.map((row) => row.length));
    const ids = new BigInt64Array(rows.length * longest);
    const mask = new BigInt64Array(rows.length * longest);
    rows.forEach((row, index) => {
      for (let place = 0; place < row.length; place++) {
        ids[index * longest + place] = BigInt(row[place] as number);
        mask[index * longest + place] = 1n;
      }
    });
    const { Tensor } = this.#backend.ort;
    const dims = [rows.length, longest];
    const [first, second] = this.#encoder.inputs as readonly [string, string];
    return { [first]: new Tensor("int64", ids, dims), [second]: new Tensor("int64", mask, dims) };
  }

  #pixels(rows: readonly EncoderInput[]): Feeds {
    const size = this.#encoder.imageSize.reduce((product, count) => product * count, 1);
    const values = new Float32Array(rows.length * size);
    rows.forEach((row, index) => {
      values.set(row, index * size);
    });
    const [name] = this.#encoder.inputs as readonly [string];
    return { [name]: new this.#backend.ort.Tensor("float32", values, [rows.length, ...this.#encoder.imageSize]) };
  }
}

/** What the graph takes and gives, as the manifest says. */
function encoderForm({ graph, encoder, slots, task }: Manifest): GraphForm {
  const { inputs, output, hiddenSize, head, imageSize } = encoder as EncoderInfo;
  const isImage = inputs.length === 1;
  const given: ValueType = isImage ? ["float32", null, ...imageSize] : ["int64", null, null];
  const open = (size: number | undefined) => size || null; // 0 is the number of labels
  const heads = head.map(({ input, sizes: [out, into] }) => {
    const values: ValueType = ["float32", null, into === undefined ? 1 : open(into), open(out)];
    return [input, values] as const;
  });
  const each = task === "token-classification" ? [null] : [];
  const values: ValueType = ["float32", null, ...each, output === "embeddings" ? hiddenSize : null];
  return {
    file: graph.file,
    inputs: new Map([...inputs.map((name) => [name, given] as const), ...slotValues(slots), ...heads]),
    outputs: new Map([[output, values]]),
    locations: null,
  };
}
