/**
 * The one model that is open, and what it is doing: opening, switching its adapter, answering.
 *
 * Knows nothing about how any of it looks. Errors of the runtime are sentences for people and are kept as they are.
 */

import { type Answer, EdgeLoraError, type Model } from "@edgelora/runtime/react-native";
import { useCallback, useEffect, useRef, useState } from "react";
import { openArtifact } from "./artifacts";

export interface OpenModel {
  readonly model: Model | null;
  readonly adapter: string;
  /** How long the last change of the adapter took, null before the first. */
  readonly swapMs: number | null;
  readonly answer: string;
  /** Tokens in each second of the last answer. */
  readonly rate: number | null;
  readonly busy: "opening" | "switching" | "answering" | null;
  readonly error: string | null;
  open(name: string): Promise<void>;
  close(): void;
  setAdapter(spec: string): Promise<void>;
  ask(prompt: string): Promise<void>;
  stop(): void;
}

export function useModel(): OpenModel {
  const [model, setModel] = useState<Model | null>(null);
  const [adapter, setShownAdapter] = useState("none");
  const [swapMs, setSwapMs] = useState<number | null>(null);
  const [answer, setAnswer] = useState("");
  const [rate, setRate] = useState<number | null>(null);
  const [busy, setBusy] = useState<OpenModel["busy"]>(null);
  const [error, setError] = useState<string | null>(null);
  const current = useRef<Answer | null>(null);

  useEffect(() => () => void model?.dispose(), [model]);

  const during = useCallback(async (what: OpenModel["busy"], work: () => Promise<void>) => {
    setBusy(what);
    setError(null);
    try {
      await work();
    } catch (found) {
      setError(messageOf(found));
    } finally {
      setBusy(null);
    }
  }, []);

  const close = () => {
    setModel(null);
    setShownAdapter("none");
    setSwapMs(null);
    setAnswer("");
    setRate(null);
  };

  const open = (name: string) =>
    during("opening", async () => {
      close();
      await model?.dispose(); // before the next is loaded: a phone has memory for one
      setModel(await openArtifact(name));
    });

  const setAdapter = (spec: string) =>
    during("switching", async () => {
      const begun = performance.now();
      await model?.setAdapter(spec);
      setSwapMs(performance.now() - begun);
      setShownAdapter(spec);
    });

  const ask = (prompt: string) =>
    during("answering", async () => {
      if (model === null) return;
      setAnswer("");
      setRate(null);
      const written = model.generate(prompt, { maxNewTokens: 256 });
      current.current = written;
      for await (const piece of written) setAnswer((text) => text + piece);
      setRate((await written).timings.tokensPerSecond);
    });

  const stop = () => current.current?.stop();
  return { model, adapter, swapMs, answer, rate, busy, error, open, close, setAdapter, ask, stop };
}

/** The runtime's own errors say what to do; anything else is a fault of the program and shows its kind. */
export function messageOf(error: unknown): string {
  if (error instanceof EdgeLoraError) return error.message;
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
}
