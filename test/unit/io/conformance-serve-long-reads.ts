/**
 * Long READs of connections that are served with marks. An engine may send what the leg has there, as it is when it leaves, without taking it
 * first (the native one does, where the leg is in memory). So what is asked of every answer is that of NBD, and no more:
 *
 *   sent ----------- the leg, at some moment of it, byte by byte ----------- received whole, once
 *
 * A write is over for a read when another one of the same block came after it and was answered before the read was sent; or, of an engine that
 * executes in the order in which it came, was sent before the read by the same client. A read holds nothing that is over for it.
 */
import { readdirSync, statfsSync } from 'node:fs';
import { release, tmpdir } from 'node:os';
import { describe, expect, it } from 'vitest';
import type { EngineHub } from '../../../src/io/hub.ts';
import { nodeClock } from '../../../src/io/node/clock.ts';
import type { ServeRules } from '../../../src/io/serve.ts';
import { type ConnLimits, Errno, IoError, type LegId, type WireParams } from '../../../src/io/types.ts';
import { ServedMarks } from '../../../src/mirror/served-marks.ts';
import { NBD_CMD_FLUSH, NBD_CMD_READ, NBD_CMD_WRITE, NBD_EINVAL } from '../../../src/nbd/wire/constants.ts';
import { Chance } from '../../support/chance.ts';
import { Asker, BLOCK, BOTH, KIB } from './conformance-serve-marks.ts';
import type { InRig } from './engine-conformance.ts';
import { Connection, expectBytes, type RawRequest, type Rig, ROOMY, type SeenRequest, SIMPLE, STRUCTURED, takeBytes, WAIT_MS } from './engine-rig.ts';
import { PullSocket } from '../../../src/io/pull-socket.ts';

const SIZE = 2048 * KIB;
const BLOCKS = SIZE / BLOCK;
const REGION = 64 * KIB;
const WORDS = BLOCK / 4;
/** In blocks: the shortest that is long, the longest that is answered without telling, and the longest that is answered at all. */
const LONG = (48 * KIB) / BLOCK;
const LONGEST = (256 * KIB) / BLOCK;
const MOST = SIMPLE.payloadMaxBytes / BLOCK;
const DEPTH = 8;
/** So many long ones are more than sockets, pipes and buffers hold. */
const MANY = 40;
/** An engine that takes its chances has served some when so many were asked for; each chance that came to nothing is followed by a longer wait. */
const ASKED_MOST = 8000;
/** ext4, XFS, Btrfs, tmpfs. Others may have what they hold somewhere else than Linux looks, such as overlayfs. */
const IN_PAGE_CACHE = [0xef53, 0x58465342, 0x9123683e, 0x01021994];

/** Whether the native engine can answer long ones without telling: Linux has to say what is in memory, which it does since 6.5. */
function isServedHere(): boolean {
  const [major = 0, minor = 0] = release().split('.').map(Number);
  return (major > 6 || (major === 6 && minor >= 5)) && IN_PAGE_CACHE.includes(statfsSync(tmpdir()).type);
}

/** Where time is the machine's, much can be asked for; simulated networks take it apart. */
const isFast = (rig: Rig): boolean => rig.io.clock === nodeClock;

/** Other chances than those that are always taken: to hunt with. */
const SEED = Number(process.env['NETRAID_SEED'] ?? '0');
let made = 0;

// ------------------------------------------------------------------------------------------------------ what may be read

interface Asked {
  who: number;
  cookie: number;
  kind: 'read' | 'write' | 'flush';
  /** In blocks. */
  from: number;
  to: number;
  /** Of a write: what it writes. */
  id: number;
  fails: boolean;
  /** When, all counted in one. */
  sent: number;
  answered: number;
}

function wordOf(id: number, block: number, i: number): number {
  return (Math.imul(id + 1, 0x9e3779b1) ^ Math.imul(block + 1, 0x85ebca6b) ^ Math.imul(i + 1, 0xc2b2ae35)) >>> 0;
}

function contents(id: number, from: number, to: number): Uint8Array {
  const words = new Uint32Array((to - from) * WORDS);
  for (let at = 0; at < words.length; at += 1) words[at] = wordOf(id, from + Math.floor(at / WORDS), at % WORDS);
  return new Uint8Array(words.buffer);
}

/** What is being written may be there in part. */
function isMixture(word: number, of: readonly number[]): boolean {
  return [0xff, 0xff00, 0xff0000, 0xff000000].every((byte) => of.some((w) => ((w ^ word) & byte) === 0));
}

/** All that was written, block by block, and so what a read may hold. */
class Ledger {
  readonly #inOrder: boolean;
  readonly #writes = new Map<number, Asked[]>();
  /** Of what nobody has written yet: what writes of this number would, or zeroes. */
  readonly #first: number | undefined;
  #now = 0;
  #id = 0;

