/** The example page: answers, swaps, adapters that are added, errors, and a second visit without a network. */

import assert from "node:assert/strict";
import { cp, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { load, type Model } from "../../src/node.js";
import { CONFORMANCE } from "../places.js";
import { changeManifest, copyArtifact, WEIGHTS } from "./artifacts.js";
import { has, launch, needs, unplug } from "./drivers.js";
import {
  agree,
  ask,
  clickAtFirstText,
  dropFolder,
  type ExampleServer,
  findProblems,
  openExample,
  serveExample,
} from "./example.js";

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
  await changeManifest(artifact, (manifest) => {
    const adapters = manifest.adapters as { name: string }[];
    manifest.adapters = adapters.filter((item) => item.name !== "eight"); // it is dropped onto the page later
  });
  server = await serveExample(artifact);
  context = await browser.newContext();
  page = await openExample(context, server.address);
  reference = await load(`${CONFORMANCE}/tiny-float`, { threads: 1 });
});
after(async () => {
  await reference.dispose();
  await browser.close();
  await server.stop();
  await rm(artifact, { recursive: true });
});

const radio = (name: string) => page.getByRole("radio", { name, exact: true });
const status = () => page.locator("#adapter-status");
const figure = (name: string) => page.locator(`#figure-${name}`);

async function assertAnswers(adapter: string, maxNewTokens = 24): Promise<void> {
  const expected = await reference.generate(TEXT, { adapter, maxNewTokens });
  assert.equal(await ask(page, TEXT, maxNewTokens), expected.text);
}

test("it answers as the runtime does elsewhere, without an adapter and with each", async () => {
  assert.match((await page.locator("#model-name").textContent()) as string, /^base \(llama\), in this browser/);
  await assertAnswers("none");
  for (const name of ["one", "four"]) {
    await radio(name).check();
    await page.getByText(new RegExp(`^${name} is on, after \\d+\\.\\d ms\\.$`)).waitFor();
    assert.match((await figure("swap").textContent()) as string, /^\d+\.\d ms$/);
    await assertAnswers(name);
    assert.equal(await page.locator(".answered .adapter").last().textContent(), name);
  }
  assert.match(
    (await figure("backend").textContent()) as string,
    /^onnxruntime-web, wasm, \d threads? \(it was asked for[;)]/,
  );
  assert.match((await figure("speed").textContent()) as string, /^\d+\.\d tokens\/s$/);
  assert.match((await figure("firstToken").textContent()) as string, /^\d+ ms$/);
  await page.waitForFunction(() =>
    /^\d+(\.\d)? MB in wasm$/.test(document.getElementById("figure-memory")?.textContent ?? ""),
  );
});

test("an adapter chosen in the middle goes on with the answer; a stop ends it", async () => {
  await radio("four").check();
  await page.getByText(/^four is on/).waitFor();
  const count = await page.locator(".answered").count();
  await clickAtFirstText(page, 'input[value="one"]');
  const swapped = await ask(page, TEXT, 60);
  assert.match(
    (await page.locator(".answered").nth(count).locator(".swap").textContent()) as string,
    /^⇄ one, \d+\.\d ms$/,
  );
  const alone = await reference.generate(TEXT, { adapter: "four", maxNewTokens: 60 });
  assert.notEqual(swapped, alone.text);
  let shared = 0;
  while (swapped[shared] === alone.text[shared]) shared += 1;
  // What the second adapter wrote is what it writes behind the words of the first, wherever the swap came.
  const tokenizer = await reference.tokenizer;
  const rendered = tokenizer?.render([{ role: "user", content: TEXT }]) as string;
  const ends = Array.from({ length: shared }, (_, index) => swapped.slice(0, index + 1));
  const rests = await Promise.all(
    ends.map(async (beginning) => {
      const ids = tokenizer?.encode(rendered + beginning, false) ?? [];
      return beginning + tokenizer?.decode(await reference.generateIds(ids, { adapter: "one", maxNewTokens: 60 }));
    }),
  );
  assert.ok(rests.includes(swapped), JSON.stringify(swapped));
  await clickAtFirstText(page, "#stop");
  const stopped = await ask(page, TEXT, 250);
  const whole = await reference.generate(TEXT, { adapter: "one", maxNewTokens: 250 });
  assert.ok(whole.text.startsWith(stopped) && stopped.length < whole.text.length);
  assert.equal(await page.evaluate(() => document.activeElement?.id), "prompt");
});

test("two adapters are blended with a slider, by keyboard", async () => {
  await radio("blend two").check();
  await page.getByText("one:0.50+four:0.50 is on").waitFor();
  await page.getByRole("slider").focus();
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("ArrowRight");
  await page.getByText("one:0.40+four:0.60 is on").waitFor();
  assert.equal(await page.getByRole("slider").getAttribute("aria-valuetext"), "60 percent four");
  await assertAnswers("one:0.4+four:0.6");
});

test("an adapter folder is added by dropping it and by choosing it", needs("Chromium's own protocol"), async () => {
  await dropFolder(await context.newCDPSession(page), join(CONFORMANCE, "tiny-float/adapters/eight"));
  await page.getByText(/^eight is on/).waitFor();
  assert.ok(await radio("eight").isChecked());
  assert.ok(await page.locator("#drop-hint").isHidden());
  await assertAnswers("eight");
  const choosing = page.waitForEvent("filechooser");
  await page.getByRole("button", { name: "Add an adapter folder" }).click();
  await (await choosing).setFiles(join(CONFORMANCE, "tiny-float/adapters/four"));
  await page.getByText(/^four-2 is on/).waitFor();
  await assertAnswers("four");
});

