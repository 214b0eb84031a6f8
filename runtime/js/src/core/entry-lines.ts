/**
 * Lines of a manifest that each hold one entry, of an adapter or of one of its files: unread until it is asked for.
 *
 * A manifest as `edgelora` writes it is made of such lines nearly to the whole where it has many adapters. One that was
 * written otherwise has none that can be told apart, and is read whole.
 */

import { ArtifactError } from "./errors.js";
import { ADAPTER_FOLDER } from "./format.js";
import { isFields, parseJson, show } from "./parse-json.js";

const LIST = '"adapters": [';
const NAME = '"name"';
const OBJECT = '  {"';
const FILE = `  "${ADAPTER_FOLDER}`;
const ADVICE = "export the artifact again";

/** The lines of adapters and those of their files. */
export interface EntryLines {
  /** Of the adapters, as their lines have them. */
  readonly names: readonly string[];
  readonly adapters: readonly string[];
  readonly files: readonly string[];
  /** The manifest with one line in the place of those of adapters, and one in that of those of files. */
  readonly rest: string;
}

/** The lines of a manifest that need not be read; null where they cannot be told apart, or there are none. */
export function findLines(text: string): EntryLines | null {
  const start = text.indexOf(LIST) + LIST.length;
  const end = text.indexOf("\n ]", start);
  const first = text.indexOf(`\n${FILE}`, end);
  const last = text.indexOf("\n", text.lastIndexOf(`\n${FILE}`) + 1);
  if (start < LIST.length || end < 0 || first < 0 || last < 0) return null;
  const adapters = text.slice(start + 1, end).split("\n");
  const files = text.slice(first + 1, last).split("\n");
  const names = adapters.map(nameIn);
  // Each is one entry, as far as this can be seen from its ends.
  const areWhole =
    adapters.every(
      (line, index) => line.startsWith(OBJECT) && line.endsWith(index < adapters.length - 1 ? "}," : "}"),
    ) && files.every((line) => line.startsWith(FILE) && line.endsWith("},") && !line.includes("\\"));
  if (!areWhole || names.includes("")) return null;
  const rest = `${text.slice(0, start)}null${text.slice(end, first)}\n${FILE}": null,${text.slice(last)}`;
  return { names, adapters, files, rest };
}

/** The one name in a line; empty where there is none, or more. */
function nameIn(line: string): string {
  const [, behind = "", more] = line.split(NAME);
  return behind.startsWith(': "') && more === undefined ? behind.slice(3, behind.indexOf('"', 3)) : "";
}

/** Take what stands in the place of lines out of the value of `rest`; false where they stood elsewhere than they must. */
export function takeOut({ adapters, files }: Readonly<Record<string, unknown>>): boolean {
  if (!Array.isArray(adapters) || adapters.length !== 1 || adapters[0] !== null) return false;
  if (!isFields(files) || files[ADAPTER_FOLDER] !== null) return false;
  adapters.pop();
  return delete (files as Record<string, unknown>)[ADAPTER_FOLDER];
}

/** The entry of one adapter; throws ArtifactError where its line holds anything else. */
export function readAdapterLine({ adapters, names }: EntryLines, index: number, where: string): unknown {
  const told = `${where}: adapters[${index}]`;
  const found = parseJson(withoutComma(adapters[index] as string), told, ArtifactError, ADVICE);
  const name = isFields(found) ? found.name : undefined;
  if (name === undefined || name === names[index]) return found; // that a name is missing is told of the entry
  throw new ArtifactError(`${told}: name is ${show(name)}, expected ${show(names[index])}; ${ADVICE}`);
}

/** The lines that begin with the name of a file; one where all is right. */
export function fileLines({ files }: EntryLines, name: string): readonly string[] {
  return name.includes('"') ? [] : files.filter((line) => line.startsWith(`"${name}"`, 2));
}

/** The entry of a file; throws ArtifactError where its line holds anything else, or another has the same name. */
export function readFileLine(lines: EntryLines, name: string, where: string): unknown {
  const told = `${where}: files: ${show(name)}`;
  const [line = "", another] = fileLines(lines, name);
  if (another !== undefined) throw new ArtifactError(`${told} stands twice; ${ADVICE}`);
  const found = parseJson(`{${withoutComma(line)}}`, told, ArtifactError, ADVICE) as Record<string, unknown>;
  const count = Object.keys(found).length;
  if (count !== 1) throw new ArtifactError(`${told}: ${count} entries in its line, expected one; ${ADVICE}`);
  return found[name];
}

function withoutComma(line: string): string {
  return line.endsWith(",") ? line.slice(0, -1) : line;
}
