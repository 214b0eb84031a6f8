/**
 * The config plugin of the runtime in the native projects that `expo prebuild` makes; nothing of them is built here.
 *
 * Knows nothing about the app.
 */

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";

const APP = fileURLToPath(new URL("..", import.meta.url));
const RUNTIME = fileURLToPath(new URL("../../../runtime/js", import.meta.url));
const RULE = '    <exclude domain="file" path="edgelora/"/>\n';

const root = mkdtempSync(join(tmpdir(), "edgelora-expo-"));
after(() => rmSync(root, { recursive: true }));
mkdirSync(join(root, "node_modules/@edgelora/runtime"), { recursive: true });
for (const name of readdirSync(join(APP, "node_modules"))) {
  if (name !== "@edgelora") symlinkSync(join(APP, "node_modules", name), join(root, "node_modules", name));
}
for (const name of ["package.json", "app.plugin.js"]) {
  cpSync(join(RUNTIME, name), join(root, "node_modules/@edgelora/runtime", name));
}
cpSync(join(APP, "package.json"), join(root, "package.json"));
cpSync(join(APP, "index.ts"), join(root, "index.ts"));

/** The projects of both platforms, made anew or once more. */
function prebuild({ again = false, android = {}, plugin = "@edgelora/runtime" } = {}) {
  const { expo } = JSON.parse(readFileSync(join(APP, "app.json"), "utf8"));
  const config = { ...expo, android: { ...expo.android, ...android }, plugins: [plugin] };
  writeFileSync(join(root, "app.json"), JSON.stringify({ expo: config }));
  const cli = join(APP, "node_modules/expo/bin/cli");
  const env = { ...process.env, CI: "1", EXPO_OFFLINE: "1", EXPO_NO_TELEMETRY: "1", EXPO_NO_GIT_STATUS: "1" };
  const given = [cli, "prebuild", "--no-install", ...(again ? [] : ["--clean"])];
  return spawnSync(process.execPath, given, { cwd: root, env, encoding: "utf8" });
}

const read = (path) => readFileSync(join(root, path), "utf8");
const count = (text, part) => text.split(part).length - 1;

test("onnxruntime has one version on both platforms, and backups leave artifacts out, however often it runs", () => {
  const { version } = JSON.parse(read("node_modules/onnxruntime-react-native/package.json"));
  for (const again of [false, true]) {
    const { status, stdout, stderr } = prebuild({ again });
    assert.equal(status, 0, stdout + stderr);
    const gradle = read("android/build.gradle");
    assert.equal(count(gradle, `details.requested.group == 'com.microsoft.onnxruntime') details.useVersion('${version}')`), 1);
    const podfile = read("ios/Podfile");
    assert.equal(count(podfile, `pod 'onnxruntime-c', '${version}'`), 1);
    assert.ok(podfile.indexOf("target '") < podfile.indexOf("pod 'onnxruntime-c'"));
    assert.equal(count(podfile, "pod 'onnxruntime-react-native'"), 1);
    assert.equal(count(read("android/app/build.gradle"), "implementation project(':onnxruntime-react-native')"), 1);
    const manifest = read("android/app/src/main/AndroidManifest.xml");
    assert.match(manifest, /android:allowBackup="true"/); // the app's own word; its other files are backed up as before
    assert.match(manifest, /android:fullBackupContent="@xml\/edgelora_backup"/);
    assert.match(manifest, /android:dataExtractionRules="@xml\/edgelora_extraction"/);
    const rules = "android/app/src/main/res/xml/edgelora_";
    assert.equal(count(read(`${rules}backup.xml`), RULE), 1);
    assert.equal(count(read(`${rules}extraction.xml`), RULE), 2); // to a cloud, and to another phone
  }
});

test("a version and folders of the app's own", () => {
  const { status, stderr } = prebuild({
    plugin: ["@edgelora/runtime", { onnxruntime: "1.25.0", folders: ["models", "more/of-them"] }],
  });
  assert.equal(status, 0, stderr);
  assert.match(read("android/build.gradle"), /useVersion\('1\.25\.0'\)/);
  assert.match(read("ios/Podfile"), /pod 'onnxruntime-c', '1\.25\.0'/);
  const rules = read("android/app/src/main/res/xml/edgelora_backup.xml");
  assert.match(rules, /path="models\/"\/>\n.+path="more\/of-them\/"/);
});

test("what cannot be done is said in one line", () => {
  for (const [options, message] of [
    [{ onnxruntime: "latest" }, 'onnxruntime is "latest", expected a version as 1.24.3'],
    [{ folders: ["../up"] }, 'folders is ["../up"], expected names such as ["edgelora"]'],
    [{ folder: "models" }, "folder is no option; there are onnxruntime and folders"],
  ]) {
    const { status, stdout, stderr } = prebuild({ again: true, plugin: ["@edgelora/runtime", options] });
    assert.notEqual(status, 0);
    assert.ok((stdout + stderr).includes(`@edgelora/runtime: ${message}`), stdout + stderr);
  }
  const path = join(root, "android/app/src/main/AndroidManifest.xml");
  writeFileSync(path, readFileSync(path, "utf8").replace("@xml/edgelora_backup", "@xml/mine"));
  const { status, stdout, stderr } = prebuild({ again: true });
  assert.notEqual(status, 0);
  assert.match(stdout + stderr, /the manifest has android:fullBackupContent="@xml\/mine" already; exclude the folders/);
});
