/**
 * The page: joins loading, choosing an adapter, what the model can do, and measuring.
 *
 * Knows nothing about how any of them works.
 */

import "./policy.ts";
import { AdapterPicker } from "./adapters.ts";
import { AddedAdapters } from "./adding.ts";
import { Chat } from "./chat.ts";
import { acceptFolders, type ChosenFolder } from "./drop.ts";
import { find, showError } from "./elements.ts";
import { showFigure } from "./figures.ts";
import { type Introduced, introduce, introductions, titleOf } from "./introduction.ts";
import { megabytes, type OpenedModel, openModel } from "./loading.ts";
import { Mailbox } from "./mailbox.ts";
import { Figures } from "./measure.ts";
import { isolate, keepForOffline, showNetwork } from "./offline.ts";
import { Receipts } from "./receipts.ts";
import { SideBySide } from "./side-by-side.ts";
import { isServed, Tabs } from "./tabs.ts";
import type { View } from "./view.ts";

const SECOND = new URLSearchParams(location.search).get("second") ?? "second"; // an address, as `?artifact=` is one

const warnings = find("warnings", HTMLElement);
const removal = find("remove-adapter", HTMLButtonElement);
const added = new Map<View["model"], AddedAdapters>();
const used = new Set<string>(["none"]);
const picker = new AdapterPicker((spec, slides) => void choose(spec, slides));
const tabs = new Tabs(show);
await isolate();
const opened = await open();
const { model } = opened;
let view: View = viewOf(model);

acceptFolders((folder) => void add(folder));
removal.addEventListener("click", () => void remove(view.spec));
void keepForOffline(model.choice.name).then(showNetwork, () => {}); // without room the page needs its network
addTabs();
await tabs.choose(view instanceof Chat ? "chat" : "mailbox");
find("app", HTMLElement).hidden = false;

async function open(address?: string): Promise<OpenedModel> {
  const found = await openModel((message) => {
    warnings.textContent = `${warnings.textContent} ${message}.`.trim();
  }, address);
  showFigure("download", megabytes(found.totalBytes));
  for (const name of found.firstSwitchMs.keys()) used.add(name);
  const adapters = new AddedAdapters(found.model);
  added.set(found.model, adapters);
  await adapters.restore();
  return found;
}

/** Tabs of what this model can do, and of a second artifact where one is served beside it. */
function addTabs(): void {
  const first = view;
  tabs.add(first instanceof Chat ? "chat" : "mailbox", async () => first);
  if ("generate" in model) {
    tabs.add("compare", async () => new SideBySide(model));
    tabs.add("measure", async () => new Figures(opened, model));
  }
  tabs.add("receipts", async () => new Receipts(model));
  void isServed(SECOND).then((isThere) => {
    if (!isThere) return;
    tabs.add(first instanceof Chat ? "mailbox" : "chat", async () => {
      const { model } = await open(SECOND);
      return viewOf(model);
    });
  });
}

function viewOf(model: View["model"]): Chat | Mailbox {
  return "generate" in model ? chatOf(model) : new Mailbox(model);
}

function chatOf(model: Extract<View["model"], { generate: unknown }>): Chat {
  return new Chat(model, { onSwap: showSwap, onSwapFailed: refuse, onEnd: () => void showMemory() });
}

/** Put a view into the place of the one that is shown. */
function show(next: View): void {
  view.panel.hidden = true;
  view = next;
  const { manifest, backend } = view.model;
  const { name, architecture } = manifest.model;
  const { source, license } = manifest.base;
  const from = [source, license].filter((item) => item !== null).join(", ");
  find("model-name", HTMLElement).textContent =
    `${name} (${from === "" ? architecture : `${architecture}; ${from}`}), in this browser; nothing you write leaves it.`;
  document.title = `${name} · EdgeLoRA`;
  find("adapters", HTMLElement).hidden = !view.picks;
  showAdapters();
  showFigure("backend", backend);
  void showMemory();
  view.panel.hidden = false;
}

/** The adapters of the artifact, in its words. */
function introduced(): readonly Introduced[] {
  const { adapterNames, adapters } = view.model.manifest;
  return introductions(adapterNames, adapters);
}

/** The choice of adapters, with the one that answers. */
function showAdapters(): void {
  const adapters = introduced();
  picker.show(view.model.adapters, (name) => titleOf(adapters, name), view.first, view.blends);
  settle();
}

/** What is chosen is what answers. */
function settle(): void {
  picker.select(view.spec);
  showChosen();
}

/** What is known of the adapter that answers. Only what a visitor has added can be taken out. */
function showChosen(): void {
  introduce(introduced(), view.picks ? view.spec : "none", (text) => void view.ask?.(text));
  find("about", HTMLElement).hidden = view.ask === undefined;
  removal.hidden = !added.get(view.model)?.has(view.spec);
  removal.textContent = `Remove ${view.spec}`;
}

async function choose(spec: string, slides: boolean): Promise<void> {
  showError("adapter-error", null);
  try {
    await view.choose(spec, slides);
    showChosen();
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
  showSwapTime(text);
  find("adapter-status", HTMLElement).textContent = `${spec === "none" ? "No adapter" : spec} is on, after ${text}.`;
  showChosen();
}

/** The figure that the page is about, large. */
function showSwapTime(text: string): void {
  const time = find("swap-time", HTMLElement);
  time.textContent = text;
  time.classList.remove("fresh");
  void time.offsetWidth; // the animation begins anew
  time.classList.add("fresh");
}

async function showMemory(): Promise<void> {
  const { model } = view;
  const inWasm = megabytes(await model.wasmBytes());
  showFigure("memory", model.choice.name === "webgpu" ? `${inWasm} in wasm, the rest on the GPU` : `${inWasm} in wasm`);
}

async function add(folder: ChosenFolder): Promise<void> {
  const name = await added.get(view.model)?.add(folder);
  if (typeof name !== "string") return;
  showAdapters();
  picker.select(name);
  await choose(name, false);
}

async function remove(name: string): Promise<void> {
  try {
    await view.choose(view.first.spec, false);
    await added.get(view.model)?.remove(name);
  } catch (error) {
    showError("adapter-error", error);
  }
  showAdapters();
}
