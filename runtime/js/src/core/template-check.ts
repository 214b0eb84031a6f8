/**
 * Parse a chat template and refuse what is not known to give the text of Python.
 *
 * Knows nothing about values; `template-operations.ts` has the operators, filters, tests and methods that are read.
 */

import { parse, tokenize } from "@huggingface/jinja";
import { FILTERS, methodsOf, OPERATORS, type Operation, TESTS } from "./template-operations.js";
import { TemplateError } from "./template-values.js";

/** A part of a parsed template; each type has fields of its own. */
export interface Node {
  readonly type: string;
  readonly [field: string]: unknown;
}
interface Token {
  readonly type: string;
  readonly value: string;
}

const NODES =
  "Program If For Break Continue Set Macro Comment StringLiteral IntegerLiteral FloatLiteral ArrayLiteral TupleLiteral " +
  "ObjectLiteral Identifier CallExpression MemberExpression UnaryExpression BinaryExpression FilterExpression " +
  "TestExpression SliceExpression KeywordArgumentExpression SelectExpression Ternary";
const OTHERS: Readonly<Record<string, string>> = {
  CallStatement: 'the tag "call"',
  FilterStatement: 'the tag "filter"',
  SpreadExpression: "the argument *",
  KeywordSpreadExpression: "the argument **",
};
const GLOBALS = ["namespace", "range", "raise_exception", "strftime_now"];
const UNREAD = ["dict", "lipsum", "cycler", "joiner", "self", "caller", "varargs", "kwargs", "loop"];
const LOOP = ["index", "index0", "revindex", "revindex0", "first", "last", "length", "previtem", "nextitem"];
const COMPARISONS = ["==", "!=", "<", ">", "<=", ">=", "in", "not in"];
const WORDS = ["and", "or", "if", "else", "in", "is", "not"];
const ENDS = ["and", "or", "else"]; // of a test
const LONGEST = 1 << 20; // characters; released ones have some ten thousand

/** The parsed template; throws TemplateError by the name of what is not read. */
export function parseTemplate(source: string): Node {
  if (source.length > LONGEST) {
    throw new TemplateError(`it has ${source.length} characters, at most ${LONGEST} are read`);
  }
  if (/\s{500}/.test(source)) refuse("a row of 500 blanks"); // the library takes a time that grows with its square
  const content = source
    .replace(/\r\n?/g, "\n")
    .replace(/\{%([-+]?)\s*generation\s*([-+]?)%\}/g, "{%$1 if true $2%}") // transparent, and spaced as other tags are
    .replace(/\{%([-+]?)\s*endgeneration\s*([-+]?)%\}/g, "{%$1 endif $2%}");
  const tokens = tokenize(content, { lstrip_blocks: true, trim_blocks: true });
  checkTokens(content, tokens);
  const program = parse(tokens) as unknown as Node;
  const depths = new Map<unknown, number>();
  let depth = 0;
  for (const token of tokens) {
    if (token.type.startsWith("Open")) depth++;
    if (token.type.startsWith("Close")) depth--;
    depths.set(token, depth);
  }
  new Check(depths).visit(program);
  return program;
}

function refuse(what: string): never {
  throw new TemplateError(`${what} is not read here`);
}

