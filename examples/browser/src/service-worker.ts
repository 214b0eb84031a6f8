/**
 * The service worker: keeps the page's own files and onnxruntime's, serves them when there is no network, and sends
 * the headers that threads need, whatever the server sends.
 *
 * Knows nothing about artifacts: their requests pass through, the runtime answers them from its own cache.
 */

/** The parts of a service worker that are used; the page's types know only windows. */
interface ServiceWorkerScope {
  readonly registration: { readonly scope: string };
  readonly clients: { claim(): Promise<void> };
  /** Written into the file by the build: a worker knows the files of its own version, and no others. */
  readonly SHELL: { readonly version: string; readonly ort: string; readonly files: readonly string[] };
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

const worker = self as unknown as ServiceWorkerScope;
const { scope } = worker.registration;
const { version, ort, files } = worker.SHELL;
// Another deployment on this origin has another scope: nothing of it is deleted.
const OWN = `edgelora-page ${scope} `;
const PAGE = `${OWN}${version}`;
const ORT = `${OWN}ort ${ort}`; // 14 MB that most versions of the page share

worker.addEventListener("install", (event) => event.waitUntil(install()));
worker.addEventListener("activate", (event) => event.waitUntil(activate()));
worker.addEventListener("message", (event) => {
  const [port] = event.ports;
  const done = keep(event.data.keep).then(
    () => port?.postMessage("kept"),
    () => port?.postMessage("not kept"),
  );
  event.waitUntil(done);
});
worker.addEventListener("fetch", (event) => {
  const { request } = event;
  const path = request.url.startsWith(scope) ? (request.url.slice(scope.length).split(/[?#]/)[0] as string) : null;
  if (request.method !== "GET" || path === null || /^(artifact|second)\//.test(path)) return;
  event.respondWith((request.mode === "navigate" ? page(request) : kept(request)).then(isolated));
});

async function install(): Promise<void> {
  const cache = await caches.open(PAGE);
  await cache.addAll(files.map((file) => new Request(scope + file, { cache: "no-cache" })));
}

/** A new version comes here when no tab runs the old one any more, whose files it may then delete. */
async function activate(): Promise<void> {
  for (const name of await caches.keys()) {
    if (name.startsWith(OWN) && name !== PAGE && name !== ORT) await caches.delete(name);
  }
  await worker.clients.claim();
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

async function keep(wanted: readonly string[]): Promise<void> {
  const cache = await caches.open(ORT);
  for (const file of wanted) if ((await cache.match(scope + file)) === undefined) await cache.add(scope + file);
}

async function find(address: string): Promise<Response | undefined> {
  for (const name of [PAGE, ORT]) {
    const found = await (await caches.open(name)).match(address, { ignoreSearch: true });
    if (found !== undefined) return found;
  }
  return undefined;
}

/** The same with the headers that page and workers need to have threads. */
function isolated(response: Response): Response {
  if (response.status === 0) return response; // a redirect that the browser follows
  const headers = new Headers(response.headers);
  headers.set("cross-origin-opener-policy", "same-origin");
  headers.set("cross-origin-embedder-policy", "require-corp");
  const { status, statusText } = response;
  return new Response([204, 205, 304].includes(status) ? null : response.body, { status, statusText, headers });
}
