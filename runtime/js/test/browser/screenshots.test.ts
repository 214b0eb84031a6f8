/** Pictures of the page for people to look at, and that it fits a narrow phone. `build/screenshots` at the repository's root. */

import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import type { Locator, Page } from "playwright-core";
import { CONFORMANCE } from "../places.js";
import { BROWSER, has, launch } from "./drivers.js";
import { agree, ask, clickAtFirstText, SCREENSHOTS, serveExample } from "./example.js";

// A real model with two adapters of its own makes better pictures; the tiny one writes nonsense.
const DEMO = process.env.EDGELORA_DEMO_ARTIFACT;
const TEXT = process.env.EDGELORA_DEMO_TEXT ?? "Ms Rivera, 1204 Oak Street Apt 5, Springfield, IL 62704";

/** The page in both sizes and both schemes; nothing is wider than the window or too small to be tapped. */
async function picture(page: Page, name: string): Promise<void> {
  for (const [device, width, height] of [
    ["desktop", 1280, 900],
    ["phone", 360, 740],
  ] as const) {
    await page.setViewportSize({ width, height });
    for (const colorScheme of has("colour schemes") ? (["light", "dark"] as const) : (["light"] as const)) {
      if (has("colour schemes")) await page.emulateMedia({ colorScheme });
      const path = join(
        SCREENSHOTS,
        `${BROWSER === "chromium" ? "" : `${BROWSER}-`}${name}-${device}-${colorScheme}.png`,
      );
      await page.screenshot({ path, fullPage: true });
    }
    const wide = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(wide <= width, `${name} is ${wide} wide in a window of ${width}`);
  }
  const small = await page
    .locator("button, .choice, select, textarea")
    .evaluateAll((all) =>
      all.filter((item) => item.getClientRects().length > 0 && item.getBoundingClientRect().height < 44),
    );
  assert.equal(small.length, 0, "everything that is tapped is at least 44 pixels high");
}

/** What the cards say of an adapter that proves itself, and of a copy that does not. */
async function replay(card: Locator): Promise<void> {
  await card.nth(0).getByRole("button", { name: "Replay its probe" }).click();
  await card.nth(1).getByRole("button", { name: "Plant a forged copy" }).click();
  for (const index of [0, 1]) await card.nth(index).locator(".result.passed").waitFor({ timeout: 300_000 });
}

test("every view, on a desktop and a phone, light and dark", async () => {
  await mkdir(SCREENSHOTS, { recursive: true });
  const browser = await launch();
  const server = await serveExample(DEMO ?? join(CONFORMANCE, "tiny-float"));
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, reducedMotion: "reduce" });
  try {
    const page = await context.newPage();
    await page.goto(`${server.address}/?backend=wasm`);
    await page.locator("#start").waitFor();
    await picture(page, "consent");
    await agree(page);
    await page.locator("#app").waitFor({ timeout: 300_000 });
    const [first, second] = await page
      .getByRole("radio")
      .evaluateAll((all) =>
        all.map((item) => (item as HTMLInputElement).value).filter((value) => value !== "none" && value !== "+"),
      );
    await page.locator(`input[value="${first}"]`).check();
    await page.getByText(new RegExp(`^${first} is on`)).waitFor();
    await ask(page, TEXT, 60);
    await clickAtFirstText(page, `input[value="${second}"]`);
    await ask(page, TEXT, 40);
    assert.equal(await page.locator(".swap").count(), 1);
    await picture(page, "chat");
    await page.getByRole("radio", { name: "blend two" }).check();
    await page.getByText(/\+.* is on, after/).waitFor();
    await picture(page, "blend");
    await page.getByRole("tab", { name: "Side by side" }).click();
    await page.getByLabel("The text that all of them answer").fill(TEXT);
    await page.getByRole("button", { name: "Answer with all" }).click();
    await page.getByText(/answers in one batch/).waitFor({ timeout: 300_000 });
    await picture(page, "side-by-side");
    await page.getByRole("tab", { name: "Receipts" }).click();
    const card = page.locator(".receipt");
    if (DEMO === undefined) await card.first().getByText("It has no receipt").waitFor();
    else await replay(card);
    await picture(page, "receipts");
    await page.getByRole("tab", { name: "Figures" }).click();
    await page.getByRole("button", { name: "Measure" }).click();
    await page.getByText(/^Measured\./).waitFor({ timeout: 300_000 });
    await picture(page, "figures");
  } finally {
    await browser.close();
    await server.stop();
  }
});
