/**
 * Takes the fields of an object of JSON one by one, each of its type.
 *
 * Knows nothing about what the fields mean: names and types are checked here, values by whoever asks.
 */

import { ArtifactError } from "./errors.js";
import { isFields, show } from "./parse-json.js";

/** One JSON object whose fields are read by name and type; every complaint names the field. */
export class Fields {
  readonly isObject: boolean;
  readonly #data: Readonly<Record<string, unknown>>;
  readonly #where: () => string;

  /** `where` makes the words only for a complaint: there may be thousands of objects. */
  constructor(data: unknown, where: () => string) {
    this.isObject = isFields(data);
    this.#data = isFields(data) ? data : {};
    this.#where = where;
  }

  get where(): string {
    return this.#where();
  }

  /** The object as JSON has it. */
  get plain(): Readonly<Record<string, unknown>> {
    return this.#data;
  }

  raw(name: string): unknown {
    return Object.hasOwn(this.#data, name) ? this.#data[name] : undefined;
  }

  isSet(name: string): boolean {
    return (this.raw(name) ?? null) !== null;
  }

  text(name: string): string {
    const value = this.#present(name);
    if (typeof value !== "string") throw this.wrong(name, "text", value);
    return value;
  }

  textOrNull(name: string): string | null {
    return this.isSet(name) ? this.text(name) : null;
  }

  /** A value of a type that `typeof` tells, `otherwise` where the field is left out. */
  plainOr<Value extends number | boolean | string>(name: string, otherwise: Value, words: string): Value {
    const value = this.raw(name) === undefined ? otherwise : this.raw(name);
    if (typeof value !== typeof otherwise) throw this.wrong(name, words, value);
    return value as Value;
  }

  whole(name: string): number {
    return wholeNumber(this.#present(name), () => `${this.where}: ${name}`);
  }

  list(name: string): Fields[] {
    return this.#array(name).map((item, index) => objectAt(item, () => `${this.where}: ${name}[${index}]`));
  }

  wholes(name: string): number[] {
    return this.#array(name).map((item, index) => wholeNumber(item, () => `${this.where}: ${name}[${index}]`));
  }

  texts(name: string): string[] {
    return this.#array(name).map((item, index) => {
      if (typeof item !== "string") throw this.wrong(`${name}[${index}]`, "text", item);
      return item;
    });
  }

  object(name: string): Fields {
    return objectAt(this.#present(name), () => `${this.where}: ${name}`);
  }

  entries(): [string, Fields][] {
    return Object.entries(this.#data).map(([name, item]) => [
      name,
      objectAt(item, () => `${this.where}: ${show(name)}`),
    ]);
  }

  #array(name: string): unknown[] {
    const value = this.#present(name);
    if (!Array.isArray(value)) throw this.wrong(name, "a list", value);
    return value;
  }

  #present(name: string): unknown {
    const value = this.raw(name);
    if (value === undefined) throw new ArtifactError(`${this.where}: field "${name}" is missing`);
    return value;
  }

  wrong(name: string, expected: string, found: unknown): ArtifactError {
    return new ArtifactError(`${this.where}: ${name}: expected ${expected}, found ${show(found)}`);
  }
}

/** The object `data`; throws ArtifactError naming the place where it is something else. */
export function objectAt(data: unknown, where: () => string): Fields {
  const fields = new Fields(data, where);
  if (!fields.isObject) throw new ArtifactError(`${where()}: expected an object, found ${kind(data)}`);
  return fields;
}

function wholeNumber(value: unknown, where: () => string): number {
  if (typeof value !== "number" || !Number.isInteger(value)) {
    throw new ArtifactError(`${where()}: expected a whole number, found ${show(value)}`);
  }
  return value;
}

/** What a value of JSON is, for a message. */
export function kind(data: unknown): string {
  if (data === null) return "null";
  return Array.isArray(data) ? "a list" : `a ${typeof data}`;
}
