/**
 * Prompts through the chat template: messages, tools and variables in, text out, as transformers renders it.
 *
 * Knows nothing about tokens, or about what a template may do; `chat-template.ts` runs it.
 */

import type { ChatTemplate } from "./chat-template.js";
import { InputError } from "./errors.js";
import { asParts, asText, checkMessages, checkTools, type Message, type Tools } from "./messages.js";
import { GIVEN_VARIABLES, isVariable } from "./names.js";
import { show } from "./parse-json.js";

/** What a template gets beside messages and tools, by name. */
export type Variables = Readonly<Record<string, unknown>>;

const NEEDLE = "edgelora needle"; // whatever finds its way through a template did not get lost in it
const PARTS = ["'type'", '"type"']; // how a list of parts looks when a template that wants text prints it
const DAY = /^(\d{4})-(\d{2})-(\d{2})$/;

/**
 * Renders conversations exactly as transformers does with the same template. `variables` are what the template may ask
 * for beside messages and tools, special tokens among them; `day` is today for `strftime_now`, null that of each call.
 */
export class Renderer {
  readonly #template: ChatTemplate;
  readonly #variables: Variables;
  readonly #day: Date | null;
  #knownForms: readonly [boolean, boolean] | null = null;

  constructor(template: ChatTemplate, variables: Variables = {}, day: Date | null = null) {
    this.#template = template;
    this.#variables = variables;
    this.#day = day;
  }

  /** The same template with more variables, and another date (YYYY-MM-DD) where one is given; throws InputError. */
  with(variables: Variables, date: string | null): Renderer {
    const all = { ...this.#variables, ...checkVariables(variables) };
    return new Renderer(this.#template, all, parseDay(date) ?? this.#day);
  }

  /**
   * The text of a conversation; throws InputError when the template refuses it or would leave a part of it out. Content
   * gets the form that the template can use. `tools`, `tool_calls` and messages of the role `tool` that change nothing in
   * the text are refused: the model would never hear of them.
   */
  render(messages: readonly Message[], addGenerationPrompt = true, tools: Tools | null = null): string {
    const given = checkMessages(messages).map((message) => this.#convert(message));
    const known = tools === null ? null : checkTools(tools);
    const text = this.#render(given, addGenerationPrompt, known);
    const refuse = (name: string) =>
      new InputError(`the chat template has no place for ${name}; leave them out, or write them as text`);
    if (known !== null && known.length > 0 && this.#try(given, addGenerationPrompt, null) === text) {
      throw refuse("tools");
    }
    if (given.some((message) => Object.hasOwn(message, "tool_calls"))) {
      const fewer = given.map(({ tool_calls: _, ...message }) => message as Message);
      if (this.#try(fewer, addGenerationPrompt, known) === text) throw refuse("tool_calls");
    }
    if (given.some(({ role, content }) => role === "tool" && (content as string | readonly unknown[])?.length > 0)) {
      const others = given.filter(({ role }) => role !== "tool");
      if (this.#try(others, addGenerationPrompt, known) === text) throw refuse("messages of the role tool");
    }
    return text;
  }

  /** The message with its content in a form that the template can use. */
  #convert(message: Message): Message {
    const { content } = message;
    const [takesText, takesParts] = this.#forms();
    if (typeof content === "string" && takesParts && !takesText) return { ...message, content: asParts(content) };
    if (Array.isArray(content) && !takesParts) return { ...message, content: asText(content) };
    return message;
  }

  /** Whether the template can use content as text, and as a list of parts; tried out, as llama.cpp does. */
  #forms(): readonly [boolean, boolean] {
    if (this.#knownForms === null) {
      const ofText = this.#try([{ role: "user", content: NEEDLE }], true, null) ?? "";
      const ofParts = this.#try([{ role: "user", content: asParts(NEEDLE) }], true, null) ?? "";
      const isPrinted = PARTS.some((printed) => ofParts.includes(printed));
      this.#knownForms = [ofText.includes(NEEDLE), ofParts.includes(NEEDLE) && !isPrinted];
    }
    return this.#knownForms;
  }

  #try(messages: readonly Message[], addGenerationPrompt: boolean, tools: readonly unknown[] | null): string | null {
    try {
      return this.#render(messages, addGenerationPrompt, tools);
    } catch (error) {
      if (error instanceof InputError) return null;
      throw error;
    }
  }

  #render(messages: readonly Message[], addGenerationPrompt: boolean, tools: readonly unknown[] | null): string {
    const variables = {
      messages,
      tools,
      documents: null,
      add_generation_prompt: addGenerationPrompt,
      ...this.#variables,
    };
    return this.#template.render(variables, this.#day ?? new Date());
  }
}

/** Variables for a template by name; throws InputError for what is none, or is given in another way. */
function checkVariables(variables: Variables): Variables {
  if (typeof variables !== "object" || variables === null || Array.isArray(variables)) {
    throw new InputError(`template is ${show(variables)}, expected an object of variables by name`);
  }
  const wrong = Object.keys(variables).find((name) => !isVariable(name));
  if (wrong === undefined) return variables;
  throw new InputError(
    `template variable ${show(wrong)} cannot be set; expected a name such as enable_thinking, and none of ` +
      `${GIVEN_VARIABLES.join(", ")}, which every template gets`,
  );
}

/** Midnight of a day given as YYYY-MM-DD; throws InputError for any other form. */
function parseDay(date: string | null): Date | null {
  if (date === null) return null;
  const [, year, month, day] = (typeof date === "string" ? (DAY.exec(date) ?? []) : []).map(Number);
  if (year !== undefined && month !== undefined && day !== undefined && year > 0) {
    const found = new Date(2000, month - 1, day);
    found.setFullYear(year, month - 1, day); // the constructor takes years below 100 for those of 1900
    if (found.getMonth() === month - 1 && found.getDate() === day) return found;
  }
  throw new InputError(`date is ${show(date)}, expected a day as YYYY-MM-DD`);
}
