/**
 * A small server for the page and an artifact, or two:
 * `npm run serve -- ARTIFACT_FOLDER [SECOND_FOLDER] [PORT] [--host ADDRESS]`.
 *
 * It sends the headers that wasm threads need (COOP, COEP) and answers ranges, so that downloads can go on where they
 * stopped; any other server that does both will do. Listens on this machine alone, unless `--host` says
 * otherwise: `--host 0.0.0.0` lets phones in the same network open the page.
 */

import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { createServer } from "node:http";
import { networkInterfaces } from "node:os";
import { extname, join, normalize, resolve, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

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

/** The file of a path, null where there is none: /artifact/... and /second/... from those, all else from the page. */
async function findFile(artifacts, path) {
  const inside = normalize(decodeURIComponent(path)).split("/").join(sep);
  if (inside.split(sep).includes("..")) return null;
  const [, first, ...rest] = inside.split(sep);
  const folder = first === "artifact" ? artifacts[0] : first === "second" ? artifacts[1] : PAGE;
  if (folder === undefined) return null;
  const file = folder === PAGE ? join(PAGE, inside === sep ? "index.html" : inside) : join(folder, ...rest);
  const found = await stat(file).catch(() => null);
  return found?.isFile() ? { file, size: found.size, changed: found.mtimeMs } : null;
}

async function answer(artifacts, request, response) {
  const found = await findFile(artifacts, new URL(request.url, "http://localhost").pathname).catch(() => null);
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

const USAGE = "npm run serve -- ARTIFACT_FOLDER [SECOND_FOLDER] [PORT] [--host ADDRESS]";

async function main(given) {
  const { values, positionals } = parseArgs({
    args: given,
    options: { host: { type: "string", default: "127.0.0.1" } },
    allowPositionals: true,
  });
  const hasPort = /^\d+$/.test(positionals.at(-1) ?? "");
  const port = hasPort ? Number(positionals.at(-1)) : 8080;
  const folders = positionals.slice(0, hasPort ? -1 : undefined);
  if (folders.length < 1 || folders.length > 2) return `give the folder of an artifact, or of two: ${USAGE}`;
  // npm runs this elsewhere than where it was called
  const artifacts = folders.map((folder) => resolve(process.env.INIT_CWD ?? ".", folder));
  for (const artifact of artifacts) {
    if (await stat(join(artifact, "manifest.json")).catch(() => null)) continue;
    return `${artifact} has no manifest.json; give a folder that \`edgelora export\` wrote`;
  }
  if (!(await stat(join(PAGE, "index.html")).catch(() => null))) return "the page is not built yet; run: npm run build";
  const server = createServer((request, response) => answer(artifacts, request, response));
  server.on("error", (error) => {
    console.error(`serve: ${error.message}; give another port or host: ${USAGE}`);
    process.exitCode = 2;
  });
  server.listen(port, values.host, () => {
    const hosts = values.host === "127.0.0.1" ? ["localhost"] : reachable(values.host);
    for (const host of hosts) console.log(`http://${host}:${server.address().port}  (Ctrl+C ends it)`);
    if (hosts[0] !== "localhost") {
      console.log("Browsers give addresses without https one thread and keep nothing; a tunnel with https has both.");
    }
  });
  return null;
}

/** The addresses at which other devices find this one. */
function reachable(host) {
  if (host !== "0.0.0.0" && host !== "::") return [host];
  const found = Object.values(networkInterfaces()).flat();
  return found.filter(({ family, internal }) => family === "IPv4" && !internal).map(({ address }) => address);
}

const problem = await main(process.argv.slice(2)).catch((error) => `${error.message}: ${USAGE}`);
if (problem !== null) {
  console.error(`serve: ${problem}`);
  process.exitCode = 2;
}
