/** An app in Node with the package as npm installs it. */

import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { CONFORMANCE } from "../places.js";
import { CASE } from "./cases.js";
import { CONSUMERS, run } from "./install.js";

test("Node answers by the root import and by require", () => {
  const artifact = join(CONFORMANCE, CASE.artifact);
  const said = run(CONSUMERS, process.execPath, "node/app.mjs", artifact, JSON.stringify(CASE));
  assert.deepEqual(
    said
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line)),
    [CASE.expected_ids, CASE.expected_ids],
  );
});
