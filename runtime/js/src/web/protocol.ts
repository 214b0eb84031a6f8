/**
 * What a page and its worker say to each other.
 *
 * Knows nothing about who sends: messages, and errors in a form that can be sent.
 */

import type { EncoderModel } from "../core/encoder-model.js";
import {
  AdapterError,
  ArtifactError,
  BackendError,
  type BackendFault,
  ConnectionError,
  EdgeLoraError,
  InputError,
} from "../core/errors.js";
import type { FileProgress } from "../core/files.js";
import type { RowPiece } from "../core/generation.js";
import type { LoadAdapterOptions, LoadedModel } from "../core/loaded-model.js";
import type { Message } from "../core/messages.js";
import type { ChatOptions, ForTask, GenerateOptions, Model, Wanted } from "../core/model.js";
import type { WithAdapters } from "../core/request.js";
import type { Progress, SentPlace } from "./artifact.js";
import type { BackendChoice } from "./choice.js";
import type { FolderCopy } from "./folders.js";
import type { WebOptions } from "./load.js";
import type { SentManifest } from "./sent-manifest.js";

/** Methods whose arguments are sent as they are; the last one is an object of options, which gets the signal. */
export type SentMethod =
  | Exclude<keyof Model & string, "generate" | "chat">
  | Exclude<keyof EncoderModel, keyof LoadedModel<never, never>>;

type Sent<Options> = Omit<Options, "signal">;

/** What the page asks for. Every answer carries the `id`. */
export type Call =
  | { readonly kind: "load"; readonly place: SentPlace; readonly options: SentLoadOptions }
  | {
      readonly kind: "loadAdapter";
      readonly name: string;
      readonly folder: string | FolderCopy;
      readonly options: Omit<LoadAdapterOptions, "signal" | "onProgress">;
    }
  | {
      readonly kind: "generate";
      readonly prompt: string | readonly string[];
      readonly options: Sent<GenerateOptions & WithAdapters>;
    }
  | {
      readonly kind: "chat";
      readonly messages: readonly Message[];
      readonly options: Sent<ChatOptions & WithAdapters>;
    }
  | {
      readonly kind: "call";
      readonly method: SentMethod;
      readonly args: readonly unknown[];
      readonly options: Readonly<Record<string, unknown>>;
    }
  | { readonly kind: "wasmBytes" }
  | { readonly kind: "dispose" };

/** The options of `load` that are no functions. */
export type SentLoadOptions = Omit<WebOptions & ForTask<Wanted>, "signal" | "onProgress" | "onWarning" | "makeRoom">;

/** A call with the number by which its answers are known, or the end of one: a stopped answer still comes, cut short. */
export type ToWorker = (Call & { readonly id: number }) | { readonly kind: "abort" | "stop"; readonly id: number };

/** What changes with calls, sent with every result. */
export interface ModelState {
  readonly adapters: readonly string[];
  readonly adapter: string;
  readonly backend: string;
  readonly choice: BackendChoice;
}

/** What a page must know of a model that was loaded, beside its state. */
export interface Loaded {
  readonly manifest: SentManifest;
}

/** What the worker answers: any number of the first three, then one of the others. */
export type FromWorker =
  | { readonly kind: "piece"; readonly id: number; readonly piece: string | RowPiece }
  | { readonly kind: "progress"; readonly id: number; readonly progress: Progress | FileProgress }
  | { readonly kind: "warning"; readonly id: number; readonly message: string }
  | { readonly kind: "result"; readonly id: number; readonly value: unknown; readonly state: ModelState | null }
  | { readonly kind: "error"; readonly id: number; readonly error: SentError }
  /** A message of the page could not be read. */
  | { readonly kind: "unread" };

/** An error without its class; structured clones keep no class of ours. */
export interface SentError {
  readonly name: string;
  readonly message: string;
  /** Of a BackendError. */
  readonly fault?: BackendFault | undefined;
}

const CLASSES = [EdgeLoraError, ArtifactError, AdapterError, InputError, BackendError, ConnectionError];
const BY_NAME: ReadonlyMap<string, new (message: string, fault: BackendFault) => Error> = new Map(
  CLASSES.map((item) => [new item("", "no-worker").name, item]),
);

/** An error as it is sent. */
export function sendError(error: unknown): SentError {
  const { name = "Error", message = String(error) } = (error ?? {}) as Partial<Error>;
  return { name, message, ...(error instanceof BackendError && { fault: error.fault }) };
}

/** The error that was sent: one of ours with its class, any other with its name. */
export function receiveError({ name, message, fault }: SentError): Error {
  const known = BY_NAME.get(name);
  if (known !== undefined) return new known(message, fault as BackendFault);
  if (name === "AbortError") return new DOMException(message, name);
  return Object.assign(new Error(message), { name });
}
