/**
 * Connections served together, tried hard: chance asks by several at once, short and long, whole and in halves, with reads, flushes and writes
 * that are told, takes answers late, ends the serving and lets marks go in the midst. What was asked, sent and answered when says what the leg
 * and every answer may hold.
 *
 *   x comes before y (M4)   x was answered before y was sent; or it had come, and a write sent after that by another was answered before y
 *                           was sent; or one client sent them in that order, and they overlap
 *   a read, and the leg     has no write that comes before another one which was answered before it began
 *   all of them             have one order, in which writes that overlap are not mixed
 *
 * A failure names its seed.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { EngineHub } from '../../../src/io/hub.ts';
import type { ServeRules } from '../../../src/io/serve.ts';
import type { LegId, WireParams } from '../../../src/io/types.ts';
import { ServedMarks } from '../../../src/mirror/served-marks.ts';
import { NBD_CMD_FLAG_FUA, NBD_CMD_FLUSH, NBD_CMD_TRIM, NBD_CMD_WRITE } from '../../../src/nbd/wire/constants.ts';
import { Chance } from '../../support/chance.ts';
import { type Asker, BLOCK, BOTH, connected, execute, KIB, read, unserve } from './conformance-serve-marks.ts';
import type { InRig } from './engine-conformance.ts';
import { type Connection, type RawRequest, type Rig, type SeenRequest, SIMPLE, takeBytes } from './engine-rig.ts';

const SIZE = 4096 * KIB;
const REGION = 128 * KIB;
const REGIONS = SIZE / REGION;
/** Nobody's to write without telling. */
const FORBIDDEN = REGIONS - 1;
const WORDS = BLOCK / 4;
const LONGEST_BLOCKS = (500 * KIB) / BLOCK;
/** The longest that an engine may answer without telling. */
const READ_MOST_BLOCKS = (256 * KIB) / BLOCK;
/** Of what one has sent over TCP, so much has come when it has been sent: its peer's window is larger. */
const WINDOW_BYTES = 32 * KIB;

let parties = 0;

interface Asked {
  who: number;
  kind: 'read' | 'write' | 'other';
  /** In blocks. */
  from: number;
  to: number;
  /** What the first word of each of its blocks is. */
  id: number;
  /** When, all counted in one. */
  sent: number;
  came: number;
  answered: number;
  data: Uint8Array;
}

const overlap = (a: Asked, b: Asked): boolean => a.from < b.to && b.from < a.to;

function wordsOf(bytes: Uint8Array): Uint32Array {
  const aligned = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice();
  return new Uint32Array(aligned.buffer, aligned.byteOffset, aligned.length / 4);
}

function stamped(id: number, from: number, to: number): Uint8Array {
  const words = new Uint32Array((to - from) * WORDS).fill(id);
  for (let b = from; b < to; b += 1) words[(b - from) * WORDS + 1] = b;
  return new Uint8Array(words.buffer);
}

/** Whose block this is: 0 for nobody's, undefined for a mixture. */
function stampOf(words: Uint32Array, at: number, block: number): number | undefined {
  const id = words[at] ?? 0;
  if (id === 0) return words.subarray(at, at + WORDS).every((w) => w === 0) ? 0 : undefined;
  for (let i = 2; i < WORDS; i += 1) if (words[at + i] !== id) return undefined;
  return words[at + 1] === block ? id : undefined;
}

/** One client: asks, and notes each answer when it comes. */
class Talker {
  readonly who: number;
  readonly conn: Connection;
  readonly client: Asker;
  readonly rules: ServeRules;
  readonly hub: EngineHub;
  readonly asked: Asked[] = [];
  served = 0;
  /** The rest of what it has begun to send. */
  #rest: { bytes: Uint8Array; of: Asked } | undefined;
  #answers: Promise<void>[] = [];
  #failure: Error | undefined;
  #isDeaf = false;
  #open = 0;
  #openBytes = 0;
  readonly #party: Party;

