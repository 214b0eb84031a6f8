/**
 * Compile and render chat templates, as transformers does.
 *
 * Knows nothing about tokens or messages; `template-machine.ts` runs them.
 */

import { ArtifactError, InputError } from "./errors.js";
import { oneLine } from "./parse-json.js";
import { Template } from "./template-machine.js";

/** A compiled template. */
export class ChatTemplate {
  readonly #template: Template;

  private constructor(template: Template) {
    this.#template = template;
  }

  /** Throws ArtifactError in one line for what is no template, or is not known to give the text of transformers. */
  static async compile(source: string): Promise<ChatTemplate> {
    try {
      return new ChatTemplate(new Template(source));
    } catch (error) {
      throw new ArtifactError(
        `the chat template cannot be used (${reasonOf(error)}); export the artifact with another one`,
      );
    }
  }

  /** The text for `variables`; throws InputError in one line, whatever the template does. */
  render(variables: Readonly<Record<string, unknown>>, now: Date): string {
    try {
      return this.#template.render(variables, now);
    } catch (error) {
      throw new InputError(`the chat template refuses these messages: ${reasonOf(error)}`);
    }
  }
}

/** The words of an error; the library's parser has an engine's own where a template ends too early. */
function reasonOf(error: unknown): string {
  if (error instanceof TypeError) return "it ends inside of a tag or of what a tag opens";
  if (error instanceof RangeError) return "it is nested too deep, or calls itself without end";
  return oneLine((error as Error).message);
}
