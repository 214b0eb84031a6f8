/**
 * Pages that were built from the package, in Chromium.
 *
 * Knows nothing about bundlers.
 */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { cpSync, rmSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { extname, join, normalize } from "node:path";
import type { Browser } from "playwright-core";
import { TYPES } from "../browser/server.js";
import { CONFORMANCE } from "../places.js";
import { CASE } from "./cases.js";
import { CONSUMERS } from "./install.js";

/** What threads need. */
export const ISOLATED = { "cross-origin-opener-policy": "same-origin", "cross-origin-embedder-policy": "require-corp" };

export interface StaticServer {
  readonly origin: string;
  close(): Promise<void>;
}

/** Serve folders by the beginnings of paths, each ending in "/", the longest first. */
export async function serveFolders(
  folders: Readonly<Record<string, string>>,
  headers: Readonly<Record<string, string>> = {},
): Promise<StaticServer> {
  const server = createServer(async (request, response) => {
    const path = normalize(decodeURIComponent((request.url as string).split("?")[0] as string));
    const [beginning, folder] = Object.entries(folders).find(([name]) => path.startsWith(name)) ?? [];
    const rest = path.slice(beginning?.length ?? 0) || "index.html";
    const bytes = folder === undefined ? null : await readFile(join(folder, rest)).catch(() => null);
    for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
    response.writeHead(bytes === null ? 404 : 200, { "content-type": TYPES[extname(rest)] ?? "text/plain" });
    response.end(bytes ?? "no such file");
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const close = () =>
    new Promise<void>((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    });
  return { origin, close };
}

/** What every page serves as it is: an artifact, and onnxruntime's files where the package's own command puts them. */
export function makePublic(folder: string, app: string = CONSUMERS): void {
  rmSync(folder, { recursive: true, force: true });
  cpSync(join(CONFORMANCE, CASE.artifact), join(folder, "artifact"), { recursive: true });
  execFileSync(join(app, "node_modules/.bin/edgelora-ort"), [join(folder, "ort"), "wasm"], { cwd: app });
}

/** One of the page's answers. */
export interface PageAnswer {
  readonly name: string;
  readonly ids: readonly number[];
  readonly backend: string;
}

/** What the page at `address` has in `answers`; an error tells what the page's console said. */
export async function answersOf(
  browser: Browser,
  address: string,
  query: Readonly<Record<string, string>> = {},
): Promise<PageAnswer[]> {
  const context = await browser.newContext();
  const said: string[] = [];
  try {
    const page = await context.newPage();
    page.on("console", (message) => said.push(message.text()));
    page.on("pageerror", (error) => said.push(String(error)));
    await page.goto(`${address}?${new URLSearchParams({ case: JSON.stringify(CASE), ...query })}`);
    await page.waitForFunction(() => "answers" in globalThis, null, { timeout: 60_000 });
    return (await page.evaluate(() => (globalThis as unknown as { answers: unknown }).answers)) as PageAnswer[];
  } catch (error) {
    throw new Error(`${address}: ${(error as Error).message}\n${said.join("\n")}`);
  } finally {
    await context.close();
  }
}

/** Holds answers to the case's, one for each of `names`. */
export function assertRight(answers: readonly PageAnswer[], names: readonly string[]): void {
  assert.deepEqual(
    answers.map(({ name, ids }) => ({ name, ids })),
    names.map((name) => ({ name, ids: CASE.expected_ids })),
  );
}
