/** What can go wrong, drawn by the seed: each fault knows when it can happen and what it does. */
import { Stream } from '../../../src/io/simulated/seed.ts';
import { type Action, perform, type TimedAction } from './actions.ts';
import type { Cluster, Machine } from './cluster.ts';
import { type Kind, LEG, PATHS, ROOT } from './plan.ts';
import { SNAPSHOTS } from './snapshots.ts';

interface Fault {
  name: string;
  kind: Kind | 'always';
  weight: number;
  /** False: it can't happen now. */
  strike(): boolean;
}

/** Of links that flip bits: those on which, after a while, one way is as it should be. */
const ONE_WAY_CHANCE = 0.3;

export class Faults {
  readonly #c: Cluster;
  readonly #s: Stream;
  /** Of a stream of its own: histories of before there was such damage stay as they were. */
  readonly #ways: Stream;
  readonly #all: Fault[];
  #ended = false;
  struck = 0;
  /** All that was done, with its virtual time. */
  readonly actions: TimedAction[] = [];

  constructor(c: Cluster) {
    this.#c = c;
    this.#s = new Stream(c.plan.seed, 'faults');
    this.#ways = new Stream(c.plan.seed, 'one way');
    this.#all = this.#list().filter((f) => f.kind === 'always' || c.plan.kinds.has(f.kind));
  }

  /** Strikes one; false: none was possible. */
  strike(): boolean {
    const left = [...this.#all];
    while (left.length > 0) {
      let draw = this.#s.float() * left.reduce((sum, f) => sum + f.weight, 0);
      const at = left.findIndex((f) => (draw -= f.weight) < 0);
      const [f] = left.splice(Math.max(0, at), 1);
      if (f?.strike() !== true) continue;
      this.struck += 1;
      this.#c.count(`fault: ${f.name}`);
      return true;
    }
    return false;
  }

  /** No more surprises: what was planned for later is forgotten. */
  end(): void {
    this.#ended = true;
  }

  /** Does it now, and writes it down. */
  act(action: Action): void {
    this.actions.push({ at: this.#c.world.now(), action });
    perform(this.#c, action);
  }

  #boot(m: Machine): boolean {
    if (m.sim.state === 'running' || m.sim.state === 'frozen') return false;
    this.act({ do: 'boot', node: m.name });
    return true;
  }

  #say(line: string): true {
    this.#c.say(`--- ${line}`);
    return true;
  }

  #pick(from: readonly Machine[]): Machine | undefined {
    return from.length === 0 ? undefined : this.#s.pick(from);
  }

  /** The source more often than its share. */
  #victim(from: readonly Machine[]): Machine | undefined {
    const sources = from.filter((m) => m.inService);
    return sources.length > 0 && this.#s.coin(0.5) ? this.#pick(sources) : this.#pick(from);
  }

