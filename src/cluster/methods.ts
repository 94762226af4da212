/** The requests this node answers: a schema and a handler each. */
import type { z } from 'zod';
import type { Log } from '../io/log.ts';
import { ClusterCode, ClusterError } from './errors.ts';
import { CODE_MAX_CHARS, ERROR_MAX_CHARS, firstFault } from './messages.ts';

export type Answer = { result: unknown } | { error: { code: string; message: string } };

type Run = (peer: string, params: unknown) => Promise<unknown>;

export class Methods {
  readonly #log: Log;
  readonly #run = new Map<string, Run>();

  constructor(log: Log) {
    this.#log = log;
  }

  add<T>(method: string, schema: z.ZodType<T>, f: (peer: string, params: T) => Promise<unknown>): void {
    if (this.#run.has(method)) throw new Error(`the method ${method} has a handler already`);
    this.#run.set(method, async (peer, params) => {
      const parsed = schema.safeParse(params);
      if (!parsed.success) throw new ClusterError(ClusterCode.INVALID_PARAMS, `${method}: ${firstFault(parsed.error)}`);
      return await f(peer, parsed.data);
    });
  }

  /** Never rejects: what a handler throws becomes an error answer, and is logged when it was not meant as one. */
  async answer(peer: string, method: string, params: unknown): Promise<Answer> {
    const run = this.#run.get(method);
    if (run === undefined) return failure(ClusterCode.NO_METHOD, `no method named ${method}`);
    try {
      return { result: (await run(peer, params)) ?? null };
    } catch (e: unknown) {
      if (e instanceof ClusterError) return failure(e.code, e.message);
      const message = e instanceof Error ? e.message : String(e);
      this.#log.error(`the handler of ${method} failed`, { peer, error: message, stack: e instanceof Error ? e.stack : undefined });
      return failure(ClusterCode.INTERNAL, message);
    }
  }
}

/** An error answer, cut to what the schema of the other side takes. */
export function failure(code: string, message: string): Answer {
  return { error: { code: code.slice(0, CODE_MAX_CHARS), message: message.slice(0, ERROR_MAX_CHARS) } };
}
