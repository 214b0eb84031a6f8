/** Where tests find what the repository holds. Compiled tests lie in build/test. */

import { fileURLToPath } from "node:url";

export const PACKAGE = fileURLToPath(new URL("../..", import.meta.url)).replace(/\/$/, "");
export const CONFORMANCE = fileURLToPath(new URL("../../../conformance", import.meta.url));
