/** An app of Next: its server answers, and so do its page and a worker in the browser. */

import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";
import { after, test } from "node:test";
import { launch } from "../../browser/drivers.js";
import { NEXT, run } from "../install.js";
import { answersOf, assertRight, makePublic } from "../web.js";

process.env.NEXT_TELEMETRY_DISABLED = "1";
const COMMAND = join(NEXT, "node_modules/next/dist/bin/next");

let server: ChildProcess | null = null;
after(() => server?.kill());

test("Next builds and serves a page that answers on the server, in the page and in a worker", async () => {
  makePublic(join(NEXT, "public"), NEXT);
  run(NEXT, process.execPath, COMMAND, "build");
  server = spawn(process.execPath, [COMMAND, "start", "--port", "0", "--hostname", "127.0.0.1"], { cwd: NEXT });
  const address = await saidAddress(server);
  const browser = await launch();
  try {
    assertRight(await answersOf(browser, address), ["server", "load", "loadInWorker"]);
  } finally {
    await browser.close();
  }
});

/** The address that the server tells of when it listens. */
async function saidAddress(started: ChildProcess): Promise<string> {
  let said = "";
  for await (const part of started.stdout ?? []) {
    said += part;
    const [address] = /http:\/\/127\.0\.0\.1:\d+/.exec(said) ?? [];
    if (address !== undefined) return address;
  }
  assert.fail(`the server ended: ${said}`);
}
