/**
 * The worker that comes in parts: what the page is asked for, and where it starts.
 *
 * Knows nothing about what is in a part. The build turns what `worker.ts` imports later into calls of `edgeloraPart`.
 */

import { ConnectionError } from "../core/errors.js";
import "./worker.js";

/** What the worker asks the page for; the answer comes through the port that is sent with it. */
export interface WantedPart {
  readonly kind: "part";
  readonly name: string;
}

/** Where the part can be imported from, or why it did not come. */
export type BroughtPart = { readonly address: string } | { readonly reason: string };

function bringPart(name: string): Promise<unknown> {
  const { port1, port2 } = new MessageChannel();
  return new Promise((resolve, reject) => {
    port1.onmessage = ({ data }: MessageEvent<BroughtPart>) => {
      port1.close();
      if ("address" in data) resolve(import(data.address));
      else reject(new ConnectionError(`a part of this page, ${name}, did not come (${data.reason}); try again`));
    };
    self.postMessage({ kind: "part", name } satisfies WantedPart, { transfer: [port2] });
  });
}

Object.assign(self, { edgeloraPart: bringPart });
