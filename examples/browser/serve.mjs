/**
 * A small server for the page and one artifact: `npm run serve -- ARTIFACT_FOLDER [PORT]`.
 *
 * It sends the headers that wasm threads need (COOP, COEP) and answers ranges, so that downloads can go on where they
 * stopped; any other server that does both will do. Listens on this machine alone.
 */

import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize, resolve, sep } from "node:path";
import { fileURLToPath } from "node:url";

const PAGE = fileURLToPath(new URL("dist", import.meta.url));
const TYPES = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript",
  ".mjs": "text/javascript",
  ".css": "text/css",
  ".json": "application/json",
  ".wasm": "application/wasm",
  ".svg": "image/svg+xml",
  ".webmanifest": "application/manifest+json",
};

/** The file of a path, null where there is none: /artifact/... from the artifact, everything else from the page. */
async function findFile(artifact, path) {
  const inside = normalize(decodeURIComponent(path)).split("/").join(sep);
  if (inside.split(sep).includes("..")) return null;
  const beginning = `${sep}artifact${sep}`;
  const isArtifact = inside.startsWith(beginning);
  const file = isArtifact
    ? join(artifact, inside.slice(beginning.length))
    : join(PAGE, inside === sep ? "index.html" : inside);
  const found = await stat(file).catch(() => null);
  return found?.isFile() ? { file, size: found.size, changed: found.mtimeMs } : null;
}

async function answer(artifact, request, response) {
  const found = await findFile(artifact, new URL(request.url, "http://localhost").pathname).catch(() => null);
  response.setHeader("cross-origin-opener-policy", "same-origin");
  response.setHeader("cross-origin-embedder-policy", "require-corp");
  response.setHeader("cache-control", "no-cache");
  if (found === null) {
    response.writeHead(404, { "content-type": "text/plain" }).end("no such file\n");
    return;
  }
  const { file, size, changed } = found;
  const tag = `"${size}-${changed}"`;
  if (request.headers["if-none-match"] === tag) {
    response.writeHead(304).end();
    return;
  }
  const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "");
  const [start, end] = range ? [Number(range[1]), Math.min(size - 1, Number(range[2] || size))] : [0, size - 1];
  if (range && start > end) {
    response.writeHead(416, { "content-range": `bytes */${size}` }).end();
    return;
  }
  response.writeHead(range ? 206 : 200, {
    "content-type": TYPES[extname(file)] ?? "application/octet-stream",
    "content-length": end - start + 1,
    "accept-ranges": "bytes",
    etag: tag,
    ...(range ? { "content-range": `bytes ${start}-${end}/${size}` } : {}),
  });
  if (request.method === "HEAD" || size === 0) response.end();
  else
    createReadStream(file, { start, end })
      .on("error", () => response.destroy())
      .pipe(response);
}

async function main([folder, port = "8080"]) {
  if (folder === undefined) return "give the folder of an artifact: npm run serve -- ARTIFACT_FOLDER [PORT]";
  const artifact = resolve(process.env.INIT_CWD ?? ".", folder); // npm runs this elsewhere than where it was called
  if (!(await stat(join(artifact, "manifest.json")).catch(() => null))) {
    return `${artifact} has no manifest.json; give a folder that \`edgelora export\` wrote`;
  }
  if (!(await stat(join(PAGE, "index.html")).catch(() => null))) return "the page is not built yet; run: npm run build";
  const server = createServer((request, response) => answer(artifact, request, response));
  server.on("error", (error) => {
    console.error(`serve: ${error.message}; give another port: npm run serve -- ARTIFACT_FOLDER PORT`);
    process.exitCode = 2;
  });
  server.listen(Number(port), "127.0.0.1", () => {
    console.log(`http://localhost:${server.address().port}  (Ctrl+C ends it)`);
  });
  return null;
}

const problem = await main(process.argv.slice(2));
if (problem !== null) {
  console.error(`serve: ${problem}`);
  process.exitCode = 2;
}
