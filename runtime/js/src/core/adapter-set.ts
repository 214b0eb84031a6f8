/**
 * Adapters by name and SPEC, packed once and kept ready to be fed, as many as a budget has room for.
 *
 * Knows nothing about tokens or text; a packer reads, packs and binds, a session feeds.
 */

import { throwIfAborted } from "./abort.js";
import type { BoundAdapter } from "./bound-adapter.js";
import { AdapterError } from "./errors.js";
import { type FolderSource, type Watch, within } from "./files.js";
import type { AdapterInfo, Manifest } from "./format.js";
import { adapterFiles } from "./needed-files.js";
import type { Opened, Origin, Packer } from "./packers.js";
import { show } from "./parse-json.js";
import type { ArtifactSource, Backend } from "./ports.js";
import { checkName, closestName, parseSpec, type SpecTerm } from "./spec.js";

const MAX_MIXED = 16; // blends and row stacks kept ready; of single adapters the budget alone says how many

interface Kept<Item, Bound> extends Opened<Item> {
  readonly bound: Bound;
}

/**
 * Every adapter that SPECs can name. Equal SPECs give the identical object as long as it is kept; what is dropped or
 * loaded anew comes back as another object, so that nothing computed with the old one is ever taken for the new one's.
 * `mostBytes` bounds what is kept; what the last call asked for stays in any case.
 */
export class AdapterSet<Item, Bound extends BoundAdapter> {
  readonly #packer: Packer<Item, Bound>;
  readonly #mostBytes: number | null;
  readonly #source: Pick<ArtifactSource, keyof FolderSource | "prepareAdapter">;
  readonly #manifest: Manifest;
  /** Null for an adapter of the artifact whose entry nobody has asked for yet. */
  readonly #origins: Map<string, Origin | null>;
  /** Adapters of the artifact whose files nobody has compared with the manifest yet. */
  readonly #unchecked: Set<string>;
  readonly #single = new Map<string, Kept<Item, Bound>>(); // the one used longest ago first
  readonly #mixed = new Map<string, { readonly names: readonly string[]; readonly bound: Bound }>(); // likewise
  readonly #invocations = new Map<string, readonly number[]>(); // of adapters that were read
  #none: Bound | null = null;

  constructor(
    source: Pick<ArtifactSource, keyof FolderSource | "prepareAdapter">,
    manifest: Manifest,
    packer: Packer<Item, Bound>,
    mostBytes: number | null = null,
  ) {
    this.#source = source;
    this.#manifest = manifest;
    this.#packer = packer;
    this.#mostBytes = mostBytes;
    this.#origins = new Map(manifest.adapterNames.map((name) => [name, null]));
    this.#unchecked = new Set(manifest.adapterNames);
  }

