/** The example page where something does not go as wanted: errors, clearing, and what a phone has less of. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, beforeEach, test } from "node:test";
import type { Browser, BrowserContext, Page } from "playwright-core";
import { load, type Model } from "../../src/node.js";
import { CONFORMANCE } from "../places.js";
import { changeManifest, copyArtifact } from "./artifacts.js";
import { launch, needs } from "./drivers.js";
import {
  ask,
  clickAtFirstText,
  dropFolder,
  type ExampleServer,
  fillNumber,
  openExample,
  serveExample,
} from "./example.js";

const CONFIG = "adapters/four/adapter_config.json";

let browser: Browser;
let artifact: string;
let server: ExampleServer;
let context: BrowserContext;
let page: Page;
let reference: Model;

before(async () => {
  browser = await launch();
  artifact = await copyArtifact("tiny-float");
  await breakAdapter();
  server = await serveExample(artifact);
  context = await browser.newContext();
  page = await openExample(context, server.address);
  reference = await load(`${CONFORMANCE}/tiny-float`, { threads: 1 });
});
beforeEach(() => page.getByRole("button", { name: "Clear" }).click());
after(async () => {
  await reference.dispose();
  await browser.close();
  await server.stop();
  await rm(artifact, { recursive: true });
});

/** Let "four" be an adapter that fits no model, and is what the manifest lists. */
async function breakAdapter(): Promise<void> {
  const path = join(artifact, CONFIG);
  const config = JSON.parse(await readFile(path, "utf8")) as { [field: string]: unknown };
  const content = JSON.stringify({ ...config, use_dora: true });
  await writeFile(path, content);
  const sha256 = createHash("sha256").update(content).digest("hex");
  await changeManifest(artifact, (manifest) => {
    manifest.files[CONFIG] = { bytes: content.length, sha256 };
  });
}

const radio = (name: string) => page.getByRole("radio", { name, exact: true });
const remember = (isOn: boolean) => page.getByLabel("Remember what was said").setChecked(isOn);

test("loading takes no focus, so that no keyboard opens over what is read", async () => {
  const other = await openExample(context, server.address);
  assert.ok(await other.evaluate(() => document.activeElement === document.body));
  await other.close();
});

test("a question that failed is no part of the next prompt, and leaves no empty answer", async () => {
  await remember(true);
  await page.getByLabel("Your text").fill("word ".repeat(400));
  await page.getByRole("button", { name: "Answer" }).click();
  await page.getByText(/the context length of base is 320; shorten it/).waitFor();
  assert.equal(await page.locator("#log article").count(), 0);
  const answer = await ask(page, "c", 6);
  await remember(false);
  assert.equal(answer, (await reference.chat([{ role: "user", content: "c" }], { maxNewTokens: 6 })).text);
});

test("clearing while an answer is written forgets that answer too", async () => {
  await remember(true);
  await fillNumber(page, "At most", "250");
  await page.getByLabel("Your text").fill("a b");
  await clickAtFirstText(page, "#clear");
  await page.getByLabel("Your text").press("Enter");
  await page.locator("#send:not([disabled])").waitFor();
  assert.equal(await page.locator("#log article").count(), 0);
  const answer = await ask(page, "c", 6);
  await remember(false);
  assert.equal(answer, (await reference.chat([{ role: "user", content: "c" }], { maxNewTokens: 6 })).text);
});

test("an adapter that cannot answer is not the one that is shown as chosen, and an answer goes on without it", async () => {
  const alert = page.locator("#adapter-error");
  await radio("four").click();
  await alert.filter({ hasText: /DoRA/ }).waitFor();
  assert.ok(await radio("no adapter").isChecked());
  await radio("one").check();
  await page.getByText(/^one is on/).waitFor();
  assert.ok(await alert.isHidden());
  await clickAtFirstText(page, 'input[value="four"]');
  const answer = await ask(page, "a b", 40);
  await alert.filter({ hasText: /DoRA/ }).waitFor();
  assert.ok(await radio("one").isChecked());
  const whole = await reference.generate("a b", { adapter: "one", maxNewTokens: 80 });
  assert.equal(answer[0], whole.text[0]);
  assert.match((await page.locator(".answered .note").last().textContent()) as string, /^\d+ tokens/);
});

test("without a number of tokens nothing is asked", async () => {
  await fillNumber(page, "At most", "");
  await page.getByLabel("Your text").fill("a b");
  await page.getByRole("button", { name: "Answer" }).click();
  assert.equal(await page.locator("#log article").count(), 0);
  assert.equal(await page.getByLabel("Your text").inputValue(), "a b");
  assert.ok(await page.locator("#max-tokens").evaluate((input) => input === document.activeElement));
});

test("an answer stays in sight while it grows", needs("narrow windows"), async () => {
  await page.setViewportSize({ width: 360, height: 320 });
  await ask(page, "a b", 200);
  const below = await page
    .locator(".answered")
    .last()
    .evaluate((element) => {
      const words = element.querySelector(".words") as HTMLElement;
      return { height: words.offsetHeight, below: words.getBoundingClientRect().bottom - innerHeight };
    });
  assert.ok(below.height > 320 && below.below <= 0, JSON.stringify(below));
  await page.setViewportSize({ width: 1280, height: 720 });
});

test(
  "the two files of an adapter do where folders cannot be chosen, are there after a reload, and can be removed",
  needs("Chromium's own protocol"),
  async () => {
    const folder = join(CONFORMANCE, "tiny-float/adapters/eight");
    const choosing = page.waitForEvent("filechooser");
    await page.getByRole("button", { name: "Add its files" }).click();
    await (await choosing).setFiles(
      ["adapter_model.safetensors", "adapter_config.json"].map((name) => join(folder, name)),
    );
    await page.getByText(/^added is on/).waitFor();
    const { text } = await reference.generate("a b", { adapter: "eight", maxNewTokens: 6 });
    assert.equal(await ask(page, "a b", 6), text);
    await dropFolder(await context.newCDPSession(page), folder);
    await page.getByText(/^eight-2 is on/).waitFor();
    await page.close();
    page = await openExample(context, server.address);
    await radio("added").check();
    await page.getByText(/^added is on/).waitFor();
    assert.equal(await ask(page, "a b", 6), text);
    for (const name of ["added", "eight-2"]) {
      await radio(name).check();
      await page.getByRole("button", { name: `Remove ${name}` }).click();
      await page.getByText(`${name} was removed.`).waitFor();
      assert.equal(await radio(name).count(), 0);
    }
    assert.ok(await radio("no adapter").isChecked());
    assert.ok(await page.getByRole("button", { name: /^Remove/ }).isHidden());
    await page.close();
    page = await openExample(context, server.address);
    assert.equal(await radio("added").count(), 0);
  },
);
