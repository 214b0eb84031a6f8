/**
 * A loaded artifact that speaks token ids: adapters by name, generation, logits.
 *
 * Knows nothing about text, buffers or kernels; it joins adapters, sampling and session.
 */

import { AdapterSet } from "./adapter-set.js";
import type { Acting, BoundAdapter } from "./bound-adapter.js";
import { checkIds } from "./check-ids.js";
import { InputError } from "./errors.js";
import type { Manifest } from "./format.js";
import type { Decoding, Process } from "./generate.js";
import { LoadedModel } from "./loaded-model.js";
import { SlotPacker } from "./packers.js";
import type { Packed } from "./packing.js";
import { show } from "./parse-json.js";
import type { ArtifactSource, Backend } from "./ports.js";
import type { ProbeResult } from "./probe.js";
import type { CallOptions, IdOptions, Request, WithAdapter, WithAdapters } from "./request.js";
import type { Session } from "./session.js";

/** What it takes to answer: a model that is being loaded has no use for it. */
export function generating(): Promise<typeof import("./generating.js")> {
  return import("./generating.js");
}

/** Answers one call at a time, in the order of the calls. */
export class TokenModel extends LoadedModel<Packed, BoundAdapter> {
  readonly #held: { session: Session };
  readonly #endIds: ReadonlySet<number>;

  constructor(
    source: ArtifactSource,
    manifest: Manifest,
    backend: Backend,
    session: Session,
    adapterBytes: number | null,
  ) {
    const held = { session };
    const packer = new SlotPacker(manifest, backend, (bound) => held.session.letGo(bound));
    super(source, manifest, backend, new AdapterSet(source, manifest, packer, adapterBytes));
    this.#held = held;
    this.#endIds = new Set(manifest.model.eosTokenIds);
  }

  /** What computes: another one when the model moved to another backend. */
  protected get session(): Session {
    return this.#held.session;
  }

  /** Hold an adapter to its receipt and replay a probe of it; null where there is nothing to replay. */
  probe(name: string, options: CallOptions = {}): Promise<ProbeResult | null> {
    return this.alone(async (signal) => {
      await this.known.find(name, { signal });
      const { logitsAt } = await generating();
      const lastLogits = async (ids: readonly number[], spec: string) => {
        const row = this.check(ids);
        const found = await logitsAt(this.session, await this.acting(spec, row, signal), row, [ids.length - 1], signal);
        return found[0] as Float32Array;
      };
      const { checkAdapter } = await import("./probe.js");
      return checkAdapter(lastLogits, this.manifest, name, this.known.folder(name, { signal }));
    }, options.signal);
  }

  /** Continue token ids, or each list of a batch; what comes back leaves out the end token. */
  generateIds(ids: readonly number[], options?: IdOptions & WithAdapter): Promise<number[]>;
  generateIds(ids: readonly (readonly number[])[], options?: IdOptions & WithAdapters): Promise<number[][]>;
  generateIds(
    ids: readonly number[] | readonly (readonly number[])[],
    options: IdOptions & WithAdapters = {},
  ): Promise<number[] | number[][]> {
    return this.alone(async (signal) => {
      if (!Array.isArray(ids))
        throw new InputError(`ids is ${show(ids)}, expected a list of token ids, or of such lists`);
      const isBatch = ids.length > 0 && ids.every((row) => Array.isArray(row));
      const rows = (isBatch ? ids : [ids]) as readonly (readonly number[])[];
      const { makeRequest } = await generating();
      const request = makeRequest({
        ...options,
        signal,
        stop: undefined,
        choices: undefined,
        schema: undefined,
        regex: undefined,
      } as IdOptions);
      const answers = rows.map((): number[] => []);
      const prompts = rows.map((row) => this.check(row));
      for await (const [group, decoding] of this.decodeGroups(prompts, options.adapter, request)) {
        for await (const [row, token] of decoding) answers[group[row] as number]?.push(token);
      }
      return isBatch ? answers : (answers[0] as number[]);
    }, options.signal);
  }

  /** Logits (vocab_size,) after the token at each of `positions`, by default after every one. */
  logits(
    ids: readonly number[],
    options: WithAdapter & CallOptions & { readonly positions?: readonly number[] | undefined } = {},
  ): Promise<Float32Array[]> {
    return this.alone(async (signal) => {
      const row = this.check(ids);
      const positions = options.positions ?? [...row.keys()];
      if (!Array.isArray(positions))
        throw new InputError(`positions is ${show(positions)}, expected a list of indices`);
      const isInside = (position: number) => Number.isInteger(position) && position >= 0 && position < row.length;
      if (positions.length === 0 || !positions.every(isInside)) {
        const last = row.length - 1;
        throw new InputError(`positions ${show(positions)}: expected indices from 0 to ${last}, at least one`);
      }
      const { logitsAt } = await generating();
      const acting = await this.acting(this.specs(options.adapter, 1)[0] as string, row, signal);
      return logitsAt(this.session, acting, row, positions, signal);
    }, options.signal);
  }

