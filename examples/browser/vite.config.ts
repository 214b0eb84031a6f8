/**
 * How the page is built: with a list of all its files for the service worker.
 *
 * Knows nothing about what the page does.
 */

import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { defineConfig, type Plugin } from "vite";

const ORT = join(import.meta.dirname, "public", "ort"); // kept by the service worker as well, when they are known

/** `shell.json`: what the page consists of, and a version that changes with it. */
function shellList(): Plugin {
  return {
    name: "shell-list",
    enforce: "post",
    generateBundle(_, bundle) {
      const parts = Object.values(bundle).filter((part) => part.fileName !== "sw.js");
      const version = createHash("sha256");
      for (const part of parts) version.update(part.type === "chunk" ? part.code : part.source);
      for (const name of readdirSync(ORT)) if (name.endsWith(".mjs")) version.update(readFileSync(join(ORT, name)));
      const files = parts.map((part) => part.fileName).filter((name) => !name.endsWith(".map"));
      const shell = {
        version: version.digest("hex").slice(0, 12),
        files: ["./", ...files.filter((name) => name !== "index.html")],
      };
      this.emitFile({ type: "asset", fileName: "shell.json", source: JSON.stringify(shell) });
    },
  };
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
