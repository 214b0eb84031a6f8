/**
 * What onnxruntime-react-native gets wrong, and that the runtime keeps away from it: binding.js CONFORMANCE SCRATCH.
 *
 * SCRATCH holds the folders that host.test.mjs made. A check of the bare binding that fails after an update of the
 * package says that a workaround may go.
 */

import * as ort from "onnxruntime-react-native";
import { reactNativeBackend } from "../../src/react-native/onnxruntime.js";
import { type FolderSource, load, type ReactNativeLoadOptions, storedFolder } from "../../src/react-native.js";
import { equal, refusal, runChecks } from "./checks.js";
import { fewestThreads, files, programArguments, runProgram, waitForThreads } from "./host.js";

const [conformance, scratch, fixtures] = programArguments as [string, string, string];
const PROMPT = [7, 8, 9];

/** The same files behind `file://` addresses, as expo-file-system wants them. */
const addressFiles: ReactNativeLoadOptions["files"] = {
  exists: (address) => files.exists(toPath(address)),
  size: (address) => files.size(toPath(address)),
  readBytes: (address, offset, length) => files.readBytes(toPath(address), offset, length),
};

function toPath(address: string): string {
  if (!address.startsWith("file:///")) throw new Error(`${address} is no address`);
  return decodeURIComponent(address.slice("file://".length));
}

/** Four numbers that begin in the middle of their buffer. */
function view(): Float32Array {
  return Float32Array.of(-1, -2, -3, 1, 2, 3, 4).subarray(3);
}

function numbers(tensor: { readonly data: unknown } | undefined): number[] {
  return Array.from(tensor?.data as Float32Array);
}

/** A folder whose files begin in the middle of their buffers, at an odd byte. */
function shifted(folder: FolderSource): FolderSource {
  const move = (bytes: Uint8Array) => {
    const buffer = new Uint8Array(bytes.length + 3).fill(0xff);
    buffer.set(bytes, 3);
    return buffer.subarray(3);
  };
  return { ...folder, bytes: async (name) => move(await folder.bytes(name)) };
}

async function answer(path: string, options: Partial<ReactNativeLoadOptions> = {}, adapter = "four") {
  const model = await load(path, { files, threads: 1, ...options });
  const ids = await model.generateIds(PROMPT, { adapter, maxNewTokens: 8 });
  await model.dispose();
  return ids;
}

const tiny = `${conformance}/tiny-float`;

