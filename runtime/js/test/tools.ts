/** A tool, a call of it, and a tiny model whose template has a place for both. */

import type { TestContext } from "node:test";
import { load, type Model } from "../src/node.js";
import { copyArtifact, writeTemplate } from "./folders.js";

export const TOOLS = [{ type: "function", function: { name: "get_weather", parameters: { type: "object" } } }] as const;
export const CALL = '<tool_call>{"name": "get_weather", "arguments": {"city": "Bern"}}</tool_call>';

const TEMPLATE =
  "{% for t in tools or [] %}[{{ t.function.name }}]{% endfor %}{% for m in messages %}<{{ m.role }}>{{ m.content }}" +
  "{% for c in m.tool_calls or [] %}({{ c.id }} {{ c.function | tojson }}){% endfor %}{{ m.tool_call_id }}{% endfor %}" +
  "{% if enable_thinking is defined %}{{ enable_thinking }}{% endif %}";

/** The model, until the test ends. */
export async function loadWithTools(context: TestContext): Promise<Model> {
  const folder = await copyArtifact(context);
  await writeTemplate(folder, TEMPLATE);
  const model = await load(folder, { threads: 1 });
  context.after(() => model.dispose());
  return model;
}

/** The same model, which says nothing but `choice`, or one after the other of several, and keeps what it was asked. */
export function saying(model: Model, ...choices: readonly string[]): { model: Model; asked: (readonly unknown[])[] } {
  const asked: (readonly unknown[])[] = [];
  const chat: Model["chat"] = (messages, options) => {
    const choice = choices[Math.min(asked.length, choices.length - 1)] as string;
    asked.push(messages);
    return model.chat(messages, { ...options, stop: undefined, choices: [choice] });
  };
  return { model: { ...model, manifest: model.manifest, adapters: model.adapters, chat } as Model, asked };
}
