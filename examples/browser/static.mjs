/**
 * The page and an artifact, or two, in one folder that any host serves as it is:
 * `npm run static -- ARTIFACT_FOLDER [SECOND_FOLDER] OUTPUT_FOLDER`.
 *
 * Of an artifact the manifest and the files that it lists are copied. OUTPUT_FOLDER must not exist.
 */

import { cp, readFile, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const PAGE = fileURLToPath(new URL("dist", import.meta.url));
const NAMES = ["artifact", "second"]; // where the page looks for them

/** Copy everything; the line that says what is wrong, or null. */
async function main(given) {
  const folders = given.map((folder) => resolve(process.env.INIT_CWD ?? ".", folder)); // npm runs this elsewhere
  if (folders.length < 2 || folders.length > 3) {
    return "give the folder of an artifact, or of two, and one to write: npm run static -- ARTIFACT [SECOND] OUTPUT";
  }
  const output = folders.pop();
  if (await exists(output)) return `${output} exists; give a folder that does not`;
  if (!(await exists(join(PAGE, "index.html")))) return "the page is not built yet; run: npm run build";
  for (const folder of folders) {
    if (!(await exists(join(folder, "manifest.json")))) {
      return `${folder} has no manifest.json; give a folder that \`edgelora export\` wrote`;
    }
  }
  await cp(PAGE, output, { recursive: true });
  for (const [index, folder] of folders.entries()) {
    const { files } = JSON.parse(await readFile(join(folder, "manifest.json"), "utf8"));
    for (const name of ["manifest.json", ...Object.keys(files)]) {
      await cp(join(folder, name), join(output, NAMES[index], name));
    }
  }
  console.log(output);
  return null;
}

function exists(path) {
  return stat(path).then(
    () => true,
    () => false,
  );
}

const problem = await main(process.argv.slice(2));
if (problem !== null) {
  console.error(`static: ${problem}`);
  process.exitCode = 2;
}
