/**
 * Downloads into app storage from a real server that breaks off, forgets ranges and lies; by way of `expoFiles`.
 *
 * expo-file-system runs on phones alone: `expo-disk.ts` stands in for it.
 */

import assert from "node:assert/strict";
import { createHash, webcrypto } from "node:crypto";
import * as fs from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import type { DownloadOptions } from "../src/core/download-folder.js";
import { ArtifactError, ConnectionError } from "../src/core/errors.js";
import { readManifest } from "../src/core/manifest.js";
import { load } from "../src/node.js";
import { downloadArtifact } from "../src/react-native/download.js";
import { expoFiles } from "../src/react-native/expo.js";
import { modelsIn, writable } from "../src/react-native/kept.js";
import { storedArtifact } from "../src/react-native/storage.js";
import { DiskDirectory, DiskFile, files, Paths } from "./expo-disk.js";
import { CONFORMANCE } from "./places.js";

const ARTIFACT = join(CONFORMANCE, "tiny-float");

/** A server of one artifact. `requests` are "PATH START"; `answer` may answer instead of it. */
async function serve(context: TestContext) {
  const state = {
    address: "",
    requests: [] as string[],
    answer: (_path: string, _response: ServerResponse): boolean => false,
    ranges: true,
    root: ARTIFACT,
  };
  const handle = (request: IncomingMessage, response: ServerResponse) => {
    const path = decodeURIComponent((request.url as string).slice(1));
    const start = Number(/bytes=(\d+)-/.exec(request.headers.range ?? "")?.[1] ?? 0);
    state.requests.push(`${path} ${start}`);
    if (state.answer(path, response)) return;
    if (!fs.existsSync(join(state.root, path))) {
      response.writeHead(404).end();
      return;
    }
    const bytes = fs.readFileSync(join(state.root, path));
    const isPart = start > 0 && state.ranges;
    response.writeHead(isPart ? 206 : 200, { "content-length": bytes.length - (isPart ? start : 0) });
    response.end(bytes.subarray(isPart ? start : 0));
  };
  const server = createServer(handle);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  context.after(() => server.close());
  state.address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const root = fs.mkdtempSync(join(tmpdir(), "edgelora download "));
  context.after(() => fs.rmSync(root, { recursive: true }));
  const folder = `${pathToFileURL(root).href}/my%20artifact`;
  const bring = (options: Partial<DownloadOptions> = {}) =>
    downloadArtifact(state.address, folder, { files, ...options });
  return Object.assign(state, { folder, path: join(root, "my artifact"), bring });
}

/** The graph for programs with native operators was not asked for; Node's reader wants a folder as it was exported. */
function complete(server: { path: string; root: string }): void {
  for (const name of ["decoder.fused.onnx"]) fs.copyFileSync(join(server.root, name), join(server.path, name));
}

/** Send the first `count` bytes of the weights, then break the connection. */
function breakAfter(count: number) {
  return (path: string, response: ServerResponse) => {
    if (path !== "weights.bin") return false;
    const bytes = fs.readFileSync(join(ARTIFACT, path));
    response.writeHead(200, { "content-length": bytes.length });
    response.write(bytes.subarray(0, count), () => setTimeout(() => response.destroy(), 50));
    return true;
  };
}

test("what was downloaded answers, and nothing is asked for twice", async (context) => {
  const server = await serve(context);
  const seen: number[] = [];
  await server.bring({ onProgress: ({ loadedBytes, totalBytes }) => seen.push(loadedBytes / totalBytes) });
  assert.equal(fs.existsSync(join(server.path, "decoder.fused.onnx")), false);
  complete(server);
  const model = await load(server.path, { hashes: true, threads: 1 });
  assert.equal((await model.generateIds([7, 8, 9], { adapter: "four", maxNewTokens: 4 })).length, 4);
  await model.dispose();
  assert.deepEqual(
    seen,
    seen.toSorted((one, other) => one - other),
  );
  assert.equal(seen.at(-1), 1);
  assert.deepEqual(
    fs.readdirSync(server.path, { recursive: true }).filter((name) => /\.(part|new|lock)$/.test(String(name))),
    [],
  );
  server.requests.length = 0;
  await server.bring();
  assert.deepEqual(server.requests, ["manifest.json 0"]);
});

test("without native code JavaScript hashes, a piece at a time", async (context) => {
  const server = await serve(context);
  const { digest: _, ...slow } = files;
  await server.bring({ files: slow });
  fs.rmSync(join(server.path, "manifest.json"));
  server.requests.length = 0;
  await server.bring({ files: slow }); // nothing says that the files are right but their hashes
  assert.deepEqual(server.requests, ["manifest.json 0"]);
});

