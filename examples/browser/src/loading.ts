/**
 * Opens the model and shows how far it is; after an error the same button tries again and goes on where it stopped.
 *
 * Knows nothing about what is done with the model.
 */

import { loadInWorker, type Progress, type RemoteOf } from "@edgelora/runtime/web";
import { find, showError } from "./elements.ts";

/** Where the artifact and onnxruntime's files are; `?artifact=ADDRESS` and `?backend=wasm` choose others. */
const query = new URLSearchParams(location.search);
const ARTIFACT = query.get("artifact") ?? "artifact";
const BACKEND = query.get("backend");
const WASM_PATHS = "ort/";

/** The model, once it is there, and the bytes of its files. */
export interface OpenedModel {
  readonly model: RemoteOf<"any">;
  readonly totalBytes: number;
}

/** Load until it succeeds: the page's artifact, or the one at `address`. */
export async function openModel(
  onWarning: (message: string) => void,
  address: string = ARTIFACT,
): Promise<OpenedModel> {
  let totalBytes = 0;
  find("loading", HTMLElement).hidden = false;
  const retry = find("loading-retry", HTMLButtonElement);
  while (true) {
    showError("loading-error", null);
    retry.hidden = true;
    try {
      const model = await loadInWorker(address, {
        task: "any",
        wasmPaths: WASM_PATHS,
        backend: BACKEND === "wasm" || BACKEND === "webgpu" ? BACKEND : undefined,
        onProgress: (progress) => {
          if (progress.stage === "download") totalBytes = progress.totalBytes;
          show(progress);
        },
        onWarning,
      });
      find("loading", HTMLElement).hidden = true;
      return { model, totalBytes };
    } catch (error) {
      showError("loading-error", error);
      find("loading-text", HTMLElement).textContent = "";
      retry.hidden = false;
      await new Promise((resolve) => retry.addEventListener("click", resolve, { once: true }));
    }
  }
}

let spoken = "";

function show({ stage, loadedBytes, totalBytes }: Progress): void {
  const bar = find("loading-progress", HTMLProgressElement);
  if (stage === "open") bar.removeAttribute("value");
  else bar.value = totalBytes === 0 ? 1 : loadedBytes / totalBytes;
  const tenths = Math.floor((loadedBytes / totalBytes) * 10);
  const text = stage === "open" ? "Preparing the model" : `${tenths * 10} % of ${megabytes(totalBytes)}`;
  // A screen reader would read every change aloud: ten of them are enough.
  if (text !== spoken) find("loading-text", HTMLElement).textContent = text;
  spoken = text;
}

/** Bytes for people. */
export function megabytes(bytes: number): string {
  const count = bytes / 1e6;
  return `${count < 10 ? count.toFixed(1) : Math.round(count)} MB`;
}
