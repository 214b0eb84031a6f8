/** One file over connections that break, stall, lie and forget ranges, from a real server to a real disk. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { ArtifactError, ConnectionError, InputError } from "../src/core/errors.js";
import { hashingOf, placeAt } from "../src/core/file-place.js";
import type { FileInfo } from "../src/core/format.js";
import { type TransferOptions, transfer } from "../src/core/transfer.js";
import { disk } from "../src/node/disk.js";
import { type Manner, serve } from "./browser/server.js";

const PIECE = 1 << 16;
const CONTENT = Buffer.from(Array.from({ length: 3 * PIECE + 1000 }, (_, index) => (index * 7 + (index >> 8)) % 251));
const hash = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");
const cuts = [0, 1, 2, 3].map((index) => CONTENT.subarray(index * PIECE, (index + 1) * PIECE));
const WHOLE: FileInfo = { bytes: CONTENT.length, sha256: hash(CONTENT) };
const INFO: FileInfo = { ...WHOLE, pieces: { size: PIECE, sha256: cuts.map(hash) } };

async function prepare(context: TestContext, manner: Manner = {}, info: FileInfo = INFO) {
  const folder = mkdtempSync(join(tmpdir(), "edgelora-transfer-"));
  writeFileSync(join(folder, "w#1.bin"), CONTENT);
  const server = await serve({ a: folder }, manner);
  context.after(async () => {
    await server.close();
    rmSync(folder, { recursive: true });
  });
  const [part, done] = [join(folder, "part"), join(folder, "done")];
  const file = { name: "w#1.bin", address: `${server.origin}/a/w%231.bin`, info };
  const bring = (options: Partial<TransferOptions> = {}) => {
    const all = { hashing: hashingOf(disk), onBytes: () => {}, ...options };
    return transfer(file, placeAt(disk, part, done), all);
  };
  const ranges = () => server.requests.map((request) => request.range);
  const fault = (value: object) => server.faults.set("/a/w#1.bin", value);
  return { bring, part, done, ranges, fault, server };
}

test("a whole file comes in one request, and bytes are counted as they come", async (context) => {
  const { bring, done, ranges } = await prepare(context);
  const seen: number[] = [];
  await bring({ onBytes: (count) => seen.push(count) });
  assert.deepEqual(readFileSync(done), CONTENT);
  assert.deepEqual(ranges(), [null]);
  assert.equal(seen.at(-1), CONTENT.length);
  assert.deepEqual(
    seen,
    seen.toSorted((one, other) => one - other),
  );
});

test("what breaks goes on from its last byte in one run, and from its last piece in another", async (context) => {
  const { bring, part, done, ranges, fault, server } = await prepare(context);
  fault({ cutAfter: PIECE + 500, times: 1, afterwards: { status: 503 } });
  await assert.rejects(bring(), (error) => {
    assert.ok(error instanceof ConnectionError);
    assert.match(
      error.message,
      /w#1\.bin: the connection to .* was lost at byte 66036 of \d+ \(HTTP 503\); what came is kept/,
    );
    return true;
  });
  assert.deepEqual(ranges(), [null, "bytes=66036-", "bytes=66036-", "bytes=66036-"]);
  assert.equal(statSync(part).size, PIECE);
  server.requests.length = 0;
  fault({});
  await bring();
  assert.deepEqual(ranges(), [`bytes=${PIECE}-`]);
  assert.deepEqual(readFileSync(done), CONTENT);
});

test("a connection that says nothing is given up, and taken up again", async (context) => {
  const { bring, done, ranges, fault } = await prepare(context);
  fault({ stallsAfter: 2 * PIECE, times: 1 });
  await bring({ stalledMs: 200 });
  assert.deepEqual(ranges(), [null, `bytes=${2 * PIECE}-`]);
  assert.deepEqual(readFileSync(done), CONTENT);
});

test("a wrong byte on the way costs its piece; the same one twice is the server's", async (context) => {
  const { bring, part, done, ranges, fault, server } = await prepare(context);
  fault({ flippedAt: PIECE + 5, times: 1 });
  await bring();
  assert.deepEqual(ranges(), [null, `bytes=${PIECE}-`]);
  assert.deepEqual(readFileSync(done), CONTENT);
  rmSync(done);
  server.requests.length = 0;
  fault({ flippedAt: 2 * PIECE + 5 });
  await assert.rejects(bring(), (error) => {
    assert.ok(error instanceof ArtifactError && !(error instanceof ConnectionError));
    assert.match(
      error.message,
      /^w#1\.bin: the bytes from 131072 to 196608 are not those .*; upload the artifact again$/,
    );
    return true;
  });
  assert.deepEqual(ranges(), [null, `bytes=${2 * PIECE}-`]);
  assert.equal(statSync(part).size, 2 * PIECE); // what was checked is kept
});

test("what lies there from before is checked: a bad piece and half of one are cut off", async (context) => {
  const { bring, part, done, ranges, fault, server } = await prepare(context);
  const damaged = Buffer.from(CONTENT.subarray(0, 2 * PIECE + 77));
  damaged[PIECE + 9] = 0;
  writeFileSync(part, damaged);
  await bring();
  assert.deepEqual(ranges(), [`bytes=${PIECE}-`]);
  assert.deepEqual(readFileSync(done), CONTENT);
  rmSync(done);
  writeFileSync(part, CONTENT); // all of it came, and then the process was ended
  server.requests.length = 0;
  fault({ status: 500 });
  await bring();
  assert.deepEqual(ranges(), []);
  assert.deepEqual(readFileSync(done), CONTENT);
});

test("without hashes of pieces the hash of the whole decides, and wrong bytes leave nothing", async (context) => {
  const size = 4 << 20;
  const content = Buffer.alloc(size + 10, 3);
  const { bring, part, done, ranges, fault, server } = await prepare(
    context,
    {},
    {
      bytes: content.length,
      sha256: hash(content),
    },
  );
  const path = join(part, "..", "w#1.bin");
  writeFileSync(path, content);
  writeFileSync(part, Buffer.alloc(size, 4)); // of another upload
  await bring();
  assert.deepEqual(ranges(), [`bytes=${size}-`, null]);
  assert.deepEqual(readFileSync(done), content);
  server.requests.length = 0;
  fault({ flippedAt: 7 });
  await assert.rejects(
    bring(),
    /^ArtifactError: w#1\.bin: sha256 [0-9a-f]{12}…, expected [0-9a-f]{12}…; nothing of it/,
  );
  assert.equal(existsSync(part), false);
});

test("a server without ranges, one that compresses, and one whose beginning is elsewhere", async (context) => {
  const { bring, part, done, ranges, fault, server } = await prepare(context, { compresses: true });
  writeFileSync(part, CONTENT.subarray(0, PIECE));
  fault({ ignoresRanges: true });
  await bring();
  assert.deepEqual(ranges(), [`bytes=${PIECE}-`]);
  assert.deepEqual(readFileSync(done), CONTENT);
  rmSync(done);
  fault({ truncatedAt: PIECE });
  server.requests.length = 0;
  writeFileSync(part, CONTENT.subarray(0, PIECE));
  await assert.rejects(bring(), /^ArtifactError: w#1\.bin: the server has at most 65536 bytes, expected 197608/);
  assert.equal(statSync(part).size, PIECE); // a server that is wrong for a day costs nothing
});

test("headers and credentials go with every request, and an abort ends it with its reason", async (context) => {
  const { bring, fault, server } = await prepare(context);
  fault({ cutAfter: PIECE, times: 1 });
  await bring({ headers: { authorization: "Bearer x" } });
  assert.deepEqual(
    server.requests.map(({ headers }) => headers.authorization),
    ["Bearer x", "Bearer x"],
  );
  fault({ stallsAfter: 10 });
  const ending = new AbortController();
  const brought = bring({ signal: ending.signal, onBytes: (count) => count > 0 && ending.abort(new Error("enough")) });
  await assert.rejects(brought, /^Error: enough$/);
  const never = bring({ signal: AbortSignal.abort(new Error("before")) });
  await assert.rejects(never, /^Error: before$/);
});

test("a fetch that gives no stream is refused, since files would lie in memory whole", async (context) => {
  const { bring } = await prepare(context);
  const fetch = async () => ({ status: 200, headers: new Headers(), body: undefined, type: "default" });
  await assert.rejects(bring({ fetch: fetch as never }), (error) => {
    assert.ok(error instanceof InputError);
    assert.match(error.message, /gives no stream.*expo\/fetch/);
    return true;
  });
});

test("a file of no bytes", async (context) => {
  const info = { bytes: 0, sha256: hash(new Uint8Array()) };
  const { bring, done, ranges } = await prepare(context, {}, info);
  await bring();
  assert.equal(statSync(done).size, 0);
  assert.deepEqual(ranges(), []);
});

test("an abort by whoever is told of the bytes ends a stalled connection at once", async (context) => {
  const { bring, fault } = await prepare(context);
  fault({ stallsAfter: 1000 });
  const ending = new AbortController();
  const started = performance.now();
  const brought = bring({ signal: ending.signal, onBytes: () => ending.abort(new Error("enough")) });
  await assert.rejects(brought, /^Error: enough$/);
  assert.ok(performance.now() - started < 5000);
});
