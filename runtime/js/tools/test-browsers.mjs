/**
 * `npm run test:browsers`: the part of the browser's tests that Firefox and WebKit run.
 *
 * A file that was cut off runs a second time: a driver that lost a message is no fault of what is tested. A file whose
 * tests failed does not.
 */

import { spawnSync } from "node:child_process";
import { dirname, join } from "node:path";

const TESTS = join(dirname(import.meta.dirname), "build", "test", "browser");
const FILES = ["conformance", "abort", "addresses", "storage", "threads"];
const CUT = /test timed out after|a page was silent for|never came in|opened no context in/;

/** Every seventh case of conformance: the others run in Chromium. */
const CASES_STEP = "7";

function passes(browser, file) {
  const { status, stdout, error } = spawnSync(
    process.execPath,
    ["--test", "--test-timeout=600000", "--test-force-exit", `${file}.test.js`],
    {
      cwd: TESTS,
      env: { ...process.env, EDGELORA_BROWSER: browser, EDGELORA_CASES_STEP: CASES_STEP },
      stdio: ["ignore", "pipe", "inherit"],
      encoding: "utf8",
      maxBuffer: 1 << 28,
    },
  );
  if (error !== undefined) throw error;
  process.stdout.write(stdout);
  return { isGreen: status === 0, isCut: CUT.test(stdout) };
}

for (const browser of ["firefox", "webkit"]) {
  for (const file of FILES) {
    console.log(`# ${browser}: ${file}`);
    let { isGreen, isCut } = passes(browser, file);
    if (!isGreen && isCut) {
      console.log(`# ${browser}: ${file} was cut off, and runs again`);
      ({ isGreen } = passes(browser, file));
    }
    if (!isGreen) process.exit(1);
  }
}
