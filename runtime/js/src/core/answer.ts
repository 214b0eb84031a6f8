/**
 * One answer: its pieces as they are made, and the whole of it at the end.
 *
 * Knows nothing about models: whoever writes it pushes pieces and returns the whole.
 */

import { throwIfAborted } from "./abort.js";
import type { Generation, RowPiece } from "./generation.js";
import { readable } from "./readable.js";

/** What the one who writes an answer gets. */
export interface Writing<Piece> {
  /** Hand a piece out. */
  readonly push: (piece: Piece) => void;
  /** Aborted by a stop: what was written until then is the answer. */
  readonly stopped: AbortSignal;
}

/**
 * An answer that is under way. `for await` gives its pieces, `await` the whole, in any order and as often as wanted;
 * it is written whether anyone reads it or not. Leaving a loop early stops it. An error reaches whoever reads or waits,
 * and nobody else.
 *
 * Like every promise it is awaited by what it is returned from: an async function that returns one returns the whole.
 */
export class Answer<Piece = string, Whole = Generation> implements AsyncIterable<Piece>, Promise<Whole> {
  readonly [Symbol.toStringTag] = "Answer";
  readonly #pieces: Piece[] = [];
  readonly #whole: Promise<Whole>;
  readonly #signal: AbortSignal | undefined;
  readonly #stopping = new AbortController();
  #isEnded = false;
  #wake = () => {};
  #change = Promise.resolve();

  /** `signal` is what ends the writing with an error; `write` hears of it itself. */
  constructor(write: (writing: Writing<Piece>) => Promise<Whole>, signal?: AbortSignal | undefined) {
    this.#signal = signal;
    this.#expect();
    const push = (piece: Piece) => {
      this.#pieces.push(piece);
      this.#expect();
    };
    const end = () => {
      this.#isEnded = true;
      this.#wake();
    };
    const fail = () => {
      this.#pieces.length = 0; // of an answer that is none
      end();
    };
    this.#whole = write({ push, stopped: this.#stopping.signal });
    this.#whole.then(end, fail); // also: an answer that nobody waits for is no unhandled rejection
  }

  /** The pieces from the first on; throws, at once, what the writing ended with. Leaving it early stops the answer. */
  async *[Symbol.asyncIterator](): AsyncGenerator<Piece, void, undefined> {
    let isRead = false;
    try {
      for (let next = 0; next < this.#pieces.length || !this.#isEnded; ) {
        throwIfAborted(this.#signal); // before the one who writes it hears of that
        if (next < this.#pieces.length) yield this.#pieces[next++] as Piece;
        else await this.#change;
      }
      isRead = true;
      await this.#whole;
    } finally {
      if (!isRead) this.stop();
    }
  }

  /** The pieces as a stream of the platform's; cancelling it stops the answer. */
  toReadableStream(): ReadableStream<Piece> {
    return readable(this[Symbol.asyncIterator](), () => this.stop());
  }

  /** End it after the token that is under way; the whole is what is there, its `finishReason` is `cancelled`. */
  stop(): void {
    if (!this.#isEnded && !this.#signal?.aborted) this.#stopping.abort();
  }

  // biome-ignore lint/suspicious/noThenProperty: it is a promise
  get then(): Promise<Whole>["then"] {
    return this.#whole.then.bind(this.#whole);
  }

  get catch(): Promise<Whole>["catch"] {
    return this.#whole.catch.bind(this.#whole);
  }

  get finally(): Promise<Whole>["finally"] {
    return this.#whole.finally.bind(this.#whole);
  }

  /** Wake those who wait for the next change. */
  #expect(): void {
    this.#wake();
    this.#change = new Promise((resolve) => (this.#wake = resolve));
  }
}

/** The answers to a list of prompts, row by row as they come. */
export type Answers = Answer<RowPiece, Generation[]>;
