/** Templates are refused or bounded; variables, tools, dates and stop strings reach the prompt in every way of asking. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { after, type TestContext, test } from "node:test";
import { ChatTemplate } from "../src/core/chat-template.js";
import { ArtifactError, InputError } from "../src/core/errors.js";
import { load, type Model, type Tokenizer, type Usage } from "../src/node.js";
import { copyArtifact, writeTemplate } from "./folders.js";
import { CONFORMANCE } from "./places.js";

const TEMPLATE =
  "{{ strftime_now('%Y-%m-%d') if dated else '' }}{% if tools %}{{ tools | length }}{% endif %}" +
  "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{% if thinking %}think{% endif %}";

async function withTemplate(context: TestContext, variables: object, template = TEMPLATE): Promise<Model> {
  const folder = await copyArtifact(context);
  await writeTemplate(folder, template, variables);
  const model = await load(folder, { threads: 1 });
  context.after(() => model.dispose());
  return model;
}

/** Tokens of the prompt that a call makes of "x" or of the messages. */
async function promptText(model: Model, ask: (model: Model) => PromiseLike<{ readonly usage: Usage }>, text: string) {
  const tokenizer = await model.tokenizer;
  assert.equal((await ask(model)).usage.promptTokens, tokenizer?.encode(text, false).length, text);
}

test("variables of a call go before those of the artifact", async (context) => {
  const model = await withTemplate(context, { thinking: true });
  const one = { maxNewTokens: 1 };
  await promptText(model, () => model.generate("x", one), "<user>xthink");
  await promptText(model, () => model.generate("x", { ...one, template: { thinking: false } }), "<user>x");
  const tools = [{ name: "a" }, { name: "b" }];
  const messages = [{ role: "user", content: [{ type: "text", text: "x" }] }];
  await promptText(model, () => model.chat(messages, { ...one, tools }), "2<user>xthink");
  const dated = { ...one, template: { dated: true }, date: "2026-02-01" };
  await promptText(model, () => model.generate("x", dated), "2026-02-01<user>xthink");
  await promptText(model, () => model.generate("x", { ...dated, choices: ["a", "b"] }), "2026-02-01<user>xthink");
  const refused = (call: Promise<unknown>, message: RegExp) =>
    assert.rejects(call, (error) => error instanceof InputError && message.test(error.message));
  await refused(model.generate("x", { template: { tools: 1 } }), /^template variable "tools" cannot be set; expected/);
  await refused(model.generate("x", { raw: true, date: "2026-02-01" }), /^template and date are for the chat template/);
  await refused(model.generate("x", { date: "tomorrow" }), /^date is "tomorrow", expected a day as YYYY-MM-DD$/);
  await refused(model.generate("x", { template: [] as never }), /^template is \[\], expected an object of variables/);
});

test("an artifact whose template is not known to give the text of Python is refused when it is loaded", async (context) => {
  const refused = (template: string, words: string) =>
    assert.rejects(
      withTemplate(context, {}, template),
      new ArtifactError(`the chat template cannot be used (${words}); export the artifact with another one`),
    );
  await refused("{{ messages[0].content.zfill(9) }}", 'the method "zfill" is not read here');
  await refused("{% if true %}", "it ends inside of a tag or of what a tag opens");
  await refused("{{ 1 < 2 < 3 }}", "a chain of comparisons is not read here");
});

const ENDLESS: Readonly<Record<string, readonly [template: string, message: RegExp]>> = {
  "turns of loops": [
    "{% for i in range(99999) %}{% for j in range(99999) %}{% if j %}{% endif %}{% endfor %}{% endfor %}",
    /more steps/,
  ],
  "texts that double": [
    "{% set ns = namespace(x='x') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    /grows beyond 4194304 characters/,
  ],
  "lists that hold themselves twice": [
    "{% set ns = namespace(x=[1]) %}{% for i in range(99) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
    /grows beyond 4194304 characters/,
  ],
  "long texts again and again": [
    "{% set ns = namespace(x='x') %}{% for i in range(22) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}" +
      "{% for i in range(9999) %}{% if ns.x.strip() %}{% endif %}{% endfor %}",
    /more text than any chat needs/,
  ],
  "a macro that calls itself": ["{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", /calls itself without end/],
};
for (const [what, [template, message]] of Object.entries(ENDLESS)) {
  test(`a template cannot keep a page busy with ${what}`, async () => {
    const compiled = await ChatTemplate.compile(template);
    assert.throws(
      () => compiled.render({ messages: [] }, new Date()),
      (error) => error instanceof InputError && message.test(error.message),
    );
  });
}

const model = await load(join(CONFORMANCE, "tiny-float"), { threads: 1 });
after(() => model.dispose());

test("a stop string that is a special token ends the answer at its id", async () => {
  const common = { raw: true, maxNewTokens: 300, temperature: 50 };
  const tokenizer = (await model.tokenizer) as Tokenizer;
  const [user] = tokenizer.encode("<|user|>", false) as [number];
  let [options, whole, place] = [{ ...common, seed: 0 }, await model.generate("one", common), -1];
  for (let seed = 1; place < 1; seed++) {
    options = { ...common, seed };
    whole = await model.generate("one", options);
    place = whole.tokenIds.indexOf(user);
  }
  const found = await model.generate("one", { ...options, stop: "<|user|>" });
  assert.deepEqual(found.tokenIds, whole.tokenIds.slice(0, place + 1));
  assert.equal(found.finishReason, "stop");
  assert.equal(found.text, tokenizer.decode(whole.tokenIds.slice(0, place)));
  let text = "";
  for await (const piece of model.generate("one", { ...options, stop: "<|user|>" })) text += piece;
  assert.equal(text, found.text);
  const [inBatch] = await model.generate(["one"], { ...options, stop: ["<|user|>", "never"] });
  assert.deepEqual(inBatch, { ...found, timings: inBatch?.timings });
  await assert.rejects(
    model.generate("one", { stop: "a<|user|>" }),
    /^InputError: the stop string "a<\|user\|>" holds the special token "<\|user\|>", which is no part of an answer's text; give/,
  );
});
