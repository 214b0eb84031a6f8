/**
 * A hook that keeps one model open while a component is there: loading with progress, its adapter, its answers.
 *
 * Knows nothing about how any of it looks, or where models come from.
 */

import { useCallback, useEffect, useRef, useState } from "react";
import type { Answer } from "./core/answer.js";
import type { Generation } from "./core/generation.js";
import type { Message } from "./core/messages.js";
import type { ChatOptions, GenerateOptions, Model } from "./core/model.js";
import type { WithAdapter } from "./core/request.js";

/** What a load gets: a signal that ends it, and where its progress goes. `loadInWorker` takes it as it is. */
export interface LoadContext<Progress> {
  readonly signal: AbortSignal;
  readonly onProgress: (progress: Progress) => void;
}

/** What is known of the model. */
export interface ModelState<Progress> {
  /** Null until it is loaded. */
  readonly model: Model | null;
  readonly busy: "loading" | "switching" | "answering" | null;
  /** How far the load has come, as it told last. */
  readonly progress: Progress | null;
  /** Why the last load, switch or answer failed. */
  readonly error: Error | null;
  /** The SPEC that answers where a question brings none. */
  readonly adapter: string;
  /** How long the last switch took, null before the first. */
  readonly swapMs: number | null;
  /** The last answer, as far as it has come. */
  readonly text: string;
  /** The same when it is whole. */
  readonly generation: Generation | null;
}

/** The model, and what can be done with it. None of these rejects: what goes wrong is `error`. */
export interface UsedModel<Progress> extends ModelState<Progress> {
  /** Let another adapter answer. */
  setAdapter(spec: string): Promise<void>;
  /** Answer a prompt or a conversation; the answer before it is stopped. Null where there is no model, or it failed. */
  ask(
    question: string | readonly Message[],
    options?: GenerateOptions & ChatOptions & WithAdapter,
  ): Promise<Generation | null>;
  /** End the answer with what there is. */
  stop(): void;
  /** Load once more, after an error. */
  retry(): void;
}

type State<Progress> = ModelState<Progress> & { readonly address: string | null };

const CLOSED = {
  model: null,
  busy: null,
  progress: null,
  error: null,
  adapter: "none",
  swapMs: null,
  text: "",
  generation: null,
} as const;

/**
 * Open the model at `address` with `load`, and dispose of it when the address changes or the component goes; null opens
 * nothing. One model is closed before the next is loaded, also where React mounts components twice; what `load` closes
 * over may change from render to render.
 */
export function useModel<Progress = unknown>(
  address: string | null,
  load: (address: string, context: LoadContext<Progress>) => Promise<Model>,
): UsedModel<Progress> {
  const [state, setState] = useState<State<Progress>>({ ...CLOSED, address: null });
  const [attempt, setAttempt] = useState(0);
  const latest = useRef(load);
  const opened = useRef<Model | null>(null);
  const current = useRef<Answer | null>(null);
  const closed = useRef<Promise<unknown>>(Promise.resolve());

  useEffect(() => {
    latest.current = load;
  });

  useEffect(() => {
    if (address === null) return;
    const ending = new AbortController();
    const show = (change: Partial<ModelState<Progress>>) => {
      if (!ending.signal.aborted) setState({ ...CLOSED, address, ...change });
    };
    const open = async (): Promise<Model | null> => {
      await closed.current; // a device has memory for one
      if (ending.signal.aborted) return null;
      show({ busy: "loading" });
      const onProgress = (progress: Progress) => show({ busy: "loading", progress });
      const model = await latest.current(address, { signal: ending.signal, onProgress });
      if (!ending.signal.aborted) opened.current = model;
      show({ model, adapter: model.adapter });
      return model;
    };
    const opening = open();
    opening.catch((error) => show({ error: asError(error) }));
    return () => {
      ending.abort();
      opened.current = null;
      current.current = null;
      setState({ ...CLOSED, address: null });
      closed.current = opening.then((model) => model?.dispose()).catch(() => {}); // what failed left nothing open
    };
  }, [address, attempt]); // another attempt opens the same once more

  /** Change what is shown of a model that is still the one. */
  const change = useCallback((model: Model, next: (state: State<Progress>) => Partial<State<Progress>>) => {
    setState((before) => (before.model === model ? { ...before, ...next(before) } : before));
  }, []);

  const setAdapter = useCallback(
    async (spec: string) => {
      const model = opened.current;
      if (model === null) return;
      change(model, () => ({ busy: "switching", error: null }));
      try {
        const started = performance.now();
        await model.setAdapter(spec);
        const swapMs = performance.now() - started;
        change(model, () => ({ adapter: spec, swapMs }));
      } catch (error) {
        change(model, () => ({ error: asError(error) }));
      }
      change(model, ({ busy }) => ({ busy: busy === "switching" ? null : busy }));
    },
    [change],
  );

  const ask = useCallback<UsedModel<Progress>["ask"]>(
    async (question, options = {}) => {
      const model = opened.current;
      if (model === null) return null;
      current.current?.stop();
      const answer = typeof question === "string" ? model.generate(question, options) : model.chat(question, options);
      current.current = answer;
      const show = (next: (state: State<Progress>) => Partial<State<Progress>>) => {
        if (current.current === answer) change(model, next);
      };
      show(() => ({ busy: "answering", error: null, text: "", generation: null }));
      try {
        for await (const piece of answer) show(({ text }) => ({ text: text + piece }));
        const generation = await answer;
        show(({ busy }) => ({ generation, busy: busy === "answering" ? null : busy }));
        return generation;
      } catch (error) {
        show(() => ({ error: asError(error), busy: null }));
        return null;
      }
    },
    [change],
  );

  const stop = useCallback(() => current.current?.stop(), []);
  const retry = useCallback(() => setAttempt((count) => count + 1), []);
  const { address: _, ...shown } = state;
  const loading = { ...CLOSED, busy: address === null ? null : ("loading" as const) };
  return { ...(state.address === address ? shown : loading), setAdapter, ask, stop, retry };
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