  constructor(party: Party, who: number, rules: ServeRules, c: { conn: Connection; client: Asker }) {
    this.#party = party;
    this.who = who;
    this.hub = party.hub;
    this.conn = c.conn;
    this.client = c.client;
    this.rules = rules;
  }

  get open(): number {
    return this.#open;
  }

  get isDeaf(): boolean {
    return this.#isDeaf;
  }

  hasRest(): boolean {
    return this.#rest !== undefined;
  }

  deaf(): void {
    this.#isDeaf = true;
    this.client.peer.socket.pause();
  }

  hears(): void {
    this.#isDeaf = false;
    this.client.peer.socket.resume();
  }

  /** `cut`: so many bytes now, and the others by `sendRest`. */
  async ask(kind: Asked['kind'], request: RawRequest, from: number, to: number, id: number, cut?: number): Promise<Asked> {
    if (this.#failure !== undefined) throw this.#failure;
    const a: Asked = { who: this.who, kind, from, to, id, sent: this.#party.tick(), came: 0, answered: 0, data: new Uint8Array(0) };
    this.#party.asked.push(a);
    this.asked.push(a);
    this.#open += 1;
    const bytes = this.client.bytes([request]);
    this.#openBytes += bytes.length;
    const answer = this.#take();
    // Also where nobody waits for it just now.
    answer.catch((e: unknown) => {
      this.#failure ??= e instanceof Error ? e : new Error(String(e));
    });
    this.#answers.push(answer);
    if (cut !== undefined && cut < bytes.length) {
      this.#rest = { bytes: bytes.subarray(cut), of: a };
      if (cut > 0) await this.#send(bytes.subarray(0, cut));
    } else await this.#send(bytes, a);
    return a;
  }

  async sendRest(): Promise<void> {
    const rest = this.#rest;
    this.#rest = undefined;
    if (rest !== undefined) await this.#send(rest.bytes, rest.of);
  }

  /** A piece of the rest; it keeps some of it. */
  async sendPiece(bytes: number): Promise<void> {
    const rest = this.#rest;
    if (rest === undefined || rest.bytes.length <= bytes) return;
    this.#rest = { bytes: rest.bytes.subarray(bytes), of: rest.of };
    await this.#send(rest.bytes.subarray(0, bytes));
  }

  /** What is written leaves in the next turn; `of` has come when the kernel has taken it, where that is the other one's queue as well. */
  async #send(bytes: Uint8Array, of?: Asked): Promise<void> {
    const { socket } = this.client.peer;
    const fits = this.#party.isLocal || this.#openBytes <= WINDOW_BYTES;
    socket.write(bytes, () => {
      if (of !== undefined && of.came === 0 && fits) of.came = this.#party.tick();
    });
    await new Promise<void>((resolve) => {
      process.nextTick(resolve);
    });
    if (of !== undefined && of.came === 0 && fits && socket.unsentBytes() === 0) of.came = this.#party.tick();
  }

  async #take(): Promise<void> {
    await this.#answers.at(-1);
    const { cookie, error, data } = await this.client.answer();
    const a = this.asked[cookie];
    if (a === undefined) throw new Error(`answer ${String(cookie)} to what was not asked`);
    expect({ who: this.who, cookie, error, answered: a.answered }).toEqual({ who: this.who, cookie, error: 0, answered: 0 });
    a.answered = this.#party.tick();
    a.data = data;
    this.#open -= 1;
    this.#openBytes -= 28 + (a.kind === 'write' ? (a.to - a.from) * BLOCK : 0);
  }

  /** The next answer, whichever that is. */
  async answer(): Promise<void> {
    await this.#answers[this.asked.length - this.#open];
  }

  async answers(): Promise<void> {
    await Promise.all(this.#answers);
  }
}

/** Some clients of one leg. */
class Party {
  readonly hub: EngineHub;
  readonly leg: LegId;
  readonly marks: ServedMarks;
  readonly talkers: Talker[] = [];
  readonly isLocal: boolean;
  asked: Asked[] = [];
  /** What was told and is not answered yet. */
  open = 0;
  told = 0;
  /** While it stands, nothing that is told is executed. */
  gate: Promise<void> = Promise.resolve();
  /** Regions that somebody knows to have been written since their mark was let go. */
  readonly known = new Set<number>();
  #last: Promise<void> = Promise.resolve();
  #now = 0;
  #id = 0;

