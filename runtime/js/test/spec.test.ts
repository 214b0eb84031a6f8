/** SPECs are taken apart or refused; a name that is nearly right is guessed. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { checkName, closestName, parseSpec } from "../src/core/spec.js";

test("SPECs are taken apart", () => {
  assert.deepEqual(parseSpec(" none "), []);
  assert.deepEqual(parseSpec("a"), [{ name: "a", weight: 1 }]);
  assert.deepEqual(parseSpec("a:0.7 + ü-1:-3e-1+a:.5"), [
    { name: "a", weight: 0.7 },
    { name: "ü-1", weight: -0.3 },
    { name: "a", weight: 0.5 },
  ]);
});

test("what is no SPEC is refused with what one looks like", () => {
  const advice = /; expected none, NAME, NAME:WEIGHT or a blend such as a:0\.7\+b:0\.3$/;
  for (const text of ["", "a+", "a+none", "a b", "a/b", ":1", "a:", "a:x", "a:0x10", "a:Infinity", "a:1:2"]) {
    assert.throws(() => parseSpec(text), advice, text);
  }
  assert.throws(() => parseSpec("a:x"), /adapter SPEC "a:x": weight "x" is not a number/);
  assert.throws(() => parseSpec("a+none"), /adapter SPEC "a\+none": "none" is no adapter name in a blend/);
  assert.throws(() => parseSpec(7 as unknown as string), /adapter SPEC is 7;/);
});

test("names that a SPEC, a shell or a disk could not hold are refused", () => {
  for (const name of ["legal-2", "A.b-c_1", "7", "none2", "x".repeat(64)]) checkName(name);
  const bad = [
    "none",
    "",
    "a b",
    "a+b",
    "a:b",
    "a/b",
    "..",
    ".hidden",
    "a\\b",
    "ä",
    "a\n",
    "a\0",
    "-rf",
    "x".repeat(65),
  ];
  for (const name of bad) {
    assert.throws(() => checkName(name), /^AdapterError: adapter name .* cannot be used; start with a letter/s, name);
  }
});

test("the name most like a wrong one is found, and none where none is", () => {
  assert.equal(closestName("fuor", ["one", "four", "eight"]), "four");
  assert.equal(closestName("suport", ["legal", "support"]), "support");
  assert.equal(closestName("zzz", ["one", "four"]), null);
  assert.equal(closestName("x", []), null);
});
