/** What the tests call in the page: the library's browser entry and the runner of the conformance cases. */

import { type Encoder, runEncoders } from "../../src/conformance/encoders.js";
import { runForms } from "../../src/conformance/forms.js";
import { type Case, type CaseResult, runConformance } from "../../src/conformance/run.js";
import * as web from "../../src/web.js";

type Options = web.WebOptions & { readonly inWorker?: boolean; readonly keepsOpen?: boolean };

/** Load and answer; the error's class and line where there is one. */
async function attempt(address: string, { keepsOpen = false, ...options }: Options = {}) {
  const warnings: string[] = [];
  const progress: web.Progress[] = [];
  const all: Options = {
    wasmPaths: "/ort/",
    ...options,
    onWarning: (message) => warnings.push(message),
    onProgress: (item) => progress.push(item),
  };
  try {
    const model = await open(address, all);
    const ids = await model.generateIds([5, 6, 7], { maxNewTokens: 4 });
    const { backend, choice } = model;
    if (!keepsOpen) await model.dispose();
    return { ids, backend, choice, warnings, progress, error: null };
  } catch (error) {
    const { name, message } = error as Error;
    return { ids: null, backend: null, choice: null, warnings, progress, error: { name, message } };
  }
}

function open(address: string, { inWorker = false, ...options }: Options): Promise<web.WebModel> {
  return inWorker ? web.loadInWorker(address, options) : web.load(address, options);
}

/** Every case of the conformance folder at `address`, or those at `indices`. */
async function conformance(
  address: string,
  options: Options,
  indices: readonly number[] | null,
): Promise<CaseResult[]> {
  const { cases } = (await (await fetch(`${address}/cases.json`)).json()) as { cases: Case[] };
  const chosen = indices === null ? cases : cases.filter((_, index) => indices.includes(index));
  return runConformance((name) => open(`${address}/${name}`, { wasmPaths: "/ort/", ...options }), chosen);
}

/** The cases of forms of one artifact that are answers. */
async function forms(address: string, artifact: string, options: Options): Promise<CaseResult[]> {
  const { cases } = (await (await fetch(`${address}/forms.json`)).json()) as { cases: Case[] };
  const answers = cases.filter((item) => item.artifact === artifact && item.kind.match(/^forms?$/));
  return runForms((name) => open(`${address}/${name}`, { wasmPaths: "/ort/", ...options }), answers);
}

/** Every case of encoders in the folder at `address`, or those at `indices`. */
async function encoders(
  address: string,
  { inWorker = false, ...options }: Options,
  indices: readonly number[],
): Promise<CaseResult[]> {
  const { cases } = (await (await fetch(`${address}/encoders.json`)).json()) as { cases: Case[] };
  const all = { wasmPaths: "/ort/", ...options, task: "any" } as const;
  const open = async (name: string) => {
    const place = `${address}/${name}`;
    return (await (inWorker ? web.loadInWorker(place, all) : web.load(place, all))) as Encoder;
  };
  const chosen = cases.filter((_, index) => indices.includes(index));
  return runEncoders(open, (folder) => `${address}/${folder}`, chosen);
}

/** Keys of the weight cache without their origin, sorted. */
async function cacheKeys(): Promise<string[]> {
  const keys = await (await caches.open("edgelora-1")).keys();
  return keys.map((request) => decodeURIComponent(new URL(request.url).pathname)).sort();
}

/** Sessions of wasm in this page, counted from `watchSessions` on; `onCreate` is called when one begins to be made. */
const sessions = { opened: 0, released: 0, onCreate: () => {} };

/** Count the sessions of the package that the library imports. */
async function watchSessions(): Promise<void> {
  const address = "/ort/ort.wasm.min.mjs";
  const { InferenceSession } = (await import(address)) as typeof import("onnxruntime-web/wasm");
  const create = InferenceSession.create.bind(InferenceSession) as (...given: unknown[]) => Promise<object>;
  InferenceSession.create = (async (...given: unknown[]) => {
    sessions.onCreate();
    const session = (await create(...given)) as Awaited<ReturnType<typeof InferenceSession.create>>;
    sessions.opened += 1;
    const release = session.release.bind(session);
    session.release = async () => {
      await release();
      sessions.released += 1;
    };
    return session;
  }) as typeof InferenceSession.create;
}

const tools = { ...web, attempt, open, conformance, forms, encoders, cacheKeys, sessions, watchSessions };
export type Tools = typeof tools;
declare global {
  var edgelora: Tools;
}
globalThis.edgelora = tools;
