/**
 * The page: joins loading, choosing an adapter, what the model can do, and measuring.
 *
 * Knows nothing about how any of them works.
 */

import { filesFolder } from "@edgelora/runtime/web";
import { AdapterPicker } from "./adapters.ts";
import { Chat } from "./chat.ts";
import { acceptFolders, type ChosenFolder, freeName } from "./drop.ts";
import { find, showError } from "./elements.ts";
import { showFigure } from "./figures.ts";
import { megabytes, type OpenedModel, openModel } from "./loading.ts";
import { Mailbox } from "./mailbox.ts";
import { keepForOffline } from "./offline.ts";
import { showTabs } from "./tabs.ts";
import type { View } from "./view.ts";

const warnings = find("warnings", HTMLElement);
const used = new Set<string>(["none"]);
const picker = new AdapterPicker((spec) => void choose(spec));
let view = viewOf(await open());

acceptFolders((folder) => void add(folder));
void keepForOffline(view.model.choice.name).then(
  () => (document.documentElement.dataset.offline = "ready"),
  () => {},
);
show(view);
void showTabs(view instanceof Chat ? "chat" : "mailbox", async (address) => viewOf(await open(address)), show, view);

function open(address?: string): Promise<OpenedModel> {
  return openModel((message) => {
    warnings.textContent = `${warnings.textContent} ${message}.`.trim();
  }, address);
}

function viewOf({ model, totalBytes }: OpenedModel): View {
  showFigure("download", megabytes(totalBytes));
  return "generate" in model ? new Chat(model, showSwap, () => void showMemory()) : new Mailbox(model);
}

/** Put a view into the place of the one that is shown. */
function show(next: View): void {
  view.panel.hidden = true;
  view = next;
  const { manifest, backend, adapters } = view.model;
  const { name, architecture } = manifest.model;
  find("model-name", HTMLElement).textContent =
    `${name} (${architecture}), in this browser; nothing you write leaves it.`;
  document.title = `${name} · EdgeLoRA`;
  picker.show(adapters, view.first.spec, view.first, view.blends);
  showFigure("backend", backend);
  void showMemory();
  view.panel.hidden = false;
  find("app", HTMLElement).hidden = false;
  view.focus();
}

async function choose(spec: string): Promise<void> {
  showError("adapter-error", null);
  try {
    await view.choose(spec);
  } catch (error) {
    showError("adapter-error", error);
  }
}

function showSwap(spec: string, milliseconds: number): void {
  const text = `${milliseconds.toFixed(1)} ms`;
  const isFirst = !used.has(spec);
  used.add(spec);
  showFigure("swap", isFirst ? `${text} (the first time)` : text);
  find("adapter-status", HTMLElement).textContent = `${spec === "none" ? "No adapter" : spec} is on, after ${text}.`;
}

async function showMemory(): Promise<void> {
  const { model } = view;
  const inWasm = megabytes(await model.wasmBytes());
  showFigure("memory", model.choice.name === "webgpu" ? `${inWasm} in wasm, the rest on the GPU` : `${inWasm} in wasm`);
}

async function add({ name, files }: ChosenFolder): Promise<void> {
  showError("adapter-error", null);
  const status = find("adapter-status", HTMLElement);
  const { model } = view;
  const free = freeName(name, model.adapters);
  status.textContent = `Reading ${name}`;
  try {
    await model.loadAdapter(free, await filesFolder(files, name));
    status.textContent = `${free} is there.`;
    picker.show(model.adapters, free, view.first, view.blends);
    await choose(free);
  } catch (error) {
    status.textContent = "";
    showError("adapter-error", error);
  }
}
