/** The page of bundlers that bundle workers too, for a policy that allows none from text. */

import { loadInWorker } from "@edgelora/runtime";
import { answerBy } from "./answer.js";

const worker = () => new Worker(new URL("@edgelora/runtime/worker", import.meta.url), { type: "module" });

globalThis.answers = answerBy({ loadInWorker }, { worker });
