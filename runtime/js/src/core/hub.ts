/**
 * Artifacts on a model hub: `owner/name@revision`, or a folder inside of one, `owner/name/folder@revision`.
 *
 * Knows the addresses of a hub's files and nothing else of it.
 */

import type { Remote } from "./address.js";
import { InputError } from "./errors.js";
import { findUnsafe, inAddress } from "./names.js";

const HUGGING_FACE = "https://huggingface.co";
const PART = /^[A-Za-z0-9][A-Za-z0-9._-]*$/;
const COMMIT = /^[0-9a-f]{40}$/;
const NEWEST = "main";

/** The artifact `text` names, what stands behind `hf:`; `hub` answers in the place of the hub of Hugging Face. */
export function hubArtifact(text: string, hub: string = HUGGING_FACE): Remote {
  const at = text.indexOf("@");
  const path = (at < 0 ? text : text.slice(0, at)).replace(/\/+$/, "");
  const revision = at < 0 ? NEWEST : text.slice(at + 1);
  const [owner = "", name = "", ...inside] = path.split("/");
  const folder = inside.join("/");
  const isSound = PART.test(owner) && PART.test(name) && (folder === "" || findUnsafe(folder) === null);
  if (!isSound || findUnsafe(revision) !== null) {
    throw new InputError(`hf:${text} names no model; expected hf:OWNER/NAME, hf:OWNER/NAME@REVISION or a folder in it`);
  }
  const base = `${hub.replace(/\/+$/, "")}/${owner}/${name}/resolve`;
  const atRevision = (pinned: string): Remote => ({
    where: `hf:${path}@${revision}`,
    addressOf: (file) => `${base}/${encodeURIComponent(pinned)}/${inAddress(folder ? `${folder}/${file}` : file)}`,
    pin: (answer) => {
      const commit = answer.headers.get("x-repo-commit") ?? "";
      return COMMIT.test(commit) ? atRevision(commit) : atRevision(pinned);
    },
  });
  return atRevision(revision);
}
