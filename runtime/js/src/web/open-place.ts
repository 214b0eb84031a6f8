/**
 * The artifact at the place that a page names.
 *
 * Knows nothing about sessions.
 */

import type { AddressOptions } from "../core/address.js";
import type { Place, SentPlace, SourceOptions, WebArtifact } from "./artifact.js";
import { openSource } from "./source.js";

/** The whole of an address; `base` is what a relative one starts from. */
export function absolute(address: string, base: string): string {
  return new URL(address, base).href;
}

/** A place in a form that can be sent; throws ArtifactError for files that are no artifact. */
export async function toSend(place: Place, base: string): Promise<SentPlace> {
  if (typeof place === "string" || place instanceof URL) return absolute(String(place), base);
  if ("where" in place) return place;
  const { copyArtifact } = await import("./later.js"); // most artifacts are on servers
  return copyArtifact(place);
}

/** The artifact at a place. */
export async function openPlace(place: SentPlace, options: SourceOptions & AddressOptions): Promise<WebArtifact> {
  if (typeof place === "string") return openSource(place, options);
  const { LocalSource } = await import("./later.js");
  return new LocalSource(place, options);
}
