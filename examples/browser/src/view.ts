/**
 * What the page needs of a part of it that shows what one model can do.
 *
 * Knows nothing about models of any kind.
 */

import type { RemoteOf } from "@edgelora/runtime/web";
import { BASE } from "./voices.ts";

export interface View {
  readonly model: RemoteOf<"any">;
  /** What is shown while this view is chosen. */
  readonly panel: HTMLElement;
  /** Whether one adapter is chosen for it, or it takes them all. */
  readonly picks: boolean;
  /** Whether two adapters can be mixed with a slider. */
  readonly blends: boolean;
  /** The choice in front of the adapters. */
  readonly first: { readonly spec: string; readonly text: string };
  /** The adapter that answers, or `first.spec`. */
  readonly spec: string;
  /**
   * Answer with another adapter from now on; one that cannot leaves the one before. `slides` is true while a slider is
   * moved.
   */
  choose(spec: string, slides: boolean): Promise<void>;
  /** Take a text that was chosen. */
  ask?(text: string): Promise<void>;
}

/** A view that takes every adapter, so that none is chosen. */
export abstract class ViewOfAll<Model extends RemoteOf<"any"> = RemoteOf<"any">> implements View {
  readonly model: Model;
  abstract readonly panel: HTMLElement;
  readonly picks = false;
  readonly blends = false;
  readonly first = BASE;
  readonly spec = BASE.spec;

  constructor(model: Model) {
    this.model = model;
  }

  async choose(): Promise<void> {}
}
