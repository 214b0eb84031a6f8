/** The library where there is no document, and a worker of this worker. */

import { load, loadInWorker } from "/node_modules/@edgelora/runtime/dist/browser/edgelora.js";
import { answerBy } from "/web/answer.js";

postMessage(await answerBy({ load, loadInWorker }, { artifact: "../artifact" }));