test("a lost connection is said, keeps what came, and the next try goes on from there", async (context) => {
  const server = await serve(context);
  server.answer = breakAfter(100_000);
  await assert.rejects(server.bring(), (error) => {
    assert.ok(error instanceof ConnectionError);
    assert.match(
      error.message,
      /^weights\.bin: the connection to .*weights\.bin was lost at byte 100000 of 126976 \(.*\); what came is kept, load again to go on$/,
    );
    return true;
  });
  assert.equal(fs.existsSync(join(server.path, "manifest.json")), false);
  server.answer = () => false;
  server.requests.length = 0;
  await server.bring();
  assert.deepEqual(server.requests, ["manifest.json 0", "weights.bin 0"]); // it is one piece
  assert.deepEqual(fs.readFileSync(join(server.path, "weights.bin")), fs.readFileSync(join(ARTIFACT, "weights.bin")));
});

test("a server that forgot ranges, and files that somebody put there", async (context) => {
  const server = await serve(context);
  server.answer = breakAfter(5000);
  await assert.rejects(server.bring(), ConnectionError);
  server.answer = () => false;
  server.ranges = false;
  await server.bring();
  fs.rmSync(join(server.path, "manifest.json"));
  const weights = fs.readFileSync(join(server.path, "weights.bin"));
  fs.writeFileSync(join(server.path, "weights.bin"), Buffer.alloc(weights.length, 1));
  server.requests.length = 0;
  await server.bring();
  assert.deepEqual(server.requests, ["manifest.json 0", "weights.bin 0"]);
  assert.deepEqual(fs.readFileSync(join(server.path, "weights.bin")), weights);
});

test("an artifact stays usable until a new one is there whole, and nothing of it is left then", async (context) => {
  const server = await serve(context);
  const old = { path: server.path, root: server.root };
  await server.bring();
  server.root = join(CONFORMANCE, "tiny-int8");
  server.answer = (path, response) => {
    if (path !== "weights.bin") return false;
    response.writeHead(503).end();
    return true;
  };
  await assert.rejects(server.bring(), ConnectionError);
  complete(old);
  await (await load(server.path, { hashes: true, threads: 1 })).dispose();
  server.answer = () => false;
  await server.bring();
  complete(server);
  const model = await load(server.path, { hashes: true, threads: 1 });
  const manifest = JSON.parse(fs.readFileSync(join(server.root, "manifest.json"), "utf8"));
  assert.equal(model.manifest.model.name, manifest.model.name);
  await model.dispose();
  const names = fs.readdirSync(server.path, { recursive: true, withFileTypes: true });
  const found = names.filter((item) => item.isFile()).map((item) => join(item.parentPath, item.name));
  for (const path of found)
    assert.ok(/manifest\.json$/.test(path) || path.slice(server.path.length + 1) in manifest.files);
});

test("wrong bytes, too many bytes and a missing file leave no trace of that file", async (context) => {
  const server = await serve(context);
  const size = fs.statSync(join(ARTIFACT, "weights.bin")).size;
  const answers: [Buffer | null, RegExp][] = [
    [
      Buffer.alloc(size),
      /weights\.bin: the bytes from 0 to 126976 are not those that the manifest says, twice in a row;/,
    ],
    [
      Buffer.alloc(size + 1),
      /weights\.bin: the server has more than \d+ bytes, expected 126976; upload the artifact again$/,
    ],
    [null, /HTTP 404 at .*weights\.bin; upload the whole artifact folder$/],
  ];
  for (const [bytes, message] of answers) {
    server.answer = (path, response) => {
      if (path !== "weights.bin") return false;
      response.writeHead(bytes === null ? 404 : 200).end(bytes ?? "");
      return true;
    };
    await assert.rejects(server.bring(), (error) => {
      assert.ok(error instanceof ArtifactError && !(error instanceof ConnectionError));
      assert.match(error.message, message);
      return true;
    });
    const left = fs.readdirSync(server.path);
    assert.deepEqual(
      left.filter((name) => name.startsWith("weights") || name === "manifest.json"),
      [],
    );
  }
});

test("two downloads to one folder take turns, and the second has nothing left to do", async (context) => {
  const server = await serve(context);
  await Promise.all([server.bring(), server.bring()]);
  assert.equal(server.requests.filter((request) => request === "weights.bin 0").length, 1);
  assert.equal(server.requests.filter((request) => request === "manifest.json 0").length, 2);
});

test("an artifact that is there answers when its server does not, and a page that wants a login is no manifest", async (context) => {
  const server = await serve(context);
  await server.bring();
  const warnings: string[] = [];
  server.answer = (_, response) => {
    response.writeHead(200, { "content-type": "text/html" }).end("<html>log in</html>");
    return true;
  };
  await server.bring({ onWarning: (message) => warnings.push(message) });
  assert.match(warnings.join(), /cannot be had \(.*not JSON.*\); the artifact that is stored is used as it is/);
});

