/**
 * JSON Schemas in the part that every runtime reads alike, as forms.
 *
 * Knows nothing about tokens. `docs/format.md` ("Forms") names the part; whatever else a schema has is refused by name,
 * never left out.
 */

import { InputError } from "./errors.js";
import {
  bracket,
  CHARACTER,
  COLON,
  COMMA,
  checkOrder,
  constant,
  type Fields,
  INTEGER,
  listed,
  NUMBER,
  quoted,
  string,
  stringWord,
  wrong,
} from "./form-json.js";
import { chain, choice, letters, type Node, optional, type Rules, repeat, text, word } from "./form-nodes.js";
import { type Alternative, insideJson, MOST, parseRegex, RegexError, wholeText } from "./form-regex.js";
import { isFields, show } from "./parse-json.js";

const MOST_RULES = 4096;
const TYPES = ["object", "array", "string", "number", "integer", "boolean", "null"] as const;
type Type = (typeof TYPES)[number];
const NOTES: ReadonlySet<string> = new Set([
  ...["title", "description", "default", "examples", "deprecated", "readOnly", "writeOnly", "$schema", "$id"],
  ...["$comment", "$defs", "definitions"],
]);
const WHOLE = ["$ref", "anyOf", "allOf", "enum", "const"]; // keywords that stand beside notes alone
const OF_TYPE: Readonly<Record<Type, readonly string[]>> = {
  object: ["properties", "required", "additionalProperties", "propertyNames", "minProperties", "maxProperties"],
  array: ["items", "minItems", "maxItems"],
  string: ["minLength", "maxLength", "pattern", "format"],
  number: [],
  integer: [],
  boolean: [],
  null: [],
};
const KNOWN = ["type", ...WHOLE, ...TYPES.flatMap((type) => OF_TYPE[type])];
const DATE = "\\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\\d|3[01])";
const TIME = "([01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(\\.\\d{1,6})?(Z|[+-]([01]\\d|2[0-3]):[0-5]\\d)";
const FORMATS: ReadonlyMap<unknown, string> = new Map([
  ["date", DATE],
  ["time", TIME],
  ["date-time", `${DATE}T${TIME}`],
  ["uuid", "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"],
]);

const BLANKS = [
  [10, 10],
  [32, 32],
] as const;
const LEADING = repeat(word(letters(BLANKS)), 0, 2); // templates and decoders may have blanks in front

/** The rules of a schema; throws InputError naming what is wrong or not read. */
export function readSchema(schema: unknown): Rules {
  let root = schema;
  if (typeof schema === "string") {
    try {
      root = JSON.parse(schema);
    } catch (error) {
      throw new InputError(`schema is no JSON (${(error as Error).message}); give a JSON Schema`);
    }
  }
  if (typeof root !== "boolean" && !isFields(root)) {
    throw new InputError(`schema is ${show(root)}, expected a JSON Schema: an object, or its JSON text`);
  }
  return new Reader(root).read();
}

class Reader {
  readonly #root: unknown;
  readonly #rules: Rules = new Map();
  readonly #names = new Map<string, string>(); // of the rules of places in the schema, by pointer

  constructor(root: unknown) {
    this.#root = root;
  }

  read(): Rules {
    const whole = this.#rule("start");
    this.#rules.set(whole, chain(LEADING, this.#value(this.#root, "#")));
    return this.#rules;
  }

