/**
 * WebKitGTK with what the tests use of Playwright's browser, context and page; Playwright drives a WebKit of its own alone.
 *
 * Knows nothing about what is tested. What is not here is called by no test that WebKit runs.
 */

import { writeFile } from "node:fs/promises";
import { Locator, type Runner } from "./locator.js";
import { Screen, Session } from "./webdriver.js";

/** Keys by their names, as WebDriver has them. */
const KEYS: Readonly<Record<string, string>> = {
  Tab: "\ue004",
  Enter: "\ue007",
  ArrowLeft: "\ue012",
  ArrowRight: "\ue014",
};

/** Windows for a picture, one after the other until there is one. */
const SIZES = [
  [1024, 900],
  [1025, 900],
  [1024, 901],
] as const;

export class WebKit {
  readonly #screen: Screen;
  readonly #contexts = new Set<WebKitContext>();

  private constructor(screen: Screen) {
    this.#screen = screen;
  }

  static async launch(): Promise<WebKit> {
    return new WebKit(await Screen.open());
  }

  async newContext(): Promise<WebKitContext> {
    const context = new WebKitContext(await Session.open(this.#screen));
    this.#contexts.add(context);
    return context;
  }

  async close(): Promise<void> {
    await Promise.all([...this.#contexts].map((context) => context.close()));
    this.#screen.close();
  }
}

/** One browser with a profile of its own: nothing of another one is there. */
export class WebKitContext {
  readonly #session: Session;
  #isClosed = false;
  #held = "";

  constructor(session: Session) {
    this.#session = session;
  }

  /**
   * Hold the caches of an origin in the tab that the session began with. WebKit's driver has private windows alone,
   * which forget what no tab has open; to other windows a second visit comes without that.
   */
  async hold(address: string): Promise<void> {
    const { origin } = new URL(address);
    if (this.#held === origin) return;
    this.#held = origin;
    const tab = this.#session.first;
    await this.#session.command(tab, "POST", "/url", { url: `${origin}/nothing` }); // a page without programs
    await this.#session.run(tab, String(holdCaches), undefined);
  }

  /** A session ends with its last tab, so the one that it began with stays. */
  async newPage(): Promise<WebKitPage> {
    return new WebKitPage(this, this.#session, await this.#session.newTab());
  }

  async addCookies(cookies: readonly { name: string; value: string; url: string; sameSite?: string }[]): Promise<void> {
    const tab = await this.#session.newTab();
    for (const { url, ...cookie } of cookies) {
      await this.#session.command(tab, "POST", "/url", { url }); // cookies are those of the page that is open
      await this.#session.command(tab, "POST", "/cookie", { cookie });
    }
    await this.#session.command(tab, "DELETE", "/window");
  }

  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    await this.#session.close();
  }
}

/** In the page: hold all caches that there are, also of a name that was deleted and made anew. */
function holdCaches(): void {
  const held: Record<string, Cache> = {};
  Object.assign(globalThis, { held });
  setInterval(async () => {
    for (const name of await caches.keys()) held[name] = await caches.open(name);
  }, 50);
}

type Text = string | RegExp;

class WebKitPage implements Runner {
  readonly #context: WebKitContext;
  readonly #session: Session;
  readonly #tab: string;
  readonly #document = new Locator(this);
  readonly keyboard = { press: (key: string) => this.type(key) };

  constructor(context: WebKitContext, session: Session, tab: string) {
    this.#context = context;
    this.#session = session;
    this.#tab = tab;
  }

  context(): WebKitContext {
    return this.#context;
  }
  runText(text: string, given: unknown): Promise<unknown> {
    return this.#session.run(this.#tab, text, given);
  }
  type(key: string): Promise<void> {
    return this.#session.type(this.#tab, KEYS[key] ?? key);
  }

  async goto(url: string): Promise<void> {
    await this.#session.command(this.#tab, "POST", "/url", { url });
  }
  async reload(): Promise<void> {
    await this.#session.command(this.#tab, "POST", "/refresh", {});
  }
  async close(): Promise<void> {
    await this.#session.command(this.#tab, "DELETE", "/window");
  }

  /** Run a function of the test, or the text of a script. */
  evaluate(run: string | ((given: never) => unknown), given?: unknown): Promise<unknown> {
    return this.runText(typeof run === "string" ? `() => { ${run} }` : String(run), given);
  }
  async waitForFunction(run: (given: never) => unknown, given?: unknown): Promise<void> {
    for (const end = Date.now() + 30_000; ; await this.waitForTimeout(30)) {
      if (await this.evaluate(run, given).catch(() => false)) return; // a page that is being loaded answers nothing
      if (Date.now() > end) throw new Error(`not so in 30 s: ${run}`);
    }
  }
  waitForTimeout(ms: number): Promise<void> {
    return new Promise((resolve) => setTimeout(resolve, ms));
  }

  async setViewportSize({ width, height }: { readonly width: number; readonly height: number }): Promise<void> {
    await this.#session.command(this.#tab, "POST", "/window/rect", { width, height });
  }
  /** What is in the window, never the whole page. It waits for a frame, which may not come until the window changes. */
  async screenshot({ path }: { readonly path: string }): Promise<void> {
    for (const [width, height] of SIZES) {
      await this.setViewportSize({ width, height });
      const picture = await this.#session.picture(this.#tab).catch(() => null);
      if (picture !== null) return writeFile(path, picture);
    }
    throw new Error(`${path}: WebKit gave no picture`);
  }

  locator(css: string): Locator {
    return this.#document.locator(css);
  }
  getByRole(role: string, options?: { readonly name?: Text; readonly exact?: boolean }): Locator {
    return this.#document.getByRole(role, options);
  }
  getByText(text: Text): Locator {
    return this.#document.getByText(text);
  }
  getByLabel(text: Text): Locator {
    return this.#document.getByLabel(text);
  }
}