  private constructor(hub: EngineHub, leg: LegId, isLocal: boolean) {
    this.hub = hub;
    this.leg = leg;
    this.isLocal = isLocal;
    this.marks = new ServedMarks(SIZE, REGION, () => this.talkers.flatMap((t) => t.rules.marks?.underWay ?? []));
    for (let r = 0; r < FORBIDDEN; r += 1) this.marks.allow(r);
  }

  static async of(rig: Rig, clients: number, wire: WireParams = SIMPLE): Promise<Party> {
    const hub = rig.hub();
    parties += 1;
    const path = rig.world.path(`party-${String(parties)}`);
    const f = await rig.io.files.open(path, { write: true, create: true });
    await f.truncate(SIZE);
    await f.close();
    const { leg } = await hub.engine.openLeg(path, { write: true, lock: false });
    const p = new Party(hub, leg, rig.world.address().kind === 'unix');
    for (let who = 0; who < clients; who += 1) {
      const marks = { allowed: p.marks.allowed, underWay: new Uint32Array(8), clients };
      const rules = { leg, sizeBytes: SIZE, blockBytes: BLOCK, touched: p.marks.touched.words, regionBytes: REGION, marks };
      const t = new Talker(p, who, rules, await connected(rig, hub, rules, wire));
      t.conn.onRequest = (r) => {
        p.#obey(r);
      };
      p.talkers.push(t);
    }
    return p;
  }

  /** Executes what is told of all, one after the other. */
  #obey(r: SeenRequest): void {
    this.open += 1;
    this.told += 1;
    this.#last = this.#last
      .then(() => this.gate)
      .then(async () => {
        if (r.cmd === NBD_CMD_WRITE) {
          for (let i = Math.floor(r.offset / REGION); i * REGION < r.offset + r.length; i += 1) this.known.add(i);
        }
        await execute({ hub: this.hub, leg: this.leg } as Parameters<typeof execute>[0], r);
        this.open -= 1;
      });
  }

  tick(): number {
    this.#now += 1;
    return this.#now;
  }

  id(): number {
    this.#id += 1;
    return this.#id;
  }

  talker(i: number): Talker {
    const t = this.talkers[i];
    if (t === undefined) throw new Error(`there is no client ${String(i)}`);
    return t;
  }

  /** All are unserved: so many were answered without telling since they began. */
  async unserve(): Promise<void> {
    const counts = await Promise.all(this.talkers.map((t) => unserve({ hub: t.hub, conn: t.conn } as Parameters<typeof unserve>[0])));
    for (const [i, n] of counts.entries()) this.talker(i).served += n;
    for (const t of this.talkers) expect(t.rules.marks?.underWay.every((w) => w === 0)).toBe(true);
  }

  serve(): void {
    for (const t of this.talkers) expect(this.hub.engine.serve(t.conn.id, t.rules)).toBe(true);
  }

  async bytes(from: number, to: number): Promise<Uint8Array> {
    const r = await this.hub.must('read', (op) => {
      this.hub.engine.read(op, this.leg, from * BLOCK, (to - from) * BLOCK);
    });
    return takeBytes(this.hub, r.h);
  }
}

/** Whether x has to be before y on the leg. */
function isBefore(x: Asked, y: Asked, writes: readonly Asked[]): boolean {
  if (x.answered < y.sent) return true;
  if (x.who === y.who) return x.sent < y.sent && overlap(x, y);
  if (x.came === 0) return false;
  return writes.some((b) => b.who !== x.who && x.came < b.sent && b.answered < y.sent);
}

