/**
 * Build the host: C++ into build/host/jsi-host, the programs of harness/ into build/programs/NAME.js.
 *
 * Knows nothing about what the programs do. Each step does nothing when its result is newer than what it is made of.
 */

import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { availableParallelism } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { fetchPackages, onnxruntimeHeaders, run } from "./fetch.mjs";

const HERE = join(dirname(fileURLToPath(import.meta.url)), "..");
const BUILD = join(HERE, "build");
const require = createRequire(import.meta.url);

/** Build everything; returns the path of the host. */
export async function buildAll() {
  installAptPackages();
  const host = buildHost();
  await bundlePrograms();
  lowerForHermes();
  return host;
}

/** The path of Hermes' command line. */
export function hermes() {
  return join(packages()["hermes-engine-cli"], "linux64-bin/hermes");
}

/** The path of the bundle of one program. */
export function program(name) {
  return join(BUILD, "programs", `${name}.js`);
}

function packages() {
  return fetchPackages(join(HERE, "packages.json"), join(BUILD, "packages"));
}

function installAptPackages() {
  const names = readFileSync(join(HERE, "apt-packages.txt"), "utf8").split("\n").filter(Boolean);
  const missing = names.filter((name) => spawnSync("dpkg", ["-s", name]).status !== 0);
  if (missing.length === 0) return;
  const command = ["apt-get", "install", "-y", "--no-install-recommends", ...missing];
  if (process.getuid() !== 0) throw new Error(`missing ${missing.join(", ")}; run: sudo ${command.join(" ")}`);
  run("apt-get", ["update"]);
  run(command[0], command.slice(1));
}

function buildHost() {
  const found = packages();
  const cmakeBuild = join(BUILD, "host");
  const folders = {
    REACT_NATIVE: found["react-native"],
    JAVASCRIPTCORE: found["@react-native-community/javascriptcore"],
    ORT_HEADERS: onnxruntimeHeaders(found),
    ORT_REACT_NATIVE: packageFolder("onnxruntime-react-native"),
    ORT_LIBRARY: join(packageFolder("onnxruntime-node"), "bin/napi-v6/linux", process.arch, "libonnxruntime.so.1"),
  };
  for (const [name, path] of Object.entries(folders)) {
    if (!existsSync(path)) throw new Error(`${name}: no ${path}; run npm ci in runtime/js`);
  }
  const definitions = Object.entries(folders).map(([name, path]) => `-D${name}=${path}`);
  run("cmake", ["-S", HERE, "-B", cmakeBuild, ...definitions]);
  run("cmake", ["--build", cmakeBuild, "--parallel", String(availableParallelism())]);
  return join(cmakeBuild, "jsi-host");
}

function packageFolder(name) {
  return dirname(require.resolve(`${name}/package.json`));
}

/** Each program as one script, with the JavaScript of onnxruntime-react-native as an app would bundle it. */
async function bundlePrograms() {
  const names = readdirSync(join(HERE, "harness")).filter((name) => name.endsWith(".program.ts"));
  await build({
    entryPoints: names.map((name) => ({ in: join(HERE, "harness", name), out: name.replace(".program.ts", "") })),
    outdir: join(BUILD, "programs"),
    bundle: true,
    format: "iife",
    target: "es2022",
    mainFields: ["module", "main"],
    alias: {
      "react-native": join(HERE, "harness/react-native.ts"),
      "expo-text-decoder": join(packages().expo, "src/winter/TextDecoder.ts"),
    },
    loader: { ".safetensors": "binary" },
    logLevel: "warning",
  });
}

/** Hermes' command line is older than classes: Babel lowers for it, as Metro does for the Hermes of an app. */
function lowerForHermes() {
  const { transform } = require(join(packages()["@babel/standalone"], "babel.min.js"));
  const path = program("hermes");
  const { code } = transform(readFileSync(path, "utf8"), {
    presets: [["env", { targets: { ie: "11" }, exclude: ["transform-regenerator"] }]],
    sourceType: "script",
    compact: false,
  });
  writeFileSync(path, code);
}
