/**
 * Turns that tabs and workers of one origin take, by the browser's Web Locks. Where it has none, nobody waits.
 *
 * Knows nothing about what is done in a turn.
 */

const PREFIX = "edgelora:";

function manager(): LockManager | null {
  return (globalThis.navigator as Navigator | undefined)?.locks ?? null;
}

/** Do `work` while nobody else of this origin does what has the same name. The signal ends the waiting alone. */
export function alone<Result>(name: string, work: () => Promise<Result>, signal?: AbortSignal): Promise<Result> {
  const locks = manager();
  if (locks === null) return work();
  return locks.request(PREFIX + name, signal ? { signal } : {}, work) as Promise<Result>;
}

/** Say that something is in use, until what is returned is called, or this page or worker ends. */
export function use(name: string): () => void {
  const locks = manager();
  let release = () => {};
  const released = new Promise<void>((resolve) => {
    release = resolve;
  });
  void locks?.request(PREFIX + name, { mode: "shared" }, () => released).catch(() => {});
  return release;
}

/** Names of all that is in use or being done, in any tab, as often as it is. */
export async function inUse(): Promise<readonly string[]> {
  const { held = [] } = (await manager()?.query()) ?? {};
  return held.flatMap(({ name }) => (name?.startsWith(PREFIX) ? [name.slice(PREFIX.length)] : []));
}

/** What an artifact is called among what is in use. */
export function artifactName(address: string): string {
  return `artifact ${address}`;
}