/** What `r` has read, of which every write is answered by now, is of one order of them. `after`: pairs x, y found so far of which x is before y. */
function checkRead(
  r: Asked,
  writes: readonly Asked[],
  byId: ReadonlyMap<number, Asked>,
  after: Map<Asked, Set<Asked>>,
  old: ReadonlySet<number>,
): void {
  const words = wordsOf(r.data);
  for (let block = r.from; block < r.to; block += 1) {
    const there = writes.filter((w) => w.from <= block && block < w.to && w.sent < r.answered);
    const stamp = stampOf(words, (block - r.from) * WORDS, block);
    const seen = stamp === undefined ? undefined : byId.get(stamp);
    const sure = there.filter((w) => w.answered < r.sent);
    // While one is being written it may be a mixture.
    if (stamp === undefined && sure.length < there.length) continue;
    if (seen === undefined) {
      expect({
        read: r.id,
        block,
        stamp,
        nobodys: stamp !== undefined && (stamp === 0 || old.has(stamp)),
        missing: sure.map((w) => w.id),
      }).toMatchObject({
        nobodys: true,
        missing: [],
      });
      continue;
    }
    expect(there).toContain(seen);
    for (const w of sure) if (w !== seen) after.get(w)?.add(seen);
  }
}

function checkOrder(asked: readonly Asked[], old: ReadonlySet<number>): void {
  const writes = asked.filter((a) => a.kind === 'write');
  const byId = new Map(writes.map((w) => [w.id, w]));
  const after = new Map(writes.map((x) => [x, new Set(writes.filter((y) => x !== y && isBefore(x, y, writes)))]));
  for (const r of asked) if (r.kind === 'read') checkRead(r, writes, byId, after, old);
  // No order of them all: some are before each other.
  const done = new Set<Asked>();
  const path: Asked[] = [];
  const walk = (x: Asked): void => {
    if (done.has(x)) return;
    if (path.includes(x)) {
      const story = [...path.slice(path.indexOf(x)), x].map((a) => ({ ...a, data: undefined }));
      throw new Error(`M4: each is before the next: ${JSON.stringify(story)} of ${JSON.stringify(writes.map((a) => ({ ...a, data: undefined })))}`);
    }
    path.push(x);
    for (const y of after.get(x) ?? []) walk(y);
    path.pop();
    done.add(x);
  };
  for (const w of writes) walk(w);
}

interface Mood {
  long: boolean;
  /** Halves of requests, and clients that take no answers for a while. */
  odd: boolean;
  /** What is told. */
  others: boolean;
  /** Ends the serving in the midst. */
  flips: boolean;
}

class Round {
  readonly #p: Party;
  readonly #c: Chance;
  readonly #mood: Mood;
  readonly #first: number;
  readonly #blocks: number;
  readonly #depth: number;

