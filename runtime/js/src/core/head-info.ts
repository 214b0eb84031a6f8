/**
 * What the rows of an adapter's head mean: its labels, from whoever knows them.
 *
 * Knows nothing about the tensors of a head; `docs/format.md` ("Heads") is the definition.
 */

import { AdapterError } from "./errors.js";
import type { FolderSource } from "./files.js";
import { type HeadInfo, PROBLEM_TYPES, type ProblemType } from "./format.js";
import { hasControl } from "./names.js";
import { joinSome, parseJson, show } from "./parse-json.js";
import type { Receipt } from "./receipt.js";

const CONFIG_FILE = "config.json";
const ADVICE = "give labels, or take the file away";

/** Where labels may come from beside the folder. */
export interface LabelSources {
  /** Null where there is none, or it is not to be read. */
  readonly receipt: Receipt | null;
  /** What the manifest says. */
  readonly listed: HeadInfo | null;
  /** What a caller gave. */
  readonly labels: readonly string[] | null;
}

/**
 * Labels of the head in `folder`: of its receipt, else those listed in a manifest, else those given, else of a
 * `config.json` beside it, else LABEL_0 and so on. Throws AdapterError where two of the first three disagree, or their
 * number is not `count`.
 */
export async function findHeadInfo(
  folder: FolderSource,
  count: number,
  where: string,
  { receipt, listed, labels }: LabelSources,
): Promise<HeadInfo> {
  const given = labels === null ? null : plain(checked(labels, where));
  const sources = [["its receipt", trainedHead(receipt)] as const, ["the manifest", listed] as const];
  const known = [...sources, ["labels", given] as const].flatMap(([name, head]) =>
    head === null ? [] : { name, head },
  );
  const [first] = known;
  for (const { name, head } of known.slice(1)) {
    if (first !== undefined && JSON.stringify(head.labels) !== JSON.stringify(first.head.labels)) {
      throw new AdapterError(
        `${where}: ${name} has ${some(head.labels)}, but ${first.name} ${some(first.head.labels)}; the labels must be ` +
          "those of the training, in their order",
      );
    }
  }
  const found = first?.head ?? (await ofConfig(folder, where));
  if (found === null) return plain(Array.from({ length: count }, (_, index) => `LABEL_${index}`));
  if (found.labels.length !== count) {
    throw new AdapterError(
      `${where}: its head answers for ${count} labels, but ${first?.name ?? CONFIG_FILE} has ${found.labels.length} ` +
        `(${some(found.labels)}); give as many`,
    );
  }
  return found;
}

/** The head that training wrote into a receipt, whose fields were checked when it was read. */
function trainedHead(receipt: Receipt | null): HeadInfo | null {
  const head = receipt?.head ?? null;
  if (head === null) return null;
  const { labels, problem_type: problem = PROBLEM_TYPES[0], temperature = 1 } = head;
  return {
    labels: labels as readonly string[],
    problemType: problem as ProblemType,
    temperature: temperature as number,
  };
}

/** Labels as a caller gave them. */
function checked(labels: readonly unknown[], where: string): string[] {
  if (!Array.isArray(labels) || labels.length === 0 || !labels.every((item) => typeof item === "string" && item)) {
    throw new AdapterError(`${where}: labels is ${show(labels)}, expected a list of names`);
  }
  const names = labels as string[];
  if (names.some(hasControl) || new Set(names).size !== names.length) {
    throw new AdapterError(`${where}: labels are ${some(names)}, expected different names without control characters`);
  }
  return names;
}

/** The labels that transformers wrote beside the adapter; null where there are none. */
async function ofConfig(folder: FolderSource, where: string): Promise<HeadInfo | null> {
  if (!(await folder.has(CONFIG_FILE))) return null;
  const config = parseJson(await folder.bytes(CONFIG_FILE), `${folder.where}/${CONFIG_FILE}`, AdapterError, ADVICE);
  const { id2label: names = null, problem_type: told = null } = (config ?? {}) as Record<string, unknown>;
  if (names === null) return null;
  const byIndex = new Map(Object.entries(names as object));
  const inOrder = Array.from({ length: byIndex.size }, (_, index) => byIndex.get(`${index}`));
  if (typeof names !== "object" || Array.isArray(names) || inOrder.includes(undefined)) {
    throw new AdapterError(`${where}: ${CONFIG_FILE}: id2label is ${show(names)}, expected a label for each index`);
  }
  const problem = (told ?? PROBLEM_TYPES[0]) as ProblemType;
  if (!PROBLEM_TYPES.includes(problem)) {
    throw new AdapterError(`${where}: ${CONFIG_FILE}: problem_type is ${show(problem)}; ${ADVICE}`);
  }
  return { ...plain(checked(inOrder, where)), problemType: problem };
}

function plain(labels: readonly string[]): HeadInfo {
  return { labels, problemType: PROBLEM_TYPES[0], temperature: 1 };
}

function some(labels: readonly string[]): string {
  return joinSome(labels.map(show), ", ");
}
