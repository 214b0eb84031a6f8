/**
 * The example page, served by its own server.
 *
 * Knows nothing about what is tested.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import type { BrowserContext, CDPSession, Page } from "playwright-core";
import { keep } from "./drivers.js";

const AXE = createRequire(import.meta.url).resolve("axe-core/axe.min.js");

/** Where the page is. */
export const EXAMPLE = fileURLToPath(new URL("../../../../../examples/browser", import.meta.url));

/** Where pictures for people go. */
export const SCREENSHOTS = fileURLToPath(new URL("../../../../../build/screenshots", import.meta.url));

export interface ExampleServer {
  readonly address: string;
  stop(): Promise<void>;
}

/** `npm run serve -- ARTIFACT [SECOND] 0 [--host HOST]`, without npm. */
export async function serveExample(artifact: string, port = 0, second?: string, host?: string): Promise<ExampleServer> {
  const folders = second === undefined ? [artifact] : [artifact, second];
  const given = [...folders, String(port), ...(host === undefined ? [] : ["--host", host])];
  const server = spawn(process.execPath, ["serve.mjs", ...given], { cwd: EXAMPLE });
  const line = await firstLine(server);
  const [address] = /http:\S+/.exec(line) ?? [];
  if (address === undefined) throw new Error(`the server did not start: ${line}`);
  const stop = async () => {
    if (server.exitCode !== null || server.signalCode !== null) return;
    const ended = once(server, "exit");
    server.kill();
    await ended;
  };
  return { address, stop };
}

async function firstLine(server: ChildProcess): Promise<string> {
  let said = "";
  server.stderr?.on("data", (part) => (said += part));
  const ended = once(server, "exit").then(() => said);
  const spoke = once(server.stdout as NodeJS.ReadableStream, "data").then(([part]) => String(part));
  return Promise.race([spoke, ended]);
}

/** Say yes where the page asks before it downloads, and wait until it is loading or done. */
export async function agree(page: Page): Promise<void> {
  await page.locator("#start:visible, #loading:visible, #app:visible").first().waitFor({ timeout: 60_000 });
  if (await page.locator("#start").isVisible()) await page.locator("#start").click();
}

/** The page once the model is there. */
export async function openExample(context: BrowserContext, address: string, query = "?backend=wasm"): Promise<Page> {
  const page = await context.newPage();
  await keep(context, address);
  await page.goto(`${address}/${query}`);
  await agree(page);
  await page.locator("#app").waitFor({ timeout: 120_000 });
  return page;
}

/** Write `text`, send it with the Enter key, and wait for the whole answer. */
export async function ask(page: Page, text: string, maxTokens: number): Promise<string> {
  const answers = page.locator("#log .answered");
  await page.locator("#send:not([disabled])").waitFor();
  const before = await answers.count();
  await fillNumber(page, "At most", String(maxTokens));
  await page.getByLabel("Your text").fill(text);
  await page.getByLabel("Your text").press("Enter");
  const answer = answers.nth(before);
  await answer.and(page.locator('[aria-busy="false"]')).waitFor({ timeout: 300_000 });
  return textOf(page, before);
}

/** Put a number into a field; in Firefox, Playwright's own `fill` writes behind the one that is there. */
export async function fillNumber(page: Page, label: string, text: string): Promise<void> {
  await page.getByLabel(label).evaluate((input, value) => {
    (input as HTMLInputElement).value = value;
  }, text);
}

/** What the answer with this number says, without the marks of swaps. */
export function textOf(page: Page, index: number): Promise<string> {
  return page
    .locator("#log .answered .text")
    .nth(index)
    .evaluate((element) =>
      [...element.childNodes]
        .filter((node) => (node as Element).className === "words")
        .map((node) => node.textContent)
        .join(""),
    );
}

/** Click `selector` as soon as the next answer has begun. */
export function clickAtFirstText(page: Page, selector: string): Promise<void> {
  return page.evaluate((wanted) => {
    const observer = new MutationObserver(() => {
      if (document.querySelector('[aria-busy="true"] .words')?.textContent === "") return;
      observer.disconnect();
      document.querySelector<HTMLElement>(wanted)?.click();
    });
    observer.observe(document.getElementById("log") as HTMLElement, { childList: true, subtree: true });
  }, selector);
}

interface Axe {
  run(): Promise<{ violations: { id: string; nodes: { html: string }[] }[] }>;
}

/** What axe finds amiss on the page as it is. */
export async function findProblems(page: Page): Promise<string[]> {
  await page.evaluate(await readFile(AXE, "utf8")); // a script element would be refused by the page's policy
  const { violations } = await page.evaluate(() => (globalThis as unknown as { axe: Axe }).axe.run());
  return violations.map(({ id, nodes }) => [id, ...nodes.map((node) => node.html)].join(" "));
}

/** Drag a folder of the disk from outside over the page and let it go, as a file manager does. */
export async function dropFolder(session: CDPSession, folder: string): Promise<void> {
  const data = { items: [], files: [folder], dragOperationsMask: 1 };
  for (const type of ["dragEnter", "dragOver", "drop"] as const) {
    await session.send("Input.dispatchDragEvent", { type, x: 200, y: 200, data });
  }
}
