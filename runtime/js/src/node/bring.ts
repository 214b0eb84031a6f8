/**
 * An artifact of a server, brought to the disk.
 *
 * Knows nothing about sessions.
 */

import type { AddressOptions } from "../core/address.js";
import type { BringOptions } from "../core/stored-models.js";
import { hubOptions, modelsIn } from "./cache.js";

/** A folder of the disk, how its server was asked, and what to call when nothing of it is read any more. */
export interface Brought {
  readonly path: string;
  readonly asking: AddressOptions;
  readonly close: () => void;
}

/** Download what is missing of the artifact at `address`; throws as `downloadFolder`. */
export async function bringArtifact(
  address: string,
  options: BringOptions & { readonly cache?: string | undefined },
): Promise<Brought> {
  const models = modelsIn(options.cache);
  const close = await models.use(address);
  try {
    return {
      path: await models.bring(address, options),
      asking: { ...options, ...hubOptions(address, options) },
      close,
    };
  } catch (error) {
    close();
    throw error;
  }
}
