/**
 * The parts of the core that need no onnxruntime, in an engine with little beyond the language: hermes.js.
 *
 * Prints what it computed, for host.test.mjs to compare with what Node prints. Files are in the bundle: the engine's
 * command line reads none.
 */

import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex } from "@noble/hashes/utils.js";
import { TextDecoder } from "expo-text-decoder";
import casesFile from "../../../conformance/cases.json" with { type: "json" };
import eightConfig from "../../../conformance/tiny-int4/adapters/eight/adapter_config.json" with { type: "json" };
import eightWeights from "../../../conformance/tiny-int4/adapters/eight/adapter_model.safetensors";
import fourConfig from "../../../conformance/tiny-int4/adapters/four/adapter_config.json" with { type: "json" };
import fourWeights from "../../../conformance/tiny-int4/adapters/four/adapter_model.safetensors";
import manifestFile from "../../../conformance/tiny-int4/manifest.json" with { type: "json" };
import { type Case, runConformance } from "../../src/conformance/run.js";
import { readAdapter } from "../../src/core/adapter.js";
import type { FolderSource } from "../../src/core/files.js";
import { parseManifest } from "../../src/core/manifest.js";
import { packAdapter } from "../../src/core/pack-adapter.js";
import { blendPacked, slotInputs } from "../../src/core/packing.js";

declare const print: (text: string) => void;

Object.assign(globalThis, { TextDecoder });

/** A PEFT folder in memory. */
function adapterFolder(where: string, config: object, weights: Uint8Array): FolderSource {
  const files: Record<string, Uint8Array> = {
    "adapter_config.json": Uint8Array.from(JSON.stringify(config), (letter) => letter.charCodeAt(0)), // ASCII
    "adapter_model.safetensors": weights,
  };
  const bytes = async (name: string) => files[name] ?? new Uint8Array();
  return { where, bytes, has: async (name) => name in files, sha256: async (name) => hex(await bytes(name)) };
}

function hex(bytes: Uint8Array): string {
  return bytesToHex(sha256(bytes));
}

async function main(): Promise<void> {
  const cases = (casesFile.cases as unknown as Case[]).filter((item) => ["pcg32", "sampler"].includes(item.kind));
  const noArtifacts = () => Promise.reject(new Error("no artifact is needed here"));
  for (const { name, failure } of await runConformance(noArtifacts, cases)) print(`${name}: ${failure ?? "right"}`);
  const { slots } = parseManifest(JSON.stringify(manifestFile));
  const packed = [];
  for (const [name, config, weights] of [
    ["four", fourConfig, fourWeights],
    ["eight", eightConfig, eightWeights],
  ] as const) {
    packed.push(packAdapter(await readAdapter(adapterFolder(name, config, weights)), slots));
  }
  const [four, eight] = packed as [(typeof packed)[0], (typeof packed)[0]];
  const blend = blendPacked([[four, 0.7], [eight, -0.3]], slots); // biome-ignore format: one line says it
  for (const { name, dims, data } of slotInputs([four, blend], slots, false)) {
    print(`${name} [${dims}] ${hex(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))}`);
  }
  print("done");
}

main().catch((error: Error) => print(`${error.name}: ${error.message}\n${error.stack}`));
