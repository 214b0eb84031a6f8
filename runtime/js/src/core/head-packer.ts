/**
 * Adapters of a graph that has a head beside its slots: both travel together.
 *
 * Knows nothing about names and SPECs; `head.ts` and `packing.ts` do the numbers.
 */

import type { HeadTensors } from "./adapter.js";
import { type BoundAdapter, bind, release } from "./bound-adapter.js";
import { AdapterError } from "./errors.js";
import type { HeadInfo, HeadTensor, Manifest } from "./format.js";
import {
  blendHeads,
  blendShares,
  countLabels,
  findUntrained,
  findWrongHead,
  headInputs,
  type PackedHead,
  packHead,
} from "./head.js";
import { findHeadInfo } from "./head-info.js";
import type { Opened, Origin, Packer } from "./packers.js";
import { blendPacked, isNothing, type Packed, slotInputs } from "./packing.js";
import { show } from "./parse-json.js";
import type { Backend } from "./ports.js";
import type { SpecTerm } from "./spec.js";

/** An adapter or a blend with its head; a model without a head has null for what it means. */
export interface PackedWithHead {
  readonly factors: Packed;
  readonly head: PackedHead;
  readonly info: HeadInfo | null;
}

/** Inputs of the graph, and for each of its rows what the outputs mean. */
export interface BoundWithHead extends BoundAdapter {
  readonly heads: readonly (HeadInfo | null)[];
}

const LEAST_TEMPERATURE = 1e-9;

export class HeadPacker implements Packer<PackedWithHead, BoundWithHead> {
  readonly #manifest: Manifest;
  #backend: Backend;
  readonly #base: HeadTensors;
  readonly #names: () => readonly string[];

  /** `base` is what the base itself has of the head, `names` are the adapters to tell of where it has none. */
  constructor(manifest: Manifest, backend: Backend, base: HeadTensors, names: () => readonly string[]) {
    this.#manifest = manifest;
    this.#backend = backend;
    this.#base = base;
    this.#names = names;
  }

  async open({ folder, isTrusted, listed, labels }: Origin, where: string): Promise<Opened<PackedWithHead>> {
    const head = this.#head;
    if (head.length === 0 && labels !== null) {
      throw new AdapterError(`${where}: labels are for models with a head; leave them out`);
    }
    const fits = {
      find: (found: Parameters<typeof findWrongHead>[0]) => findWrongHead(found, head, this.#base),
      findUntrained: (found: Parameters<typeof findUntrained>[0]) => findUntrained(found, head),
    };
    const { openAdapter } = await import("./open-adapter.js");
    const { adapter, packed, receipt } = await openAdapter(folder, this.#manifest, where, isTrusted, fits);
    const tensors = new Map([...this.#base, ...adapter.head]);
    const count = countLabels(head, tensors);
    const item = {
      factors: packed,
      head: packHead(tensors, head),
      info: head.length === 0 ? null : await findHeadInfo(folder, count, where, { receipt, listed, labels }),
    };
    return { item, invocation: adapter.invocation };
  }

  blend(parts: readonly (readonly [PackedWithHead, number])[], spec: readonly SpecTerm[]): PackedWithHead {
    const factors = blendPacked(
      parts.map(([item, weight]) => [item.factors, weight] as const),
      this.#manifest.slots,
    );
    const [first] = parts;
    if (first === undefined) return { factors, head: this.#baseHead(), info: this.#manifest.encoder?.baseHead ?? null };
    const info = blendInfos(parts, spec); // first: heads of other shapes cannot be added up
    return { factors, head: blendHeads(parts.map(([item, weight]) => [item.head, weight] as const)), info };
  }

  bind(rows: readonly PackedWithHead[]): BoundWithHead {
    const { slots } = this.#manifest;
    const factors = rows.map((row) => row.factors);
    const inputs = [
      ...slotInputs(factors, slots, this.#backend.capabilities.allowsRankZero),
      ...headInputs(
        rows.map((row) => row.head),
        this.#head,
      ),
    ];
    const bound = bind(this.#backend, inputs, rows.length, factors.every(isNothing));
    return { ...bound, heads: rows.map((row) => row.info) };
  }

  moveTo(backend: Backend): void {
    this.#backend = backend;
  }

  letGo(bound: BoundWithHead): void {
    release(bound);
  }

  get #head(): readonly HeadTensor[] {
    return this.#manifest.encoder?.head ?? [];
  }

  /** Throws AdapterError where the base has no whole head. */
  #baseHead(): PackedHead {
    if (this.#head.length > 0 && (this.#manifest.encoder?.baseHead ?? null) === null) {
      const known = this.#names().join(", ") || "no adapters";
      throw new AdapterError(`${this.#manifest.model.name} has no head of its own; use an adapter: ${known}`);
    }
    return packHead(this.#base, this.#head);
  }
}

/** What a blend of heads means; throws AdapterError where they have other labels. */
function blendInfos(parts: readonly (readonly [PackedWithHead, number])[], spec: readonly SpecTerm[]): HeadInfo | null {
  const infos = parts.flatMap(([{ info }]) => (info === null ? [] : [info]));
  const [first] = infos;
  if (first === undefined || infos.length === 1) return first ?? null;
  const meaning = ({ labels, problemType }: HeadInfo) => JSON.stringify([labels, problemType]);
  const other = infos.findIndex((info) => meaning(info) !== meaning(first));
  if (other >= 0) {
    const text = spec.map(({ name, weight }) => (weight === 1 ? name : `${name}:${weight}`)).join("+");
    throw new AdapterError(
      `adapter SPEC ${show(text)}: ${spec[0]?.name} and ${spec[other]?.name} have heads for other labels or problems, ` +
        "and no head lies between them; blend adapters with the same labels",
    );
  }
  const shares = blendShares(parts.map(([, weight]) => weight));
  const mean = infos.reduce((sum, info, index) => sum + info.temperature * (shares[index] as number), 0);
  return { ...first, temperature: Math.max(mean, LEAST_TEMPERATURE) };
}
