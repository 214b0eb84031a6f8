/**
 * Copies of conformance artifacts with something about them changed, their manifests in agreement unless said otherwise.
 *
 * Knows nothing about browsers.
 */

import { createCipheriv, createHash } from "node:crypto";
import { appendFile, cp, mkdtemp, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { FileInfo } from "../../src/core/format.js";
import { CONFORMANCE } from "../places.js";

export const WEIGHTS = "weights.bin";
const PIECE = 4 << 20;

/** A folder of its own with a copy of `name`. */
export async function copyArtifact(name: string): Promise<string> {
  const folder = join(await mkdtemp(join(tmpdir(), "edgelora-")), name);
  await cp(join(CONFORMANCE, name), folder, { recursive: true });
  return folder;
}

/** A copy whose weights are followed by `bytes` that nothing reads, so that they take several pieces of the cache. */
export async function paddedArtifact(name: string, bytes: number): Promise<string> {
  const folder = await copyArtifact(name);
  await appendFile(join(folder, WEIGHTS), noise(bytes));
  const content = await readFile(join(folder, WEIGHTS));
  await changeManifest(folder, (manifest) => {
    const sha256 = createHash("sha256").update(content).digest("hex");
    const pieces = { size: PIECE, sha256: [] as string[] };
    for (let start = 0; start < content.length; start += PIECE) {
      pieces.sha256.push(
        createHash("sha256")
          .update(content.subarray(start, start + PIECE))
          .digest("hex"),
      );
    }
    manifest.files[WEIGHTS] = { bytes: content.length, sha256, pieces };
  });
  return folder;
}

/** Bytes that no store can compress, as Firefox's does, always the same. */
function noise(bytes: number): Buffer {
  return createCipheriv("aes-128-ctr", Buffer.alloc(16, 7), Buffer.alloc(16)).update(Buffer.alloc(bytes));
}

export interface Record {
  target: string;
  report: { nodes: { [op: string]: number } };
  files: { [name: string]: FileInfo };
  [field: string]: unknown;
}

export async function changeManifest(folder: string, change: (manifest: Record) => void): Promise<void> {
  const path = join(folder, "manifest.json");
  const manifest = JSON.parse(await readFile(path, "utf8")) as Record;
  change(manifest);
  await writeFile(path, JSON.stringify(manifest));
}