  constructor(p: Party, c: Chance, mood: Mood) {
    this.#p = p;
    this.#c = c;
    this.#mood = mood;
    const long = mood.long && c.below(2) === 0;
    this.#blocks = long ? 600 + c.below(2000) : 8 + c.below(100);
    // Often about a border of regions.
    const per = REGION / BLOCK;
    const border = (1 + c.below(6)) * per - c.below(this.#blocks);
    this.#first = Math.max(0, Math.min(border, FORBIDDEN * per - this.#blocks));
    this.#depth = 1 + c.below(c.below(3) === 0 ? 32 : 4);
  }

  async run(old: Set<number>): Promise<void> {
    this.#p.asked = [];
    const steps = 12 + this.#c.below(28);
    let flip = Promise.resolve();
    let flips = this.#mood.flips && this.#c.below(3) === 0 ? this.#c.below(steps) : -1;
    for (let i = 0; i < steps; i += 1) {
      if (i === flips) {
        flips = -1;
        flip = this.#p.unserve().then(() => {
          this.#p.serve();
        });
      }
      await this.#step(this.#p.talker(this.#c.below(this.#p.talkers.length)));
    }
    await this.#settle();
    await flip;
    const last = this.#p.talker(this.#c.below(this.#p.talkers.length));
    await this.#read(last, this.#first, this.#first + Math.min(this.#blocks, 64));
    await last.answers();
    const sent = this.#p.tick();
    const data = await this.#p.bytes(this.#first, this.#first + this.#blocks);
    const leg = {
      who: -1,
      kind: 'read',
      from: this.#first,
      to: this.#first + this.#blocks,
      id: 0,
      sent,
      came: 0,
      answered: this.#p.tick(),
      data,
    } as const;
    checkOrder([...this.#p.asked, leg], old);
    for (const a of this.#p.asked) if (a.kind === 'write') old.add(a.id);
  }

  async #settle(): Promise<void> {
    for (const t of this.#p.talkers) {
      if (t.isDeaf) t.hears();
      await t.sendRest();
    }
    await Promise.all(this.#p.talkers.map((t) => t.answers()));
  }

  async #step(t: Talker): Promise<void> {
    const c = this.#c;
    if (t.hasRest()) {
      await t.sendRest();
      return;
    }
    if (t.isDeaf && c.below(6) === 0) t.hears();
    if (t.open >= this.#depth) {
      if (t.isDeaf) t.hears();
      await t.answer();
    }
    await this.#ask(t);
    switch (c.below(5)) {
      case 0: {
        const other = this.#p.talker(c.below(this.#p.talkers.length));
        if (!other.isDeaf && !other.hasRest() && other.open > 0) await (c.below(2) === 0 ? other.answers() : other.answer());
        return;
      }
      case 1:
        if (!t.isDeaf && !t.hasRest()) await t.answers();
        return;
      case 2:
        await new Promise(setImmediate);
        return;
      default:
        if (this.#mood.odd && c.below(12) === 0 && !t.hasRest()) t.deaf();
    }
  }

  async #ask(t: Talker): Promise<void> {
    const c = this.#c;
    const most = c.below(2) === 0 ? 8 : this.#mood.long ? LONGEST_BLOCKS : 48;
    const length = 1 + c.below(Math.min(most, this.#blocks));
    const from = this.#first + c.below(this.#blocks - length + 1);
    const dice = c.below(100);
    if (dice < 20) {
      await this.#read(t, from, from + Math.min(length, this.#mood.long ? READ_MOST_BLOCKS : 64));
      return;
    }
    if (this.#mood.others && dice < 23) {
      const flush = c.below(2) === 0;
      await t.ask(
        'other',
        flush ? { cmd: NBD_CMD_FLUSH } : { cmd: NBD_CMD_TRIM, offset: from * BLOCK, length: length * BLOCK },
        from,
        from + length,
        0,
      );
      return;
    }
    const id = this.#p.id();
    if (this.#mood.others && dice < 25) {
      // Of no interest to the others, but told.
      const at = (FORBIDDEN * REGION) / BLOCK;
      await t.ask('write', { cmd: NBD_CMD_WRITE, offset: at * BLOCK, payload: stamped(id, at, at + 2) }, at, at + 2, id);
      return;
    }
    const flags = this.#mood.others && dice < 27 ? NBD_CMD_FLAG_FUA : 0;
    const request = { cmd: NBD_CMD_WRITE, flags, offset: from * BLOCK, payload: stamped(id, from, from + length) };
    const bytes = 28 + length * BLOCK;
    const cut = this.#mood.odd && c.below(15) === 0 ? (c.below(3) === 0 ? c.below(29) : c.below(bytes)) : undefined;
    await t.ask('write', request, from, from + length, id, cut);
  }

  async #read(t: Talker, from: number, to: number): Promise<void> {
    await t.ask('read', read(from * BLOCK, (to - from) * BLOCK), from, to, 0);
  }
}

/** Lets marks go while all of them write: nothing is written then, and what was is known (M1, M5). */
class Keeper {
  readonly #p: Party;
  readonly #c: Chance;
  readonly #kept = new Map<number, Uint8Array>();
  #on = true;
  letGo = 0;
  refused = 0;
  readonly ended: Promise<void>;

  constructor(p: Party, c: Chance) {
    this.#p = p;
    this.#c = c;
    this.ended = this.#run();
  }

  async end(): Promise<void> {
    this.#on = false;
    await this.ended;
  }

  async #run(): Promise<void> {
    while (this.#on) {
      if (this.#p.open === 0 && this.#c.below(4) === 0) await this.#try(this.#c.below(10));
      await new Promise(setImmediate);
    }
  }

  async #try(region: number): Promise<void> {
    const { known, marks } = this.#p;
    let open = (): void => undefined;
    this.#p.gate = new Promise((resolve) => {
      open = resolve;
    });
    if (this.#c.below(2) === 0) {
      marks.take((first, last) => {
        for (let r = first; r <= last; r += 1) known.add(r);
      });
    }
    if (marks.letGo(region)) {
      const [from, to] = [(region * REGION) / BLOCK, ((region + 1) * REGION) / BLOCK];
      const now = await this.#p.bytes(from, to);
      const before = this.#kept.get(region) ?? new Uint8Array(REGION);
      expect({ region, changed: Buffer.compare(now, before) !== 0 && !known.has(region) }).toEqual({ region, changed: false });
      await new Promise(setImmediate);
      const later = await this.#p.bytes(from, to);
      expect({ region, same: Buffer.compare(now, later) }).toEqual({ region, same: 0 });
      this.#kept.set(region, now);
      known.delete(region);
      this.letGo += 1;
      marks.allow(region);
    } else this.refused += 1;
    open();
  }
}

