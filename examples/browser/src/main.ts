/**
 * The page: joins loading, choosing an adapter, asking and measuring.
 *
 * Knows nothing about how any of them works.
 */

import { filesFolder, type RemoteModel } from "@edgelora/runtime/web";
import { AdapterPicker } from "./adapters.ts";
import { Answer, swap } from "./answer.ts";
import { Conversation } from "./conversation.ts";
import { acceptFolders, type ChosenFolder, freeName } from "./drop.ts";
import { find, showError } from "./elements.ts";
import { showFigure } from "./figures.ts";
import { megabytes, openModel } from "./loading.ts";
import { keepForOffline } from "./offline.ts";

const warnings = find("warnings", HTMLElement);
const { model, totalBytes } = await openModel((message) => {
  warnings.textContent = `${warnings.textContent} ${message}.`.trim();
});
const conversation = new Conversation();
const picker = new AdapterPicker((spec) => void choose(spec));
const used = new Set<string>(["none"]);
let running: Answer | null = null;

showModel(model);
acceptFolders((folder) => void add(folder));
connect();
void showMemory();
void keepForOffline(model.choice.name).then(
  () => (document.documentElement.dataset.offline = "ready"),
  () => {},
);

function showModel({ manifest, backend, adapters }: RemoteModel): void {
  const { name, architecture } = manifest.model;
  find("model-name", HTMLElement).textContent =
    `${name} (${architecture}), in this browser; nothing you write leaves it.`;
  document.title = `${name} · EdgeLoRA`;
  picker.show(adapters, "none");
  showFigure("backend", backend);
  showFigure("download", megabytes(totalBytes));
  find("app", HTMLElement).hidden = false;
  find("prompt", HTMLTextAreaElement).focus();
}

/** Make `spec` answer from now on, an answer that is being written included. */
async function choose(spec: string): Promise<void> {
  showError("adapter-error", null);
  if (running !== null) {
    running.swap(spec);
    return;
  }
  try {
    showSwap(spec, await swap(model, spec));
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
  const inWasm = megabytes(await model.wasmBytes());
  showFigure("memory", model.choice.name === "webgpu" ? `${inWasm} in wasm, the rest on the GPU` : `${inWasm} in wasm`);
}

async function add({ name, files }: ChosenFolder): Promise<void> {
  showError("adapter-error", null);
  const status = find("adapter-status", HTMLElement);
  const free = freeName(name, model.adapters);
  status.textContent = `Reading ${name}`;
  try {
    await model.loadAdapter(free, await filesFolder(files, name));
    picker.show(model.adapters, free);
    await choose(free);
  } catch (error) {
    status.textContent = "";
    showError("adapter-error", error);
  }
}

function connect(): void {
  const prompt = find("prompt", HTMLTextAreaElement);
  const form = find("composer", HTMLFormElement);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (running === null && prompt.value.trim() !== "") void ask(prompt.value.trim());
  });
  prompt.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
  find("stop", HTMLButtonElement).addEventListener("click", () => running?.stop());
  find("clear", HTMLButtonElement).addEventListener("click", () => {
    running?.stop();
    conversation.clear();
    prompt.focus();
  });
}

async function ask(text: string): Promise<void> {
  const prompt = find("prompt", HTMLTextAreaElement);
  const maxNewTokens = find("max-tokens", HTMLInputElement).valueAsNumber;
  const messages = conversation.ask(text, find("keeps-conversation", HTMLInputElement).checked);
  const shown = conversation.begin(model.adapter);
  showError("answer-error", null);
  running = new Answer(model, {
    onText: (piece) => shown.add(piece),
    onSwap: (spec, milliseconds) => {
      shown.mark(spec, milliseconds);
      showSwap(spec, milliseconds);
    },
  });
  setBusy(true);
  prompt.value = "";
  try {
    const { text: answer, tokens, firstTokenMs, tokensPerSecond } = await running.write(messages, maxNewTokens);
    const speed = tokensPerSecond === null ? "" : `, ${tokensPerSecond.toFixed(1)} tokens/s`;
    conversation.keep(answer);
    shown.end(`${tokens} token${tokens === 1 ? "" : "s"}${speed}`);
    showFigure("firstToken", `${Math.round(firstTokenMs)} ms`);
    if (tokensPerSecond !== null) showFigure("speed", `${tokensPerSecond.toFixed(1)} tokens/s`);
  } catch (error) {
    shown.end("");
    showError("answer-error", error);
    prompt.value = text;
  } finally {
    running = null;
    setBusy(false);
    void showMemory();
  }
}

function setBusy(isBusy: boolean): void {
  const stop = find("stop", HTMLButtonElement);
  const hadFocus = document.activeElement === stop;
  find("send", HTMLButtonElement).disabled = isBusy;
  stop.disabled = !isBusy;
  if (!isBusy && hadFocus) find("prompt", HTMLTextAreaElement).focus(); // a disabled button would lose it
}
