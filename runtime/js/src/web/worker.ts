/**
 * The worker's side: one model, which does what the page's messages ask for.
 *
 * Knows nothing about the page but its messages.
 */

import type { Answer } from "../core/answer.js";
import { InputError } from "../core/errors.js";
import type { RowPiece } from "../core/generation.js";
import { CopiedFolder } from "./folders.js";
import { load, type WebModel } from "./load.js";
import {
  type Call,
  type FromWorker,
  type Loaded,
  type ModelState,
  type SentMethod,
  sendError,
  type ToWorker,
} from "./protocol.js";
import { sendManifest } from "./sent-manifest.js";
import { Thread } from "./threads.js";

type SentAnswer = Answer<string | RowPiece, unknown>;
type Numbered = Call & { readonly id: number };

let model: WebModel<"any"> | null = null;
const running = new Map<number, AbortController>();
const answers = new Map<number, SentAnswer>();

// onnxruntime makes its memory itself and tells nobody how large it is. This worker is ours alone, so the constructor is
// watched; browsers' own measuring (measureUserAgentSpecificMemory) never ends while threads of wasm wait.
const memories: WebAssembly.Memory[] = [];
WebAssembly.Memory = class extends WebAssembly.Memory {
  constructor(descriptor: WebAssembly.MemoryDescriptor) {
    super(descriptor);
    memories.push(this);
  }
};

// Nobody but onnxruntime makes workers here, its threads.
globalThis.Worker = Thread as unknown as typeof Worker;

self.onmessage = ({ data }: MessageEvent<ToWorker>) => {
  switch (data.kind) {
    case "abort":
      return running.get(data.id)?.abort();
    case "stop":
      return answers.get(data.id)?.stop();
    default:
      void answer(data);
  }
};

// Which call it was nobody can tell: the page must not wait for an answer.
self.onmessageerror = () => send({ kind: "unread" });

async function answer(call: Numbered): Promise<void> {
  const { id } = call;
  const ending = new AbortController();
  running.set(id, ending);
  try {
    const value = await perform(call, ending.signal);
    send({ kind: "result", id, value, state: model && stateOf(model) });
  } catch (error) {
    send({ kind: "error", id, error: sendError(error) });
  } finally {
    running.delete(id);
    answers.delete(id);
  }
}

async function perform(call: Numbered, signal: AbortSignal): Promise<unknown> {
  if (call.kind === "load") return open(call, signal);
  if (model === null) throw new InputError("this worker has no model; load an artifact first");
  switch (call.kind) {
    case "call": {
      const methods = model as unknown as Record<SentMethod, (...args: unknown[]) => Promise<unknown>>;
      return methods[call.method](...call.args, { ...call.options, signal });
    }
    case "loadAdapter":
      return model.loadAdapter(
        call.name,
        typeof call.folder === "string" ? call.folder : new CopiedFolder(call.folder),
        { ...call.options, signal, onProgress: (progress) => send({ kind: "progress", id: call.id, progress }) },
      );
    case "generate":
    case "chat": {
      // The page has the methods of the model's task alone; which overload it is, the model checks.
      const methods = model as unknown as Record<"generate" | "chat", (...args: unknown[]) => SentAnswer>;
      const prompt = call.kind === "chat" ? call.messages : call.prompt;
      const answer = methods[call.kind](prompt, { ...call.options, signal });
      answers.set(call.id, answer);
      for await (const piece of answer) send({ kind: "piece", id: call.id, piece });
      return answer;
    }
    case "wasmBytes":
      return memories.reduce((sum, memory) => sum + memory.buffer.byteLength, 0);
    case "dispose":
      return model.dispose();
  }
}

async function open({ id, place, options }: Numbered & { kind: "load" }, signal: AbortSignal): Promise<Loaded> {
  model = await load(place, {
    ...options,
    signal,
    onProgress: (progress) => send({ kind: "progress", id, progress }),
    onWarning: (message) => send({ kind: "warning", id, message }),
  });
  return { manifest: sendManifest(model.manifest) };
}

function stateOf({ adapters, adapter, backend, choice }: WebModel<"any">): ModelState {
  return { adapters, adapter, backend, choice };
}

function send(message: FromWorker): void {
  self.postMessage(message);
}
