/**
 * Adapters that a visitor has added, kept so that they are there after a reload.
 *
 * Knows nothing about models: files by the name of the adapter and the base that it was added to.
 */

import { ADAPTER_FILES } from "@edgelora/runtime/web";

const CACHE = "edgelora-page-added";
const PAGE = new URL(".", document.baseURI).href; // another page of the same origin has its own

/** An adapter's name and its files. */
export interface KeptAdapter {
  readonly name: string;
  readonly files: readonly File[];
}

/** Those for the base whose grid has the hash `base`. Where the browser keeps nothing there are none. */
export class KeptAdapters {
  readonly #folder: string;

  constructor(base: string) {
    this.#folder = `${PAGE}added/${base}/`;
  }

  async all(): Promise<KeptAdapter[]> {
    const found = new Map<string, File[]>();
    const cache = await open();
    for (const { url } of (await cache?.keys()) ?? []) {
      if (!url.startsWith(this.#folder)) continue;
      const [name = "", file = ""] = url.slice(this.#folder.length).split("/").map(decodeURIComponent);
      const bytes = await (await cache?.match(url))?.blob();
      if (bytes !== undefined) found.set(name, [...(found.get(name) ?? []), new File([bytes], file)]);
    }
    return [...found].map(([name, files]) => ({ name, files }));
  }

  async add(name: string, files: readonly File[]): Promise<void> {
    const cache = await open();
    for (const file of files.filter((item) => ADAPTER_FILES.includes(item.name))) {
      await cache?.put(this.#address(name, file.name), new Response(file));
    }
  }

  async remove(name: string): Promise<void> {
    const cache = await open();
    for (const file of ADAPTER_FILES) await cache?.delete(this.#address(name, file));
  }

  #address(name: string, file: string): string {
    return `${this.#folder}${encodeURIComponent(name)}/${file}`;
  }
}

async function open(): Promise<Cache | null> {
  return "caches" in window ? caches.open(CACHE) : null; // insecure addresses have none
}
