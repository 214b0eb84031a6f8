/** What the example page shows beside the chat: consent, examples, every adapter at once, receipts, figures. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { logSoftmax } from "../../src/core/sampling.js";
import { load, type Model } from "../../src/node.js";
import { changeManifest, copyArtifact } from "./artifacts.js";
import { has, keep, launch } from "./drivers.js";
import {
  ask,
  clickAtFirstText,
  type ExampleServer,
  fillNumber,
  findProblems,
  serveExample,
  textOf,
} from "./example.js";
import { serve } from "./server.js";

const ADAPTERS = ["one", "four", "eight"];
const TEXT = "Zwölf Boxkämpfer";

let browser: Browser;
let artifact: string;
let server: ExampleServer;
let context: BrowserContext;
let page: Page;
let reference: Model;

before(async () => {
  browser = await launch();
  artifact = await copyArtifact("tiny-float");
  reference = await load(artifact, { threads: 1 });
  await introduce();
  server = await serveExample(artifact);
  const permissions = ["clipboard-read", "clipboard-write"];
  context = await browser.newContext(has("Chromium's own protocol") ? { permissions } : {});
  await keep(context, server.address);
});
after(async () => {
  await reference.dispose();
  await browser.close();
  await server.stop();
  await rm(artifact, { recursive: true });
});

/** Give the adapters receipts that hold here, and words for people. */
async function introduce(): Promise<void> {
  const receipts = new Map<string, string>();
  for (const name of ADAPTERS) receipts.set(name, JSON.stringify(await receiptOf(name)));
  for (const [name, text] of receipts) await writeFile(join(artifact, `adapters/${name}/receipt.json`), text);
  await changeManifest(artifact, (manifest) => {
    for (const [name, text] of receipts) {
      const sha256 = createHash("sha256").update(text).digest("hex");
      manifest.files[`adapters/${name}/receipt.json`] = { bytes: Buffer.byteLength(text), sha256 };
    }
    const base = manifest.base as { [field: string]: unknown };
    Object.assign(base, { source: "owner/tiny", license: "mit" });
    const [one] = manifest.adapters as { [field: string]: unknown }[];
    Object.assign(one as object, { description: "Is the first.", examples: ["a b", "c d"], license: "apache-2.0" });
  });
}

async function receiptOf(name: string): Promise<object> {
  const ids = [0, 75, 372, 226, 21];
  const answers = [];
  for (const adapter of ["none", name]) {
    const [last] = await reference.logits(ids, { adapter, positions: [ids.length - 1] });
    answers.push(logSoftmax(last as Float32Array));
  }
  const [before, after] = answers as [Float64Array, Float64Array];
  const top = (logprobs: Float64Array) => {
    const found = [...logprobs.keys()].sort((x, y) => (logprobs[y] as number) - (logprobs[x] as number)).slice(0, 64);
    return { ids: found, logprobs: found.map((id) => logprobs[id]) };
  };
  const weights = await readFile(join(artifact, `adapters/${name}/adapter_model.safetensors`));
  const { fingerprint, grid } = reference.manifest.base;
  const tokenizer = reference.manifest.files.get("tokenizer.json")?.sha256;
  return {
    format_version: 1,
    base: { name: "base", fingerprint, grid, tokenizer },
    training: { raw: true },
    weights: createHash("sha256").update(weights).digest("hex"),
    probes: [
      {
        text: null,
        input_ids: ids,
        kl: before.reduce((sum, value, id) => sum + Math.exp(value) * (value - (after[id] as number)), 0),
        base: top(before),
        adapted: top(after),
      },
    ],
  };
}

const radio = (name: string) => page.getByRole("radio", { name, exact: true });
const tab = (name: string) => page.getByRole("tab", { name }).click();

