/**
 * What becomes of an adapter between its folder and the graph: opened, blended, bound.
 *
 * Knows nothing about names and SPECs. This one is for graphs without a head; `head-packer.ts` has the other.
 */

import { type BoundAdapter, bind, release } from "./bound-adapter.js";
import type { FolderSource } from "./files.js";
import type { HeadInfo, Manifest } from "./format.js";
import { blendPacked, isNothing, type Packed, slotInputs } from "./packing.js";
import type { Backend } from "./ports.js";
import type { SpecTerm } from "./spec.js";

/** Where an adapter comes from, and what is known of it beside its folder. */
export interface Origin {
  readonly folder: FolderSource;
  /** Whatever its receipt says. */
  readonly isTrusted: boolean;
  /** What the manifest says of its head. */
  readonly listed: HeadInfo | null;
  /** Labels as the caller gave them. */
  readonly labels: readonly string[] | null;
}

/** An adapter that was read, and the invocation of an activated one. */
export interface Opened<Item> {
  readonly item: Item;
  readonly invocation: readonly number[];
}

/** One form of adapters; `Item` is an adapter or a blend, packed. */
export interface Packer<Item, Bound extends BoundAdapter> {
  /** Read, check and pack a folder, which errors call `where`. */
  open(origin: Origin, where: string): Promise<Opened<Item>>;
  /** Packed adapters added up, each times its weight; no parts are no adapter. `spec` names them in messages. */
  blend(parts: readonly (readonly [Item, number])[], spec: readonly SpecTerm[]): Item;
  /** One for all rows, or one for each. */
  bind(rows: readonly Item[]): Bound;
  /** Free what `bind` gave. */
  letGo(bound: Bound): void;
  /** Bind for another backend from now on. */
  moveTo(backend: Backend): void;
}

/** For a graph that has slots alone. */
export class SlotPacker implements Packer<Packed, BoundAdapter> {
  readonly #manifest: Manifest;
  #backend: Backend;
  readonly #onRelease: (bound: BoundAdapter) => void;

  /** `onRelease` is told of an adapter before its tensors are freed. */
  constructor(manifest: Manifest, backend: Backend, onRelease: (bound: BoundAdapter) => void) {
    this.#manifest = manifest;
    this.#backend = backend;
    this.#onRelease = onRelease;
  }

  async open({ folder, isTrusted }: Origin, where: string): Promise<Opened<Packed>> {
    const { openAdapter } = await import("./open-adapter.js"); // the base alone has no use for it
    const { packed, adapter } = await openAdapter(folder, this.#manifest, where, isTrusted);
    return { item: packed, invocation: adapter.invocation };
  }

  blend(parts: readonly (readonly [Packed, number])[]): Packed {
    return blendPacked(parts, this.#manifest.slots);
  }

  bind(rows: readonly Packed[]): BoundAdapter {
    const inputs = slotInputs(rows, this.#manifest.slots, this.#backend.capabilities.allowsRankZero);
    return bind(this.#backend, inputs, rows.length, rows.every(isNothing));
  }

  moveTo(backend: Backend): void {
    this.#backend = backend;
  }

  letGo(bound: BoundAdapter): void {
    this.#onRelease(bound);
    release(bound);
  }
}
