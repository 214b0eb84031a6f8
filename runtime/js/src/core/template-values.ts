/**
 * The values of chat templates as Python has them: printed, compared, written as JSON.
 *
 * Knows nothing about filters or tags; the values are those of `@huggingface/jinja`, which prints them as JavaScript does.
 */

import { Environment } from "@huggingface/jinja";

/** What is used of a value; `type` is what Python tells apart, which are more kinds than the library has classes. */
export interface Value {
  type: string;
  value: unknown;
  __bool__(): { value: boolean };
}
type Make = new (value?: unknown) => Value;

/** A template that cannot go on, for a reason that its author or the caller should read. */
export class TemplateError extends Error {}

export const LONGEST_TEXT = 1 << 22; // characters

const classOf = (sample: unknown) => new Environment().set("sample", sample).constructor as unknown as Make;
const Classes = {
  integer: classOf(1),
  float: classOf(0.5),
  text: classOf(""),
  boolean: classOf(true),
  none: classOf(null),
  nothing: classOf(undefined),
  list: classOf([]),
  call: classOf(() => 0),
};

export const bool = (value: boolean): Value => new Classes.boolean(value);
export const none = (): Value => new Classes.none(null);
export const nothing = (): Value => new Classes.nothing();
export const call = (value: (args: Value[]) => Value): Value => new Classes.call(value);
export const list = (items: readonly Value[]): Value => new Classes.list(items);
export const tuple = (items: readonly Value[]): Value => Object.assign(list(items), { type: "TupleValue" });
/** What Python has where no list is, for a loop or a filter to read, and once: a generator, a range, a view of a dict. */
export const lazy = (items: readonly Value[]): Value => {
  const isTrue = () => {
    throw new TemplateError("it asks whether there is something in what can be read once");
  };
  return Object.assign(list(items), { type: "LazyValue", __bool__: isTrue });
};
/** What the filter `safe` gives: a text that escapes what it is joined with. */
export const markup = (value: string): Value => Object.assign(text(value), { type: "MarkupValue" });

export function text(value: string): Value {
  if (value.length > LONGEST_TEXT) throw new TemplateError(`a text in it grows beyond ${LONGEST_TEXT} characters`);
  return new Classes.text(value);
}

export function integer(value: number): Value {
  if (!Number.isSafeInteger(value)) throw new TemplateError("a whole number in it is beyond 2^53");
  return new Classes.integer(value);
}

export function float(value: number): Value {
  if (!Number.isFinite(value)) throw new TemplateError("a number in it is beyond float64");
  return new Classes.float(value);
}

/** A value of JSON; throws TemplateError for what JavaScript has read in another way than Python. */
export function convert(value: unknown): Value {
  check(value);
  return new Environment().set("value", value) as unknown as Value;
}

function check(value: unknown): void {
  if (typeof value === "number" && Number.isInteger(value)) integer(value);
  if (typeof value !== "object" || value === null) return;
  const keys = Object.keys(value);
  if (!Array.isArray(value) && keys.length > 1 && /^(0|[1-9]\d*)$/.test(keys[0] as string)) {
    throw new TemplateError(`the key "${keys[0]}" is a number, which JavaScript puts before the others`);
  }
  for (const key of keys) check((value as Record<string, unknown>)[key]);
}

export const isTrue = (value: Value) => value.__bool__().value;
export const isText = ({ type }: Value) => type === "StringValue";
export const isAny = (kinds: string) => (value: Value) => kinds.split(" ").includes(value.type.replace("Value", ""));
export const dictOf = (value: Value) => value.value as Map<string, Value>;

/** How a message names what a value is. */
export const kindOf = ({ type }: Value) => `a value of the kind "${type.replace("Value", "").toLowerCase()}"`;

/** The number that a number or boolean is, null for anything else. */
export const numberOf = (value: Value) => (isAny("Integer Float Boolean")(value) ? Number(value.value) : null);

/** The items of what can be read again and again. */
export function itemsOf(value: Value): readonly Value[] {
  if (isAny("Array Tuple")(value)) return value.value as Value[];
  if (isText(value)) return Array.from(value.value as string, text);
  if (value.type === "ObjectValue") return Array.from(dictOf(value).keys(), text);
  if (value.type === "UndefinedValue") return [];
  throw new TemplateError(`${kindOf(value)} is no list`);
}

/** What loops get of a value, and filters that read something once. */
export function readOnce(value: Value): readonly Value[] {
  if (value.type !== "LazyValue") return itemsOf(value);
  const items = value.value as Value[] | null;
  if (items === null) throw new TemplateError("it reads for the second time what can be read once");
  value.value = null;
  return items;
}

/** Texts in one, looked at before it is made. */
export function join(texts: readonly string[], between: string): string {
  const length = texts.reduce((sum, one) => sum + one.length + between.length, 0);
  if (length > LONGEST_TEXT + between.length) text({ length } as string);
  return texts.join(between);
}