test("native code brings a large file where there is some, what it brought is checked, and the rest is streamed", async (context) => {
  const server = await serve(context);
  const content = Buffer.alloc(9 << 20, 5);
  const root = fs.mkdtempSync(join(tmpdir(), "edgelora native "));
  context.after(() => fs.rmSync(root, { recursive: true }));
  fs.cpSync(ARTIFACT, root, { recursive: true });
  fs.writeFileSync(join(root, "weights.bin"), content);
  const manifest = JSON.parse(fs.readFileSync(join(root, "manifest.json"), "utf8"));
  const digest = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
  const parts = [0, 1, 2].map((index) => digest(content.subarray(index << 22, (index + 1) << 22)));
  manifest.files["weights.bin"] = {
    bytes: content.length,
    sha256: digest(content),
    pieces: { size: 4 << 20, sha256: parts },
  };
  fs.writeFileSync(join(root, "manifest.json"), JSON.stringify(manifest));
  server.root = root;
  const asked: object[] = [];
  const createDownloadTask = (address: string, destination: DiskFile, options: object) => ({
    downloadAsync: async () => {
      asked.push({ address, ...options });
      fs.writeFileSync(destination.path, Buffer.concat([content.subarray(0, 5 << 20), Buffer.alloc(4 << 20)]));
    },
  });
  const native = expoFiles(
    {
      File: Object.assign(DiskFile, { createDownloadTask }),
      Directory: DiskDirectory,
      FileMode: { ReadOnly: "r", Append: "a" },
      Paths,
    },
    {
      CryptoDigestAlgorithm: { SHA256: "SHA-256" },
      digest: (name: string, bytes: Uint8Array<ArrayBuffer>) => webcrypto.subtle.digest(name, bytes),
    },
    { background: true },
  );
  await server.bring({ files: native, headers: { authorization: "Bearer x" } });
  assert.equal(asked.length, 1);
  const { sessionType, headers } = asked[0] as { sessionType: string; headers: object };
  assert.deepEqual({ sessionType, headers }, { sessionType: "background", headers: { authorization: "Bearer x" } });
  assert.deepEqual(
    server.requests.filter((request) => request.startsWith("weights")),
    [`weights.bin ${4 << 20}`],
  );
  assert.deepEqual(fs.readFileSync(join(server.path, "weights.bin")), content);
});

test("an abort ends it with the signal's reason, and nothing is lost", async (context) => {
  const server = await serve(context);
  const ending = new AbortController();
  const onProgress = ({ file }: { file: string }) => {
    if (file === "weights.bin") ending.abort();
  };
  await assert.rejects(server.bring({ signal: ending.signal, onProgress }), { name: "AbortError" });
  await server.bring();
  assert.equal(fs.existsSync(join(server.path, "manifest.json")), true);
});

test("a server that is not there, and an address that is no artifact", async (context) => {
  const server = await serve(context);
  const away = downloadArtifact("http://127.0.0.1:9", server.folder, { files });
  await assert.rejects(away, /^ConnectionError: http:\/\/127\.0\.0\.1:9\/manifest\.json cannot be reached/);
  const elsewhere = downloadArtifact(`${server.address}/none`, server.folder, { files });
  await assert.rejects(
    elsewhere,
    /^ArtifactError: .*none has no manifest\.json; expected an artifact written by `edgelora export`/,
  );
  const nowhere = downloadArtifact(server.address, "content://7", { files });
  await assert.rejects(nowhere, /^ArtifactError: content:\/\/7 is no place in app storage/);
});

test("an app keeps artifacts of servers, and opens them by their address", async (context) => {
  const server = await serve(context);
  const root = fs.mkdtempSync(join(tmpdir(), "edgelora kept "));
  context.after(() => fs.rmSync(root, { recursive: true }));
  const cache = `${pathToFileURL(root).href}/edgelora`;
  const models = modelsIn({ ...files, cacheFolder: cache });
  const folder = await models.bring(server.address, { onWarning: () => {} });
  assert.ok(folder.startsWith(`${cache}/`));
  const source = storedArtifact(files, folder);
  const manifest = await readManifest(source);
  await source.prepare(manifest, true);
  fs.writeFileSync(fileURLToPath(`${folder}/weights.bin`), Buffer.alloc(126976));
  await assert.rejects(source.prepare(manifest, true), /weights\.bin: other bytes than the manifest says/);
  const [stored] = await models.list();
  assert.deepEqual([stored?.address, stored?.isComplete, stored?.name], [server.address, true, manifest.model.name]);
  const { digest, ...rest } = files;
  assert.equal((await modelsIn({ ...rest, freeBytes: async () => 5 }, cache).estimate(server.address)).fits, true);
  await models.delete(server.address);
  assert.deepEqual(fs.readdirSync(join(root, "edgelora")), []);
  const { cacheFolder: _, ...nowhere } = files;
  assert.throws(() => modelsIn(nowhere), /name no folder for artifacts/);
  const { append, ...readable } = files;
  assert.throws(() => writable(readable), /can only be read/);
  assert.ok(digest && append);
});
