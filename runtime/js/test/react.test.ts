/** The hook under real React, in strict mode too: one model at a time, answers as they come, and nothing left open. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout as wait } from "node:timers/promises";
import { act, createElement, StrictMode, version } from "react";
import { create } from "react-test-renderer";
import { load, type Model } from "../src/node.js";
import { type LoadContext, type UsedModel, useModel } from "../src/react.js";
import { CONFORMANCE } from "./places.js";

Object.assign(globalThis, { IS_REACT_ACT_ENVIRONMENT: true });

type Loader = Parameters<typeof useModel<number>>[1];

/** Opens conformance artifacts, and knows which are open. */
class Shelf {
  readonly events: string[] = [];
  readonly models: Model[] = [];

  readonly load: Loader = async (name: string, { signal, onProgress }: LoadContext<number>) => {
    this.events.push(`load ${name}`);
    onProgress(0.5);
    await wait(5);
    const model = await load(join(CONFORMANCE, name), { threads: 1, signal });
    const dispose = model.dispose.bind(model);
    model.dispose = () => {
      this.events.push(`dispose ${name}`);
      return dispose();
    };
    this.models.push(model);
    return model;
  };
}

/** A component with the hook in it, rendered; `used` is what it gave last, `seen` what it ever gave. */
async function render(context: TestContext, address: string | null, loader: Loader, isStrict = true) {
  const seen: UsedModel<number>[] = [];
  const Component = (props: { address: string | null }) => {
    seen.push(useModel<number>(props.address, (...args) => loader(...args))); // another function every time
    return null;
  };
  const element = (next: string | null) => {
    const inner = createElement(Component, { address: next });
    return isStrict ? createElement(StrictMode, null, inner) : inner;
  };
  const root = await act(async () => create(element(address)));
  context.after(async () => {
    await act(async () => root.unmount());
    await wait(50); // models are disposed of behind it
  });
  const until = async (isDone: (used: UsedModel<number>) => boolean) => {
    for (let count = 0; !isDone(seen.at(-1) as UsedModel<number>); count++) {
      assert.ok(count < 400, JSON.stringify({ ...seen.at(-1), model: null }));
      await act(() => wait(5));
    }
    return seen.at(-1) as UsedModel<number>;
  };
  return { root, seen, until, rerender: (next: string | null) => act(async () => root.update(element(next))) };
}

const isReady = ({ model, busy }: UsedModel<number>) => model !== null && busy === null;

test("a model is loaded once, with progress, and disposed of when the component goes", async (context) => {
  assert.match(version, /^19\./);
  for (const isStrict of [true, false]) {
    const shelf = new Shelf();
    const { root, seen, until } = await render(context, "tiny-float", shelf.load, isStrict);
    const used = await until(isReady);
    assert.deepEqual(shelf.events, ["load tiny-float"]);
    assert.deepEqual(used.model?.adapters, ["one", "four", "eight"]);
    assert.deepEqual([seen[0]?.busy, seen[0]?.model], ["loading", null]);
    assert.ok(seen.some(({ busy, progress }) => busy === "loading" && progress === 0.5));
    await act(async () => root.unmount());
    await wait(20);
    assert.deepEqual(shelf.events, ["load tiny-float", "dispose tiny-float"]);
    await assert.rejects(used.model?.generateIds([5]) as Promise<unknown>, /was disposed of/);
  }
});

test("another address closes the model before it loads, and none closes it", async (context) => {
  const shelf = new Shelf();
  const { seen, until, rerender } = await render(context, "tiny-float", shelf.load);
  const first = await until(isReady);
  await rerender("tiny-int4");
  const second = await until((used) => isReady(used) && used.model !== first.model);
  const between = seen
    .slice(seen.indexOf(first) + 1, seen.indexOf(second))
    .filter(({ model }) => model === first.model);
  assert.ok(between.every(({ busy }) => busy === null) && second.model?.manifest.model.name === "base");
  assert.deepEqual(shelf.events, ["load tiny-float", "dispose tiny-float", "load tiny-int4"]);
  await rerender(null);
  const none = await until(({ model, busy }) => model === null && busy === null);
  assert.equal(await none.ask("hello"), null);
  await none.setAdapter("four");
  await wait(20);
  assert.equal(shelf.events.at(-1), "dispose tiny-int4");
  await rerender("tiny-int4"); // the same again
  await until((used) => isReady(used) && used.model !== second.model);
  assert.equal(shelf.events.at(-1), "load tiny-int4");
});

