/**
 * The runtime through the real binding of onnxruntime-react-native: every conformance case, and every known trap.
 *
 * Builds the host first: minutes the first time, seconds later. Knows nothing about what the programs check.
 */

import assert from "node:assert/strict";
import { execFile, execFileSync } from "node:child_process";
import { cp, mkdtemp, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { buildAll, hermes, program } from "./tools/build.mjs";

const HERE = dirname(fileURLToPath(import.meta.url));
const CONFORMANCE = join(HERE, "../../conformance");

let host;
before(async () => {
  host = await buildAll();
});

/** What a program prints, line by line, and whether it ended well. */
function runHost(name, ...given) {
  return new Promise((resolve) => {
    execFile(host, [program(name), ...given], { maxBuffer: 1 << 24 }, (error, output, errors) => {
      resolve({ code: error ? error.code : 0, lines: output.split("\n").filter(Boolean), errors });
    });
  });
}

test("every conformance case gives its answer", async () => {
  const all = JSON.parse(await readFile(join(CONFORMANCE, "cases.json"), "utf8")).cases;
  const cases = all.filter((item) => item.artifact !== "tiny-cache");
  const { code, lines, errors } = await runHost("conformance", CONFORMANCE);
  assert.equal(errors, "");
  assert.match(lines.join("\n"), new RegExp(`^${cases.length} of ${cases.length} cases, \\d+ ms$`));
  assert.equal(code, 0);
});

test("every case of encoders gives its answer", async () => {
  const { cases } = JSON.parse(await readFile(join(CONFORMANCE, "encoders.json"), "utf8"));
  const { code, lines, errors } = await runHost("encoders", CONFORMANCE);
  assert.equal(errors, "");
  assert.match(lines.at(-1), new RegExp(`^${cases.length} of ${cases.length} cases, \\d+ ms$`), lines.join("\n"));
  assert.equal(code, 0);
});

test("the traps of the binding are closed, and bad input ends in one clear error", async (context) => {
  const scratch = await makeScratch();
  context.after(() => rm(scratch, { recursive: true }));
  const { code, lines, errors } = await runHost("binding", CONFORMANCE, scratch, join(HERE, "fixtures"));
  const results = lines.map((line) => JSON.parse(line));
  for (const { name, failure } of results) await context.test(name, () => assert.equal(failure, null));
  assert.equal(errors, "");
  assert.equal(code, 0);
  assert.ok(results.length >= 17, `${results.length} checks`);
});

test("what needs no onnxruntime gives the same in the Hermes engine as in Node", () => {
  const path = program("hermes");
  const print =
    'globalThis.print = console.log; require("vm").runInThisContext(require("fs").readFileSync(process.argv[1], "utf8"))';
  const inNode = execFileSync(process.execPath, ["-e", print, path], { encoding: "utf8", timeout: 60_000 });
  const inHermes = execFileSync(hermes(), ["-w", path], { encoding: "utf8", timeout: 60_000 });
  assert.equal(inHermes, inNode);
  const lines = inHermes.trim().split("\n");
  assert.ok(lines.filter((line) => line.endsWith(": right")).length >= 9);
  assert.ok(lines.filter((line) => / \[2,\d+,\d+\] [0-9a-f]{64}$/.test(line)).length >= 16);
  assert.equal(lines.at(-1), "done");
  assert.equal(inHermes.includes("found"), false);
});

/** Folders that the checks open: one with a name that addresses escape, two that are damaged, a foreign adapter. */
async function makeScratch() {
  const folder = await mkdtemp(join(tmpdir(), "edgelora jsi "));
  const artifact = join(CONFORMANCE, "tiny-float");
  for (const name of ["Übung 1", "missing", "changed"]) await cp(artifact, join(folder, name), { recursive: true });
  await rm(join(folder, "missing/decoder.onnx"));
  await truncate(join(folder, "missing/weights.bin"), 126975);
  const weights = await readFile(join(artifact, "weights.bin"));
  weights[1000] ^= 1;
  await writeFile(join(folder, "changed/weights.bin"), weights);
  await cp(join(artifact, "adapters/four"), join(folder, "foreign"), { recursive: true });
  const base = { name: "another", fingerprint: "0".repeat(64), grid: null, tokenizer: null, chat_template: null };
  const receipt = { format_version: 1, base, quantization: null, training: {} };
  await writeFile(join(folder, "foreign/receipt.json"), JSON.stringify(receipt));
  return folder;
}