test("it says what a download takes and waits; what is there is not asked for", async () => {
  const asked: string[] = [];
  page = await context.newPage();
  if (has("a list of requests")) page.on("request", (request) => asked.push(new URL(request.url()).pathname));
  await page.goto(`${server.address}/?backend=wasm`);
  await page.getByRole("button", { name: /^Download \d+(\.\d)? MB$/ }).waitFor();
  assert.match(
    (await page.locator("#consent-text").textContent()) as string,
    /^\d+(\.\d)? MB of model, once: it stays in this browser/,
  );
  assert.deepEqual(await findProblems(page), []);
  assert.deepEqual(
    asked.filter((path) => path.includes("weights") || path.endsWith(".wasm")),
    [],
  );
  await page.evaluate(() => {
    const seen: string[] = [];
    Object.assign(globalThis, { seen });
    const text = document.getElementById("loading-text") as HTMLElement;
    new MutationObserver(() => seen.push(text.textContent ?? "")).observe(text, { childList: true });
  });
  await page.locator("#start").click();
  await page.locator("#app").waitFor({ timeout: 60_000 });
  const seen = await page.evaluate(() => (globalThis as unknown as { seen: string[] }).seen);
  assert.ok(seen.includes("100 % of 14 MB of onnxruntime"), JSON.stringify(seen));
  assert.match((await page.locator("#model-name").textContent()) as string, /^base \(llama; owner\/tiny, mit\), in/);
  await page.getByText("Works without a network now").waitFor();
  await page.reload();
  await page.locator("#app").waitFor();
  assert.ok(await page.locator("#consent").isHidden());
});

test("an adapter is introduced, and its examples can be asked with one click", async () => {
  await page.getByRole("button", { name: "a b" }).waitFor(); // without an adapter: one of each
  assert.equal(await page.locator("#examples button").count(), 1);
  await radio("one").check();
  await page.getByText("Is the first. (apache-2.0)").waitFor();
  await page.getByRole("button", { name: "c d" }).click();
  await page.locator('#log .answered[aria-busy="false"]').waitFor();
  const { text } = await reference.generate("c d", { adapter: "one", maxNewTokens: 120 });
  assert.equal(await textOf(page, 0), text);
});

test("one text is answered by base and adapters side by side, in one batch", async () => {
  await tab("Side by side");
  assert.ok(await page.locator("#adapters").isHidden());
  await page.getByLabel("The text that all of them answer").fill(TEXT);
  await fillNumber(page, "Up to", "24");
  await page.getByRole("button", { name: "Answer with all" }).click();
  await page.getByText(/^4 answers in one batch: \d+ tokens in [\d.]+ s, [\d.]+ tokens\/s together\.$/).waitFor();
  const adapter = ["none", ...ADAPTERS];
  const expected = await reference.generate(
    adapter.map(() => TEXT),
    { adapter, maxNewTokens: 24 },
  );
  assert.deepEqual(
    await page.locator("#columns .words").allTextContents(),
    expected.map(({ text }) => text),
  );
  const colours = await page
    .locator("#columns .words")
    .evaluateAll((all) => all.map((item) => getComputedStyle(item).color));
  assert.equal(new Set(colours).size, 4);
  assert.deepEqual(await findProblems(page), []);
});

test("after a swap in the middle words have another colour, and its milliseconds are shown large", async () => {
  await tab("Chat");
  await page.getByRole("button", { name: "Clear" }).click();
  await radio("one").check();
  await page.getByText(/^one is on/).waitFor();
  await clickAtFirstText(page, 'input[value="four"]');
  await ask(page, TEXT, 40);
  const colours = await page
    .locator("#log .words")
    .evaluateAll((all) => all.map((item) => getComputedStyle(item).color));
  assert.equal(colours.length, 2);
  assert.notEqual(colours[0], colours[1]);
  const time = page.locator("#swap-time");
  assert.match((await time.textContent()) as string, /^\d+\.\d ms$/);
  assert.ok(await time.evaluate((element) => Number.parseFloat(getComputedStyle(element).fontSize) >= 32));
});

test("the last answer is rewritten while the slider of a blend moves", async () => {
  await page.getByRole("button", { name: "Clear" }).click();
  await ask(page, TEXT, 16);
  await radio("blend two").check();
  await page.getByText("one:0.50+four:0.50 is on").waitFor();
  await page.getByRole("slider").focus();
  for (let count = 0; count < 4; count++) await page.keyboard.press("ArrowRight");
  await page.getByText("one:0.30+four:0.70 is on").waitFor();
  const { text } = await reference.generate(TEXT, { adapter: "one:0.3+four:0.7", maxNewTokens: 16 });
  await page.locator("#log .answered .words").filter({ hasText: text }).waitFor();
  await page.locator("#send:not([disabled])").waitFor();
  assert.equal(await textOf(page, 0), text);
  assert.equal(await page.locator("#log .answered").count(), 1);
  assert.equal(await page.locator("#log .answered .adapter").textContent(), "one:0.30+four:0.70");
  assert.deepEqual(await findProblems(page), []);
});

