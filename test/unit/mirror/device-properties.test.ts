/**
 * Random histories of a mirror device: requests, completions in any order, failures, losses, resyncs, answers of the host.
 * What must hold at every moment is checked at every moment: the promises, in terms of bytes and of the bitmap on disk.
 */
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { Errno } from '../../../src/io/types.ts';
import { Prover } from '../../../src/mirror/prover.ts';
import { Resync } from '../../../src/mirror/resync.ts';
import { DEFAULT_SETTINGS } from '../../../src/mirror/settings.ts';
import type { MemoryFiles } from '../../support/memory-files.ts';
import { type Answer, durableMap, REGION, Rig } from './rig.ts';
import { type Copy, endOp, type PendingOp } from './scripted-engine.ts';

const REGIONS = 8;
const SECTOR = 512;
const SECTORS = (REGIONS * REGION) / SECTOR;
const PER_REGION = REGION / SECTOR;

type Step =
  | { do: 'write' | 'zero' | 'trim'; at: number; sectors: number; fua: boolean }
  | { do: 'read'; at: number; sectors: number }
  | { do: 'flush' | 'prove' | 'crash-check' | 'collect' }
  | { do: 'end'; copy: number; which: number; errno: number }
  | { do: 'lose'; target: number }
  | { do: 'resync'; target: number }
  | { do: 'host'; which: number; well: boolean }
  | { do: 'suspend'; on: boolean }
  | { do: 'bitmap'; broken: boolean }
  | { do: 'time'; ms: number };

function steps(o: { failures: boolean }): fc.Arbitrary<Step[]> {
  const at = fc.nat(SECTORS - 1);
  const sectors = fc.integer({ min: 1, max: 2 * PER_REGION });
  const rare = o.failures ? 1 : 0;
  return fc.array(
    fc.oneof(
      { weight: 10, arbitrary: fc.record({ do: fc.constant('write' as const), at, sectors, fua: fc.boolean() }) },
      { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('zero' as const, 'trim' as const), at, sectors, fua: fc.constant(false) }) },
      { weight: 2, arbitrary: fc.record({ do: fc.constant('read' as const), at, sectors }) },
      { weight: 4, arbitrary: fc.record({ do: fc.constantFrom('flush' as const, 'prove' as const, 'crash-check' as const, 'collect' as const) }) },
      { weight: 30, arbitrary: fc.record({ do: fc.constant('end' as const), copy: fc.nat(3), which: fc.nat(6), errno: fc.constant(0) }) },
      { weight: rare, arbitrary: fc.record({ do: fc.constant('end' as const), copy: fc.nat(3), which: fc.nat(6), errno: fc.constant(Errno.EIO) }) },
      { weight: 2, arbitrary: fc.record({ do: fc.constant('lose' as const), target: fc.nat(2) }) },
      { weight: 3, arbitrary: fc.record({ do: fc.constant('resync' as const), target: fc.nat(2) }) },
      { weight: 6, arbitrary: fc.record({ do: fc.constant('host' as const), which: fc.nat(3), well: fc.constant(true) }) },
      { weight: rare, arbitrary: fc.record({ do: fc.constant('host' as const), which: fc.nat(3), well: fc.constant(false) }) },
      { weight: 1, arbitrary: fc.record({ do: fc.constant('suspend' as const), on: fc.boolean() }) },
      { weight: rare, arbitrary: fc.record({ do: fc.constant('bitmap' as const), broken: fc.boolean() }) },
      { weight: 2, arbitrary: fc.record({ do: fc.constant('time' as const), ms: fc.integer({ min: 1, max: 600 }) }) },
    ),
    { minLength: 10, maxLength: 120 },
  );
}

interface Write {
  value: number;
  first: number;
  last: number;
  answer: Answer;
  seq: number;
}

class History {
  readonly rig: Rig;
  readonly nodes = ['b', 'c', 'd'];
  readonly writes: Write[] = [];
  readonly answers: Answer[] = [];
  /** Targets whose join is complete: proven once after they were required, as the source does before it records them. */
  readonly joined = new Set<string>();
  readonly flushes: { answer: Answer; before: number[] }[] = [];
  readonly #prover: Prover;
  readonly #background: Promise<unknown>[] = [];
  #value = 0;

