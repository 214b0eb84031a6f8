/**
 * Operators, filters, tests and methods of chat templates that give what Python gives; what is not here is refused.
 *
 * Knows nothing about tags or scopes. There are those that templates of released models use.
 */

import * as values from "./template-values.js";

const { bool, dictOf, float, integer, isAny, isEqual, isText, isTrue, itemsOf, kindOf, list, markup } = values;
const { lazy, none, nothing, numberOf, print, readOnce, TemplateError, text, tuple, writeJson } = values;
type Value = values.Value;
type Run = (value: Value, ...given: (Value | undefined)[]) => Value;

/** A filter or method: the names of its arguments, which come in this order or by name, and what it gives. */
export interface Operation {
  readonly takes: readonly string[];
  readonly run: Run;
}
type Operations = Readonly<Record<string, Operation>>;

const op = (takes: string, run: Run): Operation => ({ takes: takes.split(" ").filter(Boolean), run });

function textOf(value: Value | undefined): string {
  if (value !== undefined && isText(value)) return value.value as string;
  throw new TemplateError(`a text is expected where ${value ? kindOf(value) : "nothing"} is given`);
}

function wholeOf(value: Value): number {
  if (value.type === "IntegerValue") return value.value as number;
  throw new TemplateError(`a whole number is expected where ${kindOf(value)} is given`);
}

const isGiven = (value: Value | undefined): value is Value => value !== undefined && value.type !== "NullValue";
const SPACE = " \t\n\v\f\r\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000"; // and those from U+2000 on
const isSpace = (one: string) => SPACE.includes(one) || (one >= "\u2000" && one <= "\u200a");

function strip(left: boolean, right: boolean): Operation {
  return op("chars", (value, chars) => {
    const outside = isGiven(chars) ? new Set(Array.from(textOf(chars))) : { has: isSpace };
    const points = Array.from(print(value));
    let [start, end] = [0, points.length];
    while (left && start < end && outside.has(points[start] as string)) start++;
    while (right && end > start && outside.has(points[end - 1] as string)) end--;
    return text(points.slice(start, end).join(""));
  });
}

const replace = op("old new", (value, old, by) => {
  if (textOf(old) === "") throw new TemplateError("it replaces the empty text");
  return text(values.join(print(value).split(textOf(old)), textOf(by)));
});

/** Methods of texts. */
const TEXT_METHODS: Operations = {
  upper: op("", (value) => text(print(value).toUpperCase())),
  lower: op("", (value) => text(print(value).toLowerCase())),
  replace,
  strip: strip(true, true),
  lstrip: strip(true, false),
  rstrip: strip(false, true),
  startswith: op("part", (value, part) => bool(textOf(value).startsWith(textOf(part)))),
  endswith: op("part", (value, part) => bool(textOf(value).endsWith(textOf(part)))),
  split: op("sep maxsplit", (value, sep, most) => {
    if (!isGiven(sep) && most === undefined) {
      const blanks = Array.from(textOf(value), (one) => (isSpace(one) ? " " : one));
      return list(blanks.join("").split(" ").filter(Boolean).map(text));
    }
    if (textOf(sep) === "") throw new TemplateError("nothing is no place to split at");
    const parts = textOf(value).split(textOf(sep));
    const rest = most === undefined || wholeOf(most) < 0 ? [] : parts.splice(wholeOf(most));
    return list([...parts, ...(rest.length > 0 ? [rest.join(textOf(sep))] : [])].map(text));
  }),
};

const pairsOf = (value: Value) => Array.from(dictOf(value), ([key, item]) => tuple([text(key), item]));

/** Methods of dicts. */
const DICT_METHODS: Operations = {
  items: op("", (value) => lazy(pairsOf(value))),
  get: op("key default", (value, key = none(), other = none()) => {
    return (isText(key) ? dictOf(value).get(textOf(key)) : undefined) ?? other;
  }),
};
const METHODS: Readonly<Record<string, Operations>> = { StringValue: TEXT_METHODS, ObjectValue: DICT_METHODS };

/** The methods of this name. */
export const methodsOf = (name: string) => Object.values(METHODS).flatMap((methods) => methods[name] ?? []);

