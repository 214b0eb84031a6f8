/**
 * How React Native writes where files are.
 *
 * Imports no file package: an app hands one in, `expoFiles` for expo-file-system.
 */

import { ArtifactError } from "../core/errors.js";
import { ADDRESS, isAddress } from "../core/file-system.js";

/** The path that onnxruntime opens: addresses hold escapes, which its binding for React Native leaves as they are. */
export function nativePath(address: string): string {
  const path = isAddress(address) ? decodeURIComponent(address.slice(ADDRESS.length)) : address;
  if (path.startsWith("/")) return path;
  throw new ArtifactError(
    `${address} is no place in app storage; expected a path from / or a ${ADDRESS} address, copy or download it there`,
  );
}
