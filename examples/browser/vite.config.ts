/**
 * How the page is built: with a list of all its files for the service worker.
 *
 * Knows nothing about what the page does.
 */

import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { defineConfig, type Plugin } from "vite";

const PUBLIC = join(import.meta.dirname, "public"); // copied as it is
const ORT = join(PUBLIC, "ort"); // kept by the service worker when it is known which are needed

/** Tells the service worker what the page consists of: it is another one whenever any of it changes. */
function shellList(): Plugin {
  return {
    name: "shell-list",
    enforce: "post",
    generateBundle(_, bundle) {
      const worker = bundle["sw.js"];
      if (worker?.type !== "chunk") throw new Error("the build has no sw.js");
      const parts = Object.values(bundle).filter((part) => part !== worker && !part.fileName.endsWith(".map"));
      const ort = readdirSync(ORT).filter((name) => /\.(mjs|wasm)$/.test(name));
      const copied = readdirSync(PUBLIC).filter((name) => name !== "ort");
      const contents = parts.map((part) => (part.type === "chunk" ? part.code : part.source));
      const shell = {
        version: hash([...contents, ...copied.map((name) => readFileSync(join(PUBLIC, name)))]),
        ort: hash(ort.map((name) => readFileSync(join(ORT, name)))),
        files: ["./", ...parts.map((part) => part.fileName).filter((name) => name !== "index.html"), ...copied],
      };
      worker.code = `self.SHELL=${JSON.stringify(shell)};\n${worker.code}`;
    },
  };
}

function hash(contents: readonly (string | Uint8Array)[]): string {
  const found = createHash("sha256");
  for (const content of contents) found.update(content);
  return found.digest("hex").slice(0, 12);
}

export default defineConfig({
  base: "./",
  plugins: [shellList()],
  build: {
    target: "es2022",
    assetsInlineLimit: 0,
    rollupOptions: {
      input: { index: "index.html", sw: "src/service-worker.ts" },
      output: { entryFileNames: (chunk) => (chunk.name === "sw" ? "sw.js" : "assets/[name]-[hash].js") },
    },
  },
});
