/** Files that build.mjs puts into a bundle as bytes. */
declare module "*.safetensors" {
  const bytes: Uint8Array;
  export default bytes;
}
