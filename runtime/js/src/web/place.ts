/**
 * Where a page or a worker stands: what its addresses start from, and where onnxruntime-web's files are looked for.
 *
 * Knows nothing about what is fetched.
 */

/** The version of onnxruntime-web that this package is tested with. */
export const ORT_VERSION = "1.30.0";

/** An address that package servers and folders of installed packages have, with or without a version. */
const OWN_ADDRESS = /^(https?:.*\/)@edgelora\/runtime(@[^/]+)?\/dist\//;

/** What relative addresses start from; workers have no document, and one made from text stands where its page does. */
export function baseAddress(): string {
  return globalThis.document?.baseURI ?? self.location.href.replace(/^blob:/, "");
}

/**
 * The folder of onnxruntime-web's files, "/" at its end: the given one, that of the package beside this one where
 * packages are served as they are, else `/ort/`. `own` is the address of this package's code.
 */
export function ortFolder(given: string | undefined, own: string = import.meta.url): string {
  if (given !== undefined) return new URL(given.replace(/\/*$/, "/"), baseAddress()).href;
  const [, packages, version] = OWN_ADDRESS.exec(own) ?? [];
  if (packages === undefined) return new URL("/ort/", baseAddress()).href;
  return `${packages}onnxruntime-web${version === undefined ? "" : `@${ORT_VERSION}`}/dist/`;
}
