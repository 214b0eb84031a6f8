/**
 * Asks before anything large is downloaded, opens the model and shows how far it is; after an error the same button
 * tries again and goes on where it stopped.
 *
 * Knows nothing about what is done with the model.
 */

import { loadInWorker, models, type Progress, type RemoteOf } from "@edgelora/runtime/web";
import { find, showError } from "./elements.ts";
import { warmAdapters } from "./warm.ts";

/** Where the artifact is; `?artifact=ADDRESS` and `?backend=wasm` choose others. */
const query = new URLSearchParams(location.search);
export const ARTIFACT = query.get("artifact") ?? "artifact";
const BACKEND = query.get("backend");
const WASM_PATHS = "ort/";

/** The model, once it is there. */
export interface OpenedModel {
  readonly model: RemoteOf<"any">;
  /** Where it is from. */
  readonly address: string;
  /** The bytes of its files. */
  readonly totalBytes: number;
  /** Until it could answer, and whether all of it was here before. */
  readonly loadMs: number;
  readonly wasStored: boolean;
  /** What the first switch to each adapter took, which reads and packs it. */
  readonly firstSwitchMs: ReadonlyMap<string, number>;
}

/** Load until it succeeds: the page's artifact, or the one at `address`. */
export async function openModel(
  onWarning: (message: string) => void,
  address: string = ARTIFACT,
): Promise<OpenedModel> {
  let totalBytes = 0;
  let hasAgreed = false;
  const retry = find("loading-retry", HTMLButtonElement);
  while (true) {
    showError("loading-error", null);
    retry.hidden = true;
    try {
      const wasStored = !hasAgreed && (await ask(address));
      hasAgreed = true;
      find("loading", HTMLElement).hidden = false;
      const started = performance.now();
      const model = await openWith(address, {
        backend: BACKEND === "wasm" || BACKEND === "webgpu" ? BACKEND : undefined,
        onProgress: (progress) => {
          if (progress.stage === "download") totalBytes = progress.totalBytes;
          show(progress);
        },
        onWarning,
      });
      const loadMs = performance.now() - started;
      const firstSwitchMs = await warmAdapters(model);
      find("loading", HTMLElement).hidden = true;
      return { model, address, totalBytes, wasStored, loadMs, firstSwitchMs };
    } catch (error) {
      find("loading", HTMLElement).hidden = false;
      showError("loading-error", error);
      find("loading-text", HTMLElement).textContent = "";
      retry.hidden = false;
      await new Promise((resolve) => retry.addEventListener("click", resolve, { once: true }));
    }
  }
}

/** Open what is at `address` in a worker of its own. */
export function openWith(
  address: string,
  options: {
    readonly backend?: "wasm" | "webgpu" | undefined;
    readonly onProgress?: (progress: Progress) => void;
    readonly onWarning?: (message: string) => void;
  },
): Promise<RemoteOf<"any">> {
  return loadInWorker(address, { task: "any", wasmPaths: WASM_PATHS, ...options });
}

/** Wait until the visitor wants what is missing to be downloaded; true where nothing is. */
async function ask(address: string): Promise<boolean> {
  const { bytes, storedBytes, missingBytes, fits, freeBytes } = await models.estimate(address);
  if (missingBytes === 0) return true;
  const lines = [`${megabytes(missingBytes)} of model, once: it stays in this browser, and so does all you write.`];
  if (storedBytes > 0) lines.push(`${megabytes(storedBytes)} of ${megabytes(bytes)} are here already.`);
  if (!("caches" in window)) lines.push("At an address without https browsers keep nothing: it comes at each visit.");
  else if (!fits) lines.push(`This browser says that it has room for ${megabytes(freeBytes ?? 0)}.`);
  const consent = find("consent", HTMLElement);
  const start = find("start", HTMLButtonElement);
  find("consent-text", HTMLElement).textContent = lines.join(" ");
  start.textContent = `Download ${megabytes(missingBytes)}`;
  consent.hidden = false;
  find("loading", HTMLElement).hidden = true;
  await new Promise((resolve) => start.addEventListener("click", resolve, { once: true }));
  consent.hidden = true;
  return false;
}

let spoken = "";

function show({ stage, loadedBytes, totalBytes }: Progress): void {
  const bar = find("loading-progress", HTMLProgressElement);
  if (stage === "open") bar.removeAttribute("value");
  else bar.value = totalBytes === 0 ? 1 : loadedBytes / totalBytes;
  const tenths = Math.floor((loadedBytes / totalBytes) * 10);
  const what = stage === "runtime" ? " of onnxruntime" : "";
  const text = stage === "open" ? "Preparing the model" : `${tenths * 10} % of ${megabytes(totalBytes)}${what}`;
  // A screen reader would read every change aloud: ten of them are enough.
  if (text !== spoken) find("loading-text", HTMLElement).textContent = text;
  spoken = text;
}

/** Bytes for people. */
export function megabytes(bytes: number): string {
  const count = bytes / 1e6;
  return `${count < 10 ? count.toFixed(1) : Math.round(count)} MB`;
}
