/**
 * Which tools a request offers, and the schema of answers that must be a call, or may be one beside another form.
 *
 * Knows nothing about whose interface asks for it. Such calls are objects without marks, which every template's model
 * can write and `core/tool-calls.ts` reads.
 */

import { InputError } from "./core/errors.js";
import { isFields, show } from "./core/parse-json.js";
import type { Schema } from "./core/request.js";

/** A tool as the servers take it. */
export type OfferedTool = Readonly<Record<string, unknown>>;

/** No call, one where the model wants it, one of any tool, or one of the tool with a name. */
export type ToolChoice = "none" | "auto" | "required" | { readonly name: string };

/** What `chat` is given of it. */
export interface Calls {
  readonly tools: readonly OfferedTool[] | undefined;
  readonly schema: Schema | undefined;
}

/**
 * What is offered of `tools`, and the form of the answer: `other` where it needs no call, or a call beside it. Throws
 * InputError where a call is wanted of what is not there.
 */
export function chooseCalls(tools: readonly OfferedTool[], choice: ToolChoice, other?: Schema): Calls {
  if (choice === "none" || (choice === "auto" && tools.length === 0)) return { tools: undefined, schema: other };
  if (choice === "auto") {
    const hasForm = typeof other === "object"; // where any JSON will do, calls are among it
    return { tools, schema: hasForm ? { anyOf: [...tools.map(callOf), other] } : other };
  }
  const chosen = choice === "required" ? tools : tools.filter((tool) => functionOf(tool).name === choice.name);
  if (chosen.length === 0) {
    const wanted = choice === "required" ? "a tool" : `the tool ${show(choice.name)}`;
    const names = tools.map((tool) => show(functionOf(tool).name)).join(", ") || "none";
    throw new InputError(
      `${wanted} is to be called, and the tools that are given are: ${names}; give it, or ask for none`,
    );
  }
  const forms = chosen.map(callOf);
  return { tools: chosen, schema: forms.length === 1 ? forms[0] : { anyOf: forms } };
}

/** The schema of one call. */
function callOf(tool: OfferedTool): Schema {
  const { name, parameters } = functionOf(tool);
  const given = parameters ?? { type: "object", additionalProperties: false }; // left out, it takes none
  return { type: "object", properties: { name: { const: name }, arguments: given }, required: ["name", "arguments"] };
}

function functionOf(tool: OfferedTool): OfferedTool {
  const { function: given } = tool;
  if (isFields(given) && typeof given.name === "string") return given;
  throw new InputError(`a tool is ${show(tool)}, expected {"type": "function", "function": {"name"}}`);
}
