/** Errors that apps tell apart. */

import assert from "node:assert/strict";
import { test } from "node:test";
import * as errors from "../src/core/errors.js";
import * as core from "../src/core/index.js";
import { receiveError, sendError } from "../src/web/protocol.js";

test("every class is exported, has a code of its own, and keeps both on the way out of a worker", () => {
  const classes = Object.values(errors);
  const codes = classes.map((item) => new item("x", "no-memory").code);
  assert.equal(new Set(codes).size, 6);
  for (const item of classes) {
    const error = new item("what happened", "device-lost");
    assert.equal(Object.values<unknown>(core).includes(item), true);
    const received = receiveError(structuredClone(sendError(error))) as errors.EdgeLoraError;
    assert.ok(received instanceof item);
    assert.deepEqual([received.name, received.code, received.message], [item.name, error.code, "what happened"]);
    assert.equal((received as errors.BackendError).fault, (error as errors.BackendError).fault);
  }
});
