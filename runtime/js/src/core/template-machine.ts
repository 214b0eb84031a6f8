/**
 * Run parsed chat templates: `@huggingface/jinja` with the scopes, loops and printing of Python, in bounded work.
 *
 * Knows nothing about files or messages; the only file that runs the library's interpreter.
 */

import { Environment, Interpreter } from "@huggingface/jinja";
import { strftime } from "./strftime.js";
import { type Node, parseTemplate } from "./template-check.js";
import { bind, FILTERS, memberOf, type Operation, operate, TESTS } from "./template-operations.js";
import * as values from "./template-values.js";

const { bool, call, convert, dictOf, integer, isAny, isTrue, itemsOf, lazy } = values;
const { LONGEST_TEXT, nothing, print, readOnce, TemplateError, text } = values;
type Value = values.Value;

const MOST_STEPS = 2_000_000; // parts of a template that are looked at
const MOST_TEXT = 1 << 26; // characters of all texts on the way
const PATIENCE_MS = 10_000;
const LONGEST_RANGE = 100_000; // as in Python's sandbox

interface Scope {
  setVariable(name: string, value: Value): void;
  lookupVariable(name: string): Value;
}
const Scope = Environment as unknown as new (parent?: Scope) => Scope;

/** What is used of the library's interpreter, much of which it keeps from its types; its version is pinned. */
interface Library {
  evaluate(node: Node | undefined, scope: Scope): Value;
  evaluateArguments(args: readonly Node[], scope: Scope): [Value[], Map<string, Value>];
  evaluateSliceExpression(value: Value, slice: Node, scope: Scope): Value;
}
const Library = Interpreter as unknown as new (scope: Scope) => Library;

/** A `break` or `continue` on its way to the loop, with the text of the turn so far. */
class LoopExit {
  text = "";
  readonly isBreak: boolean;

  constructor(isBreak: boolean) {
    this.isBreak = isBreak;
  }
}

class Machine extends Library {
  #steps = MOST_STEPS;
  #text = MOST_TEXT;
  readonly #end = Date.now() + PATIENCE_MS;
  readonly #sizes = new WeakMap<Value, number>();

  override evaluate(node: Node | undefined, scope: Scope): Value {
    this.#step();
    const value = this.#evaluate(node, scope);
    const size = this.#sizeOf(value);
    if (size > LONGEST_TEXT) throw new TemplateError(`a list or dict in it grows beyond ${LONGEST_TEXT} characters`);
    this.#spend(typeof value.value === "string" ? size : 1);
    return value;
  }

