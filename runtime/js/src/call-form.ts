/**
 * Schemas of answers that must be a call of a tool, or may be one beside another form.
 *
 * Knows nothing about whose interface asks for it. Such calls are objects without marks, which every template's model
 * can write and `core/tool-calls.ts` reads.
 */

import type { Schema } from "./core/request.js";

/** A function as it is offered: its name, and the JSON Schema of its arguments. */
export interface OfferedFunction {
  readonly name: string;
  readonly parameters?: unknown;
}

/** The schema of one call of any of `functions`, or of `other`. */
export function callForm(functions: readonly OfferedFunction[], other: Schema | null = null): Schema {
  const forms = functions.map(({ name, parameters }): Schema => {
    const given = (parameters ?? { type: "object" }) as Schema;
    return { type: "object", properties: { name: { const: name }, arguments: given }, required: ["name", "arguments"] };
  });
  if (other !== null) forms.push(other);
  return forms.length === 1 ? (forms[0] as Schema) : { anyOf: forms };
}
