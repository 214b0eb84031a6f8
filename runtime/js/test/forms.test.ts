/** Functions that see the logits, and what is refused of forms; `conformance.test.ts` has the answers. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { buildAutomaton } from "../src/core/form-automaton.js";
import { readForm, Vocabulary } from "../src/core/form-mask.js";
import { Follower } from "../src/core/form-places.js";
import { dropsBlank, tokenBytes } from "../src/core/token-bytes.js";
import { InputError, load } from "../src/node.js";
import { CONFORMANCE } from "./places.js";

const open = () => load(`${CONFORMANCE}/tiny-float`, { threads: 1 });

test("a function sees the tokens so far and changes their logits", async () => {
  await using model = await open();
  const seen: number[][] = [];
  const processLogits = async (tokenIds: readonly number[], logits: Float32Array) => {
    assert.equal(logits.length, model.manifest.model.vocabSize);
    seen.push([...tokenIds]);
    logits.fill(-Infinity);
    logits[20 + seen.length] = 0;
    return seen.length === 4;
  };
  assert.deepEqual(await model.generateIds([7, 8], { processLogits, maxNewTokens: 9 }), [21, 22, 23]);
  assert.deepEqual(seen, [
    [7, 8],
    [7, 8, 21],
    [7, 8, 21, 22],
    [7, 8, 21, 22, 23],
  ]);
  const rows = [[7, 8], [9]];
  const plain = await model.generateIds(rows, { maxNewTokens: 3 });
  const first = [(_: readonly number[], logits: Float32Array) => void logits.fill(0), null];
  assert.deepEqual(await model.generateIds(rows, { maxNewTokens: 3, processLogits: first }), [[0, 0, 0], plain[1]]);
});

test("a function comes before the form", async () => {
  await using model = await open();
  const tokenizer = await model.tokenizer;
  assert.ok(tokenizer);
  const [u] = tokenizer.encode("u", false) as [number];
  const processLogits = (_: readonly number[], logits: Float32Array) => {
    logits[u] = 1e4;
    logits[0] = 1e5; // a special token, which no form has a place for
  };
  const { text } = await model.generate("x", { regex: "M[aou]n", processLogits, maxNewTokens: 5 });
  assert.equal(text, "Mun");
});

test("options that do not fit are refused", async () => {
  await using model = await open();
  const day = { enum: ["Mon", "Tue"] };
  const bad = [
    [{ schema: day, choices: ["a"] }, /exclude choices/],
    [{ regex: "a", stop: "b" }, /exclude stop/],
    [{ schema: [day, day, day] }, /3 for 2 prompts/],
    [{ schema: [day, null], regex: ["a", "b"] }, /exclude each other/],
    [{ processLogits: 3 as never }, /processLogits/],
    [{ processLogits: [null, null, null] }, /3 for 2 prompts/],
  ] as const;
  for (const [options, words] of bad) {
    await assert.rejects(Promise.resolve(model.generate(["a", "b"], options)), (error) => {
      assert.ok(error instanceof InputError);
      assert.match(error.message, words);
      return true;
    });
  }
});

test("bytes of tokens are those of their tokenizer", () => {
  const written = (found: Map<number, Uint8Array>) => [...found].map(([id, bytes]) => [id, ...bytes]);
  const byteLevel = { type: "Sequence", decoders: [{ type: "Fuse" }, { type: "ByteLevel" }] };
  const vocabulary = new Map(Object.entries({ Ġa: 0, Ã: 1, "<s>": 2 }));
  const added = new Map(Object.entries({ "<t>": 3, "<s>": 2 }));
  assert.deepEqual(written(tokenBytes(vocabulary, byteLevel, added, new Set([2]))), [
    [0, 32, 97],
    [1, 0xc3],
    [3, 60, 116, 62],
  ]);
  const pieces = {
    type: "Sequence",
    decoders: [{ type: "ByteFallback" }, { type: "Strip", content: " ", start: 1 }],
  };
  const fallback = new Map(Object.entries({ "\u2581a": 0, "<0xC3>": 1, é: 2 }));
  assert.deepEqual(written(tokenBytes(fallback, pieces, new Map(), new Set())), [
    [0, 32, 97],
    [1, 0xc3],
    [2, 0xc3, 0xa9],
  ]);
  assert.ok(dropsBlank(pieces) && !dropsBlank(byteLevel));
  for (const [decoder, words] of [
    [{ type: "WordPiece" }, /WordPiece/],
    [null, /none/],
    [{ type: "Fuse" }, /none/],
  ] as const) {
    assert.throws(() => tokenBytes(new Map([["a", 0]]), decoder, new Map(), new Set()), words);
  }
});

test("masks equal what every token gives when it is followed alone", () => {
  const contents = ["a", "b", "ab", "bc", "é", "\n", "{", '{"', '":', '"}', ' "', "abab", "東"].map(
    (text, id) => [id, new TextEncoder().encode(text)] as const,
  );
  const same = new TextEncoder().encode("a"); // two tokens of the same bytes
  const tokens = new Map([...contents, [20, Uint8Array.of(0xe6)], [21, Uint8Array.of(0xe6, 0x9d)], [22, same]]);
  const schema = { properties: { a: { type: "string", maxLength: 3 }, b: { properties: { ab: true } } } };
  for (const rules of [readForm(schema, null), readForm({}, null), readForm(null, "(ab|東|[^a]b)*")]) {
    const vocabulary = new Vocabulary(tokens, 24, [23], false);
    const { follower, shared } = vocabulary.hold(rules);
    const alone = new Follower(buildAutomaton(rules));
    const walk = (start: Follower["start"] | null, bytes: Uint8Array) =>
      [...bytes].reduce((at, byte) => at && alone.step(at, byte), start);
    for (const text of ["", '{"', '{"a":"a', '{"b":{"ab":[', "ab", "abab"].map((item) =>
      new TextEncoder().encode(item),
    )) {
      const here = [...text].reduce<Follower["start"] | null>(
        (at, byte) => at && follower.step(at, byte),
        follower.start,
      );
      const there = walk(alone.start, text);
      assert.equal(here === null, there === null);
      if (here === null) continue;
      const bits = vocabulary.tree.allowed(follower, here, shared);
      const found = [...tokens.keys()].filter((id) => ((bits[0] as number) >>> id) & 1);
      const expected = [...tokens].filter(([, bytes]) => walk(there, bytes) !== null).map(([id]) => id);
      assert.deepEqual(found, expected);
    }
  }
});

test("a form that is too large is refused", async () => {
  await using model = await open();
  const regex = "((a{1000}){1000}){1000}";
  await assert.rejects(Promise.resolve(model.generate("x", { regex })), /too large/);
});
