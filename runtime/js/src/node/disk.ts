/**
 * Node's files as the runtime's downloads use them.
 *
 * Knows nothing about artifacts.
 */

import { createHash } from "node:crypto";
import {
  appendFile,
  mkdir,
  open,
  readdir,
  readFile,
  rename,
  rm,
  stat,
  statfs,
  truncate,
  utimes,
} from "node:fs/promises";
import { setTimeout as pause } from "node:timers/promises";
import type { WritableFileSystem } from "../core/file-system.js";

const LOOK_AGAIN_MS = 250; // while another process has what is wanted
const SIGN_OF_LIFE_MS = 5000; // how often the one that has it says so
const SILENT_MS = 30_000; // after which it is taken for gone, wherever it ran

/** The disk; paths are as the system has them. */
export const disk: WritableFileSystem = {
  exists: async (path) => (await stat(path).catch(() => null))?.isFile() ?? false,
  size: async (path) => (await stat(path)).size,
  readBytes: async (path, offset, length) => {
    const file = await open(path);
    try {
      const bytes = new Uint8Array(length);
      let filled = 0;
      while (filled < length) {
        const { bytesRead } = await file.read(bytes, filled, length - filled, offset + filled);
        if (bytesRead === 0) break;
        filled += bytesRead;
      }
      return bytes.subarray(0, filled);
    } finally {
      await file.close();
    }
  },
  digest: async (bytes) => createHash("sha256").update(bytes).digest("hex"),
  makeFolder: async (path) => {
    await mkdir(path, { recursive: true });
  },
  append: appendFile,
  truncate,
  remove: (path) => rm(path, { force: true }),
  rename,
  list: (path) => readdir(path).catch(() => []),
  removeFolder: (path) => rm(path, { recursive: true, force: true }),
  freeBytes: async (path) => {
    const { bavail, bsize } = await statfs(path);
    return bavail * bsize;
  },
  lock: async (path, signal) => {
    for (;;) {
      try {
        const file = await open(path, "wx");
        await file.writeFile(String(process.pid));
        await file.close();
        const alive = setInterval(() => void utimes(path, new Date(), new Date()).catch(() => {}), SIGN_OF_LIFE_MS);
        alive.unref();
        return async () => {
          clearInterval(alive);
          await rm(path, { force: true });
        };
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
      }
      // Left behind by a process that was ended, it keeps nobody out.
      const owner = Number(await readFile(path, "utf8").catch(() => ""));
      const heard = (await stat(path).catch(() => null))?.mtimeMs ?? 0;
      const isGone = (owner > 0 && !isRunning(owner)) || Date.now() - heard > SILENT_MS;
      if (isGone) await rm(path, { force: true });
      else await pause(LOOK_AGAIN_MS, undefined, { ...(signal && { signal }) });
    }
  },
};

function isRunning(id: number): boolean {
  try {
    process.kill(id, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM"; // it runs, and is another user's
  }
}