/** Rounds of a party of its own; says how many were served, and told. */
async function campaign(rig: Rig, seed: number, clients: number, rounds: number, mood: Mood, wire: WireParams, keeps: boolean): Promise<Sums> {
  const p = await Party.of(rig, clients, wire);
  const c = new Chance(seed);
  const keeper = keeps ? new Keeper(p, new Chance(seed + 1)) : undefined;
  const old = new Set<number>();
  for (let i = 0; i < rounds; i += 1) {
    try {
      await new Round(p, c, mood).run(old);
    } catch (e: unknown) {
      throw new Error(`seed ${String(seed)}, round ${String(i)}`, { cause: e });
    }
  }
  await keeper?.end();
  await rig.until(() => p.open === 0);
  await p.unserve();
  for (const t of p.talkers) expect(t.served + t.conn.requests.length).toBe(t.asked.length);
  for (const t of p.talkers) t.client.peer.destroy();
  await rig.until(() => p.talkers.every((t) => t.conn.closed !== undefined));
  await p.hub.engine.closeLeg(p.leg);
  return { served: p.talkers.reduce((n, t) => n + t.served, 0), told: p.told, letGo: keeper?.letGo ?? 0, refused: keeper?.refused ?? 0 };
}

interface Sums {
  served: number;
  told: number;
  letGo: number;
  refused: number;
}

const PLAIN: Mood = { long: false, odd: false, others: false, flips: false };