/** What else Python's values have behind a dot, where a template that is read finds nothing. */
const ATTRIBUTES: Readonly<Record<string, string>> = {
  ObjectValue: "clear copy fromkeys keys pop popitem setdefault update values",
  ArrayValue: "append clear copy count extend index insert pop remove reverse sort",
  TupleValue: "count index",
  StringValue:
    "capitalize casefold center count encode expandtabs find format format_map index isalnum isalpha isascii " +
    "isdecimal isdigit isidentifier islower isnumeric isprintable isspace istitle isupper join ljust maketrans " +
    "partition removeprefix removesuffix rfind rindex rjust rpartition rsplit splitlines swapcase title translate zfill",
};

/** What `value[key]` gives, or `value.key` where `isDotted`. */
export function memberOf(value: Value, key: Value, isDotted: boolean): Value {
  if (isAny("Undefined Lazy Markup")(value)) throw new TemplateError(`${kindOf(value)} has no ${print(key)}`);
  const name = isText(key) ? textOf(key) : "";
  const methods = METHODS[value.type] ?? {};
  const method = Object.hasOwn(methods, name) ? methods[name] : undefined;
  const isOther = name !== "" && (numberOf(value) !== null || ATTRIBUTES[value.type]?.split(" ").includes(name));
  const item = value.value instanceof Map && isText(key) ? dictOf(value).get(name) : undefined;
  if (item !== undefined && !(isDotted && (method !== undefined || isOther))) return item;
  if (isOther) throw new TemplateError(`the attribute "${name}" of ${kindOf(value)} is not read here`);
  if (method !== undefined) return values.call((args) => method.run(value, ...bind(method, args)));
  const index = key.type === "FloatValue" ? null : numberOf(key);
  if (index === null || !isAny("Array Tuple String")(value)) return nothing();
  if (!isText(value)) return itemsOf(value).at(index) ?? nothing();
  const character = Array.from(textOf(value)).at(index);
  return character === undefined ? nothing() : text(character);
}

/** The arguments of a call in the order that `operation` takes them in; throws TemplateError for one that it does not. */
export function bind({ takes }: Operation, args: readonly Value[], named?: Map<string, Value>): (Value | undefined)[] {
  const given: (Value | undefined)[] = [...args];
  for (const [name, value] of named ?? []) {
    const place = takes.indexOf(name);
    if (place < 0 || given[place] !== undefined) throw new TemplateError(`the argument "${name}" is not read here`);
    given[place] = value;
  }
  if (given.length > takes.length) throw new TemplateError(`more than ${takes.length} arguments are not read here`);
  return given;
}

/** What a path such as "function.name" leads to, as filters take it. */
function follow(value: Value, path: Value | undefined): Value {
  const keyOf = (part: string) => (/^\d+$/.test(part) ? integer(Number(part)) : text(part));
  return textOf(path)
    .split(".")
    .reduce((from, part) => memberOf(from, keyOf(part), false), value);
}

/** Tests, of a value and of what it may be compared with. */
export const TESTS: Readonly<Record<string, (value: Value, other: Value) => boolean>> = {
  defined: (value) => value.type !== "UndefinedValue",
  undefined: isAny("Undefined"),
  none: isAny("Null"),
  string: isAny("String Markup"),
  mapping: isAny("Object"),
  iterable: isAny("Array Tuple String Markup Object Undefined"),
  sequence: isAny("Array Tuple String Markup Object Undefined"),
  number: isAny("Integer Float Boolean"),
  integer: isAny("Integer"),
  float: isAny("Float"),
  boolean: isAny("Boolean"),
  true: (value) => value.type === "BooleanValue" && isTrue(value),
  false: (value) => value.type === "BooleanValue" && !isTrue(value),
  equalto: isEqual,
  eq: isEqual,
};

const isEmpty = (value: Value) => value.type !== "LazyValue" && !isTrue(value);

/** What is kept of a list, by a test of each item or of an attribute. */
function choose(isKept: boolean, hasPath: boolean): Operation {
  return op(hasPath ? "attribute test other" : "test other", (value, ...given) => {
    const path = hasPath ? given.shift() : undefined;
    const [test, other = nothing()] = given;
    const check = test === undefined ? isTrue : TESTS[textOf(test)];
    const isRight = (item: Value) => check?.(hasPath ? follow(item, path) : item, other) === isKept;
    return lazy(isEmpty(value) ? [] : readOnce(value).filter(isRight));
  });
}

