/**
 * Threads of a worker, made by its page: what asks for them in the worker, and what makes them in the page.
 *
 * Knows nothing about what a thread does. onnxruntime calls `new Worker` where it runs, and in Firefox that call may
 * never return in a worker (docs/log.md); a page has its new worker at once.
 */

/** What a worker asks its page for; the port that is sent with it stands for the thread. */
interface WantedThread {
  readonly kind: "thread";
  readonly address: string;
  readonly options: WorkerOptions;
}

type ToThread = { readonly data: unknown } | { readonly ends: true };
type FromThread = { readonly data: unknown } | { readonly error: string };

/** What onnxruntime uses of `Worker`, in a worker; the page has the real one. */
export class Thread {
  onmessage: ((event: { readonly data: unknown }) => void) | null = null;
  readonly #port: MessagePort;

  constructor(address: string | URL, options: WorkerOptions = {}) {
    const { port1, port2 } = new MessageChannel();
    this.#port = port1;
    port1.onmessage = ({ data }: MessageEvent<FromThread>) => {
      if ("error" in data) throw new Error(data.error); // ends the worker: onnxruntime would wait for the thread for ever
      this.onmessage?.(data);
    };
    const wanted: WantedThread = { kind: "thread", address: String(address), options };
    self.postMessage(wanted, { transfer: [port2] });
  }

  postMessage(data: unknown): void {
    this.#port.postMessage({ data } satisfies ToThread);
  }

  terminate(): void {
    this.#port.postMessage({ ends: true } satisfies ToThread);
  }
}

/** Make the threads that `worker` asks for, and carry what they say to each other; call what is returned to end them. */
export function makeThreads(worker: Worker): () => void {
  const threads: (Worker | null)[] = [];
  const ending = new AbortController();
  const make = (event: MessageEvent<WantedThread | { readonly kind: unknown }>) => {
    const { data } = event;
    if (data.kind !== "thread") return;
    event.stopImmediatePropagation(); // nobody else knows this kind
    threads.push(makeThread(data as WantedThread, event.ports[0] as MessagePort));
  };
  worker.addEventListener("message", make, { signal: ending.signal });
  return () => {
    ending.abort(); // what the worker asked for before its end may still come
    for (const thread of threads) thread?.terminate();
  };
}

function makeThread({ address, options }: WantedThread, port: MessagePort): Worker | null {
  const send = (message: FromThread) => port.postMessage(message);
  const fail = (reason: string) => send({ error: `a thread from ${address} ${reason}` });
  let thread: Worker;
  try {
    thread = new Worker(address, options);
  } catch (error) {
    fail(`was refused: ${(error as Error).message}`); // by a policy, in Firefox
    return null;
  }
  thread.onmessage = ({ data }) => send({ data });
  thread.onerror = ({ message }) => {
    fail(message ? `stopped: ${message}` : "cannot be started; a policy wants its address in worker-src");
  };
  port.onmessage = ({ data }: MessageEvent<ToThread>) => {
    if ("ends" in data) thread.terminate();
    else thread.postMessage(data.data);
  };
  return thread;
}
