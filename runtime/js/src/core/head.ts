/**
 * The head of a model as inputs of its graph: read, checked, packed, blended, stacked.
 *
 * Knows nothing about labels' names or sessions; `docs/format.md` ("Heads") is the definition. Every array that is fed
 * has an ArrayBuffer of its own: onnxruntime-react-native reads a view from the start of its buffer.
 */

import type { Adapter, HeadTensors, HeadValues } from "./adapter.js";
import { isSaved } from "./adapter-config.js";
import { AdapterError, ArtifactError } from "./errors.js";
import type { FolderSource } from "./files.js";
import type { HeadTensor, Manifest } from "./format.js";
import type { SlotInput } from "./packing.js";
import { joinSome } from "./parse-json.js";
import { isFloat, readSafetensors, toFloat32 } from "./safetensors.js";

const INITIAL_SPREAD = 0.02; // initializer_range of transformers, which every model here has
const LARGEST_HEAD = 65536; // labels

/** One input of the head: `into` rows of `out` numbers. */
export interface HeadMatrix {
  readonly into: number;
  readonly out: number;
  readonly values: Float32Array; // (into, out)
}

/** The inputs of one head in the order of the manifest; null for those that neither adapter nor base has. */
export type PackedHead = readonly (HeadMatrix | null)[];

/** What the base itself has of the head; throws one ArtifactError with all that is not as it should be. */
export async function readBaseHead(source: FolderSource, { encoder }: Manifest): Promise<HeadTensors> {
  if (encoder === null || encoder.headFile === null) return new Map();
  const where = `${source.where}/${encoder.headFile}`;
  const found = readSafetensors(await source.bytes(encoder.headFile), where);
  const known = new Map(encoder.head.map((item) => [item.tensor, item]));
  const wrong: string[] = [];
  const tensors = new Map<string, HeadValues>();
  for (const [name, tensor] of found) {
    if (!known.has(name)) wrong.push(`${name} is no tensor of the head`);
    else if (!isFloat(tensor)) wrong.push(`${name} is ${tensor.dtype}, expected floats`);
    else tensors.set(name, { sizes: tensor.shape, values: toFloat32(tensor) });
  }
  for (const item of encoder.head) wrong.push(...misshapen(item, tensors));
  if (encoder.baseHead !== null) {
    for (const { tensor } of encoder.head) if (!tensors.has(tensor)) wrong.push(`${tensor} is missing`);
    const count = wrong.length > 0 ? 0 : countLabels(encoder.head, tensors);
    const { length } = encoder.baseHead.labels;
    if (wrong.length === 0 && count !== length) {
      wrong.push(`it answers for ${count} labels, base_head names ${length}`);
    }
  }
  if (wrong.length > 0) throw new ArtifactError(`${where}: ${joinSome(wrong)}; export the artifact again`);
  return tensors;
}

/** A line for each tensor with which, or without which, the adapter's head could not answer. */
export function findWrongHead(adapter: Adapter, head: readonly HeadTensor[], base: HeadTensors): string[] {
  const names = head.map((item) => item.tensor);
  const foreign = [...adapter.head.keys()].filter((name) => !names.includes(name)).sort();
  const wrong = foreign.map((name) => `${name} is no tensor of this artifact's head (which has ${names.join(", ")})`);
  for (const item of head) wrong.push(...misshapen(item, adapter.head));
  const lacking = names.filter((name) => !adapter.head.has(name));
  const absent = lacking.filter((name) => isSaved(name, adapter.saved));
  wrong.push(...absent.map((name) => `${name} is missing, though modules_to_save asks for it`));
  for (const name of lacking) {
    if (!base.has(name) && !absent.includes(name)) wrong.push(`${name} is neither in the adapter nor in the base`);
  }
  if (wrong.length > 0) return wrong;
  const tensors = new Map([...base, ...adapter.head]);
  const counts = head.flatMap((item) => labelCounts(item, tensors).map((count) => [item.tensor, count] as const));
  const most = Math.max(1, ...counts.map(([, count]) => count));
  if (counts.some(([, count]) => count !== most)) {
    const told = new Map(counts.map(([name, count]) => [name, `${name} ${count}`]));
    return [`its tensors are for different numbers of labels (${joinSome([...told.values()], ", ")})`];
  }
  if (most > LARGEST_HEAD) return [`it has ${most} labels, at most ${LARGEST_HEAD} are read`];
  if (adapter.factors.size === 0 && [...adapter.head].every(([name, own]) => areEqual(own, base.get(name)))) {
    return ["it changes nothing: there are no factors, and its head is that of the base"];
  }
  return [];
}

