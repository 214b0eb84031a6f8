/**
 * The browsers that the tests run in: Debian's, driven by Playwright, WebKit by a driver with the same words.
 *
 * Knows nothing about what is tested. `EDGELORA_BROWSER` names the one that is meant, Chromium where nothing is said.
 */

import { type Browser, type BrowserContext, chromium, firefox, type Page } from "playwright-core";
import { WebKit, type WebKitContext } from "./webkit.js";

/** What a test may need that not every browser has, or lets a test do; and which have it. */
const ABLE = {
  /** WebGPU, which Chromium computes on the CPU where it is told to. */
  WebGPU: ["chromium"],
  /** wasm with less memory than it wants. */
  "a limit of wasm's memory": ["chromium"],
  /** Little room for an origin, in its workers too. */
  "a quota": ["chromium", "firefox"],
  /** The same, given and taken while a page is open. */
  "a quota that changes": ["chromium"],
  /** A browser that says how much room it has, and promises to keep what is stored. */
  "an estimate of room": ["chromium", "firefox"],
  /** More threads than one, which need SharedArrayBuffer. */
  threads: ["chromium", "firefox"],
  /** No network for a context, beside a server that answers. */
  "a switch for the network": ["chromium", "firefox"],
  /** The workers of a page, told to the test. */
  "a list of workers": ["chromium"],
  /** A whole folder for an input. */
  "an input for folders": ["chromium"],
  /** A private file system of the origin that pages write to. */
  OPFS: ["chromium", "firefox"],
  /** Light and dark. */
  "colour schemes": ["chromium"],
  /** A window as narrow as a phone. */
  "narrow windows": ["chromium", "firefox"],
  /** What a page asks for, told to the test. */
  "a list of requests": ["chromium", "firefox"],
  /** A folder that is dragged in from outside, the clipboard, a crash of the GPU's process. */
  "Chromium's own protocol": ["chromium"],
} as const;
export type Ability = keyof typeof ABLE;

const BROWSERS = ["chromium", "firefox", "webkit"] as const;
export const BROWSER = BROWSERS.find((name) => name === (process.env.EDGELORA_BROWSER ?? "chromium"));
if (BROWSER === undefined) {
  throw new Error(`EDGELORA_BROWSER is ${process.env.EDGELORA_BROWSER}, expected ${BROWSERS.join(", ")}`);
}

export function has(ability: Ability): boolean {
  return (ABLE[ability] as readonly string[]).includes(BROWSER as string);
}

/** Options of a test that needs something: it is skipped where the browser does not have it, which its line says. */
export function needs(...abilities: readonly Ability[]): { readonly skip: string | false } {
  const missing = abilities.filter((ability) => !has(ability));
  return { skip: missing.length > 0 && `${BROWSER} has not, or not for tests: ${missing.join(", ")}` };
}

// Nothing of the browser's own may reach for the network.
const QUIET = [
  "--no-sandbox",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
/** WebGPU computed on the CPU by SwiftShader; without these flags there is no WebGPU. */
export const SWIFTSHADER = ["--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader"];

/** A browser in a fresh profile; the flags are Chromium's. */
export async function launch(flags: readonly string[] = ["--disable-gpu"]): Promise<Browser> {
  if (BROWSER === "firefox") return launchFirefox({});
  if (BROWSER === "webkit") return (await WebKit.launch()) as unknown as Browser;
  const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
  return chromium.launch({ executablePath, headless: true, args: [...QUIET, ...flags] });
}

/** Firefox as Debian has it, by WebDriver BiDi; Playwright's plain way wants a Firefox of its own. */
async function launchFirefox(prefs: Readonly<Record<string, number>>, attempts = 3): Promise<Browser> {
  const launched = firefox.launch({
    channel: "moz-firefox",
    executablePath: process.env.FIREFOX ?? "/usr/bin/firefox-esr",
    headless: true,
    timeout: 60_000,
    firefoxUserPrefs: { "browser.newtabpage.enabled": false, "browser.startup.page": 0, ...prefs },
  });
  // It opens a session when it is idle after its start, which on a busy machine it may never find itself to be.
  const browser = await launched.catch((error) => {
    if (attempts === 1) throw error;
    return null;
  });
  if (browser === null) return launchFirefox(prefs, attempts - 1);
  skipMediaFeatures(browser);
  return browser;
}

/** Firefox 153 does not know a command that Playwright sends for every context, though nothing is asked for with it. */
function skipMediaFeatures(browser: Browser): void {
  type Sent = { send(method: string, given: object): Promise<object> };
  type Opened = { _connection: { toImpl(of: Browser): { _browserSession: Sent } } };
  const session = (browser as unknown as Opened)._connection.toImpl(browser)._browserSession;
  const send = session.send.bind(session);
  session.send = async (method, given) => (method === "emulation.setMediaFeaturesOverride" ? {} : send(method, given));
}

/** Take the network from a context whose servers are away, in the browser's own words too where it can be told. */
export async function unplug(context: BrowserContext): Promise<void> {
  if (has("a switch for the network")) await context.setOffline(true);
}

/** Have a context keep what pages of an address store between two visits, as a browser that is no private one does. */
export async function keep(context: BrowserContext, address: string): Promise<void> {
  if (BROWSER === "webkit") await (context as unknown as WebKitContext).hold(address);
}

/** Say yes for the visitor whom Firefox asks whether an origin may keep what it stores; without an answer it waits. */
export async function allowPersistence(context: BrowserContext, origin: string): Promise<void> {
  if (BROWSER === "firefox") await context.grantPermissions(["persistent-storage"], { origin });
}

/** Browsers whose pages have room for about so many bytes. */
export const tight = {
  async launch(bytes: number): Promise<Browser> {
    if (BROWSER !== "firefox") return launch();
    return launchFirefox({ "dom.quotaManager.temporaryStorage.fixedLimit": bytes >> 10 });
  },
  /** Say the same to the page, where the browser was not told when it began. */
  async limit(context: BrowserContext, page: Page, origin: string, bytes: number): Promise<void> {
    if (BROWSER === "chromium") {
      const session = await context.newCDPSession(page);
      await session.send("Storage.overrideQuotaForOrigin", { origin, quotaSize: bytes });
    }
    if (BROWSER === "firefox") await page.evaluate(promiseRoom, bytes * 100);
    if (BROWSER === "webkit") await page.evaluate(limitCaches, bytes);
  },
};

/** In the page: say that there is room, as Chromium does whatever its quota; Firefox knows its own. */
function promiseRoom(bytes: number): void {
  const estimate = async () => ({ usage: 0, quota: bytes });
  Object.defineProperty(navigator, "storage", { value: { estimate } });
}

/** In the page: a stand-in for a full disk, since WebKit cannot be given a small one. */
function limitCaches(bytes: number): void {
  const { put } = Cache.prototype;
  let left = bytes;
  Cache.prototype.put = async function (key, entry) {
    left -= (await entry.clone().arrayBuffer()).byteLength;
    if (left < 0) throw new DOMException("no room", "QuotaExceededError");
    return put.call(this, key, entry);
  };
}
