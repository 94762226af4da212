/**
 * What came damaged on its way between a source and a target, seen by checksums: counted, and logged within bounds. A target that
 * can not answer, since it was a header, tells its source by another way; one that is lost with the whole network is not counted there.
 */
import { LimitedLog } from '../io/limited-log.ts';
import type { NodeContext } from './context.ts';
import type { Epoch, NodeName } from './types.ts';

export class Damage {
  /** Payloads and headers, both ways, that did not match; since this node became the source. */
  mismatches = 0;
  /** Of the last session: both nodes want checksums. Undefined: there was none, or the target is foreign. */
  checked: boolean | undefined;
  /** Of the last session: all of its connections are in TLS. */
  secured = false;
  readonly #log: LimitedLog;
  readonly #about: { tag: string; node: NodeName };

  constructor({ env, tag }: NodeContext, node: NodeName) {
    this.#log = new LimitedLog(env.log, env.io.clock);
    this.#about = { tag, node };
  }

  met(): void {
    this.mismatches += 1;
    this.#log.warn('damage', 'what went to a target or came from it did not match its checksum', { ...this.#about, mismatches: this.mismatches });
  }
}

/** Of a header that came damaged, to the session's source. Never rejects: what is not told is missing in a number that is shown, and no more. */
export async function tellOfDamage(ctx: NodeContext, { from, epoch }: { from: NodeName; epoch: Epoch }): Promise<void> {
  const { env, tag } = ctx;
  try {
    await env.cluster.request(from, 'session.damaged', { tag, epoch }, ctx.record().definition.failureTimeoutMs);
  } catch (e: unknown) {
    env.log.info('the source was not told of a damaged header', { tag, source: from, why: e instanceof Error ? e.message : String(e) });
  }
}
