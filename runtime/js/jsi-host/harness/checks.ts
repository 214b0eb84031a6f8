/** Named checks of a program, one line of JSON for each on standard output; knows nothing about what is checked. */

import { print } from "./host.js";

/** What a check came to; `failure` is null where it held. */
export interface CheckResult {
  readonly name: string;
  readonly failure: string | null;
}

export type Checks = Readonly<Record<string, () => Promise<void>>>;

/** Run all in order; true when every one held. */
export async function runChecks(checks: Checks): Promise<boolean> {
  let isGood = true;
  for (const [name, check] of Object.entries(checks)) {
    const failure = await check().then(
      () => null,
      (error: unknown) => (error instanceof Error ? error.message : String(error)),
    );
    print(JSON.stringify({ name, failure } satisfies CheckResult));
    isGood &&= failure === null;
  }
  return isGood;
}

export function equal(found: unknown, expected: unknown): void {
  const [one, other] = [JSON.stringify(found), JSON.stringify(expected)];
  if (one !== other) throw new Error(`found ${one}, expected ${other}`);
}

/** The name and message of the error that `call` must end with: "ArtifactError: ...". */
export async function refusal(call: () => Promise<unknown>): Promise<string> {
  let answer: unknown;
  try {
    answer = await call();
  } catch (error) {
    return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  }
  throw new Error(`was not refused: ${JSON.stringify(answer)}`);
}