  constructor(inOrder: boolean, first: number | undefined) {
    this.#inOrder = inOrder;
    this.#first = first;
  }

  tick(): number {
    this.#now += 1;
    return this.#now;
  }

  id(): number {
    this.#id += 1;
    return this.#id;
  }

  note(w: Asked): void {
    for (let b = w.from; b < w.to; b += 1) {
      const there = this.#writes.get(b);
      if (there === undefined) this.#writes.set(b, [w]);
      else there.push(w);
    }
  }

  #isBefore(x: Asked, y: Asked): boolean {
    return (x.answered > 0 && x.answered < y.sent) || (this.#inOrder && x.who === y.who && x.cookie < y.cookie);
  }

  /** Undefined: what the leg held in the beginning. */
  #possible(r: Asked, block: number): (Asked | undefined)[] {
    const there = this.#writes.get(block) ?? [];
    const sure = there.filter((w) => this.#isBefore(w, r));
    const alive = there.filter((w) => !sure.some((later) => this.#isBefore(w, later)));
    return sure.length === 0 ? [undefined, ...alive] : alive;
  }

  #word(w: Asked | undefined, block: number, i: number): number {
    const id = w === undefined ? this.#first : w.id;
    return id === undefined ? 0 : wordOf(id, block, i);
  }

  check(r: Asked, data: Uint8Array): void {
    expect(data.length).toBe((r.to - r.from) * BLOCK);
    const aligned = data.byteOffset % 4 === 0 ? data : data.slice();
    const read = new Uint32Array(aligned.buffer, aligned.byteOffset, aligned.length / 4);
    for (let block = r.from; block < r.to; block += 1) {
      const possible = this.#possible(r, block);
      const [first] = possible;
      for (let i = 0; i < WORDS; i += 1) {
        const word = read[(block - r.from) * WORDS + i] ?? 0;
        if (word === this.#word(first, block, i)) continue;
        const words = possible.map((w) => this.#word(w, block, i));
        if (isMixture(word, words)) continue;
        const there = (this.#writes.get(block) ?? []).filter((w) => word === wordOf(w.id, block, i));
        throw new Error(
          `${JSON.stringify(r)} has in word ${String(i)} of block ${String(block)} ${word.toString(16)}, of ${JSON.stringify(there)}, not one of ${JSON.stringify(possible)}`,
        );
      }
    }
  }
}

// ------------------------------------------------------------------------------------------------------ who asks, and who answers

/** One client. */
class Guest {
  readonly who: number;
  readonly conn: Connection;
  readonly client: Asker;
  readonly rules: ServeRules;
  readonly asked: Asked[] = [];
  /** Of servings that have ended. */
  servedBefore = 0;
  taken = 0;
  #isGivenUp = false;
  readonly #host: Host;

  constructor(host: Host, who: number, rules: ServeRules, conn: Connection, client: Asker) {
    this.#host = host;
    this.who = who;
    this.rules = rules;
    this.conn = conn;
    this.client = client;
  }

  get open(): number {
    return this.asked.length - this.taken;
  }

  get served(): number {
    return this.#host.hub.engine.served(this.conn.id);
  }

  #bytes(kind: Asked['kind'], request: RawRequest, from: number, to: number, id: number, fails = false): Uint8Array {
    const { ledger } = this.#host;
    const a: Asked = { who: this.who, cookie: this.asked.length, kind, from, to, id, fails, sent: ledger.tick(), answered: 0 };
    this.asked.push(a);
    if (kind === 'write') ledger.note(a);
    return this.client.bytes([request]);
  }

  readBytes(from: number, blocks: number): Uint8Array {
    const fails = from + blocks > BLOCKS;
    return this.#bytes('read', { cmd: NBD_CMD_READ, offset: from * BLOCK, length: blocks * BLOCK }, from, from + blocks, 0, fails);
  }

  writeBytes(from: number, blocks: number): Uint8Array {
    const id = this.#host.ledger.id();
    const payload = contents(id, from, from + blocks);
    return this.#bytes('write', { cmd: NBD_CMD_WRITE, offset: from * BLOCK, payload }, from, from + blocks, id);
  }

  flushBytes(): Uint8Array {
    return this.#bytes('flush', { cmd: NBD_CMD_FLUSH }, 0, 0, 0);
  }

  send(bytes: Uint8Array): void {
    this.client.peer.write(bytes);
  }

  reads(from: number, blocks: number): void {
    this.send(this.readBytes(from, blocks));
  }

  writes(from: number, blocks: number): void {
    this.send(this.writeBytes(from, blocks));
  }

  /** Somewhere, and long. */
  readsLong(c: Chance, longest = LONGEST): void {
    const blocks = LONG + c.below(longest - LONG + 1);
    this.reads(c.below(BLOCKS - blocks + 1), blocks);
  }

  /** The next answer. */
  async take(): Promise<void> {
    const { cookie, error, data } = await this.client.answer();
    const a = this.asked[cookie];
    if (a === undefined) throw new Error(`answer ${String(cookie)} to what was not asked`);
    if (this.#host.inOrder) expect({ who: this.who, cookie }).toEqual({ who: this.who, cookie: this.taken });
    expect({ who: this.who, cookie, error, answered: a.answered }).toEqual({ who: this.who, cookie, error: a.fails ? NBD_EINVAL : 0, answered: 0 });
    a.answered = this.#host.ledger.tick();
    this.taken += 1;
    if (a.kind === 'read' && !a.fails) this.#host.ledger.check(a, data);
  }

  async takeAll(): Promise<void> {
    while (this.open > 0) await this.take();
  }

  /** Whole ones, up to the end of the stream. */
  async takeToTheEnd(): Promise<void> {
    const { peer } = this.client;
    for (;;) {
      try {
        peer.unread(await peer.read(1, WAIT_MS));
      } catch (e: unknown) {
        if (!(e instanceof IoError) || e.errno === Errno.ETIMEDOUT) throw e;
        return;
      }
      await this.take();
    }
  }

  deaf(): void {
    this.client.peer.socket.pause();
  }

  hears(): void {
    this.client.peer.socket.resume();
  }

  /** Takes so many, a little at a time: what comes in one turn of the loop, and then nothing for some. */
  async takeSlowly(rig: Rig, count: number): Promise<void> {
    const until = this.taken + count;
    const valve = async (): Promise<void> => {
      while (this.taken < until && !this.#isGivenUp) {
        this.hears();
        await rig.turn();
        this.deaf();
        // In simulated time nothing moves before that passes.
        if (isFast(rig)) for (let i = 0; i < 3; i += 1) await rig.turn();
        else await rig.pass(1);
      }
      this.hears();
    };
    const takes = async (): Promise<void> => {
      while (this.taken < until) await this.take();
    };
    await Promise.all([
      valve(),
      takes().catch((e: unknown) => {
        this.#isGivenUp = true;
        throw e;
      }),
    ]);
  }
}

interface Wishes {
  clients?: number;
  wire?: WireParams;
  limits?: ConnLimits;
  /** Nothing was ever written to the leg. */
  sparse?: boolean;
  /** The engine executes in the order in which it came. */
  inOrder: boolean;
  hub?: EngineHub;
}

/** A leg, its clients, and what executes what is told of any of them, one after the other. */
class Host {
  readonly rig: Rig;
  readonly hub: EngineHub;
  readonly leg: LegId;
  readonly path: string;
  readonly ledger: Ledger;
  readonly inOrder: boolean;
  readonly guests: Guest[] = [];
  readonly #o: Wishes;
  readonly #marks: ServedMarks;
  #last: Promise<void> = Promise.resolve();
  told = 0;
  open = 0;

  private constructor(rig: Rig, hub: EngineHub, o: Wishes, path: string, leg: LegId) {
    this.rig = rig;
    this.hub = hub;
    this.#o = o;
    this.path = path;
    this.leg = leg;
    this.inOrder = o.inOrder;
    this.ledger = new Ledger(o.inOrder, o.sparse === true ? undefined : 0);
    this.#marks = new ServedMarks(SIZE, REGION, () => this.guests.flatMap((g) => g.rules.marks?.underWay ?? []));
    for (let r = 0; r < SIZE / REGION; r += 1) this.#marks.allow(r);
  }

  static async of(rig: Rig, o: Wishes): Promise<Host> {
    const hub = o.hub ?? rig.hub();
    made += 1;
    const path = rig.world.path(`long-reads-${String(made)}`);
    const f = await rig.io.files.open(path, { write: true, create: true });
    if (o.sparse === true) await f.truncate(SIZE);
    else {
      const bytes = contents(0, 0, BLOCKS);
      for (let at = 0; at < SIZE; ) at += await f.write(bytes.subarray(at), at);
    }
    await f.close();
    const { leg } = await hub.engine.openLeg(path, { write: true, lock: false });
    const host = new Host(rig, hub, o, path, leg);
    const clients = o.clients ?? 1;
    for (let who = 0; who < clients; who += 1) host.guests.push(await host.comes(who));
    return host;
  }

  /** One more client, in place of one that has left, perhaps. */
  async comes(who: number): Promise<Guest> {
    const wire = this.#o.wire ?? SIMPLE;
    const marks = { allowed: this.#marks.allowed, underWay: new Uint32Array(8), clients: this.#o.clients ?? 1 };
    const rules = { leg: this.leg, sizeBytes: SIZE, blockBytes: BLOCK, touched: this.#marks.touched.words, regionBytes: REGION, marks };
    const { accepted, connected } = await this.rig.pair();
    const conn = new Connection(this.hub, this.hub.engine.adopt(accepted, 'server', wire, this.#o.limits ?? ROOMY, new Uint8Array(0)));
    conn.onRequest = (r) => {
      this.#obey(conn, r);
    };
    expect(this.hub.engine.serve(conn.id, rules)).toBe(true);
    return new Guest(this, who, rules, conn, new Asker(new PullSocket(connected, this.rig.io.clock), wire));
  }

  guest(i: number): Guest {
    const g = this.guests[i];
    if (g === undefined) throw new Error(`there is no client ${String(i)}`);
    return g;
  }

  #obey(conn: Connection, r: SeenRequest): void {
    this.told += 1;
    this.open += 1;
    this.#last = this.#last.then(async () => {
      await this.#execute(conn, r);
      this.open -= 1;
    });
  }

  async #execute(conn: Connection, r: SeenRequest): Promise<void> {
    const { engine } = this.hub;
    if (conn.closed !== undefined || r.offset + r.length > SIZE) {
      if (r.h !== 0) engine.release(r.h);
      engine.reply(0, r.req, NBD_EINVAL, 0, 0, 0);
      return;
    }
    const done = await this.hub.run((op) => {
      if (r.cmd === NBD_CMD_READ) engine.read(op, this.leg, r.offset, r.length);
      else if (r.cmd === NBD_CMD_WRITE) engine.write(op, this.leg, r.offset, r.h, 0, r.length, false);
      else engine.sync(op, this.leg);
    });
    if (r.h !== 0) engine.release(r.h);
    engine.reply(0, r.req, done.errno, done.h, 0, done.h === 0 ? 0 : r.length);
    if (done.h !== 0) engine.release(done.h);
  }

  async unserve(): Promise<void> {
    const { engine } = this.hub;
    const done = await Promise.all(
      this.guests.map((g) =>
        this.hub.run((op) => {
          engine.unserve(op, g.conn.id);
        }),
      ),
    );
    for (const [i, r] of done.entries()) {
      expect(r.errno).toBe(0);
      this.guest(i).servedBefore += r.length;
    }
  }

  serve(): void {
    for (const g of this.guests) expect(this.hub.engine.serve(g.conn.id, g.rules)).toBe(true);
  }

  /** What the leg holds now, of which nobody is writing. */
  async checkLeg(): Promise<void> {
    const r = await this.hub.must('read', (op) => {
      this.hub.engine.read(op, this.leg, 0, SIZE);
    });
    const a: Asked = { who: -1, cookie: 0, kind: 'read', from: 0, to: BLOCKS, id: 0, fails: false, sent: this.ledger.tick(), answered: 0 };
    this.ledger.check(a, takeBytes(this.hub, r.h));
  }

  /** All was answered: once, and either served or told. */
  async ends(): Promise<void> {
    await this.rig.until(() => this.open === 0);
    await this.unserve();
    for (const g of this.guests) {
      expect(g.open).toBe(0);
      expect(g.client.peer.unreadBytes).toBe(0);
      expect(g.servedBefore + g.conn.requests.length).toBe(g.asked.length);
    }
    await this.checkLeg();
    await this.leave();
  }

  async leave(): Promise<void> {
    for (const g of this.guests) g.client.peer.destroy();
    await this.rig.until(() => this.guests.every((g) => g.conn.closed !== undefined));
    await this.hub.engine.closeLeg(this.leg);
  }
}

/** Sends it in pieces, none of which ends where a request does but by chance. */
async function sendCut(rig: Rig, g: Guest, stream: readonly Uint8Array[], c: Chance): Promise<void> {
  const bytes = Buffer.concat(stream);
  for (let at = 0, n = 0; at < bytes.length; n += 1) {
    const piece = 1 + c.below(c.below(3) === 0 ? 60 : 60 * KIB);
    g.send(bytes.subarray(at, at + piece));
    at += piece;
    if (n < 30) await rig.turn();
  }
}

/** Of all kinds, of which most are long reads. */
function some(g: Guest, c: Chance): Uint8Array {
  const dice = c.below(100);
  if (dice < 50) {
    const blocks = LONG + c.below(LONGEST - LONG + 1);
    return g.readBytes(c.below(BLOCKS - blocks + 1), blocks);
  }
  if (dice < 55) return g.readBytes(c.below(BLOCKS - MOST + 1), LONGEST + c.below(MOST - LONGEST + 1));
  if (dice < 70) return g.readBytes(c.below(BLOCKS - LONG), 1 + c.below(LONG));
  if (dice < 73) return g.readBytes(BLOCKS - c.below(LONG), LONG + c.below(LONG));
  if (dice < 76) return g.flushBytes();
  const blocks = 1 + c.below(dice < 94 ? 16 : 2 * LONG);
  return g.writeBytes(c.below(BLOCKS - blocks + 1), blocks);
}

/** Always has as many under way, from the first one on, until it is enough of them; says whether it was. */
async function keepsAsking(g: Guest, c: Chance, most: number, isEnough: () => boolean, others: boolean, longest = LONGEST): Promise<boolean> {
  for (let i = 0; i < most && !isEnough(); i += 1) {
    while (g.open < DEPTH) {
      const dice = others ? c.below(200) : 200;
      if (dice === 0) g.send(g.flushBytes());
      else if (dice < 15) g.writes(c.below(BLOCKS - 16), 1 + c.below(16));
      else g.readsLong(c, longest);
    }
    await g.take();
  }
  const was = isEnough();
  await g.takeAll();
  return was;
}

/** Each of them, one after the other, until it is asked without being told. */
async function untilServed(host: Host): Promise<void> {
  for (const g of host.guests) {
    const before = g.served;
    for (let i = 0; i < 300 && g.served === before; i += 1) {
      g.writes(i, 1);
      await g.takeAll();
    }
    expect(g.served).toBeGreaterThan(before);
  }
}

const openFiles = (): number => readdirSync('/proc/self/fd').length;

// ------------------------------------------------------------------------------------------------------ the tests

/** Alone, of every engine; together, of one that executes in the order in which it came (`inOrder`), and serves several only then. */
export function describeServeLongReads(inRig: InRig, inOrder: boolean): void {
  describe('long reads of a served connection', () => {
    /** Whether one that can be served without telling is. */
    const isServed = inOrder && isServedHere();

    for (const [name, wire] of BOTH) {
      it(
        `are answered with what the leg holds, wherever they begin and end (${name})`,
        inRig(async (rig) => {
          const host = await Host.of(rig, { wire, inOrder });
          const g = host.guest(0);
          const c = new Chance(SEED + 1);
          for (let i = 0; i < (isFast(rig) ? 60 : 8); i += 1) {
            // About the borders of pages as well.
            const blocks = [LONG, LONG + 1, LONGEST - 1, LONGEST, LONG + c.below(LONGEST - LONG)][i % 5] ?? LONG;
            const from = i % 2 === 0 ? c.below(9) : BLOCKS - blocks - c.below(9);
            g.reads(from, blocks);
            await g.take();
          }
          if (isServed) expect(host.told).toBeLessThan(10);
          await host.ends();
        }),
      );

      it(
        `are answered in one stream with all else that is asked, however it is cut (${name})`,
        inRig(async (rig) => {
          for (let seed = 1; seed <= (isFast(rig) ? 8 : 2); seed += 1) {
            const host = await Host.of(rig, { wire, inOrder });
            const g = host.guest(0);
            const c = new Chance(SEED + seed);
            const stream = Array.from({ length: isFast(rig) ? 60 : 12 }, () => some(g, c));
            await Promise.all([sendCut(rig, g, stream, c), seed % 2 === 0 ? g.takeAll() : g.takeSlowly(rig, stream.length)]);
            await host.ends();
          }
        }),
      );
    }

    it(
      'have what holes have, and what is written into them',
      inRig(async (rig) => {
        const host = await Host.of(rig, { inOrder, sparse: true, wire: STRUCTURED });
        const g = host.guest(0);
        const c = new Chance(SEED + 2);
        for (let i = 0; i < (isFast(rig) ? 80 : 10); i += 1) {
          if (i % 3 === 2) g.writes(c.below(BLOCKS - 8), 1 + c.below(8));
          else if (i % 5 === 3) g.reads(c.below(BLOCKS - 8), 8);
          else g.readsLong(c);
          if (i % 4 === 3) await g.takeAll();
        }
        await g.takeAll();
        await host.ends();
      }),
    );

    it(
      'are an error where the leg has become shorter, and those around them are answered',
      inRig(async (rig) => {
        const host = await Host.of(rig, { inOrder });
        const g = host.guest(0);
        g.reads(0, LONG);
        await g.takeAll();
        const shorter = SIZE / 2;
        await host.hub.engine.setLegSize(host.leg, shorter);
        const errors: number[] = [];
        for (const from of [0, BLOCKS / 2 - LONG, BLOCKS / 2 - LONG + 1, BLOCKS / 2 - 1, BLOCKS / 2, BLOCKS - LONG, 7]) {
          g.send(g.client.bytes([{ cmd: NBD_CMD_READ, offset: from * BLOCK, length: LONG * BLOCK }]));
          const a = await g.client.answer();
          errors.push(a.error === 0 ? 0 : 1);
          if (a.error === 0) expectBytes(a.data, contents(0, from, from + LONG));
        }
        expect(errors).toEqual([0, 0, 1, 1, 1, 1, 0]);
        await rig.until(() => host.open === 0);
        await host.unserve();
        await host.leave();
      }),
    );

    it(
      'reach a client that takes them late, or little by little',
      inRig(async (rig) => {
        const host = await Host.of(rig, { inOrder });
        const g = host.guest(0);
        const c = new Chance(SEED + 3);
        const many = isFast(rig) ? MANY : 8;
        for (let round = 0; round < 3; round += 1) {
          g.reads(0, 8);
          await g.takeAll();
          g.deaf();
          for (let i = 0; i < many; i += 1) g.readsLong(c);
          await rig.settle();
          g.writes(c.below(BLOCKS - 8), 8);
          if (round === 1) await g.takeSlowly(rig, many / 2);
          g.hears();
          await g.takeAll();
        }
        await host.ends();
      }),
    );

    for (const [how, ends] of [
      [
        'unserved',
        async (host: Host): Promise<void> => {
          await host.unserve();
        },
      ],
      [
        'unserved and served again',
        async (host: Host): Promise<void> => {
          await host.unserve();
          host.serve();
        },
      ],
    ] as const) {
      for (const slowly of [false, true]) {
        it(
          `reach a client that is ${how} in the midst of them${slowly ? ', and takes them little by little' : ''}`,
          inRig(async (rig) => {
            const c = new Chance(SEED + 4);
            for (const count of isFast(rig) ? [1, 2, 3, 5, MANY] : [3]) {
              const host = await Host.of(rig, { inOrder, wire: count % 2 === 0 ? SIMPLE : STRUCTURED });
              const g = host.guest(0);
              for (let round = 0; round < 3; round += 1) {
                g.reads(0, 8);
                await g.takeAll();
                g.deaf();
                for (let i = 0; i < count; i += 1) g.readsLong(c);
                for (let i = c.below(4); i > 0; i -= 1) await rig.turn();
                await ends(host);
                if (slowly) await g.takeSlowly(rig, count);
                g.hears();
                await g.takeAll();
                if (how === 'unserved') host.serve();
              }
              await host.ends();
            }
          }),
        );
      }
    }

    for (const [how, ends] of [
      [
        'its connection is closed',
        (host: Host): void => {
          host.hub.engine.close(host.guest(0).conn.id, 0);
        },
      ],
      [
        'its connection takes no more, and then is closed',
        (host: Host): void => {
          host.hub.engine.stopReceiving(host.guest(0).conn.id);
          host.hub.engine.close(host.guest(0).conn.id, 0);
        },
      ],
      [
        'it ends its half of the stream',
        (host: Host): void => {
          host.guest(0).client.peer.end();
        },
      ],
    ] as const) {
      // What is told is answered too late then. Node ends a socket by itself, in the midst of what is still being given to it.
      if (how === 'it ends its half of the stream' && !inOrder) continue;
      it(
        `reach a client that has them under way when ${how}, whole, and then the end`,
        inRig(async (rig) => {
          const c = new Chance(SEED + 5);
          for (const count of isFast(rig) ? [1, 2, 3, 5, MANY] : [3]) {
            for (let turns = 0; turns < 3; turns += 1) {
              const host = await Host.of(rig, { inOrder });
              const g = host.guest(0);
              g.reads(0, 8);
              await g.takeAll();
              g.deaf();
              for (let i = 0; i < count; i += 1) g.readsLong(c);
              for (let i = 0; i < 4 * turns; i += 1) await rig.turn();
              if (turns === 2) await rig.settle();
              const before = g.served;
              ends(host);
              g.hears();
              await g.takeToTheEnd();
              await rig.until(() => g.conn.closed !== undefined);
              expect(g.conn.closed).toBe(0);
              await host.unserve();
              // What was told, and answered too late, is not.
              expect(g.taken).toBeGreaterThanOrEqual(before - 1);
              expect(g.taken).toBeLessThanOrEqual(g.servedBefore + g.conn.requests.length);
              await rig.until(() => host.open === 0);
              g.client.peer.destroy();
              await host.hub.engine.closeLeg(host.leg);
            }
          }
        }),
      );
    }

    it(
      'end with a client that leaves in the midst of them, and nobody else notices',
      inRig(async (rig) => {
        const c = new Chance(SEED + 6);
        const other = await Host.of(rig, { inOrder });
        const spared = other.guest(0);
        for (let round = 0; round < (isFast(rig) ? 12 : 3); round += 1) {
          const host = await Host.of(rig, { inOrder, hub: other.hub });
          const g = host.guest(0);
          g.reads(0, 8);
          await g.takeAll();
          if (round % 2 === 0) g.deaf();
          for (let i = 0; i <= round; i += 1) g.readsLong(c);
          spared.readsLong(c);
          // In the midst of an answer, with or without its header.
          if (round % 2 === 1) await g.client.peer.read(8 + c.below(40 * KIB), WAIT_MS);
          if (round % 3 === 0) await rig.settle();
          await host.leave();
          spared.writes(c.below(BLOCKS - 8), 8);
          await spared.takeAll();
          await host.unserve();
        }
        await other.ends();
      }),
    );

    it(
      'of one that always has several under way go on for as long as it asks',
      inRig(async (rig) => {
        for (const [seed, others] of [
          [1, false],
          [2, true],
        ] as const) {
          const host = await Host.of(rig, { inOrder });
          const g = host.guest(0);
          const many = isFast(rig) ? 60 : 12;
          const was = await keepsAsking(g, new Chance(SEED + seed), isServed ? ASKED_MOST : many, () => isServed && g.served >= many, others);
          expect(was).toBe(isServed);
          await host.ends();
        }
      }),
    );

    it(
      'of clients that wait for each other for the room that all of them have are answered, and others have it after them',
      inRig(async (rig) => {
        const hub = rig.hub();
        const limits: ConnLimits = { ...ROOMY, shared: { ownBytes: 128 * KIB, allBytesMax: 512 * KIB } };
        const hosts: Host[] = [];
        for (let i = 0; i < 3; i += 1) hosts.push(await Host.of(rig, { inOrder, hub, limits }));
        const fast = isFast(rig);
        for (let round = 0; round < (fast ? 6 : 2); round += 1) {
          await Promise.all(hosts.map((h, i) => keepsAsking(h.guest(0), new Chance(SEED + 10 * round + i), fast ? 60 : 6, () => false, true)));
        }
        // Each by itself, with the others waiting for nothing.
        for (const h of hosts) await keepsAsking(h.guest(0), new Chance(SEED + 99), fast ? 30 : 3, () => false, false);
        for (const h of hosts) await h.ends();
      }),
    );
  });
  if (inOrder) describeTogether(inRig);
}

function describeTogether(inRig: InRig): void {
  describe('long reads of connections that are served together', () => {
    const isServed = isServedHere();
    const inOrder = true;

    for (const clients of [2, 3]) {
      for (const others of [false, true]) {
        it(
          `go on for as long as each of ${String(clients)} asks, which always have several under way${others ? ', and write and flush in between' : ''}`,
          inRig(async (rig) => {
            const host = await Host.of(rig, { clients, inOrder, wire: others ? STRUCTURED : SIMPLE });
            // Those that have enough go on with the others. What all have under way has to be taken by this one process in some milliseconds, and
            // after each time that they are not it takes more of them: on a busy machine few are served where a flush ends that.
            const isEnough = (): boolean => isServed && host.guests.every((g) => g.served >= (others ? 1 : MANY));
            const most = isServed ? ASKED_MOST : MANY;
            const was = await Promise.all(host.guests.map((g) => keepsAsking(g, new Chance(SEED + g.who), most, isEnough, others, LONG + 8)));
            expect(was).toEqual(was.map(() => isServed));
            await host.ends();
          }),
        );
      }

      it(
        `of ${String(clients)} go on while one takes nothing, and it gets all of them in the end`,
        inRig(async (rig) => {
          const host = await Host.of(rig, { clients, inOrder });
          const [slow, ...quick] = host.guests;
          if (slow === undefined) throw new Error('there is nobody');
          const c = new Chance(SEED + 20 + clients);
          for (const count of [1, 2, 3, 5, MANY]) {
            await untilServed(host);
            slow.deaf();
            for (let i = 0; i < count; i += 1) slow.reads(c.below(BLOCKS - LONGEST), LONGEST);
            for (let i = 0; i < 20; i += 1) {
              for (const g of quick) g.writes(c.below(64), 1 + c.below(64));
              for (const g of quick) await g.takeAll();
            }
            await Promise.all(quick.map((g) => keepsAsking(g, c, 60, () => false, true)));
            slow.hears();
            await slow.takeAll();
          }
          await host.ends();
        }),
      );
    }

    for (const [how, ends] of [
      [
        'are unserved',
        async (host: Host): Promise<void> => {
          await host.unserve();
          host.serve();
        },
      ],
      [
        'are unserved because one is stopped',
        (host: Host): Promise<void> => {
          host.hub.engine.stopReceiving(host.guest(1).conn.id);
          host.hub.engine.close(host.guest(1).conn.id, 0);
          return Promise.resolve();
        },
      ],
      [
        'are left by one that has taken nothing',
        async (host: Host): Promise<void> => {
          const g = host.guest(1);
          g.client.peer.destroy();
          await host.rig.until(() => g.conn.closed !== undefined);
        },
      ],
    ] as const) {
      it(
        `reach all that remain where they ${how} in the midst of them`,
        inRig(async (rig) => {
          const c = new Chance(SEED + 30);
          for (const count of [1, 2, 3, 5, 12]) {
            for (const settles of [false, true]) {
              const host = await Host.of(rig, { clients: 3, inOrder });
              const [first, gone, third] = [host.guest(0), host.guest(1), host.guest(2)];
              await untilServed(host);
              for (const g of host.guests) {
                g.deaf();
                for (let i = 0; i < count; i += 1) g.readsLong(c);
                g.writes(c.below(BLOCKS - 8), 8);
              }
              if (settles) await rig.settle();
              await ends(host);
              for (const g of [first, third]) g.hears();
              await Promise.all([first.takeAll(), third.takeAll()]);
              if (how === 'are unserved') {
                gone.hears();
                await gone.takeAll();
                await host.ends();
                continue;
              }
              if (how === 'are unserved because one is stopped') {
                gone.hears();
                await gone.takeToTheEnd();
              }
              await rig.until(() => gone.conn.closed !== undefined);
              await rig.until(() => host.open === 0);
              await host.unserve();
              await host.checkLeg();
              await host.leave();
            }
          }
        }),
      );
    }

    it(
      'have what the leg holds whatever happens in between',
      inRig(async (rig) => {
        let served = 0;
        for (let seed = SEED + 1; seed <= SEED + 10; seed += 1) {
          const c = new Chance(seed);
          const host = await Host.of(rig, { clients: 1 + (seed % 3), inOrder, wire: seed % 2 === 0 ? SIMPLE : STRUCTURED, sparse: seed % 5 === 0 });
          try {
            await happens(host, c);
          } catch (e: unknown) {
            throw new Error(`seed ${String(seed)}`, { cause: e });
          }
          await host.ends();
          for (const g of host.guests) served += g.servedBefore;
        }
        if (isServed) expect(served).toBeGreaterThan(500);
      }),
    );

    it(
      'leave no descriptor behind',
      inRig(async (rig) => {
        const round = async (i: number): Promise<void> => {
          const c = new Chance(SEED + i);
          const host = await Host.of(rig, { clients: 1 + (i % 3), inOrder });
          await untilServed(host);
          for (const g of host.guests) {
            if (i % 2 === 0) g.deaf();
            for (let n = 0; n <= i % 5; n += 1) g.readsLong(c);
          }
          if (i % 2 === 1) await Promise.all(host.guests.map((g) => g.takeAll()));
          else if (i % 4 === 0) await rig.settle();
          await host.leave();
          await host.unserve();
          await host.hub.engine.shutdown();
        };
        await round(0);
        await rig.settle();
        const before = openFiles();
        for (let i = 1; i < 20; i += 1) await round(i);
        await rig.until(() => openFiles() <= before + 4);
      }),
    );
  });
}

/** Some steps of chance, at the end of which all is answered. */
async function happens(host: Host, c: Chance): Promise<void> {
  const { rig } = host;
  const deaf = new Set<Guest>();
  const depth = 1 + c.below(16);
  for (let step = 0; step < 250; step += 1) {
    const g = host.guest(c.below(host.guests.length));
    const dice = c.below(100);
    if (dice < 60) {
      if (g.open < depth || deaf.has(g)) g.send(some(g, c));
      else await g.take();
    } else if (dice < 75) {
      if (g.open > 0 && !deaf.has(g)) await g.take();
    } else if (dice < 82) {
      if (!deaf.has(g)) await g.takeAll();
    } else if (dice < 86) {
      if (deaf.size + 1 < host.guests.length || c.below(2) === 0) {
        deaf.add(g);
        g.deaf();
      }
    } else if (dice < 91) {
      deaf.delete(g);
      g.hears();
    } else if (dice < 92) {
      await host.unserve();
      host.serve();
    } else if (dice < 94) {
      if (!deaf.has(g)) await keepsAsking(g, c, 30, () => false, true);
    } else await rig.turn();
  }
  for (const g of host.guests) g.hears();
  await Promise.all(host.guests.map((g) => g.takeAll()));
}
