/** Expo's own decoder, which build.mjs takes out of the package expo. */
declare module "expo-text-decoder" {
  export const TextDecoder: typeof globalThis.TextDecoder;
}
