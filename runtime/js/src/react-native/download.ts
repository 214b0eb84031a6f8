/**
 * An artifact of a server in app storage.
 *
 * Knows nothing about sessions, and next to nothing about downloads: `core/download-folder.ts` does it.
 */

import { type DownloadOptions, downloadFolder } from "../core/download-folder.js";
import { nativePath } from "./files.js";

/** Make `folder` the artifact at `address`, `https://` or `hf:`; going on where it stopped. Throws as `downloadFolder`. */
export async function downloadArtifact(address: string, folder: string, options: DownloadOptions): Promise<void> {
  nativePath(folder); // refuses other kinds of addresses before anything is written
  await downloadFolder(address, folder, options);
}
