/** The page of every bundler: answers in the page and in a worker, as an app would, without a word about bundlers. */

import { load, loadInWorker } from "@edgelora/runtime";
import { answerBy } from "./answer.js";

globalThis.answers = answerBy({ load, loadInWorker });
