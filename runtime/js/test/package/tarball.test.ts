/** What is published: complete, with sources in its maps, and with types that older compilers read. */

import assert from "node:assert/strict";
import { mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join, relative } from "node:path";
import { test } from "node:test";
import { CONSUMERS, PLACE, run, TARBALL } from "./install.js";

const UNPACKED = join(PLACE, "unpacked");
rmSync(UNPACKED, { recursive: true, force: true });
mkdirSync(UNPACKED, { recursive: true });
run(UNPACKED, "tar", "-xzf", TARBALL, "--strip-components=1");

const files = readdirSync(UNPACKED, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile())
  .map((entry) => relative(UNPACKED, join(entry.parentPath, entry.name)));

interface PackageJson {
  readonly exports: Readonly<Record<string, unknown>>;
}

test("the tarball has the licence and every file that package.json names, and nothing but what it should", () => {
  for (const name of ["LICENSE", "README.md", "package.json"]) assert.ok(files.includes(name), name);
  const { exports } = JSON.parse(readFileSync(join(UNPACKED, "package.json"), "utf8")) as PackageJson;
  const named = JSON.stringify(exports).match(/"\.\/[^"]+\.[a-z]+"/g) ?? [];
  assert.ok(named.length > 8);
  for (const name of named) assert.ok(files.includes(JSON.parse(name).slice(2)), name);
  assert.deepEqual(
    files.filter(
      (name) =>
        !/^(dist\/.+\.(js|js\.map|d\.ts)|dist\/THIRD_PARTY_LICENSES\.txt|bin\/edgelora-ort\.mjs|app\.plugin\.(js|d\.ts)|LICENSE|README\.md|package\.json)$/.test(
          name,
        ),
    ),
    [],
  );
});

test("source maps hold their sources", () => {
  const maps = files.filter((name) => name.endsWith(".map"));
  assert.ok(maps.length > 50);
  for (const name of maps) {
    const { sources, sourcesContent, mappings } = JSON.parse(readFileSync(join(UNPACKED, name), "utf8"));
    assert.ok(sources.length > 0 || mappings === "", name); // a part that only re-exports has no code
    assert.equal(sourcesContent?.length, sources.length, name);
    for (const content of sourcesContent) assert.equal(typeof content, "string", name);
  }
});

test("licences of the packages that are part of bundles go with them", () => {
  const licences = readFileSync(join(UNPACKED, "dist/THIRD_PARTY_LICENSES.txt"), "utf8");
  const names = licences.split(/^-{80}$/m).map((part) => part.trim().split("\n")[0]);
  assert.deepEqual(names, ["@huggingface/jinja", "@huggingface/tokenizers", "@noble/hashes"]);
  assert.match(licences, /MIT License.+Apache License.+MIT License/s);
});

test("publint finds nothing", () => {
  const said = run(CONSUMERS, join(CONSUMERS, "node_modules/.bin/publint"), "run", TARBALL, "--strict");
  assert.match(said, /All good!/);
});

test("are-the-types-wrong finds nothing, for an ESM package", () => {
  const said = run(
    CONSUMERS,
    join(CONSUMERS, "node_modules/.bin/attw"),
    TARBALL,
    "--profile",
    "esm-only",
    "--no-color",
  );
  assert.match(said, /bundler: 🟢/); // it ends with an error where there is a problem
});

for (const version of ["5.4", "5.6", "5.9", "7"]) {
  for (const config of ["nodenext", "bundler", "react-native"]) {
    test(`declarations compile under TypeScript ${version}, ${config}, without skipLibCheck`, () => {
      const tsc = join(CONSUMERS, `node_modules/typescript-${version}/bin/tsc`);
      const said = run(CONSUMERS, process.execPath, tsc, "--version");
      assert.ok(said.startsWith(`Version ${version}.`), said);
      assert.equal(run(CONSUMERS, process.execPath, tsc, "-p", `types/${config}.json`), "");
    });
  }
}