/** Filters. */
export const FILTERS: Operations = {
  upper: TEXT_METHODS.upper as Operation,
  lower: TEXT_METHODS.lower as Operation,
  trim: strip(true, true),
  replace,
  string: op("", (value) => (value.type === "MarkupValue" ? value : text(print(value)))),
  safe: op("", (value) => markup(print(value))),
  length: op("", (value) => integer(itemsOf(value).length)),
  list: op("", (value) => list([...readOnce(value)])),
  first: op("", (value) => readOnce(value)[0] ?? nothing()),
  last: op("", (value) => itemsOf(value).at(-1) ?? nothing()),
  join: op("d", (value, between = text("")) => text(values.join(readOnce(value).map(print), print(between)))),
  default: op("default_value boolean", (value, other = text(""), boolean = bool(false)) => {
    return value.type === "UndefinedValue" || (isTrue(boolean) && !isTrue(value)) ? other : value;
  }),
  items: op("", (value) => {
    if (!isAny("Object Undefined")(value)) throw new TemplateError(`${kindOf(value)} has no items`);
    return lazy(value.type === "ObjectValue" ? pairsOf(value) : []);
  }),
  map: op("attribute", (value, path) => {
    return lazy(isEmpty(value) ? [] : readOnce(value).map((item) => follow(item, path)));
  }),
  select: choose(true, false),
  reject: choose(false, false),
  selectattr: choose(true, true),
  rejectattr: choose(false, true),
  tojson: op("ensure_ascii indent separators", (value, _isAscii, indent, separators) => {
    const spaces = isGiven(indent) ? " ".repeat(Math.min(Math.max(0, wholeOf(indent)), 100)) : null;
    const [item, key] = isGiven(separators) ? itemsOf(separators).map(textOf) : [spaces === null ? ", " : ",", ": "];
    if (item === undefined || key === undefined) throw new TemplateError("separators are two texts");
    return text(writeJson(value, { indent: spaces, item, key }));
  }),
};

/** Whether Python finds `item` in `value`. */
function contains(value: Value, item: Value): boolean {
  if (isText(value)) return textOf(value).includes(textOf(item));
  if (value.type !== "ObjectValue") return itemsOf(value).some((one) => isEqual(one, item));
  if (isAny("Array Object")(item)) throw new TemplateError("a list or dict is no key");
  return isText(item) && dictOf(value).has(textOf(item));
}

const LOOKS: Readonly<Record<string, (left: Value, right: Value) => boolean>> = {
  "==": isEqual,
  "!=": (left, right) => !isEqual(left, right),
  in: (left, right) => contains(right, left),
  "not in": (left, right) => !contains(right, left),
};
type Reckon = (left: number, right: number) => number | boolean;
const SUMS: Readonly<Record<string, Reckon>> = {
  "<": (left, right) => left < right,
  ">": (left, right) => left > right,
  "<=": (left, right) => left <= right,
  ">=": (left, right) => left >= right,
  "+": (left, right) => left + right,
  "-": (left, right) => left - right,
  "%": (left, right) => {
    const over = left % right; // Python's has the sign of the right one
    return over === 0 ? 0 * right : over < 0 === right < 0 ? over : over + right;
  },
};
/** The operators between two values that are read. */
export const OPERATORS = ["and", "or", "~", ...Object.keys(LOOKS), ...Object.keys(SUMS)];

/** What an operator gives for two values; `and` and `or` are not among them. */
export function operate(sign: string, left: Value, right: Value): Value {
  const look = LOOKS[sign];
  if (look !== undefined) return bool(look(left, right));
  if (sign === "~") return text(print(left) + print(right));
  if (sign === "+" && isText(left) && isText(right)) return text(textOf(left) + textOf(right));
  if (sign === "+" && [left, right].every(isAny("String Markup"))) return markup(escaped(left) + escaped(right));
  if (sign === "+" && left.type === right.type && isAny("Array Tuple")(left)) {
    return Object.assign(list([...itemsOf(left), ...itemsOf(right)]), { type: left.type });
  }
  const [a, b, sum] = [numberOf(left), numberOf(right), SUMS[sign]];
  if (a === null || b === null || sum === undefined) {
    throw new TemplateError(`the operator ${sign} is not read for ${kindOf(left)} and ${kindOf(right)}`);
  }
  const result = sum(a, b);
  if (typeof result === "boolean") return bool(result);
  if ([left, right].some(isAny("Float"))) return float(result);
  return integer(result);
}

const SIGNS: Readonly<Record<string, string>> = { "&": "&amp;", ">": "&gt;", "<": "&lt;", "'": "&#39;", '"': "&#34;" };

/** A text as `safe` joins it with what is safe. */
function escaped(value: Value): string {
  return isText(value) ? textOf(value).replace(/[&><'"]/g, (sign) => SIGNS[sign] as string) : print(value);
}
