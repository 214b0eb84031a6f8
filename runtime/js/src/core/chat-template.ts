/**
 * Compile and render chat templates.
 *
 * Knows nothing about tokens or messages, and alone loads `@huggingface/jinja`.
 */

import { ArtifactError, InputError } from "./errors.js";
import { oneLine } from "./json.js";
import { strftime } from "./strftime.js";

/** What is used of a template of `@huggingface/jinja`. */
interface Program {
  render(items: Record<string, unknown>): string;
}

/** A compiled template. */
export class ChatTemplate {
  readonly #program: Program;

  private constructor(program: Program) {
    this.#program = program;
  }

  /** Throws ArtifactError in one line for what is no template. */
  static async compile(source: string): Promise<ChatTemplate> {
    const { Template } = await import("@huggingface/jinja");
    try {
      return new ChatTemplate(new Template(source.replaceAll("strftime_now", "strftime_today")));
    } catch (error) {
      const reason = oneLine((error as Error).message);
      throw new ArtifactError(`the chat template is malformed (${reason}); export the artifact again`);
    }
  }

  /** The text for `variables`; throws InputError in one line, whatever the template does. */
  render(variables: Readonly<Record<string, unknown>>, now: Date): string {
    try {
      return this.#program.render({ strftime_today: (form: string) => strftime(form, now), ...variables });
    } catch (error) {
      throw new InputError(`the chat template refuses these messages: ${oneLine((error as Error).message)}`);
    }
  }
}