  #rule(kind: string): string {
    if (this.#rules.size >= MOST_RULES) {
      throw new InputError(`schema needs more than ${MOST_RULES} rules; give a smaller one`);
    }
    const name = `${kind}_${this.#rules.size}`;
    this.#rules.set(name, chain());
    return name;
  }

  #value(schema: unknown, where: string): Node {
    if (schema === true || (isFields(schema) && Object.keys(schema).length === 0)) return this.#anything();
    if (!isFields(schema)) throw wrong(where, `is ${show(schema)}, expected an object, or true`);
    const names = Object.keys(schema);
    for (const name of names) {
      if (KNOWN.includes(name) || NOTES.has(name)) continue;
      throw wrong(where, `has ${show(name)}, which is not supported; supported are ${KNOWN.join(", ")}`);
    }
    const whole = WHOLE.find((name) => name in schema);
    if (whole !== undefined) {
      const isConstant = whole === "enum" || whole === "const";
      const beside = names.find((name) => !NOTES.has(name) && name !== whole && !(name === "type" && isConstant));
      if (beside !== undefined) {
        throw wrong(where, `has ${show(beside)} beside ${show(whole)}, which is not supported; leave one out`);
      }
      return this.#whole(whole, schema, where);
    }
    const types = typesOf(schema, where);
    for (const name of names) {
      if (NOTES.has(name) || name === "type" || types.some((type) => OF_TYPE[type].includes(name))) continue;
      throw wrong(where, `has ${show(name)}, which says nothing about ${types.join(" or ")}; leave it out`);
    }
    return choice(types.map((type) => this.#typed(type, schema, where)));
  }

  #whole(name: string, schema: Fields, at: string): Node {
    const value = schema[name];
    const where = `${at}/${name}`;
    if (name === "$ref") return this.#reference(value, where);
    if (name === "const") return constants([value], schema, where);
    if (!Array.isArray(value) || value.length === 0) {
      throw wrong(where, `is ${show(value)}, expected a list that is not empty`);
    }
    if (name === "enum") return constants(value, schema, where);
    if (name === "allOf" && value.length > 1) {
      throw wrong(where, `has ${value.length} schemas, one is supported; write them as one`);
    }
    return choice(value.map((item, index) => this.#value(item, `${where}/${index}`)));
  }

  #reference(pointer: unknown, where: string): Node {
    if (typeof pointer !== "string" || !/^#(\/[^/]+)*$/.test(pointer)) {
      throw wrong(where, `is ${show(pointer)}, expected a place in this schema, as #/$defs/NAME`);
    }
    const known = this.#names.get(pointer);
    if (known !== undefined) return { kind: "rule", name: known };
    let target = this.#root;
    for (const part of pointer.split("/").slice(1)) {
      const key = part.replaceAll("~1", "/").replaceAll("~0", "~");
      if (!isFields(target) || !Object.hasOwn(target, key)) {
        throw wrong(where, `is ${show(pointer)}, which this schema does not have`);
      }
      target = target[key];
    }
    const name = this.#rule("ref");
    this.#names.set(pointer, name);
    this.#rules.set(name, this.#value(target, pointer));
    this.#checkGrounded(name, name, where, pointer);
    return { kind: "rule", name };
  }

  /** A reference that comes back to itself before any character names nothing. */
  #checkGrounded(rule: string, start: string, where: string, pointer: string): void {
    const node = this.#rules.get(rule) as Node;
    for (const item of node.kind === "choice" ? node.items : [node]) {
      if (item.kind !== "rule") continue;
      if (item.name === start) {
        throw wrong(where, `is ${show(pointer)}, which comes back to itself without a value`);
      }
      this.#checkGrounded(item.name, start, where, pointer);
    }
  }

  /** Any JSON value. */
  #anything(): Node {
    const known = this.#names.get("anything");
    if (known !== undefined) return { kind: "rule", name: known };
    const name = this.#rule("anything");
    this.#names.set("anything", name);
    const rule: Node = { kind: "rule", name };
    const lists = [listed("{", chain(string(), COLON, rule), 0, null, "}"), listed("[", rule, 0, null, "]")];
    const words = ["true", "false", "null"].map((content) => word(text(content)));
    this.#rules.set(name, choice([...lists, string(), NUMBER, ...words]));
    return rule;
  }

  #typed(type: Type, schema: Fields, where: string): Node {
    switch (type) {
      case "object":
        return this.#object(schema, where);
      case "array": {
        const [least, most] = counts(schema, "minItems", "maxItems", where);
        return listed("[", this.#value(schema.items ?? true, `${where}/items`), least, most, "]");
      }
      case "string":
        return typedString(schema, where);
      case "number":
        return NUMBER;
      case "integer":
        return INTEGER;
      case "boolean":
        return choice([word(text("true")), word(text("false"))]);
      case "null":
        return word(text("null"));
    }
  }

  #object(schema: Fields, where: string): Node {
    const { properties = {}, required = [] } = schema;
    if (!isFields(properties)) throw wrong(`${where}/properties`, `is ${show(properties)}, expected an object`);
    if (!Array.isArray(required) || required.some((name) => typeof name !== "string")) {
      throw wrong(`${where}/required`, `is ${show(required)}, expected a list of names`);
    }
    const missing = required.find((name: string) => !Object.hasOwn(properties, name));
    if (missing !== undefined) {
      throw wrong(`${where}/required`, `names ${show(missing)}, which properties do not have; add it there`);
    }
    checkOrder(properties, `${where}/properties`);
    const named = Object.entries(properties);
    const others = "additionalProperties" in schema ? schema.additionalProperties : named.length === 0;
    if (named.length > 0) {
      const openWord = ["propertyNames", "minProperties", "maxProperties"].find((name) => name in schema);
      if (others !== false || openWord !== undefined) {
        const name = show(openWord ?? "additionalProperties");
        throw wrong(where, `has ${name} beside properties, which is not supported; leave one out`);
      }
      const pairs = named.map(([name, value]) => {
        const pair = this.#pair(stringWord(name, where), value, `${where}/properties/${name}`);
        return [pair, required.includes(name)] as const;
      });
      return chain(word(text("{")), this.#listedPairs(pairs), word(text("}")));
    }
    const [least, most] = counts(schema, "minProperties", "maxProperties", where);
    if (others === false) return bracket("{", [], "}");
    const key = this.#key("propertyNames" in schema ? schema.propertyNames : true, `${where}/propertyNames`);
    return listed("{", this.#pair(key, others, `${where}/additionalProperties`), least, most, "}");
  }

  #pair(key: Node, value: unknown, where: string): Node {
    return chain(key, COLON, this.#value(value, where));
  }

  #key(given: unknown, where: string): Node {
    if (given === true) return string();
    let schema = given;
    if (isFields(schema) && !("type" in schema) && !WHOLE.some((name) => name in (schema as Fields))) {
      schema = { ...schema, type: "string" };
    }
    const fields = isFields(schema) ? schema : {};
    const values = fields.enum ?? ["const" in fields ? fields.const : ""];
    const isString = fields.type === "string" || "enum" in fields || "const" in fields;
    if (!isString || !Array.isArray(values) || values.some((value) => typeof value !== "string")) {
      throw wrong(where, `is ${show(schema)}, expected strings: a pattern, enum, const or lengths`);
    }
    return this.#value(schema, where);
  }

  /** Pairs in their order, those that are not required left out or not. */
  #listedPairs(pairs: readonly (readonly [Node, boolean])[]): Node {
    let after = chain(); // what follows the pairs so far, at least one of which was written
    let first = chain(); // the same where none was
    for (const [pair, isRequired] of [...pairs].reverse()) {
      const withPair = chain(pair, after);
      const [ruleAfter, ruleFirst] = [this.#rule("after"), this.#rule("first")];
      this.#rules.set(ruleFirst, isRequired ? withPair : choice([withPair, first]));
      const following = chain(COMMA, pair);
      this.#rules.set(ruleAfter, chain(isRequired ? following : optional(following), after));
      after = { kind: "rule", name: ruleAfter };
      first = { kind: "rule", name: ruleFirst };
    }
    return first;
  }
}

