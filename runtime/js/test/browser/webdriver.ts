/**
 * Debian's WebKitWebDriver over HTTP, on a screen that nobody sees: sessions, their tabs, functions that a tab runs.
 *
 * Knows nothing about what is tested.
 */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { createServer } from "node:net";

const DRIVER = process.env.WEBKIT_DRIVER ?? "/usr/bin/WebKitWebDriver";
const LIBRARIES = "/usr/lib";
const LONGEST_MS = 60_000; // nothing that a driver is asked takes long
const PICTURE_MS = 10_000;

/** The window of tests that Debian ships with WebKitGTK; where it lies names the machine's architecture. */
function miniBrowser(): string {
  const found = readdirSync(LIBRARIES)
    .map((name) => `${LIBRARIES}/${name}/webkit2gtk-4.1/MiniBrowser`)
    .find(existsSync);
  if (found === undefined) throw new Error(`no MiniBrowser under ${LIBRARIES}; install webkit2gtk-driver`);
  return found;
}

/** A screen in memory. */
export class Screen {
  readonly display: string;
  readonly #process: ChildProcess;

  private constructor(display: string, process: ChildProcess) {
    this.display = display;
    this.#process = process;
  }

  static async open(): Promise<Screen> {
    const given = ["-displayfd", "1", "-screen", "0", "1280x900x24", "-nolisten", "tcp"];
    const server = spawn("Xvfb", given, { stdio: ["ignore", "pipe", "ignore"] });
    process.once("exit", () => server.kill());
    const [number] = (await Promise.race([
      once(server.stdout as NodeJS.ReadableStream, "data"),
      once(server, "exit").then(() => Promise.reject(new Error("Xvfb did not start"))),
    ])) as [Buffer];
    return new Screen(`:${String(number).trim()}`, server);
  }

  close(): void {
    this.#process.kill();
  }
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, "close");
  return port;
}

/** What an element is to WebDriver. */
const ELEMENT = "element-6066-11e4-a52e-4f735466cecf";

/** One browser with a profile of its own, which ends with it; a driver has one session alone. */
export class Session {
  readonly #process: ChildProcess;
  readonly #server: string;
  #path = "";
  /** The handle of the tab that it begins with. */
  first = "";
  /** Which tab a command is for is a state of the session, so commands take turns. */
  #turn: Promise<unknown> = Promise.resolve();

  private constructor(process: ChildProcess, server: string) {
    this.#process = process;
    this.#server = server;
  }

  static async open(screen: Screen): Promise<Session> {
    const port = await freePort();
    const env = {
      ...process.env,
      DISPLAY: screen.display,
      WEBKIT_DISABLE_COMPOSITING_MODE: "1",
      // Tests may run as root in a container, where its sandbox cannot be made.
      WEBKIT_DISABLE_SANDBOX_THIS_IS_DANGEROUS: "1",
      NO_AT_BRIDGE: "1",
    };
    const driver = spawn(DRIVER, [`--port=${port}`], { env, stdio: "ignore" });
    process.once("exit", () => driver.kill());
    const session = new Session(driver, `http://127.0.0.1:${port}`);
    for (const until = Date.now() + LONGEST_MS; ; await new Promise((resolve) => setTimeout(resolve, 50))) {
      const status = await fetch(`${session.#server}/status`).catch(() => null);
      if (status?.ok) break;
      if (Date.now() > until || driver.exitCode !== null) throw new Error(`${DRIVER} does not answer`);
    }
    const options = { binary: miniBrowser(), args: ["--automation"] };
    const always = { browserName: "MiniBrowser", "webkitgtk:browserOptions": options };
    const made = await session.#send<{ sessionId: string }>("POST", "/session", {
      capabilities: { alwaysMatch: always },
    });
    session.#path = `/session/${made.sessionId}`;
    session.first = await session.command(null, "GET", "/window");
    return session;
  }

  async close(): Promise<void> {
    await this.#send("DELETE", this.#path).catch(() => {}); // its last tab may be closed
    this.#process.kill();
  }

  async #send<Value>(method: string, path: string, body?: object, longestMs = LONGEST_MS): Promise<Value> {
    const given = body === undefined ? null : JSON.stringify(body);
    const headers = { "content-type": "application/json" };
    const signal = AbortSignal.timeout(longestMs);
    const answer = await fetch(this.#server + path, { method, body: given, headers, signal });
    const { value } = (await answer.json()) as { value: Value & { error?: string; message?: string } };
    if (!answer.ok) throw new Error(`WebDriver: ${method} ${path}: ${value.error}: ${value.message}`);
    return value;
  }

  /** A command of the session, `tab` being the one that it is for. */
  command<Value = unknown>(
    tab: string | null,
    method: string,
    path: string,
    body?: object,
    longestMs?: number,
  ): Promise<Value> {
    const work = async () => {
      if (tab !== null) await this.#send("POST", `${this.#path}/window`, { handle: tab });
      return this.#send<Value>(method, this.#path + path, body, longestMs);
    };
    const done = this.#turn.then(work);
    this.#turn = done.catch(() => {});
    return done;
  }

  /** A window of its own, so that none is hidden behind another; the tab that a command was last for may be closed. */
  async newTab(): Promise<string> {
    const { handle } = await this.command<{ handle: string }>(this.first, "POST", "/window/new", { type: "window" });
    return handle;
  }

  /** Run the text of a function in a tab, and wait for what it promises. What goes in and comes out is JSON. */
  async run(tab: string, text: string, given: unknown): Promise<unknown> {
    const id = `asked-${Math.random()}`;
    const begin = `
      const given = arguments[0] === null ? undefined : JSON.parse(arguments[0]);
      const answers = (globalThis.webDriverAnswers ??= {});
      answers[${JSON.stringify(id)}] = null;
      const tell = (answer) => { answers[${JSON.stringify(id)}] = answer; };
      (async () => (${text})(given))().then(
        (value) => tell({ value: JSON.stringify(value) }),
        (error) => tell({ error: error instanceof Error ? error.name + ": " + error.message : String(error) }),
      );`;
    const take = `
      const answers = globalThis.webDriverAnswers;
      if (answers === undefined || !(${JSON.stringify(id)} in answers)) return { error: "the page went elsewhere" };
      const answer = answers[${JSON.stringify(id)}];
      if (answer !== null) delete answers[${JSON.stringify(id)}];
      return answer;`;
    const script = (source: string, args: readonly unknown[]) =>
      this.command<{ value?: string; error?: string } | null>(tab, "POST", "/execute/sync", { script: source, args });
    await script(begin, [given === undefined ? null : JSON.stringify(given)]);
    for (let wait = 2; ; wait = Math.min(wait * 1.5, 50)) {
      const answer = await script(take, []);
      if (answer?.error !== undefined) throw new Error(answer.error);
      if (answer !== null) return answer.value === undefined ? undefined : JSON.parse(answer.value);
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }

  /** What a window shows, as PNG. */
  async picture(tab: string): Promise<Buffer> {
    return Buffer.from(await this.command<string>(tab, "GET", "/screenshot", undefined, PICTURE_MS), "base64");
  }

  /** Type into what has the focus. */
  async type(tab: string, keys: string): Promise<void> {
    const element = await this.command<Record<string, string>>(tab, "GET", "/element/active");
    await this.command(tab, "POST", `/element/${element[ELEMENT]}/value`, { text: keys });
  }
}
