/**
 * A file server for tests that misbehaves when told to: cuts answers, refuses ranges, sends other bytes.
 *
 * Knows nothing about artifacts.
 */

import { readFile } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join, normalize } from "node:path";

/** What is wrong with one file. */
export interface Fault {
  /** Answer with this status and no bytes of the file. */
  readonly status?: number;
  /** Break the connection after so many bytes of an answer. */
  readonly cutAfter?: number;
  /** The fault is that of so many answers; afterwards it is `afterwards`, or none. */
  readonly times?: number;
  readonly afterwards?: Fault;
  /** Answer every request with the whole file. */
  readonly ignoresRanges?: boolean;
  /** The file ends here. */
  readonly truncatedAt?: number;
  /** This byte is another one. */
  readonly flippedAt?: number;
  /** Wait before each answer. */
  readonly delayMs?: number;
}

export interface Request {
  readonly path: string;
  readonly range: string | null;
}

export interface TestServer {
  readonly origin: string;
  /** By path, "/artifact/weights.bin". */
  readonly faults: Map<string, Fault>;
  readonly requests: Request[];
  close(): Promise<void>;
}

const TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".mjs": "text/javascript",
  ".wasm": "application/wasm",
  ".json": "application/json",
};

/** Serve folders by the first part of the path; `isIsolated` adds the headers that threads need. */
export async function serve(folders: Readonly<Record<string, string>>, isIsolated: boolean): Promise<TestServer> {
  const faults = new Map<string, Fault>();
  const requests: Request[] = [];
  const server = createServer((request, response) => {
    const path = decodeURIComponent((request.url as string).split("?")[0] as string);
    requests.push({ path, range: request.headers.range ?? null });
    const fault = faults.get(path) ?? {};
    if (fault.times === 1) faults.set(path, fault.afterwards ?? {});
    else if (fault.times !== undefined) faults.set(path, { ...fault, times: fault.times - 1 });
    answer(folders, path, request, response, fault, isIsolated).catch(() => response.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const close = () =>
    new Promise<void>((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  return { origin, faults, requests, close };
}

async function answer(
  folders: Readonly<Record<string, string>>,
  path: string,
  request: IncomingMessage,
  response: ServerResponse,
  fault: Fault,
  isIsolated: boolean,
): Promise<void> {
  if (isIsolated) {
    response.setHeader("cross-origin-opener-policy", "same-origin");
    response.setHeader("cross-origin-embedder-policy", "require-corp");
  }
  if (fault.delayMs !== undefined) await new Promise((resolve) => setTimeout(resolve, fault.delayMs));
  const [, first = "", ...rest] = normalize(path).split("/");
  const bytes = folders[first] === undefined ? null : await readFile(join(folders[first], ...rest)).catch(() => null);
  if (bytes === null || fault.status !== undefined) {
    response.writeHead(fault.status ?? 404).end("no such file");
    return;
  }
  if (fault.flippedAt !== undefined) bytes[fault.flippedAt] = (bytes[fault.flippedAt] as number) ^ 255;
  const file = bytes.subarray(0, fault.truncatedAt);
  const asked = fault.ignoresRanges ? null : /^bytes=(\d+)-$/.exec(request.headers.range ?? "");
  const start = asked === null ? 0 : Number(asked[1]);
  if (asked !== null && start >= file.length) {
    response.writeHead(416, { "content-range": `bytes */${file.length}` }).end();
    return;
  }
  const part = file.subarray(start);
  response.writeHead(asked === null ? 200 : 206, {
    "content-type": TYPES[extname(path)] ?? "application/octet-stream",
    "content-length": part.length,
    ...(asked === null ? {} : { "content-range": `bytes ${start}-${file.length - 1}/${file.length}` }),
  });
  if (fault.cutAfter === undefined) {
    response.end(part);
    return;
  }
  response.write(part.subarray(0, fault.cutAfter), () => setTimeout(() => response.destroy(), 20));
}