test("a load that is left is aborted, and what it opened all the same is closed", async (context) => {
  const shelf = new Shelf();
  let signal: AbortSignal | undefined;
  const stubborn: Loader = (name, given) => {
    signal = given.signal;
    return shelf.load(name, { ...given, signal: new AbortController().signal });
  };
  const { root } = await render(context, "tiny-float", stubborn);
  await act(() => wait(1));
  await act(async () => root.unmount());
  assert.equal(signal?.aborted, true);
  for (let turn = 0; turn < 200 && shelf.events.length < 2; turn++) await wait(50); // opening takes what it takes
  assert.deepEqual(shelf.events, ["load tiny-float", "dispose tiny-float"]);
});

test("answers come piece by piece, by the adapter that was chosen", async (context) => {
  const shelf = new Shelf();
  const { seen, until } = await render(context, "tiny-float", shelf.load);
  const used = await until(isReady);
  await act(() => used.setAdapter("four"));
  const switched = await until(({ busy }) => busy === null);
  assert.ok(switched.adapter === "four" && (switched.swapMs ?? -1) >= 0);
  const options = { maxNewTokens: 250, temperature: 1, seed: 3 };
  let answer = Promise.resolve<Awaited<ReturnType<typeof used.ask>>>(null);
  await act(async () => {
    answer = switched.ask("hello", options); // React shows nothing of it before this block ends
  });
  const done = await until(({ busy, generation: whole }) => busy === null && whole !== null);
  const reference = await load(join(CONFORMANCE, "tiny-float"), { threads: 1 });
  const expected = await reference.generate("hello", { adapter: "four", ...options });
  assert.deepEqual([(await answer)?.text, done.text, done.generation?.text], new Array(3).fill(expected.text));
  const parts = seen.filter(({ busy }) => busy === "answering").map(({ text }) => text);
  assert.ok(new Set(parts).size > 2 && parts.every((part) => expected.text.startsWith(part)), parts.join("|"));
  const chat = await act(() => done.ask([{ role: "user", content: "hello" }], { adapter: "none", maxNewTokens: 4 }));
  assert.equal(chat?.text, (await reference.generate("hello", { maxNewTokens: 4 })).text);
  await reference.dispose();
});

test("stop keeps what there is, and a new question ends the answer before it", async (context) => {
  const shelf = new Shelf();
  const { until } = await render(context, "tiny-float", shelf.load);
  const used = await until(isReady);
  const long = { maxNewTokens: 280, temperature: 1, seed: 3 };
  let answer = Promise.resolve<Awaited<ReturnType<typeof used.ask>>>(null);
  await act(async () => {
    answer = used.ask("hello", long);
    await wait(2);
    used.stop();
  });
  assert.equal((await act(() => answer))?.finishReason, "cancelled");
  const stopped = await until(({ busy }) => busy === null);
  assert.equal(stopped.generation?.finishReason, "cancelled");
  assert.equal(stopped.text, stopped.generation?.text);
  const [first, second] = await act(() => Promise.all([used.ask("hello", long), used.ask("x", { maxNewTokens: 3 })]));
  assert.equal(first?.finishReason, "cancelled");
  const after = await until(({ busy }) => busy === null);
  assert.deepEqual([after.text, after.generation?.tokenIds], [second?.text, second?.tokenIds]);
});

test("what goes wrong is told, and a load may be tried again", async (context) => {
  const shelf = new Shelf();
  let fails = true;
  const loader: Loader = async (...args) => {
    if (fails) throw new Error("no network");
    return shelf.load(...args);
  };
  const { until } = await render(context, "tiny-float", loader);
  const failed = await until(({ error }) => error !== null);
  assert.deepEqual([failed.error?.message, failed.model, failed.busy], ["no network", null, null]);
  fails = false;
  await act(async () => failed.retry());
  const used = await until(isReady);
  assert.equal(used.error, null);
  await act(() => used.setAdapter("fuor"));
  const unknown = await until(({ error }) => error !== null);
  assert.match(String(unknown.error), /^AdapterError: unknown adapter "fuor"/);
  assert.deepEqual([unknown.adapter, unknown.busy], ["none", null]);
  assert.equal(await act(() => used.ask("hello", { maxNewTokens: 0 })), null);
  const refused = await until(({ busy }) => busy === null);
  assert.match(String(refused.error), /^InputError: maxNewTokens is 0/);
  await act(() => used.ask("hello", { maxNewTokens: 1 }));
  assert.equal((await until(({ busy }) => busy === null)).error, null);
});