test(
  "an adapter of another base, and a folder that is none, are refused in one line",
  needs("Chromium's own protocol"),
  async () => {
    const alert = page.locator("#adapter-error");
    await dropFolder(await context.newCDPSession(page), join(CONFORMANCE, "tiny-int4/adapters/four"));
    await alert.waitFor();
    assert.match((await alert.textContent()) as string, /four/);
    assert.equal(((await alert.textContent()) as string).split("\n").length, 1);
    assert.ok(await radio("four-2").isChecked());
    await dropFolder(await context.newCDPSession(page), join(CONFORMANCE, "tiny-float/adapters"));
    await page.getByText("adapters has no adapter_config.json; expected a folder saved by PEFT").waitFor();
    await radio("none").or(radio("no adapter")).check();
    await page.getByText(/^No adapter is on/).waitFor();
    assert.ok(await alert.isHidden());
    await assertAnswers("none");
    assert.equal(await status().getAttribute("role"), "status");
  },
);

test("a text that is too long is one line, and stays in the field", async () => {
  await radio("none").or(radio("no adapter")).check();
  await page.getByText(/^No adapter is on/).waitFor();
  const long = "word ".repeat(400);
  await page.getByLabel("Your text").fill(long);
  await page.getByRole("button", { name: "Answer" }).click();
  await page.getByText(/the context length of base is 320; shorten it/).waitFor();
  assert.equal(await page.getByLabel("Your text").inputValue(), long.trim());
  await page.getByRole("button", { name: "Clear" }).click();
  assert.equal(await page.locator("#log article").count(), 0);
  await assertAnswers("none");
});

test("a conversation that is remembered is part of the next prompt", async () => {
  await page.getByRole("button", { name: "Clear" }).click();
  await page.getByLabel("Remember what was said").check();
  const first = await ask(page, "a b", 6);
  const second = await ask(page, "c", 6);
  await page.getByLabel("Remember what was said").uncheck();
  const said = [
    { role: "user", content: "a b" },
    { role: "assistant", content: first },
    { role: "user", content: "c" },
  ];
  assert.equal(second, (await reference.chat(said, { maxNewTokens: 6 })).text);
});

test(
  "everything can be reached with the Tab key, in the order of the page, and axe finds nothing amiss",
  needs("colour schemes"),
  async () => {
    await page.evaluate(() => (document.activeElement as HTMLElement).blur());
    await radio("blend two").check();
    await page.evaluate(() => (document.activeElement as HTMLElement).blur());
    await page.evaluate(() => window.getSelection()?.removeAllRanges());
    const order: string[] = [];
    await page.locator(".skip").focus();
    for (let count = 0; count < 20; count++) {
      order.push(await page.evaluate(() => document.activeElement?.id || document.activeElement?.className || "body"));
      await page.keyboard.press("Tab");
    }
    const expected = [
      "skip",
      "tab-chat",
      "blend-first",
      "blend-share",
      "blend-second",
      "add-adapter",
      "add-loose",
      "prompt",
      "keeps-conversation",
      "max-tokens",
      "send",
      "clear",
    ];
    const reached = [...new Set(order)]; // behind the last comes the first again
    assert.deepEqual(
      reached.filter((name) => expected.includes(name)),
      expected,
    );
    for (const colorScheme of ["light", "dark"] as const) {
      await page.emulateMedia({ colorScheme });
      assert.deepEqual(await findProblems(page), []);
    }
  },
);

test("the second visit needs no network", async () => {
  await page.waitForFunction(() => document.documentElement.dataset.offline === "ready");
  await server.stop();
  await page.close();
  await unplug(context);
  try {
    page = await openExample(context, server.address);
    assert.ok(await page.evaluate(() => crossOriginIsolated));
    const badge = has("a switch for the network")
      ? "No network: everything still works"
      : "Works without a network now";
    await page.getByText(badge).waitFor();
    await radio("four").check();
    await page.getByText(/^four is on/).waitFor();
    await assertAnswers("four");
  } finally {
    if (has("a switch for the network")) await context.setOffline(false);
    server = await serveExample(artifact, Number(new URL(server.address).port));
  }
});

test("a file that is missing is said on the page, and loading again goes on when it is there", async () => {
  const fresh = await browser.newContext();
  await rename(join(artifact, WEIGHTS), join(artifact, "elsewhere"));
  try {
    const other = await fresh.newPage();
    await other.goto(`${server.address}/?backend=wasm`);
    await agree(other);
    const alert = other.locator("#loading-error");
    await alert.waitFor();
    assert.match((await alert.textContent()) as string, /weights\.bin: HTTP 404/);
    await cp(join(artifact, "elsewhere"), join(artifact, WEIGHTS));
    await other.getByRole("button", { name: "Try again" }).click();
    await other.locator("#app").waitFor();
    assert.ok(await alert.isHidden());
    await other.goto(`${server.address}/?backend=webgpu`);
    await alert.waitFor();
    assert.match((await alert.textContent()) as string, /WebGPU was asked for, but this browser has none/);
  } finally {
    await fresh.close();
  }
});
