/** Pictures of the page for people to look at, and that it fits a narrow phone. `build/screenshots` at the repository's root. */

import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { CONFORMANCE } from "../places.js";
import { launch } from "./browser.js";
import { ask, clickAtFirstText, openExample, serveExample } from "./example.js";

const FOLDER = fileURLToPath(new URL("../../../../../build/screenshots", import.meta.url));
// A real model with two adapters of its own makes better pictures; the tiny one writes nonsense.
const DEMO = process.env.EDGELORA_DEMO_ARTIFACT;
const TEXT = process.env.EDGELORA_DEMO_TEXT ?? "Ms Rivera, 1204 Oak Street Apt 5, Springfield, IL 62704";

test("desktop and phone, light and dark", async () => {
  await mkdir(FOLDER, { recursive: true });
  const browser = await launch();
  const server = await serveExample(DEMO ?? join(CONFORMANCE, "tiny-float"));
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, reducedMotion: "reduce" });
  try {
    const page = await openExample(context, server.address);
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
    await page.getByRole("radio", { name: "blend two" }).check();
    await page.getByText(/\+.* is on, after/).waitFor();
    for (const [name, width, height] of [
      ["desktop", 1280, 900],
      ["phone", 360, 740],
    ] as const) {
      await page.setViewportSize({ width, height });
      for (const colorScheme of ["light", "dark"] as const) {
        await page.emulateMedia({ colorScheme });
        await page.screenshot({ path: join(FOLDER, `${name}-${colorScheme}.png`), fullPage: true });
      }
      const wide = await page.evaluate(() => document.documentElement.scrollWidth);
      assert.ok(wide <= width, `the page is ${wide} wide in a window of ${width}`);
    }
    const small = await page
      .locator("button, .choice, select, textarea")
      .evaluateAll(
        (all) =>
          all.filter((item) => item.getClientRects().length > 0 && item.getBoundingClientRect().height < 44).length,
      );
    assert.equal(small, 0, "everything that is tapped is at least 44 pixels high");
  } finally {
    await browser.close();
    await server.stop();
  }
});
