/** The example page with encoders: every adapter at once, one after a click, tags, vectors, and a tab beside the chat. */

import assert from "node:assert/strict";
import { cp, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import type { Browser, Page } from "playwright-core";
import { type EncoderModel, load } from "../../src/node.js";
import { CONFORMANCE } from "../places.js";
import { launch, needs } from "./drivers.js";
import { agree, dropFolder, findProblems, openExample, serveExample } from "./example.js";

const TEXT = "Anna from New York, to Paris: is the mail in?";

let browser: Browser;
before(async () => {
  browser = await launch();
});
after(() => browser.close());

/** Do something with the page of an artifact, and the same artifact in Node. */
async function withPage(name: string, run: (page: Page, reference: EncoderModel) => Promise<void>, second?: string) {
  const server = await serveExample(`${CONFORMANCE}/${name}`, 0, second && `${CONFORMANCE}/${second}`);
  const reference = (await load(`${CONFORMANCE}/${second ?? name}`, { threads: 1, task: "any" })) as EncoderModel;
  const context = await browser.newContext();
  try {
    await run(await openExample(context, server.address), reference);
  } finally {
    await reference.dispose();
    await context.close();
    await server.stop();
  }
}

/** Send the text; the answers that appear. */
async function answer(page: Page, button: string): Promise<string[]> {
  await page.getByLabel("A mail, or any text").fill(TEXT);
  await page.getByRole("button", { name: button }).click();
  await page
    .locator("#mail-status")
    .filter({ hasText: /ms for/ })
    .waitFor();
  return page.locator(".sorted").allInnerTexts();
}

const chosen = (page: Page, name: string) => page.getByRole("radio", { name, exact: true }).check();

test(
  "a mail is sorted by every adapter in one call, by one after a click, and by one that is dropped",
  needs("Chromium's own protocol"),
  async () => {
    await withPage("encoder-topics", async (page, reference) => {
      const expected = await reference.classifyEach(TEXT);
      const found = await answer(page, "Sort");
      assert.equal(found.length, expected.size);
      [...expected].forEach(([spec, { labels, scores }], index) => {
        const lines = (found[index] as string).split("\n").filter((line) => line.trim() !== "");
        assert.deepEqual(lines.slice(0, 2), [spec, labels.join(", ") || "none of its labels"]);
        const [label, score] = [...scores].sort(([, one], [, other]) => other - one)[0] as [string, number];
        const told = score >= 0 && score <= 1 ? `${(100 * score).toFixed(1)} %` : score.toFixed(3);
        assert.ok(lines.join(" ").includes(`${label} ${told}`), `${lines}`);
      });
      const status = page.locator("#mail-status");
      assert.match(
        (await status.textContent()) as string,
        /^\d+\.\d ms for 4 adapters in one call \(the first time\)\.$/,
      );
      await chosen(page, "flags");
      await status.filter({ hasText: "for one adapter" }).waitFor();
      assert.equal(await page.locator(".sorted h3").allInnerTexts().then(String), "flags");
      assert.deepEqual(await findProblems(page), []);
      await dropFolder(await page.context().newCDPSession(page), `${CONFORMANCE}/encoder-adapters/good`);
      await page.locator(".sorted h3", { hasText: "good" }).waitFor();
      await dropFolder(await page.context().newCDPSession(page), `${CONFORMANCE}/encoder-adapters/initial`);
      await page.getByText(/its head is at its initial values/).waitFor();
    });
  },
);

test(
  "an adapter that a visitor added has its labels at the next visit too",
  needs("Chromium's own protocol"),
  async () => {
    const folder = join(await mkdtemp(join(tmpdir(), "edgelora-")), "own");
    await cp(`${CONFORMANCE}/encoder-adapters/bare`, folder, { recursive: true });
    const id2label = { 0: "bill", 1: "parcel", 2: "praise" };
    await writeFile(join(folder, "config.json"), JSON.stringify({ id2label }));
    await withPage("encoder-topics", async (page) => {
      await dropFolder(await page.context().newCDPSession(page), folder);
      await page.locator("#adapter-status").filter({ hasText: "own is there." }).waitFor();
      const answerOfOwn = async () => (await answer(page, "Sort")).find((text) => text.startsWith("own"));
      const first = await answerOfOwn();
      for (const label of Object.values(id2label)) assert.ok(first?.includes(label), first);
      await page.reload();
      await agree(page);
      await page.locator("#app").waitFor({ timeout: 120_000 });
      assert.equal(await answerOfOwn(), first);
    });
    await rm(join(folder, ".."), { recursive: true });
  },
);

test("spans are marked in the text, and a vector tells how near it is to the one before", async () => {
  await withPage("encoder-tags", async (page, reference) => {
    const { spans } = await reference.tag(TEXT, { adapter: "places" });
    assert.ok(spans.length > 0);
    await answer(page, "Tag");
    const marks = await page.locator(".sorted").first().locator("mark").allInnerTexts();
    assert.deepEqual(
      marks.map((mark) => mark.replace(/\s/g, "")),
      spans.map(({ text, label, score }) => `${text}${label}${(100 * score).toFixed(0)}%`.replace(/\s/g, "")),
    );
  });
  await withPage("encoder-vectors", async (page) => {
    assert.match(String(await answer(page, "Embed")), /16 numbers: -?0\.\d{3}, /);
    await chosen(page, "one");
    await page.getByText(/cosine to the text before 1\.000/).waitFor();
  });
});

test("a second artifact has a tab beside the chat, and is loaded with it", async () => {
  await withPage(
    "tiny-float",
    async (page, reference) => {
      assert.ok(await page.getByLabel("Your text").isVisible());
      await page.getByRole("tab", { name: "Mailbox" }).click();
      await page.locator("#start").click();
      await page.getByLabel("A mail, or any text").waitFor();
      assert.equal((await answer(page, "Sort")).length, reference.adapters.length);
      assert.ok(!(await page.getByLabel("Your text").isVisible()));
      await page.getByRole("tab", { name: "Chat" }).click();
      await page.getByRole("radio", { name: "blend two" }).waitFor();
      assert.ok(await page.getByLabel("Your text").isVisible());
    },
    "encoder-topics",
  );
});