/** What Python's `str` gives. */
export function print(value: Value): string {
  if (isAny("String Markup")(value)) return value.value as string;
  return value.type === "UndefinedValue" ? "" : represent(value);
}

function represent(value: Value): string {
  switch (value.type) {
    case "NullValue":
      return "None";
    case "BooleanValue":
      return value.value ? "True" : "False";
    case "IntegerValue":
      return `${value.value}`;
    case "FloatValue":
      return printFloat(value.value as number);
    case "StringValue":
      return quote(value.value as string);
    case "ArrayValue":
      return `[${join(itemsOf(value).map(represent), ", ")}]`;
    case "TupleValue":
      return `(${join(itemsOf(value).map(represent), ", ")}${itemsOf(value).length === 1 ? "," : ""})`;
    case "ObjectValue":
      return `{${join(
        Array.from(dictOf(value), ([key, item]) => `${quote(key)}: ${represent(item)}`),
        ", ",
      )}}`;
    default:
      throw new TemplateError(`${kindOf(value)} cannot be printed here`);
  }
}

function printFloat(value: number): string {
  if (Object.is(value, -0)) return "-0.0";
  const [digits, power] = value.toExponential().split("e") as [string, string];
  const exponent = Number(power);
  if (exponent < -4 || exponent > 15) {
    return `${digits}e${exponent < 0 ? "-" : "+"}${`${Math.abs(exponent)}`.padStart(2, "0")}`;
  }
  return Number.isInteger(value) ? `${value}.0` : `${value}`;
}

const ESCAPES: Readonly<Record<string, string>> = { "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t" };

function quote(value: string): string {
  const sign = value.includes("'") && !value.includes('"') ? '"' : "'";
  const shown = Array.from(value, (one) => {
    if (one === sign) return `\\${sign}`;
    return ESCAPES[one] ?? (one >= " " && one <= "~" ? one : escapeUnprintable(one));
  });
  return sign + shown.join("") + sign;
}

function escapeUnprintable(character: string): string {
  const isAmong = (kinds: string) => new RegExp(`[${kinds}]`, "u").test(character); // some engines know no \p
  if (isAmong("\\p{Cn}")) {
    throw new TemplateError("it prints a list or dict with a character that not every version of Unicode has");
  }
  if (!isAmong("\\p{C}\\p{Z}")) return character;
  const hex = (character.codePointAt(0) as number).toString(16);
  if (hex.length <= 2) return `\\x${hex.padStart(2, "0")}`;
  return hex.length <= 4 ? `\\u${hex.padStart(4, "0")}` : `\\U${hex.padStart(8, "0")}`;
}

/** Options of Python's `json.dumps`; `indent` is what each level has in front, null for one line. */
export interface JsonOptions {
  readonly indent: string | null;
  readonly item: string;
  readonly key: string;
}

/** What Python's `json.dumps` gives. */
export function writeJson(value: Value, options: JsonOptions, level = 0): string {
  const write = (item: Value) => writeJson(item, options, level + 1);
  const inside = (items: string[], [open, close]: readonly [string, string]) => {
    if (items.length === 0 || options.indent === null) return open + join(items, options.item) + close;
    const line = (depth: number) => `\n${options.indent?.repeat(depth)}`;
    return open + line(level + 1) + join(items, options.item + line(level + 1)) + line(level) + close;
  };
  switch (value.type) {
    case "NullValue":
      return "null";
    case "BooleanValue":
      return `${value.value}`;
    case "IntegerValue":
    case "FloatValue":
      return represent(value);
    case "StringValue":
    case "MarkupValue":
      return JSON.stringify(value.value);
    case "ArrayValue":
    case "TupleValue":
      return inside(itemsOf(value).map(write), ["[", "]"]);
    case "ObjectValue": {
      const pairs = Array.from(dictOf(value), ([key, item]) => JSON.stringify(key) + options.key + write(item));
      return inside(pairs, ["{", "}"]);
    }
    default:
      throw new TemplateError(`${kindOf(value)} is not JSON serializable`);
  }
}

/** Whether two values are equal in Python. */
export function isEqual(one: Value, other: Value): boolean {
  const [left, right] = [numberOf(one), numberOf(other)];
  if (left !== null || right !== null) return left === right;
  for (const value of [one, other]) {
    if (!isAny("String Null Undefined Array Tuple Object")(value))
      throw new TemplateError(`it compares ${kindOf(value)}`);
  }
  if (one.type !== other.type) return false;
  if (one.type === "ObjectValue") {
    const [dict, another] = [dictOf(one), dictOf(other)];
    const has = ([key, item]: [string, Value]) => another.has(key) && isEqual(item, another.get(key) as Value);
    return dict.size === another.size && Array.from(dict).every(has);
  }
  if (!isAny("Array Tuple")(one)) return one.value === other.value;
  const [items, others] = [itemsOf(one), itemsOf(other)];
  return items.length === others.length && items.every((item, index) => isEqual(item, others[index] as Value));
}
