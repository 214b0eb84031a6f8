/**
 * The artifact that an address names.
 *
 * Knows nothing about folders on a disk or files of a page.
 */

import { type AddressOptions, atServer, HUB, isRemote, type Remote } from "./address.js";
import { InputError } from "./errors.js";

/** The artifact at an absolute address. Throws InputError for what is no address. */
export async function resolve(address: string, options: AddressOptions = {}): Promise<Remote> {
  if (address.startsWith(HUB)) {
    const { hubArtifact } = await import("./hub.js"); // most artifacts are elsewhere
    return hubArtifact(address.slice(HUB.length), options.hub);
  }
  if (isRemote(address)) return atServer(address);
  throw new InputError(`${address} is no address; expected https://SERVER/FOLDER or hf:OWNER/NAME@REVISION`);
}