/** Why a head looks as transformers makes one, before any training: biases zero, weights drawn with one spread. */
export function findUntrained(adapter: Adapter, head: readonly HeadTensor[]): string | null {
  const own = head.flatMap(({ tensor, sizes }) => {
    const found = sizes.includes(0) ? adapter.head.get(tensor) : undefined;
    return found === undefined ? [] : [{ tensor, isBias: sizes.length === 1, values: found.values }];
  });
  const biases = own.filter((item) => item.isBias);
  const weights = own.filter((item) => !item.isBias);
  if (biases.length === 0 || weights.length === 0) return null;
  if (biases.some(({ values }) => values.some((value) => value !== 0))) return null;
  for (const { values } of weights) {
    const count = values.length;
    let [sum, squares] = [0, 0];
    for (const value of values) sum += value;
    const mean = sum / count;
    for (const value of values) squares += (value - mean) ** 2;
    const spread = Math.sqrt(squares / count);
    if (Math.abs(spread / INITIAL_SPREAD - 1) > 0.05 + 3 / Math.sqrt(2 * count)) return null;
    if (Math.abs(mean) > (4 * INITIAL_SPREAD) / Math.sqrt(count)) return null;
  }
  const names = own.map((item) => item.tensor).join(", ");
  return (
    `its head is at its initial values (${names}: biases zero, weights spread ${INITIAL_SPREAD}); train it with ` +
    "modules_to_save, or trust the folder if that is meant"
  );
}

/** For how many labels tensors of the checkpoint answer; 0 where none of them says. */
export function countLabels(head: readonly HeadTensor[], tensors: HeadTensors): number {
  return Math.max(0, ...head.flatMap((item) => labelCounts(item, tensors)));
}

/** The inputs of one head, (in, out) or (1, size) each, copied. */
export function packHead(tensors: HeadTensors, head: readonly HeadTensor[]): PackedHead {
  return head.map(({ tensor }) => {
    const found = tensors.get(tensor);
    if (found === undefined) return null;
    const [out, into = 1] = found.sizes as [number, number?];
    const values = new Float32Array(into * out);
    for (let row = 0; row < into; row++) {
      for (let column = 0; column < out; column++) {
        values[row * out + column] = found.values[column * into + row] as number;
      }
    }
    return { into, out, values };
  });
}

/**
 * Heads of one shape, weighted with their share of the weights; the weight of a single one does not count. Throws
 * AdapterError for weights that add up to nothing.
 */
export function blendHeads(parts: readonly (readonly [PackedHead, number])[]): PackedHead {
  const [only] = parts as [readonly [PackedHead, number]];
  if (parts.length === 1) return only[0];
  const shares = blendShares(parts.map(([, weight]) => weight));
  return only[0].map((first, index) => {
    if (first === null) return null;
    const values = new Float32Array(first.values.length);
    parts.forEach(([packed], part) => {
      const share = Math.fround(shares[part] as number);
      const own = (packed[index] as HeadMatrix).values;
      for (let at = 0; at < own.length; at++) {
        values[at] = (values[at] as number) + Math.fround((own[at] as number) * share);
      }
    });
    return { ...first, values };
  });
}

/** Weights divided by their sum; throws AdapterError where that is nothing. */
export function blendShares(weights: readonly number[]): number[] {
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  if (Math.abs(total) < 1e-9) {
    throw new AdapterError("the weights of the blend add up to 0, so that no head can be made of it; give others");
  }
  return weights.map((weight) => weight / total);
}

/** The inputs of the graph: one head for all rows, or one for each, zeros up to the largest number of labels. */
export function headInputs(rows: readonly PackedHead[], head: readonly HeadTensor[]): SlotInput[] {
  return head.map(({ input }, index) => {
    const found = rows.map((packed) => packed[index] as HeadMatrix);
    const [into, out] = [Math.max(...found.map((item) => item.into)), Math.max(...found.map((item) => item.out))];
    const dims = [rows.length, into, out];
    const [only] = found;
    if (found.length === 1 && only !== undefined) return { name: input, dims, data: only.values };
    const data = new Float32Array(rows.length * into * out);
    found.forEach((item, row) => {
      for (let line = 0; line < item.into; line++) {
        const part = item.values.subarray(line * item.out, (line + 1) * item.out);
        data.set(part, (row * into + line) * out);
      }
    });
    return { name: input, dims, data };
  });
}

function labelCounts(item: HeadTensor, tensors: HeadTensors): number[] {
  const found = tensors.get(item.tensor)?.sizes ?? [];
  return item.sizes.flatMap((size, axis) => (size === 0 && found[axis] !== undefined ? [found[axis] as number] : []));
}

function misshapen(item: HeadTensor, tensors: HeadTensors): string[] {
  const found = tensors.get(item.tensor)?.sizes;
  if (found === undefined) return [];
  if (found.length === item.sizes.length && item.sizes.every((size, axis) => size === 0 || size === found[axis])) {
    return [];
  }
  const wanted = item.sizes.map((size) => (size === 0 ? "labels" : size)).join(", ");
  return [`${item.tensor} is [${found.join(", ")}], expected [${wanted}]`];
}

function areEqual(one: HeadValues, other: HeadValues | undefined): boolean {
  return one.values.length === other?.values.length && one.values.every((value, at) => value === other.values[at]);
}
