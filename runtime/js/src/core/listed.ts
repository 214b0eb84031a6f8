/**
 * Entries of a manifest that are read and checked when somebody first looks at them: there may be thousands.
 *
 * Knows nothing about what an entry says.
 */

/** A list of `count` entries, each read when it is first looked at; `read` throws where its entry is wrong. */
export function listedEntries<Entry extends object>(count: number, read: (index: number) => Entry): readonly Entry[] {
  const fill = (held: (Entry | null)[], key: string | symbol) => {
    const index = typeof key === "string" ? Number(key) : -1;
    if (held[index] === null) held[index] = read(index);
  };
  return new Proxy(new Array<Entry>(count).fill(null as never), {
    get: (held, key) => {
      fill(held, key);
      return Reflect.get(held, key);
    },
    getOwnPropertyDescriptor: (held, key) => {
      fill(held, key);
      return Reflect.getOwnPropertyDescriptor(held, key);
    },
  });
}

/** Where entries that nobody has read lie. */
export interface Unread<Entry> {
  has(name: string): boolean;
  /** Of a name that there is; throws where the entry is wrong. */
  read(name: string): Entry;
  /** All names in their order, those that are known with them; throws ArtifactError where they cannot be read. */
  names(): readonly string[];
}

/** Entries by name, each read when it is first asked for; `known` were read at once. */
export class NamedEntries<Entry> implements ReadonlyMap<string, Entry> {
  readonly known: ReadonlyMap<string, Entry>;
  readonly #held: Map<string, Entry>;
  readonly #unread: Unread<Entry>;

  constructor(known: ReadonlyMap<string, Entry>, unread: Unread<Entry>) {
    this.known = known;
    this.#held = new Map(known);
    this.#unread = unread;
  }

  get size(): number {
    return this.#unread.names().length;
  }

  has(name: string): boolean {
    return this.#held.has(name) || this.#unread.has(name);
  }

  get(name: string): Entry | undefined {
    if (!this.#held.has(name) && this.#unread.has(name)) this.#held.set(name, this.#unread.read(name));
    return this.#held.get(name);
  }

  keys(): MapIterator<string> {
    return this.#unread.names().values();
  }

  values(): MapIterator<Entry> {
    return this.#all().values();
  }

  entries(): MapIterator<[string, Entry]> {
    return this.#all().entries();
  }

  [Symbol.iterator](): MapIterator<[string, Entry]> {
    return this.entries();
  }

  forEach(act: (entry: Entry, name: string, entries: ReadonlyMap<string, Entry>) => void): void {
    this.#all().forEach(act);
  }

  #all(): Map<string, Entry> {
    return new Map(this.#unread.names().map((name) => [name, this.get(name) as Entry]));
  }
}
