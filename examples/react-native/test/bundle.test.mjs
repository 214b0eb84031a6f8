/**
 * The app as Metro bundles it for Android and Hermes' compiler accepts it; nothing of it runs here.
 *
 * Knows nothing about the screen. Takes about a minute.
 */

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const APP = fileURLToPath(new URL("..", import.meta.url));
const OUTPUT = join(APP, "build/android");

test("the bundle is Hermes bytecode with the entry for React Native and no other", () => {
  rmSync(OUTPUT, { recursive: true, force: true });
  const expo = join(APP, "node_modules/expo/bin/cli");
  const env = { ...process.env, CI: "1", EXPO_OFFLINE: "1", EXPO_NO_TELEMETRY: "1" };
  execFileSync(process.execPath, [expo, "export", "--platform", "android", "--output-dir", OUTPUT], {
    cwd: APP,
    env,
    stdio: ["ignore", "ignore", "inherit"],
  });
  const folder = join(OUTPUT, "_expo/static/js/android");
  const names = readdirSync(folder).filter((name) => name.endsWith(".hbc"));
  assert.equal(names.length, 1);
  const bytecode = readFileSync(join(folder, names[0]));
  assert.equal(bytecode.readBigUInt64LE(0), 0x1f1903c103bc1fc6n); // the first bytes of every file of Hermes bytecode
  const text = bytecode.toString("latin1");
  assert.ok(text.includes("onnxruntime-react-native, CPU"));
  for (const other of ["onnxruntime-node", "onnxruntime-web"]) assert.ok(!text.includes(other), other);
});

test("Hermes' compiler takes the pattern of byte-level tokenizers, which old versions of it refuse", () => {
  const pattern = /'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+/gu;
  const platform = { linux: "linux64-bin", darwin: "osx-bin", win32: "win64-bin" }[process.platform];
  const compiler = join(APP, "node_modules/hermes-compiler/hermesc", platform, "hermesc");
  const source = join(APP, "build/pattern.js");
  mkdirSync(join(APP, "build"), { recursive: true });
  writeFileSync(source, `print(${pattern});\n`);
  execFileSync(compiler, ["-w", "-emit-binary", "-out", `${source}.hbc`, source], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  assert.ok(readFileSync(`${source}.hbc`).length > 0);
});
