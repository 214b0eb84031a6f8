/**
 * What the tests use of Playwright's locators, for a page that only runs functions.
 *
 * Knows nothing about WebDriver.
 */

/** How a text is wanted: holding this one in any case, being this one, or fitting an expression. */
export type Wanted = { readonly text: string; readonly exact: boolean } | { readonly source: string };

/** One step from the elements that were found, the document at first, to others. */
export type Step =
  | { readonly kind: "css"; readonly css: string }
  | { readonly kind: "role"; readonly css: string; readonly name: Wanted | null }
  | { readonly kind: "text" | "label" | "filter"; readonly wanted: Wanted }
  | { readonly kind: "nth"; readonly index: number }
  | { readonly kind: "and" | "or"; readonly other: readonly Step[] };

/** Elements by their roles, as the page has them. */
const ROLES: Readonly<Record<string, string>> = {
  button: "button",
  radio: 'input[type="radio"]',
  slider: 'input[type="range"]',
  tab: '[role="tab"]',
};

/** In the page: the elements that the steps lead to, in the order of the document. */
function find(steps: readonly Step[]): HTMLElement[] {
  const squeeze = (text: string | null) => (text ?? "").replace(/\s+/g, " ").trim();
  const fits = (text: string, wanted: Wanted) => {
    if ("source" in wanted) return new RegExp(wanted.source).test(text);
    return wanted.exact ? text === wanted.text : text.toLowerCase().includes(wanted.text.toLowerCase());
  };
  const isVisible = (element: Element) => {
    const { visibility } = getComputedStyle(element);
    return element.getClientRects().length > 0 && visibility === "visible";
  };
  const labelOf = (element: Element) => {
    const { labels } = element as HTMLInputElement;
    const own = element.getAttribute("aria-label");
    return squeeze(own ?? [...(labels ?? [])].map((label) => label.textContent).join(" "));
  };
  const select = (root: ParentNode, css: string) =>
    css.split(",").flatMap((part) => {
      const found = [...root.querySelectorAll<HTMLElement>(part.replace(":visible", ""))];
      return part.includes(":visible") ? found.filter(isVisible) : found;
    });
  const step = (found: readonly (HTMLElement | Document)[], next: Step): HTMLElement[] => {
    const elements = found as HTMLElement[];
    const below = (css: string) => found.flatMap((root) => select(root, css));
    switch (next.kind) {
      case "css":
        return below(next.css);
      case "role":
        return below(next.css).filter(
          (element) =>
            isVisible(element) &&
            (next.name === null || fits(labelOf(element) || squeeze(element.textContent), next.name)),
        );
      case "text": {
        const within = found.flatMap((root) => select(root, root === document ? "body *" : "*"));
        const all = within.filter(({ tagName }) => !["SCRIPT", "STYLE"].includes(tagName));
        const holding = all.filter((element) => fits(squeeze(element.textContent), next.wanted));
        return holding.filter((element) => !holding.some((other) => other !== element && element.contains(other)));
      }
      case "label":
        return below("input, textarea, select").filter((element) => fits(labelOf(element), next.wanted));
      case "filter":
        return elements.filter((element) => fits(squeeze(element.textContent), next.wanted));
      case "nth":
        return elements.slice(next.index, next.index + 1 || undefined);
      case "and":
        return elements.filter((element) => find(next.other).includes(element));
      case "or":
        return [...elements, ...find(next.other).filter((element) => !elements.includes(element))];
    }
  };
  const found = steps.reduce<readonly (HTMLElement | Document)[]>(step, [document]) as HTMLElement[];
  const follows = (one: Node, other: Node) =>
    one.compareDocumentPosition(other) & Node.DOCUMENT_POSITION_FOLLOWING ? -1 : 1;
  return [...new Set(found)].sort(follows);
}

/** A page that runs functions and takes keys. */
export interface Runner {
  runText(text: string, given: unknown): Promise<unknown>;
  type(key: string): Promise<void>;
}

type Name = string | RegExp;
type Given = Readonly<{ timeout?: number; state?: "visible" | "hidden" }>;

function wanted(text: Name, exact = false): Wanted {
  return typeof text === "string" ? { text: text.replace(/\s+/g, " ").trim(), exact } : { source: text.source };
}

/** Elements that are looked for anew whenever something is done with them. */
export class Locator {
  readonly #page: Runner;
  readonly steps: readonly Step[];

  constructor(page: Runner, steps: readonly Step[] = []) {
    this.#page = page;
    this.steps = steps;
  }

  #then(step: Step): Locator {
    return new Locator(this.#page, [...this.steps, step]);
  }

