/**
 * The example page with a real artifact of two adapters or more, where EDGELORA_DEMO_ARTIFACT names its folder: each
 * adapter answers, one takes over from another, and the second visit does the same without a network.
 */

import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { BROWSER, launch, unplug } from "./drivers.js";
import { ask, clickAtFirstText, openExample, SCREENSHOTS, serveExample } from "./example.js";

const DEMO = process.env.EDGELORA_DEMO_ARTIFACT;
const TEXT =
  process.env.EDGELORA_DEMO_TEXT ?? "Parse this US address into JSON: 1204 Oak Street Apt 5, Springfield, IL 62704";
const TOKENS = 24;

async function demonstrate(artifact: string): Promise<void> {
  const browser = await launch();
  const server = await serveExample(artifact);
  const context = await browser.newContext();
  await mkdir(SCREENSHOTS, { recursive: true });
  try {
    let page = await openExample(context, server.address, "");
    const choose = async (name: string) => {
      await page.locator(`input[value="${name}"]`).check();
      await page.getByText(new RegExp(`^${name === "none" ? "No adapter" : name} is on`)).waitFor();
    };
    const values = await page
      .getByRole("radio")
      .evaluateAll((all) => all.map((item) => (item as HTMLInputElement).value));
    const [first, second] = values.filter((value) => value !== "none" && value !== "+") as [string, string];
    const answers = new Map<string, string>();
    for (const name of ["none", first, second]) {
      if (name !== "none") await choose(name); // which is what a page begins with
      answers.set(name, await ask(page, TEXT, TOKENS));
    }
    assert.equal(new Set(answers.values()).size, 3, JSON.stringify([...answers]));
    await choose(first);
    await clickAtFirstText(page, `input[value="${second}"]`);
    assert.notEqual(await ask(page, TEXT, TOKENS), answers.get(first));
    const fields = await page.locator("#log .answered .fields").allTextContents(); // of answers that are JSON
    assert.ok(
      fields.every((text) => !text?.includes("⇄")),
      JSON.stringify(fields),
    );
    assert.match((await page.locator(".swap").textContent()) as string, new RegExp(`^⇄ ${second}, \\d+\\.\\d ms$`));
    console.log(await page.locator("#figures").innerText());
    await page.screenshot({ path: join(SCREENSHOTS, `demo-${BROWSER}.png`), fullPage: true });
    await page.waitForFunction(() => document.documentElement.dataset.offline === "ready");
    await page.close();
    await server.stop();
    await unplug(context);
    page = await openExample(context, server.address, "");
    await choose(second);
    assert.equal(await ask(page, TEXT, TOKENS), answers.get(second));
  } finally {
    await browser.close();
    await server.stop();
  }
}

if (DEMO !== undefined)
  test("a real artifact answers in the page with both adapters, also offline", () => demonstrate(DEMO));
