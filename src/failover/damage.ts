/** What came damaged on its way between this source and a target, seen by checksums: counted, and logged within bounds. */
import { LimitedLog } from '../io/limited-log.ts';
import type { NodeContext } from './context.ts';
import type { NodeName } from './types.ts';

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
