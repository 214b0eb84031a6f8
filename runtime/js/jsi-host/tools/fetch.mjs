/**
 * Fetch the few folders of C++ that the host compiles out of packages pinned by version and SHA-512 in packages.json.
 *
 * Knows nothing about compiling. `npm install` would unpack 600 MB and 400 further packages for 40 source files.
 */

import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";

/** The package with onnxruntime's headers, which the native runtime is compiled with as well. */
export const ONNXRUNTIME = "com.github.asus4.onnxruntime";

/**
 * Folders of the packages in `pins`, or of those of them named in `only`, below `target`/NAME; what is there already is
 * not fetched again.
 */
export function fetchPackages(pins, target, only) {
  const folders = {};
  for (const pin of JSON.parse(readFileSync(pins, "utf8"))) {
    if (only && !only.includes(pin.name)) continue;
    const folder = join(target, `${pin.name}@${pin.version}`);
    if (!existsSync(folder)) fetchOne(pin, folder, target);
    folders[pin.name] = folder;
  }
  return folders;
}

/** The folder of onnxruntime's headers among fetched packages. */
export function onnxruntimeHeaders(folders) {
  return join(folders[ONNXRUNTIME], "Plugins/iOS~/onnxruntime.xcframework/ios-arm64/onnxruntime.framework/Headers");
}

function fetchOne({ name, version, integrity, folders }, folder, target) {
  const partial = join(target, "partial");
  rmSync(partial, { recursive: true, force: true });
  mkdirSync(partial, { recursive: true });
  console.log(`fetching ${name} ${version}`);
  run("npm", ["pack", `${name}@${version}`, "--silent", "--pack-destination", partial]);
  const archive = join(partial, readdirSync(partial)[0]);
  const found = `sha512-${createHash("sha512").update(readFileSync(archive)).digest("base64")}`;
  if (found !== integrity) {
    throw new Error(`${name} ${version} has ${found}, packages.json expects ${integrity}; do not build with it`);
  }
  const unpacked = join(partial, "package");
  run("tar", ["-xzf", archive, "-C", partial, ...folders.map((path) => `package/${path}`)]);
  mkdirSync(join(folder, ".."), { recursive: true });
  renameSync(unpacked, folder);
  rmSync(partial, { recursive: true });
}

/** Run a program to its end, showing what it says; throws when it fails. */
export function run(program, args) {
  const { status, error } = spawnSync(program, args, { stdio: ["ignore", "ignore", "inherit"] });
  if (status !== 0) throw new Error(`${program} ${args[0]} ended with ${error?.message ?? status}`);
}
