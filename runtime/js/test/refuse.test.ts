/** Every case of refuse.json and encoders.json: what the readers refuse, in one line, and what they must read. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { test } from "node:test";
import { type LoraConfig, parseConfig } from "../src/core/adapter-config.js";
import { claims } from "../src/core/claims.js";
import { EdgeLoraError } from "../src/core/errors.js";
import { parseManifest } from "../src/core/manifest.js";
import { inAddress } from "../src/core/names.js";
import { matchesEnding, matchesWhole } from "../src/core/patterns.js";
import { parseReceipt } from "../src/core/receipt.js";
import { readSafetensors } from "../src/core/safetensors.js";
import { CONFORMANCE } from "./places.js";

type Json = Record<string, unknown>;

interface Change {
  readonly at: readonly (string | number)[];
  readonly put?: unknown;
  readonly copy?: readonly (string | number)[];
  readonly drop?: boolean;
}

interface Case {
  readonly kind: string;
  readonly name: string;
  readonly message_has?: string;
  readonly text?: string;
  readonly base64?: string;
  readonly pieces?: readonly (readonly [string, number])[];
  readonly header?: string;
  readonly data_bytes?: number;
  readonly changes?: readonly Change[];
  readonly insert?: string;
  readonly mark?: boolean;
  readonly field?: string;
  readonly pattern?: string;
  readonly module?: string;
  readonly expected?: boolean;
  readonly claims?: Readonly<Record<string, boolean>>;
}

const read = async (path: string) => JSON.parse(await readFile(`${CONFORMANCE}/${path}`, "utf8")) as Json;
const { cases, receipt } = (await read("refuse.json")) as unknown as { cases: Case[]; receipt: Json };
const { refuse } = (await read("encoders.json")) as unknown as { refuse: Case[] };
const bases: Record<string, Json> = {
  encoder_manifest: await read("encoder-topics/manifest.json"),
  manifest: await read("tiny-float/manifest.json"),
  adapter_config: await read("tiny-float/adapters/one/adapter_config.json"),
  receipt,
};
const READERS: Record<string, (content: Uint8Array) => unknown> = {
  manifest: (content) => parseManifest(content),
  encoder_manifest: (content) => parseManifest(content),
  adapter_config: (content) => parseConfig(content),
  receipt: (content) => parseReceipt(content),
  safetensors: (content) => readSafetensors(content, "file"),
};

/** The file of a case; runtime/conformance/README.md says how it is told. */
function contentOf(item: Case): Uint8Array {
  const encode = (text: string) => new TextEncoder().encode(text);
  if (item.text !== undefined) return encode(item.text);
  if (item.base64 !== undefined) return new Uint8Array(Buffer.from(item.base64, "base64"));
  if (item.pieces !== undefined) return encode(item.pieces.map(([text, times]) => text.repeat(times)).join(""));
  if (item.header !== undefined) {
    const header = encode(item.header);
    const file = new Uint8Array(8 + header.length + (item.data_bytes ?? 0));
    new DataView(file.buffer).setBigUint64(0, BigInt(header.length), true);
    file.set(header, 8);
    return file;
  }
  const base = structuredClone(bases[item.kind]) as Json;
  const find = (path: readonly (string | number)[]) =>
    path.reduce<unknown>((place, key) => (place as Json)[key as string], base);
  for (const change of item.changes ?? []) {
    const place = find(change.at.slice(0, -1)) as Json;
    const last = change.at.at(-1) as string;
    if (change.drop) delete place[last];
    else {
      const value = change.copy === undefined ? change.put : structuredClone(find(change.copy));
      Object.defineProperty(place, last, { value, enumerable: true, configurable: true, writable: true });
    }
  }
  return encode(`${item.mark ? "\ufeff" : ""}{${item.insert ?? ""}${JSON.stringify(base).slice(1)}`);
}

test("every case is refused in one line, or read", () => {
  const wrong: string[] = [];
  for (const item of [...cases, ...refuse]) {
    const told = `${item.kind} ${item.name}`;
    if (item.kind === "pattern") {
      const matches = item.field === "target_modules" ? matchesWhole : matchesEnding;
      const found = matches(item.pattern as string, item.module as string);
      if (found !== item.expected) wrong.push(`${told}: matches ${found}`);
      continue;
    }
    try {
      const found = READERS[item.kind]?.(contentOf(item));
      for (const [module, expected] of Object.entries(item.claims ?? {})) {
        const { targets, narrowing } = found as LoraConfig;
        if (claims(module, targets, narrowing) !== expected) wrong.push(`${told}: claims ${module}`);
      }
      if (item.message_has !== undefined) wrong.push(`${told}: read`);
    } catch (error) {
      const { message } = error as Error;
      const isRight =
        error instanceof EdgeLoraError &&
        item.message_has !== undefined &&
        message.includes(item.message_has) &&
        message.length < 500 &&
        !/[\p{Cc}\u2028\u2029]/u.test(message);
      if (!isRight) wrong.push(`${told}: ${error}`);
    }
  }
  assert.deepEqual(wrong, []);
  assert.ok(cases.length > 600 && refuse.length >= 30);
});

test("no pattern hangs", () => {
  const started = Date.now();
  for (const pattern of ["(?:a*)*b", "(?:a|aa)+b", "a*a*a*a*a*a*b", ".*.*.*.*.*.*.*.*=", "(?:a?){30}a{30}"]) {
    matchesWhole(pattern, "a".repeat(1000));
    matchesEnding(pattern, "a.".repeat(500));
  }
  assert.ok(Date.now() - started < 20_000);
});

test("a name of a file becomes part of an address as it is", () => {
  const address = new URL(`https://example.org/base/${inAddress("adapters/c#/%2e%2e/ü ?&.bin")}`);
  assert.equal(decodeURIComponent(address.pathname), "/base/adapters/c#/%2e%2e/ü ?&.bin");
  assert.equal(address.hash + address.search, "");
});
