/**
 * Packs this package as `npm publish` would from a clean checkout, and installs it where the consumers lie.
 *
 * Run as a program before the tests of this folder, with the names of those that are needed. What the consumers themselves are made of comes from their lock file
 * and is kept between runs.
 */

import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { pathToFileURL } from "node:url";
import { PACKAGE } from "../places.js";

/** Where everything of these tests is made: above it no folder has packages that a consumer could take by accident. */
export const PLACE = join(PACKAGE, "../../build/package");
/** The file that `npm publish` would send. */
export const TARBALL = join(PLACE, "package.tgz");
/** Where the consumers are installed, this package among their dependencies; an app of Next by itself, for its size. */
export const CONSUMERS = join(PLACE, "consumers");
export const NEXT = join(PLACE, "next");

const NOT_CHECKED_OUT = ["node_modules", "build", "dist"];

/** Run a program; its output where it ends well, an error with all that it said where not. */
export function run(folder: string, program: string, ...words: readonly string[]): string {
  try {
    return execFileSync(program, words, { cwd: folder, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
  } catch (error) {
    const { stdout, stderr } = error as { stdout?: string; stderr?: string };
    throw new Error(`${basename(program)} ${words.join(" ")} failed:\n${stdout}${stderr}`);
  }
}

/** `npm pack` in a copy of what is checked out: whatever the tarball holds, packing made it. */
function pack(): void {
  const checkout = join(PLACE, "checkout");
  rmSync(checkout, { recursive: true, force: true });
  mkdirSync(checkout);
  for (const name of readdirSync(PACKAGE)) {
    if (NOT_CHECKED_OUT.includes(name)) continue;
    cpSync(join(PACKAGE, name), join(checkout, name), { recursive: true, filter: (path) => !path.endsWith("/build") });
  }
  symlinkSync(join(PACKAGE, "node_modules"), join(checkout, "node_modules"));
  const name = run(checkout, "npm", "pack", "--silent", "--pack-destination", PLACE)
    .trim()
    .split("\n")
    .at(-1) as string;
  rmSync(TARBALL, { force: true });
  cpSync(join(PLACE, name), TARBALL);
  rmSync(join(PLACE, name));
  rmSync(checkout, { recursive: true });
}

/** Install what a folder's lock file names, unless it is there, and then the tarball. */
function install(name: string, folder: string): void {
  const source = join(PACKAGE, "test", name);
  const lock = readFileSync(join(source, "package-lock.json"), "utf8");
  const stamp = join(folder, "installed");
  const isThere = existsSync(stamp) && readFileSync(stamp, "utf8") === lock;
  if (!isThere) rmSync(folder, { recursive: true, force: true });
  cpSync(source, folder, { recursive: true });
  cpSync(join(PACKAGE, ".npmrc"), join(folder, ".npmrc"));
  if (!isThere) run(folder, "npm", "ci", "--silent");
  run(folder, "npm", "install", "--silent", "--no-save", "--no-package-lock", "--prefer-offline", TARBALL);
  writeFileSync(stamp, lock);
}

if (import.meta.url === pathToFileURL(process.argv[1] as string).href) {
  mkdirSync(PLACE, { recursive: true });
  pack();
  for (const name of process.argv.slice(2)) install(name, join(PLACE, name));
}
