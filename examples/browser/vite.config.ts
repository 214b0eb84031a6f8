/**
 * How the page is built: onnxruntime-web's own files beside it, and a list of all files for the service worker.
 *
 * Knows nothing about what the page does.
 */

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { defaultClientConditions, defineConfig, type Plugin } from "vite";

const ORT_FILES = ["ort-wasm-simd-threaded", "ort-wasm-simd-threaded.asyncify"]; // wasm, and WebGPU

/** onnxruntime loads these by their names at run time, threads each of them once more, so they keep their names. */
function ortFiles(): Plugin {
  const dist = dirname(createRequire(import.meta.url).resolve("onnxruntime-web"));
  return {
    name: "ort-files",
    generateBundle() {
      for (const name of ORT_FILES.flatMap((file) => [`${file}.mjs`, `${file}.wasm`])) {
        this.emitFile({ type: "asset", fileName: `ort/${name}`, source: readFileSync(join(dist, name)) });
      }
    },
  };
}

/** `shell.json`: what the page consists of, and a version that changes with it. */
function shellList(): Plugin {
  return {
    name: "shell-list",
    enforce: "post",
    generateBundle(_, bundle) {
      const parts = Object.values(bundle).filter((part) => part.fileName !== "sw.js");
      const version = createHash("sha256");
      for (const part of parts) version.update(part.type === "chunk" ? part.code : part.source);
      const files = parts
        .map((part) => part.fileName)
        .filter((name) => !name.startsWith("ort/") && !name.endsWith(".map"));
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
  resolve: {
    dedupe: ["onnxruntime-web"], // the page's, not the one that the runtime is tested with
    conditions: ["onnxruntime-web-use-extern-wasm", ...defaultClientConditions],
  },
  worker: { format: "es" },
  plugins: [ortFiles(), shellList()],
  build: {
    target: "es2022",
    assetsInlineLimit: 0,
    rollupOptions: {
      input: { index: "index.html", sw: "src/service-worker.ts" },
      output: { entryFileNames: (chunk) => (chunk.name === "sw" ? "sw.js" : "assets/[name]-[hash].js") },
    },
  },
});
