/**
 * The page: joins loading, choosing an adapter, what the model can do, and measuring.
 *
 * Knows nothing about how any of them works.
 */

import { AdapterPicker } from "./adapters.ts";
import { AddedAdapters } from "./adding.ts";
import { Chat } from "./chat.ts";
import { acceptFolders, type ChosenFolder } from "./drop.ts";
import { find, showError } from "./elements.ts";
import { showFigure } from "./figures.ts";
import { megabytes, type OpenedModel, openModel } from "./loading.ts";
import { Mailbox } from "./mailbox.ts";
import { isolate, keepForOffline } from "./offline.ts";
import { showTabs } from "./tabs.ts";
import type { View } from "./view.ts";

const warnings = find("warnings", HTMLElement);
const removal = find("remove-adapter", HTMLButtonElement);
const added = new Map<View, AddedAdapters>();
const used = new Set<string>(["none"]);
const picker = new AdapterPicker((spec) => void choose(spec));
await isolate();
let view = await viewOf(await open());

acceptFolders((folder) => void add(folder));
removal.addEventListener("click", () => void remove(view.spec));
void keepForOffline(view.model.choice.name).then(
  (isKept) => {
    if (isKept) document.documentElement.dataset.offline = "ready";
  },
  () => {}, // without room, or blocked: the page needs its network then
);
show(view);
void showTabs(view instanceof Chat ? "chat" : "mailbox", async (address) => viewOf(await open(address)), show, view);

function open(address?: string): Promise<OpenedModel> {
  return openModel((message) => {
    warnings.textContent = `${warnings.textContent} ${message}.`.trim();
  }, address);
}

async function viewOf({ model, totalBytes }: OpenedModel): Promise<View> {
  showFigure("download", megabytes(totalBytes));
  const adapters = new AddedAdapters(model);
  await adapters.restore();
  const opened =
    "generate" in model
      ? new Chat(model, { onSwap: showSwap, onSwapFailed: refuse, onEnd: () => void showMemory() })
      : new Mailbox(model);
  added.set(opened, adapters);
  return opened;
}

/** Put a view into the place of the one that is shown. */
function show(next: View): void {
  view.panel.hidden = true;
  view = next;
  const { manifest, backend } = view.model;
  const { name, architecture } = manifest.model;
  find("model-name", HTMLElement).textContent =
    `${name} (${architecture}), in this browser; nothing you write leaves it.`;
  document.title = `${name} · EdgeLoRA`;
  showAdapters();
  showFigure("backend", backend);
  void showMemory();
  view.panel.hidden = false;
  find("app", HTMLElement).hidden = false;
}

/** The choice of adapters, with the one that answers. */
function showAdapters(): void {
  picker.show(view.model.adapters, view.first, view.blends);
  settle();
}

/** What is chosen is what answers. */
function settle(): void {
  picker.select(view.spec);
  showRemoval();
}

/** Only what a visitor has added can be taken out. */
function showRemoval(): void {
  removal.hidden = !added.get(view)?.has(view.spec);
  removal.textContent = `Remove ${view.spec}`;
}

async function choose(spec: string): Promise<void> {
  showError("adapter-error", null);
  try {
    await view.choose(spec);
    showRemoval();
  } catch (error) {
    refuse(error);
  }
}

/** A swap that did not come about: the adapter before is the one that answers. */
function refuse(error: unknown): void {
  showError("adapter-error", error);
  settle();
}

function showSwap(spec: string, milliseconds: number): void {
  const text = `${milliseconds.toFixed(1)} ms`;
  const isFirst = !used.has(spec);
  used.add(spec);
  showFigure("swap", isFirst ? `${text} (the first time)` : text);
  find("adapter-status", HTMLElement).textContent = `${spec === "none" ? "No adapter" : spec} is on, after ${text}.`;
  showRemoval();
}

async function showMemory(): Promise<void> {
  const { model } = view;
  const inWasm = megabytes(await model.wasmBytes());
  showFigure("memory", model.choice.name === "webgpu" ? `${inWasm} in wasm, the rest on the GPU` : `${inWasm} in wasm`);
}

async function add(folder: ChosenFolder): Promise<void> {
  const name = await added.get(view)?.add(folder);
  if (typeof name !== "string") return;
  showAdapters();
  picker.select(name);
  await choose(name);
}

async function remove(name: string): Promise<void> {
  try {
    await view.choose(view.first.spec);
    await added.get(view)?.remove(name);
  } catch (error) {
    showError("adapter-error", error);
  }
  showAdapters();
}
