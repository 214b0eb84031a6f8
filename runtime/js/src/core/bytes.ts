/**
 * Bytes over memory that no thread shares, which is what the web's own functions take.
 *
 * Knows nothing about what they mean. `Uint8Array<ArrayBuffer>` says the same, but only since TypeScript 5.7: a
 * declaration with it does not compile in an app that has an older one.
 */

/** What every constructor of `Uint8Array` makes of numbers. */
export type Bytes = ReturnType<Uint8ArrayConstructor["of"]>;

/** Lower-case hexadecimal digits, two for each byte. */
export function toHex(bytes: ArrayBuffer): string {
  return Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