  private constructor(rig: Rig) {
    this.rig = rig;
    this.#prover = new Prover(rig.device);
    for (const copy of rig.allCopies) {
      copy.onOp = (op) => {
        this.#look(copy, op);
      };
    }
  }

  static async make(): Promise<History> {
    const resync = { ...DEFAULT_SETTINGS.resync, copyBytes: REGION * 2, copiesInFlightMax: 2, proveEveryBytes: 2 * REGION, skipEqual: true };
    const rig = await Rig.inSync({
      regions: REGIONS,
      targets: { b: 'sync', c: 'sync', d: 'async' },
      settings: { resync, intent: { keepMax: 1, markedMax: 4 }, async: { writesMax: 4, bytesMax: 16 * REGION, inFlightMax: 3 } },
    });
    const h = new History(rig);
    for (const n of h.nodes) h.joined.add(n);
    return h;
  }

  /** What must hold when a leg is told something (M1, M4). */
  #look(copy: Copy, op: PendingOp): void {
    if (op.kind !== 'write' && op.kind !== 'zero' && op.kind !== 'trim') return;
    const [first, last] = [Math.floor(op.offset / REGION), Math.floor((op.offset + op.length - 1) / REGION)];
    const { marks } = this.rig;
    const intended = marks.intent.isDurable(first, last);
    const marked = copy !== this.rig.engine.leg && marks.outOfSync(copy.name).coversRange(first, last);
    if (!intended && !marked) throw new Error(`${copy.name} is told of ${op.kind} at ${String(op.offset)} before its region is marked (M1)`);
    for (const other of copy.ops) {
      if (other === op || other.kind === 'read' || other.kind === 'sync' || other.kind === 'extents') continue;
      if (other.offset < op.offset + op.length && op.offset < other.offset + other.length) {
        throw new Error(`${copy.name} has overlapping ${other.kind} and ${op.kind} in flight (M4)`);
      }
    }
  }

  async #turns(n = 12): Promise<void> {
    for (let i = 0; i < n; i += 1) await Promise.resolve();
  }

  async step(s: Step): Promise<void> {
    const { rig } = this;
    switch (s.do) {
      case 'write':
      case 'zero':
      case 'trim': {
        const last = Math.min(s.at + s.sectors, SECTORS) - 1;
        const [offset, length] = [s.at * SECTOR, (last - s.at + 1) * SECTOR];
        this.#value = (this.#value % 254) + 1;
        const value = s.do === 'write' ? this.#value : 0;
        const answer =
          s.do === 'write' ? rig.write(offset, length, value, s.fua) : s.do === 'zero' ? rig.zero(offset, length) : rig.trim(offset, length);
        this.answers.push(answer);
        this.writes.push({ value, first: s.at, last, answer, seq: this.writes.length });
        break;
      }
      case 'read':
        this.answers.push(rig.read(s.at * SECTOR, Math.min(s.sectors, SECTORS - s.at) * SECTOR));
        break;
      case 'flush': {
        const before = this.writes.filter((w) => w.answer.errno === 0).map((w) => w.seq);
        const answer = rig.flush();
        this.answers.push(answer);
        this.flushes.push({ answer, before });
        break;
      }
      case 'prove':
        this.#background.push(this.#prover.prove());
        break;
      case 'collect':
        if (rig.marks.collect(false) > 0) this.#background.push(rig.marks.durable());
        break;
      case 'crash-check':
        await this.crashCheck();
        break;
      case 'end': {
        const copy = rig.allCopies[s.copy];
        const op = copy?.ops[s.which % Math.max(1, copy.ops.length)];
        if (copy !== undefined && op !== undefined) endOp(rig.engine, copy, op, s.errno);
        break;
      }
      case 'lose':
        rig.clients.get(this.nodes[s.target] ?? '')?.lose();
        break;
      case 'resync':
        this.#resync(this.nodes[s.target] ?? '');
        break;
      case 'host':
        this.#host(s.which, s.well);
        break;
      case 'suspend':
        if (s.on) rig.device.suspend('test');
        else rig.device.unsuspend('test');
        break;
      case 'bitmap':
        rig.files.fault = s.broken ? (op) => (op === 'sync' ? { errno: Errno.EIO } : undefined) : () => undefined;
        break;
      case 'time':
        rig.clock.advance(s.ms);
        break;
    }
    await this.#turns();
    this.always();
  }

  /** The host answers one of the questions that are open; badly only where that does not end the device. */
  #host(which: number, well: boolean): void {
    const { lost, generations, ownLeg } = this.rig.host;
    const open = [
      ...lost.map((l) => () => {
        l.resolve();
      }),
      ...generations.map((g) => () => {
        g.resolve();
      }),
      ...ownLeg.map((o) => () => {
        o.resolve(well);
      }),
    ];
    // Resolving twice does nothing: the latest are the open ones.
    open.at(-1 - (which % Math.max(1, open.length)))?.();
  }

  #resync(node: string): void {
    const { rig } = this;
    const t = rig.target(node);
    if (t.phase !== 'out' || rig.device.stopped) return;
    this.joined.delete(node);
    this.#background.push(this.#session(node));
  }

  async #session(node: string): Promise<void> {
    const { rig } = this;
    const t = rig.target(node);
    // As a link does: the marks are durable before the session begins.
    if (!(await rig.marks.durable()) || t.inSession || rig.device.stopped) return;
    rig.open(node);
    const { session } = t;
    const still = (): boolean => t.session === session && t.inSession;
    const resync = new Resync(rig.device, t, { kind: 'partial', onProgress: () => undefined });
    const end = await resync.run();
    if (end.result === 'ended') {
      if (still()) rig.device.targetFailed(t, end.why, false);
      return;
    }
    if (!still()) return;
    rig.device.sessions.require(t);
    await this.#prover.prove();
    if (still()) this.joined.add(node);
  }

  // ------------------------------------------------------------------------------------------------- promises

  sector(copy: Copy, s: number): number {
    return copy.bytes[s * SECTOR] ?? -1;
  }

  /** The last write submitted to each sector; a sector of a write that no later one covers. */
  #ownSectors(w: Write): number[] {
    const out: number[] = [];
    for (let s = w.first; s <= w.last; s += 1) if (!this.writes.some((x) => x.seq > w.seq && x.first <= s && s <= x.last)) out.push(s);
    return out;
  }

  readonly #judged = new Set<Answer>();

  /** Of each answer when it has just been given (M2, M3). */
  always(): void {
    const { rig } = this;
    const counting = this.nodes.filter((n) => rig.target(n).phase === 'in-sync' && rig.target(n).mode === 'sync');
    const legs = [...(rig.local.state === 'in' ? [rig.engine.leg] : []), ...counting.map((n) => rig.copy(n))];
    for (const w of this.writes) {
      if (w.answer.errno !== 0 || this.#judged.has(w.answer)) continue;
      this.#judged.add(w.answer);
      if (legs.length === 0) throw new Error('a write succeeded, and no leg is in service');
      for (const leg of legs) {
        for (const s of this.#ownSectors(w)) {
          if (this.sector(leg, s) !== w.value) throw new Error(`write ${String(w.seq)} was acknowledged, and ${leg.name} does not have it (M2)`);
        }
      }
    }
    for (const f of this.flushes) {
      if (f.answer.errno !== 0 || this.#judged.has(f.answer)) continue;
      this.#judged.add(f.answer);
      const durable = legs.filter((l) => l === rig.engine.leg || this.joined.has(l.name));
      for (const seq of f.before) {
        const w = this.writes[seq];
        if (w === undefined) continue;
        for (const leg of durable) {
          for (const s of this.#ownSectors(w)) {
            if (leg.durable[s * SECTOR] !== w.value)
              throw new Error(`a FLUSH was acknowledged, and write ${String(seq)} is not durable on ${leg.name} (M3)`);
          }
        }
      }
    }
  }

  /** Whatever loses power now, every region that may differ between the own leg and a target is marked on disk (M1, M5). */
  async crashCheck(): Promise<void> {
    const { rig } = this;
    const worlds: MemoryFiles[] = [rig.files.afterPowerLoss(() => false), rig.files.afterCrash()];
    const own = rig.engine.leg;
    const versions = (c: Copy, s: number): number[] => [c.bytes[s * SECTOR] ?? -1, c.durable[s * SECTOR] ?? -1];
    const states = this.nodes.map((n) => {
      const copy = rig.copy(n);
      const differing = new Set<number>();
      for (let s = 0; s < SECTORS; s += 1)
        if (new Set([...versions(own, s), ...versions(copy, s)]).size > 1) differing.add(Math.floor(s / PER_REGION));
      return { n, differing };
    });
    if (rig.local.state === 'out') return;
    for (const world of worlds) {
      const intent = await durableMap(world, rig.sizeBytes, 'intent');
      for (const { n, differing } of states) {
        const marked = new Set([...intent, ...(await durableMap(world, rig.sizeBytes, `oos:${n}`))]);
        for (const r of differing)
          if (!marked.has(r)) throw new Error(`region ${String(r)} may differ on ${n} after a crash, and is not marked (M5)`);
      }
    }
  }

  /** Everything gets well, all targets come back: then all legs are alike. */
  async heal(): Promise<void> {
    const { rig } = this;
    rig.files.fault = () => undefined;
    rig.device.unsuspend('test');
    rig.easy();
    const { lost, generations, ownLeg } = rig.host;
    for (const l of lost) l.resolve();
    for (const g of generations) g.resolve();
    for (const o of ownLeg) o.resolve(true);
    await rig.endAll();
    await rig.until(Promise.all(this.#background), 100);
    await rig.endAll();
    rig.clock.advance(2000);
    await rig.endAll();
    this.always();
  }

  async bringBack(): Promise<void> {
    const { rig } = this;
    for (let round = 0; round < 3; round += 1) {
      for (const n of this.nodes) this.#resync(n);
      await rig.endAll();
      await rig.until(Promise.all(this.#background), 100);
      await rig.endAll();
    }
    await rig.until(this.#prover.prove());
    await rig.endAll();
  }

  end(): void {
    const { rig } = this;
    expect(this.answers.map((a) => a.answers)).toEqual(this.answers.map(() => 1));
    expect(rig.engine.handlesAlive).toBe(0);
    expect([rig.device.lock.held, rig.device.lock.waiting, rig.device.pool.busy]).toEqual([0, 0, 0]);
    const inSync = this.nodes.filter((n) => rig.target(n).phase === 'in-sync').map((n) => rig.copy(n));
    const legs = [...(rig.local.state === 'in' ? [rig.engine.leg] : []), ...inSync];
    const [reference] = legs;
    if (reference === undefined) return;
    for (const leg of legs) {
      for (let s = 0; s < SECTORS; s += 1) {
        if (this.sector(leg, s) !== this.sector(reference, s))
          throw new Error(`${leg.name} and ${reference.name} are in sync and differ at sector ${String(s)}`);
      }
    }
    // Each sector holds its last acknowledged write, or one that failed after it.
    for (let s = 0; s < SECTORS; s += 1) {
      const touching = this.writes.filter((w) => w.first <= s && s <= w.last);
      const lastGood = touching.findLastIndex((w) => w.answer.errno === 0);
      const allowed = new Set([lastGood < 0 ? 0 : (touching[lastGood]?.value ?? 0), ...touching.slice(lastGood + 1).map((w) => w.value)]);
      if (!allowed.has(this.sector(reference, s))) throw new Error(`sector ${String(s)} of ${reference.name} lost an acknowledged write`);
    }
  }
}

it('whatever comes in whatever order: nothing acknowledged is lost, nothing that differs is unmarked, everything is answered once', async () => {
  await fc.assert(
    fc.asyncProperty(steps({ failures: false }), async (all) => {
      const h = await History.make();
      for (const s of all) await h.step(s);
      await h.crashCheck();
      await h.heal();
      await h.crashCheck();
      await h.bringBack();
      expect(h.nodes.map((n) => h.rig.target(n).phase)).toEqual(['in-sync', 'in-sync', 'in-sync']);
      h.end();
      for (const c of h.rig.allCopies) expect(Buffer.compare(c.durable, h.rig.engine.leg.bytes)).toBe(0);
      expect(h.answers.every((a) => a.errno === 0)).toBe(true);
    }),
    { numRuns: 100 },
  );
}, 120_000);

it('the same with legs, targets and the bitmap file that fail', async () => {
  await fc.assert(
    fc.asyncProperty(steps({ failures: true }), async (all) => {
      const h = await History.make();
      for (const s of all) await h.step(s);
      await h.crashCheck();
      await h.heal();
      await h.crashCheck();
      await h.bringBack();
      await h.crashCheck();
      h.end();
    }),
    { numRuns: 150 },
  );
}, 120_000);
