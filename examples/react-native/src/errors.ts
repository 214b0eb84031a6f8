/** Errors as a person reads them. */

import { EdgeLoraError } from "@edgelora/runtime/react-native";

/** The runtime's own errors say what to do; anything else is a fault of the program and shows its kind. */
export function messageOf(error: unknown): string {
  if (error instanceof EdgeLoraError) return error.message;
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
}
