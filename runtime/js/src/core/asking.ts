/**
 * How servers are asked for files, and that they answer in streams.
 *
 * Knows nothing about what is asked for.
 */

import { InputError } from "./errors.js";

/** What is used of `fetch`, so that those of other packages fit. */
export type Fetch = (
  address: string,
  init: {
    readonly headers?: Record<string, string>;
    readonly credentials?: RequestCredentials;
    readonly cache?: "no-store" | "no-cache";
    readonly signal?: AbortSignal;
  },
) => Promise<Response>;

/** How servers are asked. */
export interface Asking {
  readonly headers?: Readonly<Record<string, string>> | undefined;
  readonly credentials?: RequestCredentials | undefined;
  /** Must give bodies as streams: browsers, Node and Expo do, React Native's own does not. */
  readonly fetch?: Fetch | undefined;
  /** Milliseconds after which a connection that brings no byte is taken up anew; 30,000 where it is left out. */
  readonly stalledMs?: number | undefined;
}

/** The bytes of the file that an answer sends; null where its length may be that of something else. */
export function lengthOf({ type, headers }: Response): string | null {
  // What another origin sends may be compressed without this page being told: its length is then not the file's.
  return type === "basic" && !headers.has("content-encoding") ? headers.get("content-length") : null;
}

/** The body of an answer as a stream; throws InputError where this `fetch` only gives bodies whole. */
export function streamOf(response: Response): ReadableStream<Uint8Array> {
  if (typeof response.body?.getReader === "function") return response.body;
  throw new InputError(
    "this fetch gives no stream, so files would have to lie in memory whole; give one that does, such as that of expo/fetch",
  );
}
