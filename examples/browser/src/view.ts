/**
 * What the page needs of a part of it that shows what one model can do.
 *
 * Knows nothing about models of any kind.
 */

import type { RemoteOf } from "@edgelora/runtime/web";

export interface View {
  readonly model: RemoteOf<"any">;
  /** What is shown while this view is chosen. */
  readonly panel: HTMLElement;
  /** Whether two adapters can be mixed with a slider. */
  readonly blends: boolean;
  /** The choice in front of the adapters. */
  readonly first: { readonly spec: string; readonly text: string };
  /** The adapter that answers, or `first.spec`. */
  readonly spec: string;
  /** Answer with another adapter from now on; one that cannot leaves the one before. */
  choose(spec: string): Promise<void>;
}
