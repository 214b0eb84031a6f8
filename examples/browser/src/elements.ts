/**
 * Elements of the page by their id, with their type.
 *
 * Knows nothing about what they are for.
 */

/** The element called `id`; throws where the page has another kind or none. */
export function find<Kind extends HTMLElement>(id: string, kind: abstract new () => Kind): Kind {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`the page has no ${kind.name} with the id ${id}`);
  return found;
}

/** A new element with a class and text. */
export function make<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  className: string,
  text = "",
): HTMLElementTagNameMap[Tag] {
  const element = document.createElement(tag);
  if (className !== "") element.className = className;
  element.textContent = text;
  return element;
}

/** Show a line of an error, or hide the place for one. */
export function showError(id: string, error: unknown): void {
  const place = find(id, HTMLElement);
  place.hidden = error === null;
  place.textContent = error === null ? "" : error instanceof Error ? error.message : String(error);
}
