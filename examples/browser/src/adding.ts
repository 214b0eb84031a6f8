/**
 * Adapters that a visitor adds to a model, and takes out again.
 *
 * Knows nothing about what the page does with them.
 */

import { filesFolder, type RemoteOf } from "@edgelora/runtime/web";
import { type ChosenFolder, freeName } from "./drop.ts";
import { find, showError } from "./elements.ts";
import { KeptAdapters } from "./kept-adapters.ts";

/** What was added to one model. */
export class AddedAdapters {
  readonly #model: RemoteOf<"any">;
  readonly #kept: KeptAdapters;
  readonly #names = new Set<string>();

  constructor(model: RemoteOf<"any">) {
    this.#model = model;
    this.#kept = new KeptAdapters(model.manifest.base.grid);
  }

  has(name: string): boolean {
    return this.#names.has(name);
  }

  /** Add those of an earlier visit; one that no longer fits is said and forgotten. */
  async restore(): Promise<void> {
    for (const { name, files } of await this.#kept.all()) {
      try {
        await this.#model.loadAdapter(name, await filesFolder(files, name));
        this.#names.add(name);
      } catch (error) {
        showError("adapter-error", error);
        await this.#kept.remove(name);
      }
    }
  }

  /** Add a folder; the name it has now, or null, with the reason on the page, where it is refused. */
  async add({ name, files }: ChosenFolder): Promise<string | null> {
    showError("adapter-error", null);
    const status = find("adapter-status", HTMLElement);
    const free = freeName(name, this.#model.adapters);
    status.textContent = `Reading ${name}`;
    try {
      await this.#model.loadAdapter(free, await filesFolder([...files], name));
    } catch (error) {
      status.textContent = "";
      showError("adapter-error", error);
      return null;
    }
    status.textContent = `${free} is there.`;
    this.#names.add(free);
    await this.#kept.add(free, files).catch((error) => showError("adapter-error", error)); // no room: until the reload
    return free;
  }

  async remove(name: string): Promise<void> {
    await this.#model.unloadAdapter(name);
    this.#names.delete(name);
    await this.#kept.remove(name);
    find("adapter-status", HTMLElement).textContent = `${name} was removed.`;
  }
}