test("a receipt's probe is replayed, and broken copies of its adapter are refused", async () => {
  await tab("Receipts");
  const card = page.locator(".receipt").filter({ hasText: "four" });
  await card.getByRole("button", { name: "Replay its probe" }).click();
  await card.getByText(/^It proves itself in \d+\.\d s: \S+ nats from its receipt, \S+ allowed\.$/).waitFor();
  await card.getByRole("button", { name: "Plant a copy with one byte turned" }).click();
  await card.getByText(/^Refused, as it should be: .*the receipt belongs to other factors/).waitFor();
  await card.getByRole("button", { name: "Plant a forged copy" }).click();
  await card.getByText(/^Refused, as it should be: .*nats away from the recorded one/).waitFor();
  assert.deepEqual(await findProblems(page), []);
  if (has("a switch for the network")) {
    await context.setOffline(true);
    await card.getByRole("button", { name: "Plant a forged copy" }).click();
    await card.getByText(/^The copy could not be made: /).waitFor(); // which is no refusal
    await context.setOffline(false);
  }
  await tab("Chat");
  assert.equal(await page.getByRole("radio").count(), ADAPTERS.length + 2);
});

test("what the device does is measured for every adapter, and copied as JSON", async () => {
  await tab("Figures");
  await page.getByRole("button", { name: "Measure" }).click();
  await page.getByText(/^Measured\./).waitFor({ timeout: 60_000 });
  assert.equal(await page.locator("#measured tr").count(), 4);
  assert.deepEqual(await findProblems(page), []);
  if (has("Chromium's own protocol")) {
    await page.getByRole("button", { name: "Copy" }).click();
    await page.getByText("Copied.").waitFor();
    const copied = await page.evaluate(() => navigator.clipboard.readText());
    assert.equal(copied, await page.locator("#measured-json").inputValue());
  }
  const record = JSON.parse(await page.locator("#measured-json").inputValue());
  assert.equal(record.grid, reference.manifest.base.grid);
  const [{ backend, loadMs, wasStored, adapters }] = record.backends;
  assert.match(backend, /wasm, \d threads?/);
  assert.ok(loadMs > 0 && wasStored);
  for (const [index, { adapter, firstSwitchMs, switchMs, decodeTokensPerSecond }] of adapters.entries()) {
    assert.equal(adapter, ["none", ...ADAPTERS][index]);
    assert.ok(firstSwitchMs >= 0 && switchMs >= 0 && decodeTokensPerSecond > 0, JSON.stringify(adapters[index]));
  }
});

test("the page and its worker can ask nobody else, and it can be installed", async () => {
  const other = await serve({}, { isShared: true });
  const found = await page.evaluate(async (address) => {
    const refused = await fetch(address).then(
      () => "answered",
      (error: Error) => error.name,
    );
    const text = `fetch(${JSON.stringify(address)}).then(() => postMessage("answered"), (e) => postMessage(e.name))`;
    const worker = new Worker(URL.createObjectURL(new Blob([text], { type: "text/javascript" })));
    const inWorker = await new Promise((resolve) => (worker.onmessage = ({ data }) => resolve(data)));
    return [refused, inWorker];
  }, other.origin);
  assert.deepEqual(found, ["TypeError", "TypeError"]);
  assert.deepEqual(other.requests, []);
  await other.close();
  const manifest = await page.evaluate(async () => {
    const link = document.querySelector<HTMLLinkElement>('link[rel="manifest"]') as HTMLLinkElement;
    const record = await (await fetch(link.href)).json();
    const icons = record.icons.map(({ src }: { src: string }) => fetch(src).then(({ ok }) => ok));
    return { display: record.display, icons: await Promise.all(icons) };
  });
  assert.deepEqual(manifest, { display: "standalone", icons: [true, true] });
});
