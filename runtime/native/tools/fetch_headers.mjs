/**
 * Fetch the C headers of onnxruntime once, pinned by version and SHA-512, and print their folder.
 *
 * Knows nothing about compiling; the package and its place are those of the host that tests React Native's binding.
 */

import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { fetchPackages, ONNXRUNTIME, onnxruntimeHeaders } from "../../js/jsi-host/tools/fetch.mjs";

const HOST = fileURLToPath(new URL("../../js/jsi-host/", import.meta.url));

console.log = console.error; // standard output holds the folder alone
const packages = fetchPackages(join(HOST, "packages.json"), join(HOST, "build/packages"), [ONNXRUNTIME]);
const folder = onnxruntimeHeaders(packages);
if (!existsSync(join(folder, "onnxruntime_c_api.h"))) throw new Error(`no onnxruntime_c_api.h in ${folder}`);
process.stdout.write(`${folder}\n`);