  locator(css: string, { hasText }: { readonly hasText?: Name } = {}): Locator {
    const found = this.#then({ kind: "css", css });
    return hasText === undefined ? found : found.filter({ hasText });
  }
  getByRole(role: string, { name, exact }: { readonly name?: Name; readonly exact?: boolean } = {}): Locator {
    const css = ROLES[role] ?? `[role="${role}"]`;
    return this.#then({ kind: "role", css, name: name === undefined ? null : wanted(name, exact) });
  }
  getByText(text: Name): Locator {
    return this.#then({ kind: "text", wanted: wanted(text) });
  }
  getByLabel(text: Name): Locator {
    return this.#then({ kind: "label", wanted: wanted(text) });
  }
  filter({ hasText }: { readonly hasText: Name }): Locator {
    return this.#then({ kind: "filter", wanted: wanted(hasText) });
  }
  nth(index: number): Locator {
    return this.#then({ kind: "nth", index });
  }
  first(): Locator {
    return this.nth(0);
  }
  last(): Locator {
    return this.nth(-1);
  }
  and(other: Locator): Locator {
    return this.#then({ kind: "and", other: other.steps });
  }
  or(other: Locator): Locator {
    return this.#then({ kind: "or", other: other.steps });
  }

  /** Run a function with all the elements. */
  evaluateAll<Result, Argument>(
    run: (all: HTMLElement[], given: Argument) => Result,
    given?: Argument,
  ): Promise<Awaited<Result>> {
    const text = `({ steps, given }) => { ${find}; return (${run})(find(steps), given); }`;
    return this.#page.runText(text, { steps: this.steps, given }) as Promise<Awaited<Result>>;
  }

  /** Run a function with the first element, once there is one. */
  async evaluate<Result, Argument>(
    run: (element: HTMLElement, given: Argument) => Result,
    given?: Argument,
  ): Promise<Awaited<Result>> {
    await this.#until((all) => all.length > 0);
    const text = `({ steps, given }) => { ${find}; return (${run})(find(steps)[0], given); }`;
    return this.#page.runText(text, { steps: this.steps, given }) as Promise<Awaited<Result>>;
  }

  /** Wait until what is found is so; a page that is just being loaded has nothing. */
  async #until(isSo: (all: HTMLElement[]) => boolean, timeout = 30_000): Promise<void> {
    for (const end = Date.now() + timeout; ; await new Promise((resolve) => setTimeout(resolve, 30))) {
      if (await this.evaluateAll(isSo).catch(() => false)) return;
      if (Date.now() > end) throw new Error(`not so in ${timeout} ms: ${isSo} of ${JSON.stringify(this.steps)}`);
    }
  }

  waitFor({ timeout, state = "visible" }: Given = {}): Promise<void> {
    const isVisible = (all: HTMLElement[]) => all[0] !== undefined && all[0].getClientRects().length > 0;
    const isHidden = (all: HTMLElement[]) => all[0] === undefined || all[0].getClientRects().length === 0;
    return this.#until(state === "visible" ? isVisible : isHidden, timeout);
  }
  count(): Promise<number> {
    return this.evaluateAll((all) => all.length);
  }
  isVisible(): Promise<boolean> {
    return this.evaluateAll((all) => all[0] !== undefined && all[0].getClientRects().length > 0);
  }
  async isHidden(): Promise<boolean> {
    return !(await this.isVisible());
  }
  isChecked(): Promise<boolean> {
    return this.evaluate((element) => (element as HTMLInputElement).checked);
  }
  textContent(): Promise<string | null> {
    return this.evaluate((element) => element.textContent);
  }
  innerText(): Promise<string> {
    return this.evaluate((element) => element.innerText);
  }
  inputValue(): Promise<string> {
    return this.evaluate((element) => (element as HTMLInputElement).value);
  }
  getAttribute(name: string): Promise<string | null> {
    return this.evaluate((element, attribute: string) => element.getAttribute(attribute), name);
  }
  allTextContents(): Promise<(string | null)[]> {
    return this.evaluateAll((all) => all.map((element) => element.textContent));
  }
  allInnerTexts(): Promise<string[]> {
    return this.evaluateAll((all) => all.map((element) => element.innerText));
  }

  async #ready(): Promise<void> {
    await this.#until((all) => {
      const [element] = all as HTMLInputElement[];
      return element !== undefined && element.getClientRects().length > 0 && !element.disabled;
    });
  }
  async click(): Promise<void> {
    await this.#ready();
    await this.evaluate((element) => element.click());
  }
  async setChecked(isOn: boolean): Promise<void> {
    await this.#ready();
    await this.evaluate((element, on: boolean) => {
      if ((element as HTMLInputElement).checked !== on) element.click();
    }, isOn);
  }
  check(): Promise<void> {
    return this.setChecked(true);
  }
  uncheck(): Promise<void> {
    return this.setChecked(false);
  }
  async focus(): Promise<void> {
    await this.evaluate((element) => element.focus());
  }
  async fill(text: string): Promise<void> {
    await this.#ready();
    await this.evaluate((element, value: string) => {
      element.focus();
      (element as HTMLInputElement).value = value;
      for (const type of ["input", "change"]) element.dispatchEvent(new Event(type, { bubbles: true }));
    }, text);
  }
  async press(key: string): Promise<void> {
    await this.focus();
    await this.#page.type(key);
  }
}
