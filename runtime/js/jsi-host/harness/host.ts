/**
 * What host.cpp put into the engine, and the globals that an app has beyond the language itself.
 *
 * Hermes, Expo and React Native give an app `console`, `TextEncoder`, `TextDecoder`, `performance` and
 * `AbortController`; the decoder here is Expo's, the controller the package that React Native takes.
 */

import { AbortController, AbortSignal } from "abort-controller";
import { TextDecoder } from "expo-text-decoder";
import type { FileSystem } from "../../src/core/file-system.js";

interface Host {
  readonly arguments: readonly string[];
  print(text: string): void;
  exists(path: string): boolean;
  size(path: string): number;
  readBytes(path: string, offset: number, length: number): ArrayBuffer;
  encode(text: string): ArrayBuffer;
  /** Milliseconds. */
  now(): number;
  /** Threads of the process, without those of the engine. */
  threads(): number;
  /** End the program when JavaScript has nothing more to do at once. */
  end(code: number): void;
}

declare const host: Host;

const { arguments: programArguments, print, now } = host;

export { now, print, programArguments };

/** The fewest threads within a while: one that the binding answers from ends only after its answer came. */
export function fewestThreads(): number {
  let fewest = host.threads();
  for (const until = now() + 200; now() < until; ) fewest = Math.min(fewest, host.threads());
  return fewest;
}

/** Return when there are `expected` threads; throws when there never are. */
export function waitForThreads(expected: number): void {
  for (const until = now() + 5000; host.threads() !== expected; ) {
    if (now() > until) throw new Error(`${host.threads()} threads, expected ${expected}`);
  }
}

/** The disk. */
export const files: FileSystem = {
  exists: async (path) => host.exists(path),
  size: async (path) => host.size(path),
  readBytes: async (path, offset, length) => new Uint8Array(host.readBytes(path, offset, length)),
};

class TextEncoder {
  encode(text: string): Uint8Array {
    return new Uint8Array(host.encode(text));
  }
}

const assert = (isRight: unknown, ...items: unknown[]) => void (isRight || log(...items));
const log = (...items: unknown[]) => print(items.map(String).join(" "));
const globals = { AbortController, AbortSignal, TextDecoder, TextEncoder, performance: { now } };
Object.assign(globalThis, globals, { console: { log, info: log, warn: log, error: log, assert } });

/** Run a program to its end; true is success. */
export function runProgram(main: () => Promise<boolean>): void {
  main().then(
    (isGood) => host.end(isGood ? 0 : 1),
    (error: unknown) => {
      print(error instanceof Error ? `${error.name}: ${error.message}\n${error.stack}` : String(error));
      host.end(1);
    },
  );
}