runProgram(() =>
  runChecks({
    "the bare binding reads a view from the start of its buffer": async () => {
      const session = await ort.InferenceSession.create(`${fixtures}/copy.onnx`);
      const { taken } = await session.run({ given: new ort.Tensor("float32", view(), [4]) });
      await session.release();
      equal(numbers(taken), [-1, -2, -3, 1]);
    },

    "slot inputs from a view arrive as they are": async () => {
      const { ort: guarded, place } = reactNativeBackend(ort, 1);
      const session = await guarded.InferenceSession.create(`${fixtures}/copy.onnx`);
      const given = place?.(view(), [4]);
      if (given === undefined) throw new Error("the backend places nothing");
      const { taken } = await session.run({ given });
      await session.release();
      equal(numbers(taken), [1, 2, 3, 4]);
    },

    "any other tensor over a view is refused": async () => {
      const { Tensor } = reactNativeBackend(ort, 1).ort;
      const found = await refusal(async () => new Tensor("float32", view(), [4]));
      equal(found, "Error: a float32 tensor over a view that starts at byte 12; copy it first");
    },

    "an adapter read into the middle of a buffer answers as from the start of one": async () => {
      const model = await load(tiny, { files, threads: 1 });
      await model.loadAdapter("moved", shifted(storedFolder(files, `${tiny}/adapters/four`)));
      const [four, moved, none] = [
        await model.generateIds(PROMPT, { adapter: "four", maxNewTokens: 8 }),
        await model.generateIds(PROMPT, { adapter: "moved", maxNewTokens: 8 }),
        await model.generateIds(PROMPT, { adapter: "none", maxNewTokens: 8 }),
      ];
      await model.dispose();
      equal(moved, four);
      if (JSON.stringify(none) === JSON.stringify(four)) throw new Error("the adapter changes nothing");
    },

    "the bare binding takes the options of a session from bytes for something else": async () => {
      const bytes = await files.readBytes(`${fixtures}/copy.onnx`, 0, await files.size(`${fixtures}/copy.onnx`));
      const before = fewestThreads();
      const session = await ort.InferenceSession.create(bytes, { intraOpNumThreads: 5 });
      const added = fewestThreads() - before;
      await session.release();
      if (added === 4) throw new Error("the options took effect");
    },

    "threads take effect": async () => {
      await answer(tiny); // the engine starts threads of its own by then
      const others = fewestThreads();
      for (const count of [1, 2, 5]) {
        const model = await load(tiny, { files, threads: count });
        waitForThreads(others + count - 1); // the thread that calls works too
        await model.dispose();
        waitForThreads(others);
      }
    },

    "a session from bytes is refused": async () => {
      const { InferenceSession } = reactNativeBackend(ort, 1).ort;
      const found = await refusal(() => InferenceSession.create(new Uint8Array(4)));
      equal(found, "ArtifactError: onnxruntime-react-native loads graphs by path alone");
    },

    "float16 outputs are refused before the binding meets them": async () => {
      const path = `${fixtures}/half.onnx`;
      const found = await refusal(() => reactNativeBackend(ort, 1).ort.InferenceSession.create(path));
      const expected = "float16 outputs taken, expected float32; export it with `edgelora export`";
      equal(found, `ArtifactError: ${path}: ${expected}`);
    },

    "a number of threads that is none is refused": async () => {
      const found = await refusal(() => load(tiny, { files, threads: 0 }));
      equal(found, "InputError: threads is 0, expected a whole number from 1");
    },

    "an address with escapes opens": async () => {
      const address = `file://${scratch.split("/").map(encodeURIComponent).join("/")}/${encodeURIComponent("Übung 1")}`;
      equal(await answer(address, { files: addressFiles, hashes: true }), await answer(tiny));
    },

    "a place that is not in app storage is refused": async () => {
      const found = await refusal(() => load("content://documents/7", { files }));
      const expected = "expected a path from / or a file:// address, copy or download it there";
      equal(found, `ArtifactError: content://documents/7 is no place in app storage; ${expected}`);
    },

    "a folder without a manifest is refused": async () => {
      const found = await refusal(() => load(scratch, { files }));
      equal(
        found,
        `ArtifactError: ${scratch} has no manifest.json; expected an artifact written by \`edgelora export\``,
      );
    },

    "missing and truncated files are named": async () => {
      const found = await refusal(() => load(`${scratch}/missing`, { files }));
      equal(
        found,
        `ArtifactError: ${scratch}/missing is damaged: decoder.onnx: missing; ` +
          "weights.bin: 126975 bytes, expected 126976; copy or export it again",
      );
    },

    "a changed byte shows when hashes are asked for": async () => {
      const found = await refusal(() => load(`${scratch}/changed`, { files, hashes: true }));
      const expected = /changed is damaged: weights\.bin: other bytes than the manifest says; copy or export/;
      if (!expected.test(found)) throw new Error(found);
    },

    "an adapter for other shapes is refused": async () => {
      const model = await load(tiny, { files, threads: 1 });
      const found = await refusal(() => model.loadAdapter("foreign", `${conformance}/tiny-int4/adapters/four`));
      const ids = await model.generateIds(PROMPT, { adapter: "four", maxNewTokens: 8 });
      await model.dispose();
      if (!found.startsWith("AdapterError: ")) throw new Error(found);
      equal(ids, await answer(tiny)); // the refusal left nothing behind
    },

    "an adapter of another base is refused": async () => {
      const model = await load(tiny, { files, threads: 1 });
      const found = await refusal(() => model.loadAdapter("foreign", `${scratch}/foreign`));
      await model.dispose();
      if (!/^AdapterError: .*trained for another base: another \(000000000000\)/.test(found)) throw new Error(found);
    },

    "an artifact with a KV cache of 8 bits is refused": async () => {
      const found = await refusal(() => load(`${conformance}/tiny-cache`, { files, threads: 1 }));
      if (!/^ArtifactError: .*has no KV cache of 8 bits; export without --kv-cache int8/.test(found))
        throw new Error(found);
    },

    "a stream that is left early leaves the model ready": async () => {
      const model = await load(tiny, { files, threads: 1 });
      const options = { raw: true, adapter: "four", maxNewTokens: 24 };
      const whole = (await model.generate("Hello", options)).text;
      let first = "";
      for await (const piece of model.generate("Hello", options)) {
        first = piece;
        break;
      }
      const again = (await model.generate("Hello", options)).text;
      await model.dispose();
      equal(again, whole);
      if (first === "" || !whole.startsWith(first)) throw new Error(`streamed ${first}, whole ${whole}`);
    },
  }),
);
