/**
 * The service worker: keeps the page's own files and onnxruntime's, and serves them when there is no network.
 *
 * Knows nothing about artifacts: their requests pass through, the runtime answers them from its own cache.
 */

/** The parts of a service worker that are used; the page's types know only windows. */
interface ServiceWorkerScope {
  readonly registration: { readonly scope: string };
  readonly clients: { claim(): Promise<void> };
  skipWaiting(): Promise<void>;
  addEventListener(type: "install" | "activate", listener: (event: Waiting) => void): void;
  addEventListener(
    type: "message",
    listener: (
      event: Waiting & { readonly data: { readonly keep: string[] }; readonly ports: readonly MessagePort[] },
    ) => void,
  ): void;
  addEventListener(type: "fetch", listener: (event: Fetching) => void): void;
}

interface Waiting {
  waitUntil(promise: Promise<unknown>): void;
}

interface Fetching extends Waiting {
  readonly request: Request;
  respondWith(response: Promise<Response>): void;
}

const PREFIX = "edgelora-page-";
const worker = self as unknown as ServiceWorkerScope;
const { scope } = worker.registration;

worker.addEventListener("install", (event) => event.waitUntil(install()));
worker.addEventListener("activate", (event) => event.waitUntil(worker.clients.claim()));
worker.addEventListener("message", (event) => {
  const done = keep(event.data.keep).then(() => event.ports[0]?.postMessage("kept"));
  event.waitUntil(done);
});
worker.addEventListener("fetch", (event) => {
  const { request } = event;
  const path = request.url.startsWith(scope) ? (request.url.slice(scope.length).split(/[?#]/)[0] as string) : null;
  if (request.method !== "GET" || path === null || /^(artifact|second)\//.test(path) || path === "shell.json") return;
  event.respondWith(request.mode === "navigate" ? page(request) : kept(request));
});

async function install(): Promise<void> {
  const { version, files } = (await (await fetch(`${scope}shell.json`, { cache: "no-cache" })).json()) as {
    version: string;
    files: string[];
  };
  const cache = await caches.open(PREFIX + version);
  await cache.addAll(files.map((file) => new Request(scope + file, { cache: "no-cache" })));
  await cache.put(`${scope}ready`, new Response()); // a version without this was not kept whole
  for (const name of await caches.keys()) {
    if (name.startsWith(PREFIX) && name !== PREFIX + version) await caches.delete(name);
  }
  await worker.skipWaiting();
}

/** The page as the server has it now; as it was when there is no network. */
async function page(request: Request): Promise<Response> {
  try {
    return await fetch(request);
  } catch (error) {
    const found = await find(scope);
    if (found === undefined) throw error;
    return found;
  }
}

/** Files whose names change with their content, and onnxruntime's: what is there is right. */
async function kept(request: Request): Promise<Response> {
  return (await find(request.url)) ?? fetch(request);
}

async function keep(files: readonly string[]): Promise<void> {
  const cache = await current();
  for (const file of files) if ((await cache?.match(scope + file)) === undefined) await cache?.add(scope + file);
}

async function find(address: string): Promise<Response | undefined> {
  return (await current())?.match(address, { ignoreSearch: true });
}

async function current(): Promise<Cache | null> {
  for (const name of await caches.keys()) {
    if (!name.startsWith(PREFIX)) continue;
    const cache = await caches.open(name);
    if ((await cache.match(`${scope}ready`)) !== undefined) return cache;
  }
  return null;
}