/** Of an engine that executes what it takes in the order in which it came. */
export function describeServedTogetherHard(inRig: InRig): void {
  describe('connections served together, tried hard', () => {
    const many = (name: string, moods: (clients: number) => Mood, rounds: number, keeps: boolean, check: (s: Sums) => void): void => {
      it(
        name,
        inRig(async (rig) => {
          const sums: Sums = { served: 0, told: 0, letGo: 0, refused: 0 };
          await fc.assert(
            fc.asyncProperty(
              fc.nat(),
              fc.integer({ min: 2, max: 4 }),
              fc.constantFrom(...BOTH.map(([, wire]) => wire)),
              async (seed, clients, wire) => {
                const s = await campaign(rig, seed, clients, rounds, moods(clients), wire, keeps);
                for (const k of ['served', 'told', 'letGo', 'refused'] as const) sums[k] += s[k];
              },
            ),
            { numRuns: keeps ? 8 : 4, endOnFailure: true },
          );
          check(sums);
        }),
      );
    };
    const isServed = (s: Sums): void => {
      expect(s.served).toBeGreaterThan(300);
    };
    for (const [how, cut, thenHears] of [
      ['in a header', (): number => 17, true],
      ['after the header of a long write', (): number => 28, true],
      ['in a long write', (bytes: number): number => bytes - 200 * KIB, true],
      ['in a short write', (): number => 3000, true],
      ['taking no answers', undefined, true],
      ['taking no answers, and leaves', undefined, false],
    ] as const) {
      it(
        `do not wait for one that has stopped ${how}`,
        inRig(async (rig) => {
          const p = await Party.of(rig, 4);
          const [slow, ...quick] = p.talkers;
          const c = new Chance(7);
          if (slow === undefined) throw new Error('there is nobody');
          const [from, to] = [100, 100 + LONGEST_BLOCKS];
          const write = async (t: Talker, first: number, end: number, at?: number): Promise<Asked> => {
            const id = p.id();
            return await t.ask('write', { cmd: NBD_CMD_WRITE, offset: first * BLOCK, payload: stamped(id, first, end) }, first, end, id, at);
          };
          for (const t of p.talkers) {
            for (let tries = 0; t.hub.engine.served(t.conn.id) === 0 && tries < 300; tries += 1) {
              await write(t, from, from + 1);
              await t.answers();
            }
            expect(t.hub.engine.served(t.conn.id)).toBeGreaterThan(0);
          }
          if (cut === undefined) {
            slow.deaf();
            for (let i = 0; i < 100; i += 1) {
              const blocks = i % 4 === 0 ? READ_MOST_BLOCKS : 64;
              await slow.ask('read', read(0, blocks * BLOCK), 0, blocks, 0);
            }
          } else {
            await write(slow, from, from + 8);
            const short = how === 'in a short write';
            const end = short ? from + 64 : to;
            await write(slow, from, end, cut(28 + (end - from) * BLOCK));
          }
          const took: number[] = [];
          for (let i = 0; i < 40; i += 1) {
            const [a, b] = [quick[i % 3], quick[(i + 1) % 3]];
            if (a === undefined || b === undefined) throw new Error('there is nobody');
            const since = rig.io.clock.now();
            const first = from + c.below(900);
            for (const t of [a, b, b]) {
              await write(t, first, first + 1 + c.below(i % 4 === 0 ? 800 : 24));
              if (t === b) await b.answers();
            }
            await a.answers();
            took.push(rig.io.clock.now() - since);
            if (cut !== undefined) await slow.sendPiece(2 * KIB);
          }
          // Half of them, since nobody knows what else the machine does.
          expect(took.sort((x, y) => x - y)[20]).toBeLessThan(100);
          if (thenHears) {
            slow.hears();
            await slow.sendRest();
            await slow.answers();
          } else {
            slow.client.peer.destroy();
            await rig.until(() => slow.conn.closed !== undefined);
          }
          const sent = p.tick();
          const data = await p.bytes(from, to + 1000);
          const leg = { who: -1, kind: 'read', from, to: to + 1000, id: 0, sent, came: 0, answered: p.tick(), data } as const;
          checkOrder([...p.asked.filter((x) => x.answered > 0), leg], new Set());
          await rig.until(() => p.open === 0);
          await p.unserve();
          for (const t of quick) expect(t.served + t.conn.requests.length).toBe(t.asked.length);
        }),
      );
    }
    many('have one order of all that they write, and read nothing that has passed', () => PLAIN, 40, false, isServed);
    many('have it however long the writes are', () => ({ ...PLAIN, long: true }), 12, false, isServed);
    many('have it where some is told, and where the serving ends in the midst', () => ({ ...PLAIN, others: true, flips: true }), 30, false, isServed);
    many(
      'have it where requests come in halves and answers are taken late, and everything is answered',
      () => ({ ...PLAIN, odd: true, others: true, long: true }),
      15,
      false,
      isServed,
    );
    many(
      'write nothing where a mark was let go, and all that they have written is known then',
      () => ({ ...PLAIN, long: true }),
      12,
      true,
      (s) => {
        expect(s.letGo).toBeGreaterThan(5);
        expect(s.refused).toBeGreaterThan(5);
      },
    );
  });
}
