/**
 * Downloads into app storage from a real server that breaks off, forgets ranges and lies; by way of `expoFiles`.
 *
 * expo-file-system runs on phones alone: what is used of it is here over the disk.
 */

import assert from "node:assert/strict";
import { webcrypto } from "node:crypto";
import * as fs from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import { ArtifactError, ConnectionError } from "../src/core/errors.js";
import { load } from "../src/node.js";
import { type DownloadOptions, downloadArtifact } from "../src/react-native/download.js";
import { expoFiles } from "../src/react-native/expo.js";
import { CONFORMANCE } from "./places.js";

const ARTIFACT = join(CONFORMANCE, "tiny-float");

class DiskHandle {
  offset: number | null = 0;
  readonly #descriptor: number;

  constructor(path: string, mode: string) {
    this.#descriptor = fs.openSync(path, mode);
  }

  readBytes(length: number): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(length);
    return bytes.subarray(0, fs.readSync(this.#descriptor, bytes, 0, length, this.offset));
  }

  writeBytes(bytes: Uint8Array): void {
    fs.writeSync(this.#descriptor, bytes);
  }

  close(): void {
    fs.closeSync(this.#descriptor);
  }
}

class DiskFile {
  readonly path: string;

  constructor(address: string) {
    this.path = fileURLToPath(address);
  }

  get exists(): boolean {
    return fs.statSync(this.path, { throwIfNoEntry: false })?.isFile() ?? false;
  }

  get size(): number {
    return fs.statSync(this.path).size;
  }

  async bytes(): Promise<Uint8Array<ArrayBuffer>> {
    return new Uint8Array(fs.readFileSync(this.path));
  }

  create(): void {
    fs.writeFileSync(this.path, "", { flag: "wx" });
  }

  delete(): void {
    fs.rmSync(this.path);
  }

  moveSync(destination: DiskFile, { overwrite }: { overwrite: boolean }): void {
    if (destination.exists && !overwrite) throw new Error(`${destination.path} exists`);
    fs.renameSync(this.path, destination.path);
  }

  open(mode: string): DiskHandle {
    return new DiskHandle(this.path, mode);
  }
}

class DiskDirectory {
  readonly #path: string;

  constructor(address: string) {
    this.#path = fileURLToPath(address);
  }

  create({ intermediates }: { intermediates: boolean; idempotent: boolean }): void {
    fs.mkdirSync(this.#path, { recursive: intermediates });
  }
}

const files = expoFiles(
  { File: DiskFile, Directory: DiskDirectory, FileMode: { ReadOnly: "r", Append: "a" } },
  {
    CryptoDigestAlgorithm: { SHA256: "SHA-256" },
    digest: (name: string, bytes: Uint8Array<ArrayBuffer>) => webcrypto.subtle.digest(name, bytes),
  },
);

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
  const model = await load(server.path, { hashes: true, threads: 1 });
  assert.equal((await model.generateIds([7, 8, 9], { adapter: "four", maxNewTokens: 4 })).length, 4);
  await model.dispose();
  assert.deepEqual(
    seen,
    seen.toSorted((one, other) => one - other),
  );
  assert.equal(seen.at(-1), 1);
  assert.deepEqual(
    fs.readdirSync(server.path, { recursive: true }).filter((name) => String(name).endsWith(".part")),
    [],
  );
  server.requests.length = 0;
  await server.bring();
  assert.deepEqual(server.requests, ["manifest.json 0"]);
});

test("without native code JavaScript hashes, a piece at a time", async (context) => {
  const server = await serve(context);
  const { sha256: _, ...slow } = files;
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
      /^the connection to .*weights\.bin was lost \(.*\); what came is kept, try again to go on$/,
    );
    return true;
  });
  assert.equal(fs.existsSync(join(server.path, "manifest.json")), false);
  const kept = fs.statSync(join(server.path, "weights.bin.part")).size;
  assert.equal(kept, 100_000);
  server.answer = () => false;
  server.requests.length = 0;
  await server.bring();
  assert.deepEqual(server.requests, ["manifest.json 0", "weights.bin 100000"]);
  assert.deepEqual(fs.readFileSync(join(server.path, "weights.bin")), fs.readFileSync(join(ARTIFACT, "weights.bin")));
});

test("a server without ranges, and a beginning of other bytes, start that file anew", async (context) => {
  const server = await serve(context);
  server.answer = breakAfter(5000);
  await assert.rejects(server.bring(), ConnectionError);
  server.answer = () => false;
  server.ranges = false;
  await server.bring();
  fs.rmSync(join(server.path, "manifest.json"));
  fs.rmSync(join(server.path, "weights.bin"));
  fs.writeFileSync(join(server.path, "weights.bin.part"), Buffer.alloc(5000, 1));
  server.ranges = true;
  server.requests.length = 0;
  await server.bring();
  assert.deepEqual(server.requests, ["manifest.json 0", "weights.bin 5000", "weights.bin 0"]);
});

test("a folder is no artifact while files of two are mixed in it", async (context) => {
  const server = await serve(context);
  await server.bring();
  server.root = join(CONFORMANCE, "tiny-int8");
  server.answer = breakAfter(5000);
  await assert.rejects(server.bring(), ConnectionError);
  assert.equal(fs.existsSync(join(server.path, "manifest.json")), false);
  server.answer = () => false;
  await server.bring();
  const model = await load(server.path, { hashes: true, threads: 1 });
  assert.equal(
    model.manifest.model.name,
    JSON.parse(fs.readFileSync(join(server.root, "manifest.json"), "utf8")).model.name,
  );
  await model.dispose();
});

test("wrong bytes, too many bytes and a missing file leave no trace of that file", async (context) => {
  const server = await serve(context);
  const size = fs.statSync(join(ARTIFACT, "weights.bin")).size;
  const answers: [Buffer | null, RegExp][] = [
    [Buffer.alloc(size), /^weights\.bin: sha256 [0-9a-f]{12}…, expected [0-9a-f]{12}…; nothing of it was kept, upload/],
    [Buffer.alloc(size + 1), /^weights\.bin: the server has more than \d+ bytes; upload the artifact again$/],
    [null, /^HTTP 404 at .*weights\.bin; upload the whole artifact folder, or mend the address$/],
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
  await assert.rejects(away, /^ConnectionError: the connection to http:\/\/127\.0\.0\.1:9\/manifest\.json was lost/);
  const elsewhere = downloadArtifact(`${server.address}/none`, server.folder, { files });
  await assert.rejects(
    elsewhere,
    /^ArtifactError: HTTP 404 at .*none\/manifest\.json; upload the whole artifact folder/,
  );
  const nowhere = downloadArtifact(server.address, "content://7", { files });
  await assert.rejects(nowhere, /^ArtifactError: content:\/\/7 is no place in app storage/);
});
