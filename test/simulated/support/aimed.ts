/**
 * Blows aimed at the moments that chance seldom meets, of a stream of their own, beside the faults that the seed draws:
 *
 *   one source after another is lost, each soon after it went in service, and stays away
 *   a target stands still while its source goes on without it, and is lost before the target wakes up
 *   a target is lost and comes back, and its source is lost while it is being resynced
 *   a source stands still, or is cut off, until somebody claims its place, and answers in the middle of the claim
 *   the disk of a source takes long for what it is given in a moment, and meanwhile another takes over and the source comes back
 *   whoever has taken an account over is lost before it has used it, and an operator forces the node that gave it
 */
import { Stream } from '../../../src/io/simulated/seed.ts';
import type { StateRecord } from '../../../src/failover/types.ts';
import type { Action } from './actions.ts';
import type { Cluster, Machine } from './cluster.ts';
import { together } from './ending.ts';

export class Aimed {
  readonly #c: Cluster;
  readonly #act: (action: Action) => void;
  readonly #s: Stream;
  /** Ends the silence of a source, as soon as somebody claims its place. */
  #waiting: (() => void) | undefined;
  /** To be resynced by its source, which is lost then. */
  #resynced: Machine | undefined;
  #ended = false;
  struck = 0;
  /** By how much longer other faults are to wait, so that a blow's consequences unfold. */
  readonly patience: number;
  readonly #blows: ((source: Machine) => void)[] = [
    (source) => {
      this.#lose(source);
    },
    (source) => {
      this.#loseUnseen(source);
    },
    (source) => {
      this.#loseInResync(source);
    },
  ];

  /** `act`: does something to the cluster, and writes it down. */
  constructor(c: Cluster, act: (action: Action) => void) {
    this.#c = c;
    this.#act = act;
    this.#s = new Stream(c.plan.seed, 'aimed');
    const aims = c.plan.kinds.has('aimed');
    this.patience = aims ? 8 : 1;
    if (!aims) return;
    if (c.plan.kinds.has('freeze') || c.plan.kinds.has('cuts'))
      this.#blows.splice(2, 0, (source) => {
        this.#silence(source);
      });
    if (c.plan.kinds.has('hiccup'))
      this.#blows.splice(0, this.#blows.length, (source) => {
        this.#hiccup(source);
      });
    c.records.onWritten = (m, before, next): void => {
      this.#recordWritten(m, before, next);
    };
    this.#next();
  }

  end(): void {
    this.#ended = true;
  }

  #later(ms: number, f: () => void): void {
    this.#c.faultClock.after(ms, () => {
      if (!this.#ended) f();
    });
  }

  #next(): void {
    this.#later(200 + this.#s.float() * 800, () => {
      const source = this.#running((m) => m.inService);
      // Everybody there, so that what follows is a consequence of the blow alone.
      if (source === undefined || together(this.#c) !== source) {
        this.#next();
        return;
      }
      this.struck += 1;
      this.#s.pick(this.#blows)(source);
      this.#later(this.#c.plan.failureTimeoutMs * 4, () => {
        this.#next();
      });
    });
  }

  #running(f: (m: Machine) => boolean): Machine | undefined {
    const some = this.#c.all.filter((m) => m.up && f(m));
    return some.length === 0 ? undefined : this.#s.pick(some);
  }

  /** It stays away for long, whatever else strikes; boots of the ordinary kind may still come. */
  #lose(m: Machine): void {
    if (m.sim.state !== 'running' && m.sim.state !== 'frozen') return;
    this.#act({ do: this.#c.plan.kinds.has('power') && this.#s.coin(0.3) ? 'power' : 'crash', node: m.name });
    this.#c.count('aimed: loss');
    this.#c.say(`--- aimed: ${m.name} is lost for long`);
    this.#later(1500 + this.#s.float() * 2500, () => {
      this.#act({ do: 'boot', node: m.name });
    });
  }

  #freeze(m: Machine, asSource: boolean): () => void {
    const { boots } = m.sim;
    this.#act({ do: 'freeze', node: m.name, ms: this.#c.plan.failureTimeoutMs * 2, asSource });
    return () => {
      if (m.sim.boots === boots && m.sim.state === 'frozen') this.#act({ do: 'thaw', node: m.name });
    };
  }

  #loseUnseen(source: Machine): void {
    const target = this.#running((m) => m !== source);
    if (target === undefined) return;
    const timeout = this.#c.plan.failureTimeoutMs;
    const thaw = this.#freeze(target, false);
    this.#c.count('aimed: loss unseen');
    this.#c.say(`--- aimed: ${target.name} stands still, and ${source.name} will be lost meanwhile`);
    // It takes one to find out that the target is silent, and another before anything is answered without it.
    const lossAt = timeout * (2.3 + this.#s.float());
    this.#later(lossAt, () => {
      if (source.inService) this.#lose(source);
    });
    this.#later(lossAt + this.#s.float() * 200, thaw);
  }

  #loseInResync(source: Machine): void {
    const target = this.#running((m) => m !== source);
    if (target === undefined) return;
    this.#c.count('aimed: loss in a resync');
    this.#c.say(`--- aimed: ${target.name} is lost, and ${source.name} will be while it resyncs it`);
    this.#act({ do: 'crash', node: target.name });
    this.#resynced = target;
    // By then the source goes on without it.
    this.#later(this.#c.plan.failureTimeoutMs * (1.2 + this.#s.float()), () => {
      this.#act({ do: 'boot', node: target.name });
    });
  }

  #silence(source: Machine): void {
    const cut = this.#c.plan.kinds.has('cuts');
    this.#c.count('aimed: silence until a claim');
    this.#c.say(`--- aimed: ${source.name} ${cut ? 'is cut off' : 'stands still'} until somebody claims its place`);
    const end = cut ? this.#isolate(source) : this.#freeze(source, true);
    this.#waiting = end;
    this.#later(this.#c.plan.failureTimeoutMs * 2, end);
  }

  #hiccup(source: Machine): void {
    const timeout = this.#c.plan.failureTimeoutMs;
    this.#c.count('aimed: hiccup of a disk');
    this.#c.say(`--- aimed: the disk of ${source.name} takes long, and it is cut off`);
    this.#act({ do: 'slow-disk', node: source.name, ms: timeout * 8 });
    this.#later(5 + this.#s.float() * 20, () => {
      this.#act({ do: 'slow-disk', node: source.name, ms: null });
    });
    this.#later(timeout * (1.3 + this.#s.float()), this.#isolate(source));
  }

  #isolate(m: Machine): () => void {
    this.#act({ do: 'isolate', node: m.name });
    return () => {
      this.#act({ do: 'rejoin', node: m.name });
    };
  }

  #recordWritten(m: Machine, before: StateRecord | undefined, next: StateRecord): void {
    if (this.#ended) return;
    if (next.claim !== null && before?.claim?.random !== next.claim.random && this.#waiting !== undefined) {
      this.#later(this.#s.float() * 4, this.#waiting);
      this.#waiting = undefined;
    }
    if (next.epochServed?.random !== before?.epochServed?.random && this.#s.coin(0.6)) {
      this.#later(30 + this.#s.float() * 400, () => {
        if (m.inService) this.#lose(m);
      });
    }
    if (m === this.#resynced && next.resyncingFrom !== null) {
      const source = this.#c.machine(next.resyncingFrom.node);
      this.#resynced = undefined;
      this.#later(this.#s.float() * 5, () => {
        if (source.inService) this.#lose(source);
      });
    }
    const taker = next.accountGivenTo;
    if (taker !== null && before?.accountGivenTo !== taker && this.#s.coin(0.5)) this.#loseTaker(m, this.#c.machine(taker));
  }

  #loseTaker(giver: Machine, taker: Machine): void {
    this.#later(this.#s.float() * 2, () => {
      if (!taker.inService) return;
      this.#c.count('aimed: loss of who took an account over');
      this.#lose(taker);
      if (!this.#c.plan.kinds.has('force')) return;
      this.#later(this.#c.plan.failureTimeoutMs * (1.3 + this.#s.float()), () => {
        if (giver.up && this.#c.serving.length === 0) this.#act({ do: 'command', node: giver.name, command: 'force', nodes: [] });
      });
    });
  }
}