function typesOf(schema: Fields, where: string): Type[] {
  const found = schema.type ?? TYPES.filter((type) => OF_TYPE[type].some((name) => name in schema));
  const types: readonly unknown[] = typeof found === "string" ? [found] : Array.isArray(found) ? found : [];
  if (types.length === 0 || !types.every((type) => (TYPES as readonly unknown[]).includes(type))) {
    throw wrong(where, `has the type ${show(found)}, expected ${TYPES.join(", ")}, or a list of them`);
  }
  const known = [...new Set(types as Type[])];
  return known.includes("number") ? known.filter((type) => type !== "integer") : known;
}

function constants(values: readonly unknown[], schema: Fields, where: string): Node {
  const types: readonly Type[] = "type" in schema ? typesOf(schema, where) : TYPES;
  const fitting = values.filter((value) => {
    const type = typeOf(value);
    return types.includes(type) || (type === "integer" && types.includes("number"));
  });
  if (fitting.length === 0) throw wrong(where, `has no value of the type ${types.join(" or ")}; give one`);
  return choice(fitting.map((value) => constant(value, where)));
}

function typeOf(value: unknown): Type {
  if (value === null) return "null";
  if (Array.isArray(value)) return "array";
  if (typeof value === "number") return Number.isInteger(value) ? "integer" : "number";
  return typeof value as "string" | "boolean" | "object";
}

function typedString(schema: Fields, where: string): Node {
  const [least, most] = counts(schema, "minLength", "maxLength", where);
  const [limit, other] = ["pattern", "format"].filter((name) => name in schema);
  if (limit === undefined) return string(least, most);
  if (other !== undefined || "minLength" in schema || "maxLength" in schema) {
    throw wrong(where, `has ${show(limit)} beside another limit of a string; write it as one pattern`);
  }
  if (limit === "pattern") return quoted(pattern(schema.pattern, `${where}/pattern`));
  const known = FORMATS.get(schema.format);
  if (known === undefined) {
    const names = [...FORMATS.keys()].join(", ");
    throw wrong(where, `has the format ${show(schema.format)}, supported are ${names}; write a pattern`);
  }
  return quoted(insideJson(wholeText(known)));
}

function pattern(given: unknown, where: string): Node {
  if (typeof given !== "string") throw wrong(where, `is ${show(given)}, expected a regular expression`);
  try {
    return choice(parseRegex(given).map(unheld));
  } catch (error) {
    if (error instanceof RegexError) throw wrong(where, error.message);
    throw error;
  }
}

/** A branch of a pattern: it may stand anywhere in the string unless it is held to an end. */
function unheld({ node, isStart, isEnd }: Alternative): Node {
  const anything = repeat(CHARACTER, 0, null);
  return chain(...(isStart ? [] : [anything]), insideJson(node), ...(isEnd ? [] : [anything]));
}

function counts(schema: Fields, low: string, high: string, where: string): readonly [number, number | null] {
  const least = low in schema ? schema[low] : 0;
  const most = high in schema ? schema[high] : null;
  for (const [name, value] of [
    [low, least],
    [high, high in schema ? most : 0],
  ] as const) {
    if (Number.isInteger(value) && (value as number) >= 0 && (value as number) <= MOST) continue;
    throw wrong(`${where}/${name}`, `is ${show(value)}, expected a whole number from 0 to ${MOST}`);
  }
  if (most !== null && (most as number) < (least as number)) {
    throw wrong(`${where}/${high}`, `is ${most}, less than ${low}, which is ${least}`);
  }
  return [least as number, most as number | null];
}