  #alive(): Machine[] {
    return this.#c.all.filter((m) => m.sim.state === 'running' || m.sim.state === 'frozen');
  }

  #running(): Machine[] {
    return this.#c.all.filter((m) => m.up);
  }

  #later(ms: number, f: () => void): void {
    this.#c.faultClock.after(ms, () => {
      if (!this.#ended) f();
    });
  }

  /** Nothing gets through either way, so that what is to be said is lost; then all that one of them says, and nothing that the other does. */
  #flipsOneWay(a: string, b: string): boolean {
    const [from, to] = this.#ways.coin(0.5) ? [a, b] : [b, a];
    const lostForMs = this.#ways.between(20, 400);
    this.act({ do: 'flip', a, b, share: 1 });
    this.#later(lostForMs, () => {
      this.act({ do: 'flip-one-way', a: from, b: to, share: 0 });
      this.#say(`bits flipped from ${to} to ${from} alone`);
    });
    this.#later(lostForMs + this.#ways.between(200, 3000), () => {
      this.act({ do: 'flip', a, b, share: 0 });
    });
    return this.#say(`bits flipped between ${a} and ${b}: in all that passes`);
  }

  #comesBack(m: Machine): void {
    // At once, before anybody has noticed; or after somebody else may have taken over; or only at the end.
    const draw = this.#s.float();
    if (draw > 0.85) return;
    this.#later(draw < 0.35 ? this.#s.float() * 100 : this.#s.float() * 2500, () => {
      this.#boot(m);
    });
  }

  #crash(m: Machine): true {
    this.act({ do: 'crash', node: m.name });
    this.#comesBack(m);
    return this.#say(`crash of ${m.name}`);
  }

  #powerFail(m: Machine): true {
    this.act({ do: 'power', node: m.name });
    this.#comesBack(m);
    return this.#say(`power failure of ${m.name}`);
  }

  #freeze(ms: number): boolean {
    const m = this.#victim(this.#running());
    if (m === undefined) return false;
    this.#freezeFor(m, ms, false);
    return this.#say(`freeze of ${m.name} for ${ms.toFixed(0)} ms`);
  }

  #freezeFor(m: Machine, ms: number, asSource: boolean): void {
    this.act({ do: 'freeze', node: m.name, ms, asSource });
    const { boots } = m.sim;
    this.#later(ms, () => {
      if (m.sim.boots === boots && m.sim.state === 'frozen') this.act({ do: 'thaw', node: m.name });
    });
  }

  #pair(): [string, string] | undefined {
    const names = this.#c.plan.nodes;
    if (names.length < 2) return undefined;
    const a = this.#s.pick(names);
    return [a, this.#s.pick(names.filter((n) => n !== a))];
  }

  #heals(f: () => void): void {
    if (this.#s.coin(0.85)) this.#later(this.#s.coin(0.5) ? this.#s.float() * 400 : this.#s.float() * 3000, f);
  }

  #diskFault(pattern: string, what: 'read' | 'write' | 'sync' | 'full', victim?: Machine): boolean {
    const ofLegSync = what === 'sync' && pattern === LEG;
    const m = ofLegSync ? victim : this.#victim(this.#alive());
    if (m === undefined) return false;
    const times = what !== 'full' && this.#s.coin(0.7) ? this.#s.between(1, 4) : null;
    this.act({ do: 'disk', node: m.name, pattern, op: what, times });
    this.#later(this.#s.float() * 1500, () => {
      this.act({ do: 'repair', node: m.name });
    });
    return this.#say(`disk fault on ${m.name}: ${what} of ${pattern}`);
  }

  #command(command: Extract<Action, { do: 'command' }>['command'], m: Machine | undefined, nodes: string[] = []): boolean {
    if (m === undefined) return false;
    this.act({ do: 'command', node: m.name, command, nodes });
    return this.#say(`operator: ${command} ${nodes.join(' ')} on ${m.name}`);
  }

  #switchover(m: Machine, to: string): boolean {
    return this.#command('switchover', m, [to]);
  }

  /** What strikes this node is of the kinds that the history may meet. */
  #inTheMiddle(m: Machine): void {
    const { kinds } = this.#c.plan;
    const may = (['crash', 'power', 'freeze', 'cuts'] as const).filter((k) => kinds.has(k));
    if (may.length === 0 || !m.up) return;
    const kind = this.#s.pick(may);
    if (kind === 'crash') this.#crash(m);
    else if (kind === 'power') this.#powerFail(m);
    else if (kind === 'cuts') {
      this.act({ do: 'isolate', node: m.name });
      this.#heals(() => {
        this.act({ do: 'rejoin', node: m.name });
      });
      this.#say(`isolation of ${m.name}`);
    } else {
      const ms = this.#c.plan.failureTimeoutMs * (0.5 + this.#s.float() * 3);
      this.#freezeFor(m, ms, true);
      this.#say(`freeze of ${m.name} for ${ms.toFixed(0)} ms`);
    }
  }

  #source(): Machine | undefined {
    return this.#pick(this.#running().filter((m) => m.inService));
  }

  #target(m: Machine): string[] {
    const others = this.#c.plan.nodes.filter((n) => n !== m.name);
    return others.length === 0 || this.#s.coin(0.3) ? [] : [this.#s.pick(others)];
  }

  #damage(m: Machine, path: string): boolean {
    const bytes = m.sim.peek(path);
    if (bytes === undefined || bytes.length === 0) return false;
    const at = this.#s.between(0, bytes.length - 1);
    const bit = 1 << this.#s.between(0, 7);
    this.act({ do: 'damage', node: m.name, path, at, bit });
    return this.#say(`damage of ${path} on ${m.name}, byte ${String(at)}`);
  }

  /** Of several networks one alone, between two nodes or as a whole: what is lost is a path, and no node. */
  #cutsOfOnePath(): Fault[] {
    const c = this.#c;
    const { networks, nodes } = c.plan;
    if (networks.length < 2) return [];
    const cut = (pairs: (readonly [string, string])[]): true => {
      const network = this.#s.pick(networks);
      for (const [a, b] of pairs) this.act({ do: 'cut', a, b, network });
      this.#heals(() => {
        for (const [a, b] of pairs) this.act({ do: 'heal', a, b, network });
      });
      return this.#say(`cut in network ${network} between ${pairs.map(([a, b]) => `${a} and ${b}`).join(', ')}`);
    };
    const all = nodes.flatMap((a) => nodes.filter((b) => a < b).map((b) => [a, b] as const));
    return [
      {
        name: 'cut of one path',
        kind: 'cuts',
        weight: 4,
        strike: () => {
          const p = this.#pair();
          return p !== undefined && cut([p]);
        },
      },
      { name: 'cut of one network', kind: 'cuts', weight: 2, strike: () => cut(all) },
    ];
  }

  #snapshots = 0;

  /** Made, deleted, and struck by what may happen to their disk. */
  #ofSnapshots(): Fault[] {
    const { plan } = this.#c;
    const s = this.#s;
    const disk = (op: 'read' | 'write' | 'sync' | 'full', weight: number): Fault => ({
      name: `snapshots: ${op === 'full' ? 'ENOSPC' : `EIO on ${op}`}`,
      kind: 'snapshot',
      weight,
      strike: () => this.#diskFault(SNAPSHOTS, op),
    });
    return [
      {
        name: 'operator: snapshot',
        kind: 'snapshot',
        weight: 10,
        strike: () => {
          const m = this.#source();
          if (m === undefined) return false;
          this.#snapshots += 1;
          const name = `s${String(this.#snapshots)}`;
          const spaceBytes = s.coin(0.7) ? plan.sizeBytes : s.between(1, 16) * plan.regionBytes;
          this.act({ do: 'snapshot', node: m.name, name, spaceBytes });
          return this.#say(`operator: snapshot ${name} of ${m.name}, ${String(spaceBytes)} bytes`);
        },
      },
      {
        name: 'operator: snapshot deleted',
        kind: 'snapshot',
        weight: 2,
        strike: () => {
          const m = this.#source();
          const names = m?.mirror?.source?.snapshots.views().map((v) => v.name) ?? [];
          if (m === undefined || names.length === 0) return false;
          const name = s.pick(names);
          this.act({ do: 'snapshot', node: m.name, name, spaceBytes: null });
          return this.#say(`operator: snapshot ${name} of ${m.name} deleted`);
        },
      },
      disk('write', 0.7),
      disk('read', 0.4),
      disk('sync', 0.7),
      disk('full', 0.4),
    ];
  }

  #list(): Fault[] {
    const c = this.#c;
    const s = this.#s;
    const root = `${ROOT}/*`;
    const operator = (name: string, weight: number, strike: () => boolean): Fault => ({
      name: `operator: ${name}`,
      kind: 'operator',
      weight,
      strike,
    });
    const on = (m: Machine | undefined, f: (m: Machine) => boolean): boolean => m !== undefined && f(m);
    return [
      { name: 'crash', kind: 'crash', weight: 4, strike: () => on(this.#victim(this.#alive()), (m) => this.#crash(m)) },
      {
        name: 'crash of all',
        kind: 'crash',
        weight: 0.7,
        strike: () => this.#alive().length > 1 && this.#alive().map((m) => this.#crash(m)).length > 0,
      },
      { name: 'power failure', kind: 'power', weight: 3, strike: () => on(this.#victim(this.#alive()), (m) => this.#powerFail(m)) },
      {
        name: 'power failure of several',
        kind: 'power',
        weight: 1.5,
        strike: () => {
          const some = s.coin(0.6) ? this.#alive() : this.#alive().filter(() => s.coin(0.6));
          return some.length > 1 && some.map((m) => this.#powerFail(m)).length > 0;
        },
      },
      {
        name: 'boot',
        kind: 'always',
        weight: 2,
        strike: () =>
          on(
            this.#pick(c.all.filter((m) => m.sim.state === 'stopped' || m.sim.state === 'dark')),
            (m) => this.#boot(m) && this.#say(`boot of ${m.name}`),
          ),
      },
      { name: 'short freeze', kind: 'freeze', weight: 1.5, strike: () => this.#freeze(s.float() * c.plan.failureTimeoutMs * 1.1) },
      { name: 'long freeze', kind: 'freeze', weight: 1.5, strike: () => this.#freeze(c.plan.failureTimeoutMs * (1 + s.float() * 3)) },
      {
        name: 'cut',
        kind: 'cuts',
        weight: 3,
        strike: () => {
          const p = this.#pair();
          if (p === undefined) return false;
          const [a, b] = p;
          this.act({ do: 'cut', a, b, network: null });
          this.#heals(() => {
            this.act({ do: 'heal', a, b, network: null });
          });
          return this.#say(`cut between ${p[0]} and ${p[1]}`);
        },
      },
      {
        name: 'cut one way',
        kind: 'cuts',
        weight: 2,
        strike: () => {
          const p = this.#pair();
          if (p === undefined) return false;
          const [a, b] = p;
          this.act({ do: 'cut-one-way', a, b });
          this.#heals(() => {
            this.act({ do: 'heal', a, b, network: null });
          });
          return this.#say(`cut from ${p[0]} to ${p[1]}`);
        },
      },
      ...this.#cutsOfOnePath(),
      ...this.#ofSnapshots(),
      {
        name: 'isolation',
        kind: 'cuts',
        weight: 2,
        strike: () => {
          const m = this.#victim(c.all);
          if (m === undefined) return false;
          this.act({ do: 'isolate', node: m.name });
          this.#heals(() => {
            this.act({ do: 'rejoin', node: m.name });
          });
          return this.#say(`isolation of ${m.name}`);
        },
      },
      {
        name: 'heal',
        kind: 'cuts',
        weight: 1,
        strike: () => {
          this.act({ do: 'heal-all' });
          return this.#say('all cuts are healed');
        },
      },
      { name: 'leg: EIO on read', kind: 'disk', weight: 1, strike: () => this.#diskFault(LEG, 'read') },
      { name: 'leg: EIO on write', kind: 'disk', weight: 1, strike: () => this.#diskFault(LEG, 'write') },
      {
        name: 'leg: EIO on sync of a target',
        kind: 'sync',
        weight: 1.5,
        strike: () => this.#diskFault(LEG, 'sync', this.#pick(this.#alive().filter((m) => !m.inService))),
      },
      { name: 'leg: EIO on sync of the source', kind: 'own-sync', weight: 2, strike: () => this.#diskFault(LEG, 'sync', this.#source()) },
      { name: 'leg: ENOSPC', kind: 'disk', weight: 1, strike: () => this.#diskFault(LEG, 'full') },
      { name: 'root: EIO on write', kind: 'disk', weight: 1, strike: () => this.#diskFault(root, 'write') },
      { name: 'root: EIO on sync', kind: 'disk', weight: 1, strike: () => this.#diskFault(root, 'sync') },
      { name: 'root: ENOSPC', kind: 'disk', weight: 1, strike: () => this.#diskFault(root, 'full') },
      {
        name: 'short transfers',
        kind: 'short',
        weight: 1,
        strike: () =>
          on(this.#pick(c.all), (m) => {
            this.act({ do: 'short', node: m.name, share: s.coin(0.7) ? 0.2 : 0 });
            return this.#say(`short transfers on ${m.name}`);
          }),
      },
      {
        name: 'slow network',
        kind: 'slow',
        weight: 1.5,
        strike: () => {
          const p = this.#pair();
          if (p === undefined) return false;
          const fast = s.coin(0.3);
          const [a, b] = p;
          const none = { do: 'slow', a, b, delayMs: null, rateBytesPerSec: null } as const;
          this.act(fast ? none : { ...none, delayMs: s.float() * 30, rateBytesPerSec: s.between(500_000, 50_000_000) });
          this.#later(1500, () => {
            this.act(none);
          });
          return this.#say(`network between ${p[0]} and ${p[1]}: ${fast ? 'fast' : 'slow'}`);
        },
      },
      {
        name: 'bits flipped on their way',
        kind: 'flip',
        weight: 4,
        strike: () => {
          const p = this.#pair();
          if (p === undefined) return false;
          const [a, b] = p;
          // From now and then to nearly all that passes.
          const share = s.pick([0.003, 0.02, 0.1, 0.6]);
          const forMs = s.float() * 2500;
          if (this.#ways.coin(ONE_WAY_CHANCE)) return this.#flipsOneWay(a, b);
          this.act({ do: 'flip', a, b, share });
          this.#later(forMs, () => {
            this.act({ do: 'flip', a, b, share: 0 });
          });
          return this.#say(`bits flipped between ${a} and ${b}: in ${String(share * 100)}%`);
        },
      },
      {
        name: 'clean stop',
        kind: 'stop',
        weight: 2,
        strike: () =>
          on(this.#victim(this.#running()), (m) => {
            this.act({ do: 'stop', node: m.name });
            this.#comesBackAfterStop(m);
            return this.#say(`clean stop of ${m.name}`);
          }),
      },
      operator('pause', 1, () => on(this.#source(), (m) => this.#command('pause', m, this.#target(m)))),
      operator('resume', 1.5, () => this.#command('resume', this.#source())),
      operator('fullresync', 0.7, () => on(this.#source(), (m) => this.#command('fullresync', m, this.#target(m)))),
      operator('out-of-service', 1, () => this.#command('out-of-service', this.#source())),
      operator('in-service', 1.5, () => this.#command('in-service', this.#pick(this.#running()))),
      {
        name: 'operator: switchover',
        kind: 'switchover',
        weight: 3,
        strike: () => on(this.#source(), (m) => this.#switchover(m, s.pick(c.plan.nodes.filter((n) => n !== m.name)))),
      },
      {
        name: 'operator: switchover, and something in the middle of it',
        kind: 'switchover',
        weight: 3,
        strike: () =>
          on(this.#source(), (m) => {
            const to = this.#pick(this.#running().filter((o) => o !== m));
            if (to === undefined || !this.#switchover(m, to.name)) return false;
            this.#later(s.float() * 60, () => {
              this.#inTheMiddle(s.pick([m, to, s.pick(c.all)]));
            });
            return true;
          }),
      },
      {
        name: 'operator: force',
        kind: 'force',
        weight: 1,
        strike: () => c.serving.length === 0 && this.#command('force', this.#pick(this.#running())),
      },
      {
        name: 'damaged bitmap',
        kind: 'damage',
        weight: 1,
        strike: () => on(this.#pick(c.all.filter((m) => m.sim.state === 'stopped')), (m) => this.#damage(m, PATHS.bitmap)),
      },
      {
        name: 'damaged state',
        kind: 'damage',
        weight: 0.5,
        // Of one node at a time: where nobody's record is sound, nobody can say what the mirror is.
        strike: () => !c.damage.hasRecord && on(this.#pick(c.all.filter((m) => m.sim.state === 'stopped')), (m) => this.#damage(m, PATHS.state)),
      },
    ];
  }

  #comesBackAfterStop(m: Machine): void {
    const again = (): void => {
      if (m.sim.state === 'stopped') this.#boot(m);
      else if (m.busy) this.#later(50, again);
    };
    if (this.#s.coin(0.85)) this.#later(50 + this.#s.float() * 2000, again);
  }
}