  /** Known names, those of the artifact first. */
  get names(): readonly string[] {
    return [...this.#origins.keys()];
  }

  /** Memory of all slot inputs that are kept ready. */
  get bytes(): number {
    return [...this.#single.values(), ...this.#mixed.values()].reduce((sum, { bound }) => sum + bound.bytes, 0);
  }

  /** Where a known name is read from, for one reading. */
  folder(name: string, watch: Watch = {}): FolderSource {
    return reading(this.#origin(name).folder, watch);
  }

  /** Read, check and pack a PEFT folder; `name` means it from now on. */
  async load(
    name: string,
    folder: FolderSource,
    trust = false,
    labels: readonly string[] | null = null,
    watch: Watch = {},
  ): Promise<void> {
    checkName(name);
    const origin = { folder, isTrusted: trust, listed: null, labels };
    const opened = await this.#read(name, origin, watch);
    throwIfAborted(watch.signal); // whoever was told of an abort finds everything as it was
    this.#forget(name);
    this.#origins.set(name, origin);
    this.#unchecked.delete(name);
    this.#dropBeyondBudget(this.#add(name, opened).bound);
  }

  /** Forget a name and what was made of it; throws AdapterError for an unknown one. */
  unload(name: string): void {
    checkName(name);
    this.parse(name);
    this.#origins.delete(name);
    this.#unchecked.delete(name);
    this.#forget(name);
  }

  /** Have everything that is kept in the memory of another backend; nothing is read again. */
  moveTo(backend: Backend): void {
    const opened = [...this.#single];
    this.dispose();
    this.#packer.moveTo(backend);
    for (const [name, item] of opened) this.#add(name, item);
  }

  /** Free everything that is kept ready. */
  dispose(): void {
    for (const { bound } of [...this.#single.values(), ...this.#mixed.values()]) this.#packer.letGo(bound);
    if (this.#none !== null) this.#packer.letGo(this.#none);
    this.#none = null;
    this.#single.clear();
    this.#mixed.clear();
  }

  /** The SPEC taken apart, every name known; throws AdapterError for a malformed SPEC or an unknown name. */
  parse(text: string): SpecTerm[] {
    const spec = parseSpec(text);
    const unknown = [...new Set(spec.map((term) => term.name))].filter((name) => !this.#origins.has(name)).sort();
    if (unknown.length === 0) return spec;
    const close = closestName(unknown[0] as string, this.names);
    const hint = close === null ? "" : `; did you mean ${show(close)}?`;
    const known = this.names.join(", ") || "no adapters";
    throw new AdapterError(`unknown adapter ${unknown.map(show).join(", ")}; this model has: ${known}${hint}`);
  }

  /** The adapter of one SPEC; `watch` follows what must be read for it. */
  async find(text: string, watch: Watch = {}): Promise<Bound> {
    return this.#bound(this.parse(text), watch);
  }

  /** The token ids of an activated adapter's invocation; none of a plain one. */
  async invocation(name: string, watch: Watch): Promise<readonly number[]> {
    const known = this.#invocations.get(name);
    if (known !== undefined) return known;
    const { bound, invocation } = await this.#pack(name, watch);
    this.#dropBeyondBudget(bound);
    return invocation;
  }

  /** One SPEC for each row of a batch; a shared one stays a single adapter. */
  async findRows(texts: readonly string[], watch: Watch = {}): Promise<Bound> {
    const specs = texts.map((text) => this.parse(text));
    const [first = []] = specs;
    if (specs.every((spec) => keyOf(spec) === keyOf(first))) return this.#bound(first, watch);
    return this.#keep(specs, async () => {
      const rows: Item[] = [];
      for (const spec of specs) rows.push(await this.#blend(spec, watch));
      return rows;
    });
  }

  async #bound(spec: readonly SpecTerm[], watch: Watch): Promise<Bound> {
    const [only] = spec;
    if (only === undefined) {
      this.#none ??= this.#packer.bind([await this.#blend([], watch)]);
      return this.#none;
    }
    if (spec.length > 1 || only.weight !== 1) return this.#keep([spec], async () => [await this.#blend(spec, watch)]);
    const { bound } = await this.#pack(only.name, watch);
    this.#dropBeyondBudget(bound);
    return bound;
  }

  async #keep(specs: readonly (readonly SpecTerm[])[], build: () => Promise<Item[]>): Promise<Bound> {
    const key = specs.map(keyOf).join("|");
    const bound = this.#mixed.get(key)?.bound ?? this.#packer.bind(await build());
    this.#mixed.delete(key);
    this.#mixed.set(key, { names: specs.flat().map((term) => term.name), bound });
    if (this.#mixed.size > MAX_MIXED) this.#dropMixed(this.#mixed.keys().next().value as string);
    this.#dropBeyondBudget(bound);
    return bound;
  }

  async #blend(spec: readonly SpecTerm[], watch: Watch): Promise<Item> {
    const parts: [Item, number][] = [];
    for (const { name, weight } of spec) parts.push([(await this.#pack(name, watch)).item, weight]);
    return this.#packer.blend(parts, spec);
  }

  async #pack(name: string, watch: Watch): Promise<Kept<Item, Bound>> {
    const kept = this.#single.get(name);
    if (kept === undefined) return this.#add(name, await this.#read(name, this.#origin(name), watch));
    this.#single.delete(name);
    this.#single.set(name, kept);
    return kept;
  }

  #add(name: string, { item, invocation }: Opened<Item>): Kept<Item, Bound> {
    const kept = { item, invocation, bound: this.#packer.bind([item]) };
    this.#single.set(name, kept);
    this.#invocations.set(name, invocation);
    return kept;
  }

  #forget(name: string): void {
    this.#dropSingle(name);
    this.#invocations.delete(name);
    for (const [key, { names }] of [...this.#mixed]) if (names.includes(name)) this.#dropMixed(key);
  }

  /** Let go of what was not used for longest, mixtures first: they are made of what is there. */
  #dropBeyondBudget(needed: Bound): void {
    const most = this.#mostBytes;
    if (most === null) return;
    for (const [key, { bound }] of [...this.#mixed]) {
      if (bound !== needed && this.bytes > most) this.#dropMixed(key);
    }
    for (const [name, { bound }] of [...this.#single]) {
      if (bound !== needed && this.bytes > most) this.#dropSingle(name);
    }
  }

  #dropSingle(name: string): void {
    const kept = this.#single.get(name);
    if (kept !== undefined) this.#packer.letGo(kept.bound);
    this.#single.delete(name);
  }

  #dropMixed(key: string): void {
    const kept = this.#mixed.get(key);
    if (kept !== undefined) this.#packer.letGo(kept.bound);
    this.#mixed.delete(key);
  }

  /** Where a known name is read from; throws ArtifactError for an adapter of the artifact whose entry is wrong. */
  #origin(name: string): Origin {
    const known = this.#origins.get(name);
    if (known) return known;
    const { path, head } = this.#info(name);
    const origin = { folder: within(this.#source, path), isTrusted: false, listed: head, labels: null };
    this.#origins.set(name, origin);
    return origin;
  }

  #info(name: string): AdapterInfo {
    return this.#manifest.adapters[this.#manifest.adapterNames.indexOf(name)] as AdapterInfo;
  }

  async #read(name: string, origin: Origin, watch: Watch): Promise<Opened<Item>> {
    throwIfAborted(watch.signal);
    if (origin === this.#origins.get(name)) {
      if (this.#unchecked.has(name)) {
        await this.#source.prepareAdapter?.(adapterFiles(this.#manifest, this.#info(name)));
      }
      this.#unchecked.delete(name);
    }
    const folder = reading(origin.folder, watch);
    return this.#packer.open({ ...origin, folder }, `adapter ${show(name)} (${folder.where})`);
  }
}

function reading(folder: FolderSource, watch: Watch): FolderSource {
  return folder.reading?.(watch) ?? folder;
}

function keyOf(spec: readonly SpecTerm[]): string {
  return spec.map(({ name, weight }) => `${name}:${weight}`).join("+");
}
