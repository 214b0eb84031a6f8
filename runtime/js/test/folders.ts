/** Folders for tests: files in memory, safetensors written by hand, artifacts copied to where they may be damaged. */

import { createHash } from "node:crypto";
import { cp, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { ArtifactError } from "../src/core/errors.js";
import type { FolderSource } from "../src/core/files.js";
import { CONFORMANCE } from "./places.js";

/** A folder whose files are in memory. */
export function memoryFolder(files: Readonly<Record<string, Uint8Array | string>>, where = "memory"): FolderSource {
  const read = (name: string) => {
    const content = files[name];
    if (content === undefined) throw new ArtifactError(`${where}/${name} is missing`);
    return typeof content === "string" ? new TextEncoder().encode(content) : content;
  };
  return {
    where,
    has: async (name) => Object.hasOwn(files, name),
    bytes: async (name) => read(name),
    sha256: async (name) => createHash("sha256").update(read(name)).digest("hex"),
  };
}

export interface TensorToWrite {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data: ArrayBufferView;
}

/** The bytes of a safetensors file. `padding` blanks behind the header move the data away from 4-byte borders. */
export function writeSafetensors(tensors: Readonly<Record<string, TensorToWrite>>, padding = 0): Uint8Array {
  let offset = 0;
  const header: Record<string, unknown> = { __metadata__: { format: "pt" } };
  for (const [name, { dtype, shape, data }] of Object.entries(tensors)) {
    header[name] = { dtype, shape, data_offsets: [offset, offset + data.byteLength] };
    offset += data.byteLength;
  }
  let text = JSON.stringify(header);
  text += " ".repeat(((8 - (text.length % 8)) % 8) + padding);
  const file = new Uint8Array(8 + text.length + offset);
  new DataView(file.buffer).setBigUint64(0, BigInt(text.length), true);
  file.set(new TextEncoder().encode(text), 8);
  let place = 8 + text.length;
  for (const { data } of Object.values(tensors)) {
    file.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), place);
    place += data.byteLength;
  }
  return file;
}

export function float32(shape: readonly number[], value: (index: number) => number): TensorToWrite {
  const count = shape.reduce((product, size) => product * size, 1);
  return { dtype: "F32", shape, data: Float32Array.from({ length: count }, (_, index) => value(index)) };
}

/** A copy of a conformance artifact that the test may spoil; removed when the test ends. */
export async function copyArtifact(context: TestContext, name = "tiny-float"): Promise<string> {
  const parent = await mkdtemp(join(tmpdir(), "edgelora-"));
  context.after(() => rm(parent, { recursive: true }));
  const folder = join(parent, name);
  await cp(join(CONFORMANCE, name), folder, { recursive: true });
  return folder;
}

/** Give a copied artifact another chat template. */
export async function writeTemplate(folder: string, template: string, variables: object = {}): Promise<void> {
  await writeFile(join(folder, "chat_template.jinja"), template);
  const manifest = JSON.parse(await readFile(join(folder, "manifest.json"), "utf8"));
  manifest.tokenizer.template_variables = variables;
  const sha256 = createHash("sha256").update(template).digest("hex");
  manifest.files["chat_template.jinja"] = { bytes: new TextEncoder().encode(template).length, sha256 };
  await writeFile(join(folder, "manifest.json"), JSON.stringify(manifest));
}