  /** Characters of a value and of all that is in it, however often it is in it. */
  #sizeOf(value: Value): number {
    if (typeof value.value === "string") return value.value.length;
    if (!isAny("Array Tuple Object")(value)) return 1;
    let size = this.#sizes.get(value);
    if (size !== undefined) return size;
    size = 1;
    for (const item of value.type === "ObjectValue" ? dictOf(value).values() : itemsOf(value))
      size += this.#sizeOf(item);
    if (value.type === "ObjectValue") for (const key of dictOf(value).keys()) size += key.length;
    this.#sizes.set(value, size);
    return size;
  }

  #step(): void {
    if (--this.#steps >= 0 && Date.now() < this.#end) return;
    throw new TemplateError("it takes more steps than any chat needs");
  }

  #spend(characters: number): void {
    this.#text -= characters;
    if (this.#text < 0) throw new TemplateError("it makes more text than any chat needs");
  }

  /** The library's name: the text of some parts, one after another. */
  evaluateBlock(nodes: readonly Node[], scope: Scope): Value {
    let written = "";
    for (const node of nodes) {
      try {
        const value = this.evaluate(node, scope);
        if (!["Set", "Macro", "Comment"].includes(node.type)) written = text(written + print(value)).value as string;
      } catch (error) {
        if (error instanceof LoopExit) error.text = written + error.text;
        throw error;
      }
    }
    return text(written);
  }

  #evaluate(node: Node | undefined, scope: Scope): Value {
    const at = (field: string) => this.evaluate(node?.[field] as Node, scope);
    switch (node?.type) {
      case "Break":
      case "Continue":
        throw new LoopExit(node.type === "Break");
      case "For":
        return this.#loop(node, scope);
      case "Macro": {
        super.evaluate(node, scope);
        const name = (node.name as Node).value as string;
        const macro = scope.lookupVariable(name).value as (args: Value[], scope: Scope) => Value;
        const defined = call((args) => macro(args, scope)); // what it sees is where it stands
        scope.setVariable(name, defined);
        return nothing();
      }
      case "Set": {
        const { type, value: name } = node.assignee as Node;
        if (node.value !== null || type !== "Identifier") return super.evaluate(node, scope);
        scope.setVariable(name as string, this.evaluateBlock(node.body as Node[], new Scope(scope)));
        return nothing();
      }
      case "BinaryExpression": {
        const { value: sign } = node.operator as { value: string };
        const left = at("left");
        if (sign === "and" || sign === "or") return isTrue(left) === (sign === "or") ? left : at("right");
        const right = at("right");
        this.#spend(this.#sizeOf(left) + this.#sizeOf(right));
        return operate(sign, left, right);
      }
      case "FilterExpression": {
        const value = at("operand");
        const { type, callee, value: name } = node.filter as Node;
        const isCall = type === "CallExpression";
        const [args, named] = this.evaluateArguments(isCall ? ((node.filter as Node).args as Node[]) : [], scope);
        const operation = FILTERS[(isCall ? (callee as Node).value : name) as string] as Operation;
        if (name !== "length") this.#spend(this.#sizeOf(value));
        return operation.run(value, ...bind(operation, args, named));
      }
      case "TestExpression": {
        const value = at("operand");
        if (value.type === "LazyValue") throw new TemplateError("it tests what can be read once");
        return bool(TESTS[(node.test as Node).value as string]?.(value, nothing()) !== node.negate);
      }
      case "MemberExpression": {
        const property = node.property as Node;
        if (property.type === "SliceExpression") return this.#slice(at("object"), property, scope);
        const isName = !node.computed && property.type === "Identifier";
        return memberOf(at("object"), isName ? text(property.value as string) : at("property"), isName);
      }
      default:
        return super.evaluate(node, scope);
    }
  }

  #slice(value: Value, slice: Node, scope: Scope): Value {
    if (!isAny("Array Tuple String")(value)) throw new TemplateError("a slice of no list");
    return Object.assign(this.evaluateSliceExpression(value, slice, scope), { type: value.type });
  }

  #loop(node: Node, scope: Scope): Value {
    const { type, lhs, test } = node.iterable as Node;
    const isChosen = type === "SelectExpression";
    const found = readOnce(this.evaluate((isChosen ? lhs : node.iterable) as Node, scope)).map((item) => {
      const inside = new Scope(scope);
      this.#unpack(node.loopvar as Node, item, inside);
      return { item, inside };
    });
    const turns = found.filter(({ inside }) => !isChosen || isTrue(this.evaluate(test as Node, inside)));
    let [written, isElse] = ["", true]; // as in jinja2, until a turn comes to its end
    for (const [index, { inside }] of turns.entries()) {
      inside.setVariable("loop", describeTurn(index, turns));
      try {
        written += this.evaluateBlock(node.body as Node[], inside).value;
        isElse = false;
      } catch (error) {
        if (!(error instanceof LoopExit)) throw error;
        written += error.text;
        if (error.isBreak) break;
      }
      text(written);
    }
    return text(written + (isElse ? this.evaluateBlock(node.defaultBlock as Node[], new Scope(scope)).value : ""));
  }

  #unpack(target: Node, value: Value, scope: Scope): void {
    this.#step();
    if (target.type === "Identifier") {
      scope.setVariable(target.value as string, value);
      return;
    }
    const [names, items] = [target.value as Node[], itemsOf(value)];
    if (names.length !== items.length) throw new TemplateError(`${items.length} values for ${names.length} names`);
    for (const [index, name] of names.entries()) this.#unpack(name, items[index] as Value, scope);
  }
}

function describeTurn(index: number, turns: readonly { readonly item: Value }[]): Value {
  const { length } = turns;
  const value = convert({});
  const counts = { index: index + 1, index0: index, revindex: length - index, revindex0: length - index - 1, length };
  for (const [name, count] of Object.entries(counts)) dictOf(value).set(name, integer(count));
  dictOf(value)
    .set("first", bool(index === 0))
    .set("last", bool(index === length - 1));
  dictOf(value).set("previtem", turns[index - 1]?.item ?? nothing());
  dictOf(value).set("nextitem", turns[index + 1]?.item ?? nothing());
  return Object.assign(value, { type: "LoopValue" });
}

function range(args: readonly Value[]): Value {
  if (args.length < 1 || args.length > 3 || args.some(({ type }) => type !== "IntegerValue")) {
    throw new TemplateError("range takes one to three whole numbers");
  }
  const [first, stop, step = 1] = args.map(({ value }) => value as number) as [number, number?, number?];
  const start = stop === undefined ? 0 : first;
  const length = Math.max(0, Math.ceil(((stop ?? first) - start) / step));
  if (step === 0 || length > LONGEST_RANGE) throw new TemplateError(`a range of ${length} numbers`);
  return lazy(Array.from({ length }, (_, index) => integer(start + index * step)));
}

/** A template that is ready to run. */
export class Template {
  readonly #program: Node;

  /** Throws TemplateError by the name of what is not read, or the library's errors. */
  constructor(source: string) {
    this.#program = parseTemplate(source);
  }

  /** The text for `variables` at `now`. */
  render(variables: Readonly<Record<string, unknown>>, now: Date): string {
    const globals: Readonly<Record<string, (args: Value[]) => Value>> = {
      range,
      strftime_now: ([form]) => text(strftime(print(form ?? nothing()), now)),
      raise_exception: ([message]) => {
        throw new TemplateError(print(message ?? nothing()));
      },
    };
    const scope = new Scope();
    for (const [name, value] of Object.entries({ true: true, false: false, none: null })) {
      scope.setVariable(name, convert(value));
      scope.setVariable(`${name[0]?.toUpperCase()}${name.slice(1)}`, convert(value));
    }
    for (const [name, run] of Object.entries(globals)) scope.setVariable(name, call(run));
    for (const [name, value] of Object.entries(variables)) scope.setVariable(name, convert(value));
    return print(new Machine(scope).evaluate(this.#program, scope));
  }
}
