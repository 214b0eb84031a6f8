/**
 * An adapter made wrong on purpose, to show that it is refused.
 *
 * Knows nothing about models: files of a PEFT folder go in and come out.
 */

import { ARTIFACT } from "./loading.ts";

const WEIGHTS = "adapter_model.safetensors";
const RECEIPT = "receipt.json";
const SIGN_BYTES: Readonly<Record<string, number>> = { F32: 4, F16: 2, BF16: 2 };

/** What is done to it. */
export type Damage = "byte" | "forged";

/**
 * The files of the adapter at `path` of the page's artifact with one byte turned, or with the sign of its B factors
 * turned and a receipt that was made to agree. Throws where they cannot be had.
 */
export async function breakAdapter(path: string, damage: Damage): Promise<File[]> {
  const folder = new URL(`${path}/`, new URL(`${ARTIFACT}/`, document.baseURI));
  const names = [WEIGHTS, "adapter_config.json", RECEIPT];
  const contents = await Promise.all(names.map((name) => read(new URL(name, folder))));
  const [weights, config, receipt] = contents as [
    Uint8Array<ArrayBuffer>,
    Uint8Array<ArrayBuffer>,
    Uint8Array<ArrayBuffer>,
  ];
  let record = receipt;
  if (damage === "byte") {
    weights[weights.length - 2] = (weights.at(-2) as number) ^ 1;
  } else {
    turnSigns(weights);
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", weights));
    const sha256 = [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    record = new TextEncoder().encode(
      JSON.stringify({ ...JSON.parse(new TextDecoder().decode(receipt)), weights: sha256 }),
    );
  }
  return [new File([weights], WEIGHTS), new File([config], "adapter_config.json"), new File([record], RECEIPT)];
}

async function read(address: URL): Promise<Uint8Array<ArrayBuffer>> {
  const response = await fetch(address);
  if (!response.ok)
    throw new Error(`${address.pathname}: HTTP ${response.status}; this adapter has no such file to break`);
  return new Uint8Array(await response.arrayBuffer());
}

/** Turn the sign of every number of every B: what the adapter adds becomes what it takes away. */
function turnSigns(file: Uint8Array): void {
  const length = Number(new DataView(file.buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(file.subarray(8, 8 + length))) as Record<
    string,
    { readonly dtype: string; readonly data_offsets: readonly [number, number] }
  >;
  for (const [name, { dtype, data_offsets: offsets }] of Object.entries(header)) {
    const size = SIGN_BYTES[dtype];
    if (size === undefined || !name.includes("lora_B")) continue;
    const [start, end] = offsets.map((offset) => 8 + length + offset) as [number, number];
    for (let place = start + size - 1; place < end; place += size) file[place] = (file[place] as number) ^ 0x80;
  }
}
