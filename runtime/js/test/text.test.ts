/** Text comes out in whole characters and ends before stop strings; what is no tokenizer or template is refused. */

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { ArtifactError, InputError } from "../src/core/errors.js";
import type { TokenizerInfo } from "../src/core/format.js";
import { Row } from "../src/core/generation.js";
import { parseManifest } from "../src/core/manifest.js";
import { StopFilter, StreamDecoder } from "../src/core/stream.js";
import { readTokenizer } from "../src/core/text.js";
import { folder } from "../src/node.js";
import { memoryFolder } from "./folders.js";
import { CONFORMANCE } from "./places.js";

const FOLDER = join(CONFORMANCE, "tiny-float");
const info = parseManifest(await readFile(join(FOLDER, "manifest.json"), "utf8")).tokenizer as TokenizerInfo;
const tokenizer = await readTokenizer(folder(FOLDER), info);

test("a character that several tokens make waits until it is whole", () => {
  const ids = tokenizer.encode("aй東🙂", false);
  const decoder = new StreamDecoder(tokenizer);
  const pieces = ids.map((id) => decoder.push(id));
  assert.equal(pieces.join("") + decoder.flush(), "aй東🙂");
  assert.ok(pieces.includes("") && !pieces.some((piece) => piece.includes("\ufffd")));
});

test("bytes that never become a character appear once that is sure", () => {
  const [first] = tokenizer.encode("🙂", false) as [number];
  const [letter] = tokenizer.encode("a", false) as [number];
  const inside = new StreamDecoder(tokenizer);
  assert.deepEqual([inside.push(first), inside.push(letter), inside.flush()], ["", "\ufffda", ""]);
  const atEnd = new StreamDecoder(tokenizer);
  assert.deepEqual([atEnd.push(first), atEnd.flush(), atEnd.flush()], ["", "\ufffd", ""]);
});

test("no character of a stop string is let out, however it arrives", () => {
  const shown = (stops: string[], pieces: string[]) => {
    const filter = new StopFilter(stops);
    const text = pieces.map((piece) => filter.push(piece));
    return [text, filter.isStopped, filter.flush()];
  };
  assert.deepEqual(shown(["END"], ["ab", "E", "N", "Dx", "y"]), [["ab", "", "", "", ""], true, ""]);
  assert.deepEqual(shown(["END"], ["aE", "NN"]), [["a", "ENN"], false, ""]);
  assert.deepEqual(shown(["END"], ["aEN"]), [["a"], false, "EN"]);
  assert.deepEqual(shown(["aab"], ["aaa", "b"]), [["a", ""], true, ""]);
  assert.deepEqual(shown(["xyz", "yz", "b"], ["..xy", "z"]), [["..", ""], true, ""]);
  assert.deepEqual(shown(["cd", "b"], ["abcd"]), [["a"], true, ""]);
  assert.deepEqual(shown([], ["a", "b"]), [["a", "b"], false, ""]);
});

test("a row knows at once that a stop string came, and shows nothing of it", () => {
  const row = new Row(tokenizer, ["two"], new Set(), 7, performance.now());
  let asked = 0;
  const ids = tokenizer.encode("one two three", false);
  let shown = "";
  for (const id of ids) {
    asked += 1;
    shown += row.push(id);
    if (row.isStopped) break;
  }
  const { text, tokenIds, finishReason, usage, timings } = row.end("length");
  assert.deepEqual([shown + row.flush(), text, finishReason], ["one ", "one ", "stop"]);
  assert.ok(asked < ids.length);
  assert.deepEqual(tokenIds, ids.slice(0, asked));
  assert.deepEqual(usage, { promptTokens: 7, completionTokens: asked });
  assert.ok((timings.firstTokenMs ?? -1) >= 0 && (timings.tokensPerSecond ?? 0) > 0);
});

test("the template's own refusal, and a missing template, are input errors", async () => {
  const files = { ...(await filesWith("{{ raise_exception('roles must alternate') }}")) };
  const strict = await readTokenizer(memoryFolder(files), info);
  const isInput = (message: RegExp) => (error: unknown) => error instanceof InputError && message.test(error.message);
  assert.throws(
    () => strict.render([{ role: "user", content: "x" }]),
    isInput(/^the chat template refuses these messages: .*roles must alternate/),
  );
  const bare = await readTokenizer(memoryFolder(files), { ...info, chatTemplate: null });
  assert.throws(
    () => bare.render([{ role: "user" }]),
    isInput(/^this artifact has no chat template; give raw text \(raw: true\)$/),
  );
});

async function filesWith(template: string): Promise<Record<string, string>> {
  const content = await readFile(join(FOLDER, info.file), "utf8");
  return { [info.file]: content, [info.chatTemplate as string]: template };
}

test("templates see messages, special tokens and the generation prompt", async () => {
  const template =
    "{{ bos_token }}{% for m in messages %}{% generation %}{{ m.content | trim }}{% endgeneration %}|{% endfor %}" +
    "{% if add_generation_prompt %}>{% endif %}{{ tools is none }}";
  const rendered = (await readTokenizer(memoryFolder(await filesWith(template)), info)).render([
    { role: "user", content: " ü " },
    { role: "assistant", content: "b" },
  ]);
  assert.equal(rendered, "<|begin|>ü|b|>True");
});

test("what is no tokenizer or template is refused", async () => {
  const refused = async (files: Record<string, string | Uint8Array>, message: RegExp) =>
    assert.rejects(
      readTokenizer(memoryFolder(files, "here"), info),
      (error) => error instanceof ArtifactError && message.test(error.message),
    );
  const files = await filesWith("{{ a }}");
  await refused(
    { ...files, [info.file]: "{" },
    /^here\/tokenizer\.json is not JSON \(.+\); export the artifact again$/,
  );
  await refused(
    { ...files, [info.file]: '{"model":{}}' },
    /^here\/tokenizer\.json has no model with a vocab; expected a file/,
  );
  await refused(
    { ...files, [info.file]: '{"model":{"vocab":{}}}' },
    /^here\/tokenizer\.json cannot be used \(.+\); export/,
  );
  await refused(
    await filesWith("{% for x %}"),
    /^the chat template cannot be used \(.+\); export the artifact with another one$/,
  );
  await refused(await filesWith("{{ a | center(9) }}"), /cannot be used \(the filter "center" is not read here\);/);
});
