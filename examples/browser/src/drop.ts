/**
 * Adapter folders that are dropped onto the page or chosen with a button.
 *
 * Knows nothing about what is in them.
 */

import { find } from "./elements.ts";

/** A folder's name, and the files in it. */
export interface ChosenFolder {
  readonly name: string;
  readonly files: readonly File[];
}

/** Call `onFolder` for every folder that arrives. */
export function acceptFolders(onFolder: (folder: ChosenFolder) => void): void {
  for (const [button, chooser] of [
    ["add-adapter", "add-folder"],
    ["add-loose", "add-files"], // most phones cannot choose folders
  ] as const) {
    const input = find(chooser, HTMLInputElement);
    find(button, HTMLButtonElement).addEventListener("click", () => input.click());
    input.addEventListener("change", () => {
      const files = [...(input.files ?? [])];
      const [name] = (files[0]?.webkitRelativePath ?? "").split("/");
      if (files.length > 0) onFolder({ name: name || "added", files });
      input.value = ""; // the same folder can be chosen again
    });
  }
  acceptDrops(onFolder);
}

function acceptDrops(onFolder: (folder: ChosenFolder) => void): void {
  const hint = find("drop-hint", HTMLElement);
  let depth = 0; // "dragleave" comes for every element that is left, not for the page alone
  document.addEventListener("dragenter", (event) => {
    event.preventDefault();
    depth += 1;
    hint.hidden = false;
  });
  document.addEventListener("dragleave", () => {
    depth -= 1;
    hint.hidden = depth > 0 ? hint.hidden : true;
  });
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    depth = 0;
    hint.hidden = true;
    // Entries must be asked for before anything is waited for; afterwards the list is empty.
    const items = [...(event.dataTransfer?.items ?? [])].filter((item) => item.kind === "file");
    const found = items.map((item) => ({ entry: item.webkitGetAsEntry(), file: item.getAsFile() }));
    void collect(found).then((folders) => folders.forEach(onFolder));
  });
}

interface Dropped {
  readonly entry: FileSystemEntry | null;
  readonly file: File | null;
}

/** Every dropped folder; files that were dropped by themselves are taken for one folder. */
async function collect(dropped: readonly Dropped[]): Promise<ChosenFolder[]> {
  const folders: ChosenFolder[] = [];
  const loose: File[] = [];
  for (const { entry, file } of dropped) {
    if (entry?.isDirectory) folders.push({ name: entry.name, files: await filesOf(entry as FileSystemDirectoryEntry) });
    else if (file !== null) loose.push(file);
  }
  return loose.length > 0 ? [...folders, { name: "added", files: loose }] : folders;
}

/** The files that lie in a folder itself. */
async function filesOf(folder: FileSystemDirectoryEntry): Promise<File[]> {
  const reader = folder.createReader();
  const files: File[] = [];
  while (true) {
    const entries = await new Promise<FileSystemEntry[]>((resolve, reject) => reader.readEntries(resolve, reject));
    if (entries.length === 0) return files;
    for (const entry of entries.filter((item) => item.isFile)) {
      files.push(await new Promise<File>((resolve, reject) => (entry as FileSystemFileEntry).file(resolve, reject)));
    }
  }
}

/** `name` as a SPEC can write it, and no name that is taken. */
export function freeName(name: string, taken: readonly string[]): string {
  const plain = name.replace(/[\s+:/\\]+/g, "-").replace(/^-+|-+$/g, "") || "adapter";
  let free = plain;
  for (let count = 2; taken.includes(free) || free === "none"; count++) free = `${plain}-${count}`;
  return free;
}
