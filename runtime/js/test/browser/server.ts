/**
 * A file server for tests that misbehaves when told to: cuts answers, refuses ranges, sends other bytes.
 *
 * Knows nothing about artifacts.
 */

import { readFile } from "node:fs/promises";
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join, normalize } from "node:path";
import { gzipSync } from "node:zlib";

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
  /** Say nothing any more after so many bytes of an answer. */
  readonly stallsAfter?: number;
  /** Answer with this page, as a network that wants a login does. */
  readonly page?: string;
}

export interface Request {
  readonly path: string;
  /** With the "?", empty where there is none. */
  readonly query: string;
  readonly range: string | null;
  readonly headers: IncomingHttpHeaders;
}

/** How a server answers all requests. */
export interface Manner {
  /** The headers that threads need. */
  readonly isIsolated?: boolean;
  /** Pages of other origins may read the answers. */
  readonly isShared?: boolean;
  /** Compress what is asked for whole. */
  readonly compresses?: boolean;
  /** Headers of every answer. */
  readonly headers?: Readonly<Record<string, string>>;
}

export interface TestServer {
  readonly origin: string;
  /** By path, "/artifact/weights.bin". */
  readonly faults: Map<string, Fault>;
  readonly requests: Request[];
  close(): Promise<void>;
}

/** Content types by the ends of names. */
export const TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".mjs": "text/javascript",
  ".wasm": "application/wasm",
  ".json": "application/json",
  ".css": "text/css",
  ".svg": "image/svg+xml",
};

/** Serve folders by the first part of the path. */
export async function serve(folders: Readonly<Record<string, string>>, manner: Manner = {}): Promise<TestServer> {
  const faults = new Map<string, Fault>();
  const requests: Request[] = [];
  const server = createServer((request, response) => {
    const [path = "", query] = (request.url as string).split("?").map(decodeURIComponent);
    if (manner.isShared) share(request, response);
    if (request.method === "OPTIONS") {
      response.writeHead(204).end();
      return;
    }
    const { headers } = request;
    requests.push({ path, query: query === undefined ? "" : `?${query}`, range: headers.range ?? null, headers });
    const fault = faults.get(path) ?? {};
    if (fault.times === 1) faults.set(path, fault.afterwards ?? {});
    else if (fault.times !== undefined) faults.set(path, { ...fault, times: fault.times - 1 });
    answer(folders, path, request, response, fault, manner).catch(() => response.destroy());
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
  manner: Manner,
): Promise<void> {
  for (const [name, value] of Object.entries(manner.headers ?? {})) response.setHeader(name, value);
  if (manner.isIsolated) {
    response.setHeader("cross-origin-opener-policy", "same-origin");
    response.setHeader("cross-origin-embedder-policy", "require-corp");
  }
  if (fault.delayMs !== undefined) await new Promise((resolve) => setTimeout(resolve, fault.delayMs));
  if (fault.page !== undefined) {
    response.writeHead(200, { "content-type": "text/html" }).end(fault.page);
    return;
  }
  const [, first = "", ...rest] = normalize(path.replace(/\/$/, "/index.html")).split("/");
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
  if (manner.compresses && asked === null) {
    const packed = gzipSync(file);
    response.writeHead(200, { "content-encoding": "gzip", "content-length": packed.length }).end(packed);
    return;
  }
  const part = file.subarray(start);
  response.writeHead(asked === null ? 200 : 206, {
    "content-type": TYPES[extname(rest.at(-1) ?? "")] ?? "application/octet-stream",
    "content-length": part.length,
    ...(asked === null ? {} : { "content-range": `bytes ${start}-${file.length - 1}/${file.length}` }),
  });
  if (fault.stallsAfter !== undefined) {
    response.write(part.subarray(0, fault.stallsAfter));
    return;
  }
  if (fault.cutAfter === undefined) {
    response.end(part);
    return;
  }
  const sent = () => setTimeout(() => response.destroy(), 400); // what has not been read by then is lost to the page
  response.write(part.subarray(0, fault.cutAfter), sent);
}

/** Let a page of any origin ask and read, its credentials included. */
function share(request: IncomingMessage, response: ServerResponse): void {
  response.setHeader("access-control-allow-origin", request.headers.origin ?? "*");
  response.setHeader("access-control-allow-credentials", "true");
  response.setHeader("access-control-allow-headers", request.headers["access-control-request-headers"] ?? "range");
  response.setHeader("access-control-expose-headers", "x-repo-commit");
  response.setHeader("cross-origin-resource-policy", "cross-origin");
}
