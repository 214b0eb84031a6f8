/**
 * What this device does with the model, in figures that can be copied: load, switch and decode of each adapter on each
 * backend.
 *
 * Knows nothing about the page but its tables.
 */

import type { RemoteModel } from "@edgelora/runtime/web";
import { find, make, showError } from "./elements.ts";
import { type OpenedModel, openWith } from "./loading.ts";
import { ViewOfAll } from "./view.ts";
import { nameOf } from "./voices.ts";

const PROMPT = "Write a short story about a lighthouse keeper who repairs an old radio.";
const TOKENS = 32;
const MOST = 4; // adapters beside the base
const SWITCHES = 5;

/** One adapter on one backend; null where it was too short to say. */
interface AdapterFigures {
  readonly adapter: string;
  /** The first, which reads and packs it; then the middle one of five. */
  readonly firstSwitchMs: number;
  readonly switchMs: number;
  readonly firstTokenMs: number | null;
  readonly decodeTokensPerSecond: number | null;
}

interface BackendFigures {
  readonly backend: string;
  readonly loadMs: number;
  /** False where the load had something to download. */
  readonly wasStored: boolean;
  readonly wasmBytes: number;
  readonly adapters: readonly AdapterFigures[];
}

export class Figures extends ViewOfAll<RemoteModel> {
  readonly panel = find("measure", HTMLElement);
  readonly #opened: OpenedModel;
  readonly #json = find("measured-json", HTMLTextAreaElement);

  constructor(opened: OpenedModel, model: RemoteModel) {
    super(model);
    this.#opened = opened;
    const start = find("measure-start", HTMLButtonElement);
    start.addEventListener("click", async () => {
      start.disabled = true;
      await this.#measure().catch((error) => showError("measure-error", error));
      start.disabled = false;
    });
    find("measure-copy", HTMLButtonElement).addEventListener("click", () => void this.#copy());
  }

  async #measure(): Promise<void> {
    showError("measure-error", null);
    const { wasStored, loadMs, address, firstSwitchMs } = this.#opened;
    const body = find("measured", HTMLElement);
    body.replaceChildren();
    const backends: BackendFigures[] = [];
    const add = async (model: RemoteModel, loaded: Pick<BackendFigures, "loadMs" | "wasStored">) => {
      const adapters: AdapterFigures[] = [];
      for (const adapter of ["none", ...model.adapters.slice(0, MOST)]) {
        say(`Measuring ${adapter} on ${model.choice.name}`);
        const measured = await measureAdapter(model, adapter);
        const first = model === this.model ? firstSwitchMs.get(adapter) : undefined; // it was when the page opened it
        const figures = { ...measured, firstSwitchMs: first ?? measured.firstSwitchMs };
        adapters.push(figures);
        body.append(row(model.choice.name, figures));
      }
      const { loadMs, wasStored } = loaded;
      backends.push({ backend: model.backend, loadMs, wasStored, wasmBytes: await model.wasmBytes(), adapters });
    };
    await add(this.model, { loadMs, wasStored });
    const other = this.model.choice.name === "wasm" ? "webgpu" : "wasm";
    const problems: string[] = [];
    if (other === "wasm" || "gpu" in navigator) {
      say(`Opening the model on ${other}`);
      const started = performance.now();
      try {
        const model = (await openWith(address, { backend: other })) as RemoteModel;
        try {
          await add(model, { loadMs: performance.now() - started, wasStored: true });
        } finally {
          await model.dispose();
        }
      } catch (error) {
        problems.push(`${other}: ${(error as Error).message}`); // a device that lacks it has figures of the other
      }
    }
    this.#json.value = JSON.stringify(this.#record(backends, problems), null, 1);
    find("measured-result", HTMLElement).hidden = false;
    say(["Measured.", ...problems].join(" "));
  }

  #record(backends: readonly BackendFigures[], problems: readonly string[]) {
    const { manifest } = this.model;
    const { deviceMemory } = navigator as { readonly deviceMemory?: number };
    return {
      measured: new Date().toISOString(),
      model: manifest.model.name,
      grid: manifest.base.grid,
      target: manifest.target,
      bytes: this.#opened.totalBytes,
      tokens: TOKENS,
      browser: navigator.userAgent,
      cores: navigator.hardwareConcurrency,
      memoryGB: deviceMemory ?? null,
      isolated: crossOriginIsolated,
      backends,
      problems,
    };
  }

  async #copy(): Promise<void> {
    this.#json.select();
    try {
      await navigator.clipboard.writeText(this.#json.value);
      say("Copied.");
    } catch {
      say("This browser does not let pages copy; the text is selected.");
    }
  }
}

function say(text: string): void {
  find("measure-status", HTMLElement).textContent = text;
}

async function measureAdapter(model: RemoteModel, adapter: string): Promise<AdapterFigures> {
  const before = model.adapter;
  const times: number[] = [];
  await model.setAdapter("none");
  for (let count = 0; count <= SWITCHES; count++) {
    const started = performance.now();
    await model.setAdapter(adapter);
    times.push(performance.now() - started);
    await model.setAdapter("none");
  }
  const [firstSwitchMs = 0, ...later] = times;
  const switchMs = later.sort((one, other) => one - other)[SWITCHES >> 1] ?? 0;
  const { timings } = await model.generate(PROMPT, { adapter, maxNewTokens: TOKENS });
  await model.setAdapter(before);
  const { firstTokenMs, tokensPerSecond } = timings;
  return { adapter, firstSwitchMs, switchMs, firstTokenMs, decodeTokensPerSecond: tokensPerSecond };
}

function row(backend: string, figures: AdapterFigures): HTMLElement {
  const shown = make("tr", "");
  const { adapter, firstSwitchMs, switchMs, firstTokenMs, decodeTokensPerSecond } = figures;
  shown.append(make("td", "", backend), make("th", "", nameOf(adapter)));
  (shown.lastChild as HTMLTableCellElement).scope = "row";
  for (const value of [firstSwitchMs, switchMs, firstTokenMs, decodeTokensPerSecond]) {
    shown.append(make("td", "number", value === null ? "–" : value.toFixed(1)));
  }
  return shown;
}
