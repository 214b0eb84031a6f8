/** What an app writes, for the compilers that it may have. */

import { AdapterError, type EncoderModel, type Generation, type Model } from "@edgelora/runtime";
import { type ArtifactSource, type Backend, loadModel } from "@edgelora/runtime/backend";
import { load as loadInNode } from "@edgelora/runtime/node";
import { type ExpoCrypto, type FileSystem, load as loadOnPhone } from "@edgelora/runtime/react-native";
import { filesFolder, load, loadInWorker, type WebOptions } from "@edgelora/runtime/web";

const options: WebOptions = { backend: "wasm", onProgress: ({ loadedBytes }) => console.log(loadedBytes) };

export async function page(files: File[], inWorker: boolean): Promise<string> {
  const model: Model = inWorker ? await loadInWorker("artifact", options) : await load("artifact", options);
  await model.loadAdapter("mine", await filesFolder(files, "dropped files"));
  const answer: Generation = await model.generate("Hello", { adapter: "mine:0.5" });
  const wanted = { ...options, task: "text-classification" } as const;
  const sorter: EncoderModel = inWorker ? await loadInWorker("sorter", wanted) : await load("sorter", wanted);
  const { label } = await sorter.classify("Hello");
  await model.dispose();
  return answer.text + label;
}

export function strict(address: string): Promise<Model> {
  return loadInWorker(address, { worker: () => new Worker("worker.js", { type: "module" }), wasmPaths: "/app/ort/" });
}

export async function server(): Promise<readonly number[]> {
  const model: Model = await loadInNode("artifact", { threads: 2 });
  try {
    return await model.generateIds([1, 2, 3]);
  } catch (error) {
    if (error instanceof AdapterError && error.code === "EDGELORA_ADAPTER") return [];
    throw error;
  }
}

export async function phone(files: FileSystem, crypto: ExpoCrypto<string>): Promise<void> {
  await crypto.digest(crypto.CryptoDigestAlgorithm.SHA256, new Uint8Array(4));
  const model: Model = await loadOnPhone("artifact", { files });
  for await (const piece of model.generate("Hello")) console.log(piece);
}

export function elsewhere(source: ArtifactSource, backend: Backend): Promise<Model> {
  return loadModel(source, backend, { hashes: true });
}
