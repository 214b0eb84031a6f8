/** What an app writes, for the compilers that it may have. */

import { AdapterError, type Generation } from "@edgelora/runtime";
import { load as loadInNode } from "@edgelora/runtime/node";
import { type ExpoCrypto, type FileSystem, load as loadOnPhone } from "@edgelora/runtime/react-native";
import { filesFolder, load, loadInWorker, type WebOptions } from "@edgelora/runtime/web";

const options: WebOptions = { backend: "wasm", onProgress: ({ loadedBytes }) => console.log(loadedBytes) };

export async function page(files: File[]): Promise<string> {
  const model = await load("artifact", options);
  await model.loadAdapter("mine", await filesFolder(files, "dropped files"));
  const answer: Generation = await model.generate("Hello", { adapter: "mine:0.5" });
  const sorter = await loadInWorker("sorter", { ...options, task: "text-classification" });
  const { label } = await sorter.classify("Hello");
  await model.dispose();
  return answer.text + label;
}

export async function server(): Promise<readonly number[]> {
  try {
    return await (await loadInNode("artifact", { threads: 2 })).generateIds([1, 2, 3]);
  } catch (error) {
    if (error instanceof AdapterError) return [];
    throw error;
  }
}

export async function phone(files: FileSystem, crypto: ExpoCrypto<string>): Promise<void> {
  await crypto.digest(crypto.CryptoDigestAlgorithm.SHA256, new Uint8Array(4));
  for await (const piece of (await loadOnPhone("artifact", { files })).generate("Hello", { stream: true })) {
    console.log(piece);
  }
}
