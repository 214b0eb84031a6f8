/** Rows are computed together as long as that takes no memory without bound. */

import assert from "node:assert/strict";
import { test } from "node:test";
import { groupRows } from "../src/core/groups.js";

const row = (prompt: number, answer = 10) => ({ prompt, most: prompt + answer });

test("every row is in one group, long prompts are alone", () => {
  const rows = [5, 900, 7, 400, 384, 3].map((prompt) => row(prompt));
  assert.deepEqual(groupRows(rows, 1000, 384), [[1], [3], [4, 2, 0, 5]]);
});

test("no group has more rows, more tokens or more cache than it may", () => {
  const rows = Array.from({ length: 100 }, (_, index) => row(1 + ((index * 37) % 383), 1000));
  const groups = groupRows(rows, 1 << 15, 384);
  assert.deepEqual(
    groups.flat().sort((one, other) => one - other),
    rows.map((_, index) => index),
  );
  for (const group of groups) {
    const longest = Math.max(...group.map((index) => rows[index]?.prompt ?? 0));
    assert.ok(group.length <= 16 && group.length * longest <= 1536, `${group.length} rows of ${longest}`);
    assert.ok(group.length * (longest + 1000) * (1 << 15) <= 2 ** 29);
  }
  assert.deepEqual(groupRows([row(10, 1e6), row(10, 1e6)], 1 << 20, 384), [[0], [1]]); // one row may need more
});
