/**
 * What a page needs only where files are missing, are the visitor's own, or are asked about: loaded then, in one part.
 *
 * Knows nothing itself.
 */

export { fetchedFolder } from "../core/fetched-folder.js";
export { download } from "./download.js";
export { copyArtifact, LocalSource } from "./local.js";
export { MemoryStore } from "./memory-store.js";
export { makeRoomFor, WebModels } from "./models.js";
export { SharedStore } from "./shared-store.js";