  /** Log-probability (completion length,) of each completion token after the prompt and those before it. */
  score(
    promptIds: readonly number[],
    completionIds: readonly number[],
    options: WithAdapter & CallOptions = {},
  ): Promise<Float64Array> {
    return this.alone(async (signal) => {
      if (!Array.isArray(promptIds) || !Array.isArray(completionIds)) {
        throw new InputError("promptIds or completionIds is no list; expected two lists of token ids");
      }
      const row = this.check([...promptIds, ...completionIds]);
      if (promptIds.length === 0) {
        throw new InputError("promptIds is empty; the first token of a text has no probability, give at least one");
      }
      const [prompt, completion] = [row.slice(0, promptIds.length), row.slice(promptIds.length)];
      const { scoreTokens } = await generating();
      const acting = await this.acting(this.specs(options.adapter, 1)[0] as string, prompt, signal);
      return scoreTokens(this.session, acting, prompt, completion, signal);
    }, options.signal);
  }

  /** Indices of rows that are decoded together; each group must be worked off before the next is asked for. */
  protected async *decodeGroups(
    prompts: readonly (readonly number[])[],
    adapter: string | readonly string[] | undefined,
    request: Request,
  ): AsyncGenerator<readonly [readonly number[], Decoding]> {
    const specs = this.specs(adapter, prompts.length);
    const starts = await this.starts(specs, prompts, request.signal);
    const all = await Promise.all(prompts.map((_, index) => this.process(request, index, prompts.length)));
    const { contextLength, bytesPerToken, longestCall } = this.session;
    const lengths = prompts.map((ids, row) => ({
      prompt: ids.length,
      most: Math.min(ids.length + request.maxNewTokens, contextLength),
      isAlone: starts[row] !== null,
    }));
    const { actingFrom, Decoding, groupRows, Sampler } = await generating();
    const { sampling, maxNewTokens, signal } = request;
    for (const group of groupRows(lengths, bytesPerToken, longestCall)) {
      const ids = group.map((index) => prompts[index] as readonly number[]);
      const of = group.map((index) => specs[index] as string);
      const decoding = new Decoding({
        place: async () => ({
          session: this.session,
          acting:
            of.length === 1
              ? await actingFrom(this.known, of[0] as string, starts[group[0] as number] ?? null, { signal })
              : { adapter: await this.known.findRows(of, { signal }), start: 0, before: null },
        }),
        recover: (error) => this.recover(error),
        prompts: ids,
        samplers: group.map((index, place) => new Sampler(sampling, ids[place] as readonly number[], index)),
        maxNewTokens,
        endIds: this.#endIds,
        signal,
        processes: group.map((index) => all[index] as Process | null),
      });
      yield [group, decoding];
    }
  }

  /** What is done with the logits of row `index` of `count`. */
  protected async process(request: Request, index: number, count: number): Promise<Process | null> {
    const { ofRow } = await generating();
    return ofRow("processLogits", request.processLogits, index, count);
  }

  protected override async use(spec: string, signal: AbortSignal): Promise<void> {
    const { adapter, before } = await (await generating()).actingNext(this.known, spec, { signal });
    await this.session.change(adapter, before);
  }

  /** A SPEC after a prompt; throws InputError where an activated adapter would do nothing. */
  protected async acting(spec: string, prompt: readonly number[], signal: AbortSignal | undefined): Promise<Acting> {
    const [start = null] = await this.starts([spec], [prompt], signal);
    return (await generating()).actingFrom(this.known, spec, start, { signal });
  }

  /** Index in each prompt from which its SPEC acts, null where it acts on every token. */
  protected async starts(
    specs: readonly string[],
    prompts: readonly (readonly number[])[],
    signal: AbortSignal | undefined,
  ): Promise<(number | null)[]> {
    return (await generating()).startsIn(this.known, specs, prompts, () => this.tokenizer, { signal });
  }

  protected override release(): Promise<void> {
    return this.session.dispose();
  }

  protected override async moveTo(backend: Backend): Promise<() => Promise<void>> {
    const before = this.session;
    this.#held.session = await before.reopen(backend);
    return () => before.dispose();
  }

  protected check(ids: readonly number[]): number[] {
    return checkIds(ids, this.manifest.model);
  }
}
