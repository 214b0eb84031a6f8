/**
 * Adapters by name and SPEC, packed once and kept ready to be fed.
 *
 * Knows nothing about tokens or text; `slots.ts` packs, `session.ts` feeds.
 */

import { fitAdapter, readAdapter } from "./adapter.js";
import { AdapterError } from "./errors.js";
import { show } from "./json.js";
import type { Manifest } from "./manifest.js";
import type { BoundAdapter, Session } from "./session.js";
import { blendPacked, type Packed, packAdapter } from "./slots.js";
import { type FolderSource, within } from "./source.js";
import { checkName, closestName, parseSpec, type SpecTerm } from "./spec.js";

const MAX_MIXED = 16; // blends and row stacks kept ready; single adapters are all kept

/** Every adapter that SPECs can name. Equal SPECs give the identical object until a name is loaded anew. */
export class AdapterSet {
  readonly #manifest: Manifest;
  readonly #session: Session;
  readonly #folders: Map<string, FolderSource>;
  readonly #packed = new Map<string, Packed>();
  readonly #single = new Map<string, BoundAdapter>();
  readonly #mixed = new Map<string, BoundAdapter>(); // the one used longest ago first

  constructor(source: FolderSource, manifest: Manifest, session: Session) {
    this.#manifest = manifest;
    this.#session = session;
    this.#folders = new Map(manifest.adapters.map((item) => [item.name, within(source, item.path)]));
  }

  /** Known names, those of the artifact first. */
  get names(): readonly string[] {
    return [...this.#folders.keys()];
  }

  /** Where a known name is read from. */
  folder(name: string): FolderSource {
    return this.#folders.get(name) as FolderSource;
  }

  /** Read, check and pack a PEFT folder under `name`, replacing what had that name. */
  async load(name: string, folder: FolderSource): Promise<void> {
    checkName(name);
    const packed = await this.#read(name, folder);
    this.#folders.set(name, folder);
    this.#packed.set(name, packed);
    const key = keyOf([{ name, weight: 1 }]);
    const stale = [this.#single.get(key), ...this.#mixed.values()];
    for (const bound of stale) if (bound !== undefined) this.#session.letGo(bound);
    this.#single.delete(key);
    this.#mixed.clear();
  }

  /** The SPEC taken apart, every name known; throws AdapterError for a malformed SPEC or an unknown name. */
  parse(text: string): SpecTerm[] {
    const spec = parseSpec(text);
    const unknown = [...new Set(spec.map((term) => term.name))].filter((name) => !this.#folders.has(name)).sort();
    if (unknown.length === 0) return spec;
    const close = closestName(unknown[0] as string, this.names);
    const hint = close === null ? "" : `; did you mean ${show(close)}?`;
    const known = this.names.join(", ") || "no adapters";
    throw new AdapterError(`unknown adapter ${unknown.map(show).join(", ")}; this model has: ${known}${hint}`);
  }

  /** The adapter of one SPEC. */
  async find(text: string): Promise<BoundAdapter> {
    return this.#bound(this.parse(text));
  }

  /** One SPEC for each row of a batch; a shared one stays a single adapter. */
  async findRows(texts: readonly string[]): Promise<BoundAdapter> {
    const specs = texts.map((text) => this.parse(text));
    const [first = []] = specs;
    const key = specs.map(keyOf).join("|");
    if (specs.every((spec) => keyOf(spec) === keyOf(first))) return this.#bound(first);
    return this.#keep(key, async () => {
      const rows: Packed[] = [];
      for (const spec of specs) rows.push(await this.#blend(spec));
      return rows;
    });
  }

  async #bound(spec: readonly SpecTerm[]): Promise<BoundAdapter> {
    const [only] = spec;
    const isKept = only === undefined || (spec.length === 1 && only.weight === 1);
    if (!isKept) return this.#keep(keyOf(spec), async () => [await this.#blend(spec)]);
    const key = keyOf(spec);
    let found = this.#single.get(key);
    if (found === undefined) {
      found = this.#session.prepare([only === undefined ? await this.#blend([]) : await this.#pack(only.name)]);
      this.#single.set(key, found);
    }
    return found;
  }

  async #keep(key: string, build: () => Promise<Packed[]>): Promise<BoundAdapter> {
    const found = this.#mixed.get(key) ?? this.#session.prepare(await build());
    this.#mixed.delete(key);
    this.#mixed.set(key, found);
    if (this.#mixed.size > MAX_MIXED) {
      const [oldest, bound] = this.#mixed.entries().next().value as [string, BoundAdapter];
      this.#mixed.delete(oldest);
      this.#session.letGo(bound);
    }
    return found;
  }

  async #blend(spec: readonly SpecTerm[]): Promise<Packed> {
    const parts: [Packed, number][] = [];
    for (const { name, weight } of spec) parts.push([await this.#pack(name), weight]);
    return blendPacked(parts, this.#manifest.slots);
  }

  async #pack(name: string): Promise<Packed> {
    const found = this.#packed.get(name) ?? (await this.#read(name, this.folder(name)));
    this.#packed.set(name, found);
    return found;
  }

  async #read(name: string, folder: FolderSource): Promise<Packed> {
    const adapter = await readAdapter(folder);
    fitAdapter(adapter, this.#manifest.slots, `adapter ${show(name)} (${folder.where})`);
    return packAdapter(adapter, this.#manifest.slots);
  }
}

function keyOf(spec: readonly SpecTerm[]): string {
  return spec.map(({ name, weight }) => `${name}:${weight}`).join("+");
}
