/**
 * Addresses of artifacts: a server's, with its query, or `hf:owner/name@revision`.
 *
 * Knows nothing about downloads. Not every engine that runs this has a whole `URL` class, so addresses are taken apart
 * here.
 */

import type { Asking } from "./asking.js";
import { inAddress } from "./names.js";

/** How artifacts of servers are found and asked for. */
export interface AddressOptions extends Asking {
  /** Where `hf:` addresses lead; the hub of Hugging Face where it is left out. */
  readonly hub?: string | undefined;
}

/** An artifact on a server. */
export interface Remote {
  /** What it is called, and kept under: the address without "/" at its end. */
  readonly where: string;
  /** The address of one of its files. */
  addressOf(name: string): string;
  /** The same of the very upload that `answer` is of, where the server names one: later files are then of it too. */
  pin(answer: Response): Remote;
}

export const HUB = "hf:";
const SERVER = /^https?:\/\//i;

/** Whether both addresses lead to one server, so that what is said to one may be said to the other. */
export function isSameServer(one: string, other: string): boolean {
  const [first, second] = [one, other].map((address) => /^(hf:|https?:\/\/[^/?#]*)/i.exec(address)?.[0].toLowerCase());
  return first !== undefined && first === second;
}

/**
 * How `address` is asked for a model of `artifact`, which was asked for with `asking`: headers may hold what another server
 * must not see.
 */
export function askingFor(address: string, artifact: string, asking: AddressOptions): AddressOptions {
  const { hub, fetch } = asking;
  return isSameServer(address, artifact) ? asking : { hub, fetch };
}

/** Whether `text` is an address of a server or of the hub, and no path. */
export function isRemote(text: string): boolean {
  return text.startsWith(HUB) || SERVER.test(text);
}

/** A folder of a server; its query stands behind the name of every file, its fragment is dropped. */
export function atServer(address: string): Remote {
  const [, path = "", query = ""] = /^([^?#]*)(\?[^#]*)?/.exec(address) ?? [];
  const folder = path.replace(/\/+$/, "");
  const remote: Remote = {
    where: folder + query,
    addressOf: (name) => `${folder}/${inAddress(name)}${query}`,
    pin: () => remote,
  };
  return remote;
}
