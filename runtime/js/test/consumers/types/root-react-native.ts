/** With the condition that React Native's own settings give, the root is that of React Native. */

import { downloadArtifact, type FileSystem, load, type Model } from "@edgelora/runtime";

export const download = downloadArtifact;
export const open = (files: FileSystem): Promise<Model> => load("artifact", { files });