/** What the library takes for a tag, for white space or for a number, and Python does not. */
function checkTokens(content: string, tokens: readonly Token[]): void {
  const odd = Array.from("\x1c\x1d\x1e\x1f\x85\ufeff").find((character) => content.includes(character));
  if (odd !== undefined) refuse(`the character U+${odd.charCodeAt(0).toString(16).padStart(4, "0")}`);
  if (/\\u[dD][89a-fA-F]/.test(content)) refuse("half of a surrogate pair in a text");
  if (/-\}\n|(^|\n)[ \t]*\{-|[\u2028\u2029][ \t]*\{[%#]|(^|\n)[ \t]*[^\S\n \t][^\S\n]*\{[%#]/.test(content)) {
    refuse("what stands at the end or the beginning of a line");
  }
  const comments = tokens.filter(({ type }) => type === "Comment");
  for (const [sign, type] of [
    ["{%", "OpenStatement"],
    ["%}", "CloseStatement"],
    ["{#", "Comment"],
    ["#}", "Comment"],
  ] as const) {
    const count = (text: string) => text.split(sign).length - 1;
    const inside = comments.reduce((sum, { value }) => sum + count(value), 0);
    if (count(content) - inside !== tokens.filter((token) => token.type === type).length) refuse(`${sign} in a text`);
  }
  tokens.forEach((token, index) => {
    const next = tokens[index + 1];
    if (token.type === "Identifier" && token.value === "is") {
      const behind = tokens[index + (next?.value === "not" ? 3 : 2)]; // Python compares with it
      if (behind?.type === "Identifier" && !ENDS.includes(behind.value)) refuse(`"${behind.value}" behind a test`);
    }
    if (token.type !== "NumericLiteral" || next?.type !== "Identifier" || WORDS.includes(next.value)) return;
    refuse(`the number ${token.value}${next.value}`);
  });
}

/** Every part of one type in `node`. */
function find(node: unknown, type: string): Node[] {
  if (Array.isArray(node)) return node.flatMap((item) => find(item, type));
  if (node instanceof Map) return find(Array.from(node), type);
  if (typeof node !== "object" || node === null) return [];
  const inside = Object.values(node).flatMap((item) => find(item, type));
  return (node as Node).type === type ? [node as Node, ...inside] : inside;
}

const isNamed = ({ type }: Node) => type === "KeywordArgumentExpression";

/** Visits every part of a template. */
class Check {
  readonly #depths: ReadonlyMap<unknown, number>;

  constructor(depths: ReadonlyMap<unknown, number>) {
    this.#depths = depths;
  }

  visit(node: unknown): void {
    if (Array.isArray(node)) for (const item of node) this.visit(item);
    else if (node instanceof Map) for (const pair of node) this.visit(pair);
    else if (typeof node === "object" && node !== null && "type" in node) this.visit(this.#partsOf(node as Node));
  }

  /** What in a part is to be visited in turn, where the part itself is read. */
  #partsOf(node: Node): unknown {
    const { type } = node;
    if (!NODES.split(" ").includes(type)) refuse(OTHERS[type] ?? `a part of the type ${type}`);
    switch (type) {
      case "IntegerLiteral":
        if (!Number.isSafeInteger(node.value)) refuse(`the number ${node.value}`);
        return [];
      case "Identifier":
        if (UNREAD.includes(node.value as string)) refuse(`the name "${node.value}"`);
        return [];
      case "KeywordArgumentExpression":
        return node.value;
      case "MemberExpression":
        return partsOfMember(node);
      case "CallExpression":
        return partsOfCall(node);
      case "FilterExpression":
        return [node.operand, argumentsOf(node.filter as Node)];
      case "TestExpression":
        checkTest(node.test as Node);
        return node.operand;
      case "UnaryExpression":
        return node.argument;
      case "BinaryExpression":
        this.#checkOperator(node);
        return [node.left, node.right];
      case "ObjectLiteral":
        for (const { type: kind } of (node.value as Map<Node, Node>).keys()) {
          if (kind !== "StringLiteral" && kind.endsWith("Literal")) refuse("a dict with keys that are no texts");
        }
        return node.value;
      case "Set":
      case "For":
      case "Macro":
        checkTarget((node.assignee ?? node.loopvar ?? node.name) as Node);
        if (type === "For") checkCondition(node);
    }
    return Object.values(node);
  }

  #checkOperator({ operator, left }: Node): void {
    const [sign, before] = [operator as Token, (left as Node).operator as Token];
    if (!OPERATORS.includes(sign.value) || (sign.value === "%" && (left as Node).type === "StringLiteral")) {
      refuse(`the operator ${sign.value} here`);
    }
    if ((left as Node).type !== "BinaryExpression") return;
    const [one, other] = [this.#depths.get(sign), this.#depths.get(before)];
    if (one !== undefined && other !== undefined && one !== other) return; // parentheses between the two
    if (COMPARISONS.includes(sign.value) && COMPARISONS.includes(before.value)) refuse("a chain of comparisons");
    if (sign.value === "~" && ["+", "-"].includes(before.value)) refuse("~ behind + or -"); // it binds, in Python
  }
}

function partsOfMember({ object, property, computed }: Node): unknown {
  const [from, key] = [object as Node, property as Node];
  if (!computed && from.type === "Identifier" && from.value === "loop") {
    if (!LOOP.includes(key.value as string)) refuse(`"loop.${key.value}"`);
    return [];
  }
  if (`${key.value}`.startsWith("_")) refuse(`the attribute "${key.value}"`);
  if (!computed || key.type !== "SliceExpression") return computed ? [from, key] : from;
  const by = (key.step as Node | undefined)?.value as number | undefined;
  const isBackward = by !== undefined && by < 0 && key.start === undefined && key.stop === undefined;
  if (key.step !== undefined && !isBackward && !(by !== undefined && by > 0)) refuse("a slice that goes back");
  return [from, key.start, key.stop, key.step];
}

function partsOfCall({ callee, args }: Node): unknown {
  const { type, object, property, computed } = callee as Node;
  if (type === "Identifier") return [callee, args];
  if (type !== "MemberExpression" || computed) refuse("a call of what is no name");
  const { value: name } = property as Node;
  const methods = methodsOf(name as string);
  if (methods.length === 0) refuse(`the method "${name}"`);
  const fits = ({ takes }: Operation) => (args as Node[]).length <= takes.length && !(args as Node[]).some(isNamed);
  if (!methods.some(fits)) refuse(`the method "${name}" with these arguments`);
  return [object, args];
}

function argumentsOf(filter: Node): readonly Node[] {
  const { value: name } = (filter.type === "CallExpression" ? filter.callee : filter) as Node;
  const operation = Object.hasOwn(FILTERS, `${name}`) ? FILTERS[`${name}`] : undefined;
  if (operation === undefined) refuse(`the filter "${name}"`);
  const args = (filter.args ?? []) as Node[];
  checkArguments(`the filter "${name}"`, operation, args);
  return args;
}

/** The library asks for the condition of a loop before the loop, Python in each turn. */
function checkCondition({ iterable, body }: Node): void {
  const { type, test } = iterable as Node;
  if (type !== "SelectExpression") return;
  const asked = find(test, "Identifier").map(({ value }) => value);
  const changed = find(body, "Set").map(({ assignee }) => ((assignee as Node).object as Node | undefined)?.value);
  if (changed.some((name) => asked.includes(name))) refuse("a loop that changes its own condition");
}

function checkTest({ type, value }: Node): void {
  if ((type !== "Identifier" && type !== "StringLiteral") || !Object.hasOwn(TESTS, `${value}`)) {
    refuse(`the test "${value}"`);
  }
}

function checkArguments(what: string, { takes }: Operation, args: readonly Node[]): void {
  const given = args.filter((arg) => !isNamed(arg));
  const named = args.filter(isNamed).map(({ key, value }) => [(key as Node).value, value] as [string, Node]);
  const test = given[takes.indexOf("test")];
  if (test !== undefined) checkTest(test);
  const isWrong = named.some(([name, value]) => {
    return !takes.includes(name) || (name === "ensure_ascii" && !["false", "False"].includes(`${value.value}`));
  });
  const isJson = takes.includes("ensure_ascii"); // by name alone: transformers' own order is another one than jinja2's
  const isPath = takes[0] === "attribute" && takes.length === 1; // the first argument of Python's "map" is a filter
  if (isWrong || args.length > takes.length || ((isJson || isPath) && given.length > 0) || (isPath && !named.length)) {
    refuse(`${what} with these arguments`);
  }
}

function checkTarget(target: Node): void {
  const { type, value, computed } = target;
  if (type === "TupleLiteral") {
    (value as Node[]).forEach(checkTarget);
    return;
  }
  if (type === "Identifier" && GLOBALS.includes(value as string)) refuse(`another "${value}"`);
  if (type !== "Identifier" && (type !== "MemberExpression" || computed)) refuse('a filter of the tag "set"');
}
