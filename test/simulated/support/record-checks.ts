/**
 * What the records promise, judged whenever one is written and whenever an answer rests on one:
 *
 *   M9   the past is fenced: no node goes back behind the highest epoch that it has seen
 *   M10  going in service: nobody serves in an epoch that a node which could be reached has not accepted
 *   M10  a split brain is detected: who does without a node that may take over writes under a generation unknown to that node
 *   M5   an account that was handed over is complete for nobody but whoever got it
 */
import type { Daemon } from '../../../src/control/daemon.ts';
import { compareEpoch, isSame } from '../../../src/failover/epoch.ts';
import { heldGeneration, knowsGeneration } from '../../../src/failover/generation.ts';
import { claimAnswerSchema } from '../../../src/failover/protocol.ts';
import type { Epoch, StateRecord } from '../../../src/failover/types.ts';
import type { Cluster, Machine } from './cluster.ts';
import { epochKey } from './cluster.ts';
import { PATHS } from './plan.ts';
import { parseRecord } from './state-reader.ts';

export class RecordChecks {
  readonly #c: Cluster;
  /** Told of each record, before it replaces the one that was. */
  onWritten: (m: Machine, before: StateRecord | undefined, next: StateRecord) => void = () => undefined;
  /** The highest epoch that each node has written down since its record was made. */
  readonly #seen = new Map<Machine, Epoch | null>();
  /** Claims, by random, that somebody who could be reached has refused, and who. */
  readonly #refused = new Map<string, string>();

  constructor(c: Cluster) {
    this.#c = c;
  }

  /** The record of `m` is what its disk has; what it asks others is listened to. */
  booted(m: Machine, daemon: Daemon): void {
    this.#seen.set(m, m.record?.epochSeen ?? null);
    const { cluster } = daemon.env;
    const ask = cluster.request.bind(cluster);
    cluster.request = async (peer, method, params, timeoutMs) => {
      const answer = await ask(peer, method, params, timeoutMs);
      if (method === 'claim' && !claimAnswerSchema.parse(answer).accepted) this.#refused.set((params as { epoch: Epoch }).epoch.random, peer);
      return answer;
    };
  }

  /** A record of `m` is about to replace `m.record`. */
  written(m: Machine, next: StateRecord): void {
    this.onWritten(m, m.record, next);
    this.#neverForgets(m, next);
    const { epochServed } = next;
    if (epochServed === null || isSame(epochServed, m.record?.epochServed ?? null)) return;
    this.#c.checked('M10 (claims)');
    const by = this.#refused.get(epochServed.random);
    if (by !== undefined) this.#c.violated('M10', `${m.name} serves epoch ${epochKey(epochServed)}, which ${by} had refused to accept`);
    const taker = m.record?.accountGivenTo ?? null;
    if (taker === null) return;
    this.#c.checked('M5 (handed over)');
    if (next.accountComplete.length > 0)
      this.#c.violated(
        'M5',
        `${m.name} has handed its account over to ${taker}, and goes in service as if it had one of ${next.accountComplete.join(', ')}`,
      );
  }

  /** M9: the highest epoch seen is what sessions of the past are refused by. */
  #neverForgets(m: Machine, next: StateRecord): void {
    const before = this.#seen.get(m) ?? null;
    const { epochSeen } = next;
    const order = compareEpoch(epochSeen, before);
    // A node that was removed and added again begins with none.
    if (epochSeen !== null && before !== null && (order === 'lower' || order === 'conflict'))
      this.#c.violated('M9', `${m.name} has seen epoch ${epochKey(before)}, and has accepted epoch ${epochKey(epochSeen)} after it`);
    this.#c.checked('M9 (seen)');
    this.#seen.set(m, epochSeen);
  }

  /**
   * M10: `m` answers a write without `other`. If that one, by its record, is in sync, it may take over one day; and then only a
   * generation that it has never heard of tells that the two have parted.
   */
  answersWithout(m: Machine, other: string): void {
    const own = parseRecord(m.sim.peekDurable(PATHS.state));
    const theirs = parseRecord(this.#c.machine(other).sim.peekDurable(PATHS.state));
    if (own === undefined || theirs === undefined || own.definition.createId !== theirs.definition.createId) return;
    if (!theirs.inSync.includes(other) || theirs.toldOut !== null || theirs.resyncingFrom !== null) return;
    this.#c.checked('M10 (generations)');
    const generation = heldGeneration(own);
    if (knowsGeneration(theirs, generation))
      this.#c.violated(
        'M10',
        `${m.name} answers a write without ${other}, which takes itself for in sync, under generation ${generation}, which both know`,
      );
  }
}
