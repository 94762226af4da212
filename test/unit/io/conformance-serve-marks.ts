/**
 * `Engine.serve` with `ServeRules.marks`: plain READs, and WRITEs to regions that are allowed, are executed without telling.
 *
 *   client --asks--> connection --plain, allowed--> leg, answer                 what is told is held, or executed by hand, one after the other
 *                               --all else--------> REQUEST --> test --> reply
 *
 * Every engine is asked what the contract says. One that executes what comes in the order in which it came (the native one) is asked for
 * that as well: `describeServedInOrder`.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Asks } from '../../../src/io/asks.ts';
import type { EngineHub } from '../../../src/io/hub.ts';
import { nodeClock } from '../../../src/io/node/clock.ts';
import { createNodeLegOpener } from '../../../src/io/node/legs.ts';
import { NativeEngine } from '../../../src/io/node/native-engine.ts';
import { loadNativeEngine } from '../../../src/io/node/native-shim.ts';
import { PortableEngine } from '../../../src/io/portable-engine.ts';
import type { PullSocket } from '../../../src/io/pull-socket.ts';
import { type ServeRules, UNDER_WAY_READ } from '../../../src/io/serve.ts';
import { Errno, type LegId, type WireParams } from '../../../src/io/types.ts';
import { ServedMarks } from '../../../src/mirror/served-marks.ts';
import {
  NBD_CMD_DISC,
  NBD_CMD_FLAG_DF,
  NBD_CMD_FLAG_FUA,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_WRITE,
  NBD_EINVAL,
  NBD_EIO,
  NBD_REPLY_FLAG_DONE,
  NBD_REPLY_TYPE_ERROR,
  NBD_REPLY_TYPE_NONE,
  NBD_REPLY_TYPE_OFFSET_DATA,
} from '../../../src/nbd/wire/constants.ts';
import { CHUNK_OFFSET_DATA, SIMPLE_REPLY, STRUCTURED_REPLY, viewOf } from '../../../src/nbd/wire/layout.ts';
import {
  decodeChunk,
  decodeErrorChunk,
  decodeOffsetData,
  decodeSimpleReply,
  newChunkHeader,
  newSimpleReplyHeader,
} from '../../../src/nbd/wire/transmission.ts';
import type { InRig } from './engine-conformance.ts';
import {
  begin,
  type Connection,
  expectBytes,
  joined,
  pattern,
  type RawRequest,
  rawRequest,
  type Rig,
  type SeenRequest,
  SIMPLE,
  STRUCTURED,
  takeBytes,
  WAIT_MS,
} from './engine-rig.ts';
import { MemoryLeg } from './memory-leg.ts';

export const KIB = 1024;
export const SIZE = 512 * KIB;
export const REGION = 32 * KIB;
export const REGIONS = SIZE / REGION;
export const BLOCK = 512;
const READ_MOST = 32 * KIB;
/** Long before the five seconds that an engine waits for answers to leave. */
const AT_ONCE_MS = 3000;
/** No test waits so long: what ends while an engine has this patience has not ended because that was over. */
const PATIENCE_MS = 3_600_000;
const COOKIE_HI = 0x8a0b0c0d;
export const BOTH: readonly [string, WireParams][] = [
  ['simple replies', SIMPLE],
  ['structured replies', STRUCTURED],
];
let made = 0;

interface Answer {
  cookie: number;
  error: number;
  data: Uint8Array;
}

/** The client: numbers what it asks, and knows by that what an answer has to look like. */
export class Asker {
  readonly peer: PullSocket;
  readonly #structured: boolean;
  /** By number: where a READ reads, and how much. */
  readonly #asked: { isRead: boolean; offset: number; length: number }[] = [];

  constructor(peer: PullSocket, wire: WireParams) {
    this.peer = peer;
    this.#structured = wire.structuredReplies;
  }

  get count(): number {
    return this.#asked.length;
  }

  bytes(requests: readonly RawRequest[]): Uint8Array {
    return joined(
      requests.map((r) => {
        const cookieLo = this.#asked.length;
        this.#asked.push({ isRead: r.cmd === NBD_CMD_READ, offset: r.offset ?? 0, length: r.length ?? 0 });
        return rawRequest({ ...r, cookieHi: COOKIE_HI, cookieLo });
      }),
    );
  }

  ask(...requests: RawRequest[]): void {
    this.peer.write(this.bytes(requests));
  }

  async answer(): Promise<Answer> {
    return this.#structured ? await this.#chunk() : await this.#simple();
  }

  async #simple(): Promise<Answer> {
    const h = newSimpleReplyHeader();
    expect(decodeSimpleReply(viewOf(await this.peer.read(SIMPLE_REPLY.SIZE, WAIT_MS)), 0, h)).toBe(true);
    expect(h.cookieHi).toBe(COOKIE_HI);
    const { isRead, length } = this.#of(h.cookieLo);
    const data = isRead && h.error === 0 ? await this.peer.read(length, WAIT_MS) : new Uint8Array(0);
    return { cookie: h.cookieLo, error: h.error, data };
  }

  async #chunk(): Promise<Answer> {
    const h = newChunkHeader();
    expect(decodeChunk(viewOf(await this.peer.read(STRUCTURED_REPLY.SIZE, WAIT_MS)), 0, h)).toBe(true);
    expect(h).toMatchObject({ flags: NBD_REPLY_FLAG_DONE, cookieHi: COOKIE_HI });
    const payload = h.length > 0 ? await this.peer.read(h.length, WAIT_MS) : new Uint8Array(0);
    const { isRead, offset, length } = this.#of(h.cookieLo);
    if (h.type === NBD_REPLY_TYPE_ERROR) return { cookie: h.cookieLo, error: decodeErrorChunk(payload)?.error ?? -1, data: new Uint8Array(0) };
    expect(h.type).toBe(isRead ? NBD_REPLY_TYPE_OFFSET_DATA : NBD_REPLY_TYPE_NONE);
    if (!isRead) return { cookie: h.cookieLo, error: 0, data: payload };
    expect(decodeOffsetData(viewOf(payload), 0)).toBe(offset);
    const data = payload.subarray(CHUNK_OFFSET_DATA.SIZE);
    expect(data.length).toBe(length);
    return { cookie: h.cookieLo, error: 0, data };
  }

  #of(cookie: number): { isRead: boolean; offset: number; length: number } {
    const a = this.#asked[cookie];
    if (a === undefined) throw new Error(`answer ${String(cookie)} to what was not asked`);
    return a;
  }

  /** So many answers, each to another question and without an error, and what is read is what `model` has there. */
  async answersFrom(model: Uint8Array, count: number): Promise<void> {
    const seen = new Set<number>();
    for (let i = 0; i < count; i += 1) {
      const a = await this.answer();
      const { isRead, offset, length } = this.#of(a.cookie);
      expect(a.error).toBe(0);
      if (isRead) expectBytes(a.data, model.subarray(offset, offset + length));
      seen.add(a.cookie);
    }
    expect(seen.size).toBe(count);
  }
}

export interface Served {
  hub: EngineHub;
  path: string;
  leg: LegId;
  marks: ServedMarks;
  underWay: Uint32Array;
  rules: ServeRules;
  conn: Connection;
  client: Asker;
  /** What the leg held in the beginning. */
  model: Uint8Array;
}

export interface Wishes {
  wire?: WireParams;
  allowed?: readonly number[];
  write?: boolean;
  words?: number;
  hub?: EngineHub;
  clients?: number;
  asks?: Asks;
}

const ALL = Array.from({ length: REGIONS }, (_x, i) => i);

export async function served(rig: Rig, o: Wishes = {}): Promise<Served> {
  const hub = o.hub ?? rig.hub();
  made += 1;
  const path = rig.world.path(`marked-${String(made)}`);
  const model = pattern(SIZE, 1);
  const f = await rig.io.files.open(path, { write: true, create: true });
  for (let at = 0; at < SIZE; ) at += await f.write(model.subarray(at), at);
  await f.close();
  const { leg } = await hub.engine.openLeg(path, { write: o.write ?? true, lock: false });
  const underWay = new Uint32Array(o.words ?? 8);
  const marks = new ServedMarks(SIZE, REGION, () => [underWay]);
  for (const region of o.allowed ?? ALL) marks.allow(region);
  const rules: ServeRules = {
    leg,
    sizeBytes: SIZE,
    blockBytes: BLOCK,
    touched: marks.touched.words,
    regionBytes: REGION,
    marks: { allowed: marks.allowed, underWay, clients: o.clients ?? 1, ...(o.asks === undefined ? {} : { asks: o.asks.words }) },
  };
  return { hub, path, leg, marks, underWay, rules, model, ...(await connected(rig, hub, rules, o.wire ?? SIMPLE)) };
}

export async function connected(rig: Rig, hub: EngineHub, rules: ServeRules, wire: WireParams): Promise<{ conn: Connection; client: Asker }> {
  const { conn, peer } = await rig.server(hub, wire);
  expect(hub.engine.serve(conn.id, rules)).toBe(true);
  return { conn, client: new Asker(peer, wire) };
}

/** The same leg by a connection that knows nothing of what happened on others. */
async function again(rig: Rig, s: Served, wire: WireParams = SIMPLE): Promise<Served> {
  return { ...s, ...(await connected(rig, s.hub, s.rules, wire)) };
}

/** An engine of this world that waits only for a moment for answers to leave. */
function impatient(rig: Rig): EngineHub {
  const shim = rig.hub().engine instanceof NativeEngine ? loadNativeEngine() : undefined;
  return shim === undefined ? rig.hubOver(new MemoryLeg(rig.io.clock, SIZE)) : rig.hub(new NativeEngine(shim, { lingerMs: 200 }));
}

/**
 * An engine of this world that waits for answers to leave for longer than any test. Where time is the machine's, that may hold up a test for
 * as long as engines wait elsewhere; simulated time does not pass meanwhile.
 */
function patient(rig: Rig): EngineHub {
  if (rig.io.clock !== nodeClock) return rig.hub();
  const shim = rig.hub().engine instanceof NativeEngine ? loadNativeEngine() : undefined;
  if (shim !== undefined) return rig.hub(new NativeEngine(shim, { lingerMs: PATIENCE_MS }));
  return rig.hub(new PortableEngine({ clock: nodeClock, legs: createNodeLegOpener(), lingerMs: PATIENCE_MS }));
}

/** Of a patient engine: it has ended, which is before its patience has. */
function expectAtOnce(rig: Rig, since: number): void {
  if (rig.io.clock !== nodeClock) expect(rig.io.clock.now() - since).toBeLessThan(AT_ONCE_MS);
}

export function regions(s: Served): number[] {
  const all: number[] = [];
  s.marks.touched.take((first, last) => {
    for (let i = first; i <= last; i += 1) all.push(i);
  });
  return all;
}

export async function unserve(s: Served): Promise<number> {
  const r = await s.hub.run((op) => {
    s.hub.engine.unserve(op, s.conn.id);
  });
  expect(r.errno).toBe(0);
  return r.length;
}

export async function bytesOf(s: Served, offset = 0, length = SIZE): Promise<Uint8Array> {
  const r = await s.hub.must('read', (op) => {
    s.hub.engine.read(op, s.leg, offset, length);
  });
  return takeBytes(s.hub, r.h);
}

/** As a device would. */
export async function execute(s: Served, r: SeenRequest): Promise<void> {
  const { engine } = s.hub;
  const done = await s.hub.run((op) => {
    if (r.cmd === NBD_CMD_READ) engine.read(op, s.leg, r.offset, r.length);
    else if (r.cmd === NBD_CMD_WRITE) engine.write(op, s.leg, r.offset, r.h, 0, r.length, false);
    else engine.sync(op, s.leg);
  });
  if (r.h !== 0) engine.release(r.h);
  engine.reply(0, r.req, done.errno, done.h, 0, done.h === 0 ? 0 : r.length);
  if (done.h !== 0) engine.release(done.h);
}

/** Executes what is told, one after the other. Says whether something of that is not done yet. */
function obey(s: Served, told?: (r: SeenRequest) => void): () => boolean {
  let last = Promise.resolve();
  let open = 0;
  s.conn.onRequest = (r) => {
    told?.(r);
    open += 1;
    last = last
      .then(() => execute(s, r))
      .then(() => {
        open -= 1;
      });
  };
  return () => open > 0;
}

/** No thread of the native engine that serves has anything to do: it waits, and not for a core either. */
function threadsWait(): boolean {
  const tasks = existsSync('/proc/self/task') ? readdirSync('/proc/self/task') : [];
  return !tasks.some((t) => {
    try {
      const stat = readFileSync(`/proc/self/task/${t}/stat`, 'latin1');
      return stat.includes('(netraid-serve)') && /\) R /.test(stat);
    } catch (e: unknown) {
      // It has ended meanwhile.
      if (e instanceof Error && 'code' in e && (e.code === 'ENOENT' || e.code === 'ESRCH')) return false;
      throw e;
    }
  });
}

/**
 * What stands still over the TCP of a kernel may leave all the same once it is tried again: a socket says that there is room only when
 * there is much. Whether a few answers wait when a connection is closed is then not known.
 */
const mayLeave = (s: Served): boolean => s.client.peer.socket.remote.startsWith('127.0.0.1:');

/** Asks for more than its client, which takes nothing, has room for: until nothing moves any more. */
export async function pile(rig: Rig, s: Served): Promise<void> {
  const { engine } = s.hub;
  const ask = (count: number): void => {
    s.client.ask(...Array.from({ length: count }, (_x, i): RawRequest => read((i % 8) * BLOCK, READ_MOST)));
  };
  s.client.peer.socket.pause();
  // A socket that pauses goes on until it has enough. That room must not come about when everything is full.
  ask(4);
  await rig.settle();
  for (let rounds = 0; rounds < 200; rounds += 1) {
    ask(16);
    const before = engine.awaited(s.conn.id);
    await rig.settle();
    if (before !== undefined && threadsWait() && engine.awaited(s.conn.id) === before) return;
  }
  throw new Error('its client has room for everything');
}

export const read = (offset: number, length: number): RawRequest => ({ cmd: NBD_CMD_READ, offset, length });
export const write = (offset: number, length: number, seed: number): RawRequest => ({ cmd: NBD_CMD_WRITE, offset, payload: pattern(length, seed) });

interface Step {
  kind: 'write' | 'forbidden' | 'border' | 'read' | 'flush' | 'fua';
  region: number;
  block: number;
  blocks: number;
}

const steps = fc.array(
  fc.record<Step>({
    kind: fc.constantFrom('write', 'write', 'read', 'read', 'read', 'forbidden', 'border', 'flush', 'fua'),
    region: fc.integer({ min: 0, max: REGIONS / 2 - 2 }),
    block: fc.integer({ min: 0, max: REGION / BLOCK - 1 }),
    blocks: fc.integer({ min: 1, max: 64 }),
  }),
  { minLength: 1, maxLength: 30 },
);
/** Those of `steps` that nothing may be written to without telling are the odd ones; borders are of two that may. */
const EVEN = ALL.filter((r) => r % 2 === 0 || r === REGIONS - 1);

/** What a step asks, and what its answer is. */
function asked(step: Step, i: number, model: Uint8Array): { request: RawRequest; told: boolean; data: Uint8Array } {
  const fits = Math.min(step.blocks, REGION / BLOCK - step.block) * BLOCK;
  const within = (region: number): number => region * REGION + step.block * BLOCK;
  const none = new Uint8Array(0);
  const writes = (offset: number, length: number, flags: number, told: boolean): { request: RawRequest; told: boolean; data: Uint8Array } => {
    const request = { ...write(offset, length, i), flags };
    model.set(pattern(length, i), offset);
    return { request, told, data: none };
  };
  switch (step.kind) {
    case 'write':
      return writes(within(step.region * 2), fits, 0, false);
    case 'fua':
      return writes(within(step.region * 2), fits, NBD_CMD_FLAG_FUA, true);
    case 'forbidden':
      return writes(within(step.region * 2 + 1), fits, 0, true);
    case 'border':
      return writes((REGIONS - 1) * REGION - BLOCK, BLOCK * (1 + (step.blocks % 8)) + BLOCK, 0, true);
    case 'flush':
      return { request: { cmd: NBD_CMD_FLUSH }, told: true, data: none };
    default: {
      // Near a border too: a read has none.
      const offset = within(step.region * 2);
      const length = step.blocks * BLOCK;
      return { request: read(offset, length), told: false, data: model.slice(offset, offset + length) };
    }
  }
}

function sealed(bytes: Uint8Array): Uint8Array {
  const out = new Uint8Array(bytes.length + 4);
  out.set(bytes);
  viewOf(out).setUint32(bytes.length, crc32(bytes), false);
  return out;
}

/** Of a connection on which nothing has happened yet. */
async function expectTold(rig: Rig, s: Served, r: RawRequest): Promise<void> {
  const { conn, client, hub } = s;
  // One that is as it should be is no reason to take the next one.
  client.ask(read(0, BLOCK));
  await client.answersFrom(s.model, 1);
  client.ask(r);
  await rig.until(() => conn.requests.length === 1);
  expect(conn.request(0)).toMatchObject({ cmd: r.cmd, flags: r.flags ?? 0, offset: r.offset, length: r.length, h: 0 });
  hub.engine.reply(0, conn.request(0).req, NBD_EINVAL, 0, 0, 0);
  expect(await client.answer()).toMatchObject({ cookie: 1, error: NBD_EINVAL });
  expect(await unserve(s)).toBe(1);
}

export function describeServeMarks(inRig: InRig): void {
  describe('a connection served with marks', () => {
    for (const [name, wire] of BOTH) {
      it(
        `writes to a region that is allowed without telling: touched, and not under way once it is answered (${name})`,
        inRig(async (rig) => {
          const s = await served(rig, { wire, allowed: [3] });
          s.client.ask(write(REGION * 3 + BLOCK, 4096, 7));
          expect(await s.client.answer()).toMatchObject({ cookie: 0, error: 0 });
          expect(s.underWay.every((w) => w === 0)).toBe(true);
          expect(regions(s)).toEqual([3]);
          expect(s.conn.requests).toEqual([]);
          s.model.set(pattern(4096, 7), REGION * 3 + BLOCK);
          expectBytes(await bytesOf(s), s.model);
          expect(await unserve(s)).toBe(1);
        }),
      );

      it(
        `reads without telling, from whatever region: many at once, and more than it keeps of answers (${name})`,
        inRig(async (rig) => {
          const s = await served(rig, { wire, allowed: [] });
          const reads = Array.from({ length: 100 }, (_x, i) => {
            const length = BLOCK * (1 + ((i * 37) % (READ_MOST / BLOCK)));
            return read(BLOCK * ((i * 101) % ((SIZE - length) / BLOCK)), length);
          });
          expect(reads.reduce((n, r) => n + (r.length ?? 0), 0)).toBeGreaterThan(1024 * KIB);
          expect(new Set(reads.map((r) => r.length))).toEqual(new Set(Array.from({ length: 64 }, (_x, i) => (i + 1) * BLOCK)));
          s.client.ask(...reads);
          await s.client.answersFrom(s.model, reads.length);
          expect(s.conn.requests).toEqual([]);
          expect(regions(s)).toEqual([]);
          expect(s.underWay.every((w) => w === 0)).toBe(true);
          expect(await unserve(s)).toBe(reads.length);
        }),
      );
    }

    it(
      'tells a write to a region that is not allowed, and nothing of it is on the leg before',
      inRig(async (rig) => {
        const s = await served(rig, { allowed: ALL.filter((r) => r !== 5) });
        s.client.ask(write(REGION * 5, 4096, 7));
        await rig.until(() => s.conn.requests.length === 1);
        expect(s.conn.request(0)).toMatchObject({ cmd: NBD_CMD_WRITE, flags: 0, offset: REGION * 5, length: 4096 });
        expect(s.underWay.every((w) => w === 0)).toBe(true);
        expectBytes(await bytesOf(s), s.model);
        await execute(s, s.conn.request(0));
        expect(await s.client.answer()).toMatchObject({ cookie: 0, error: 0 });
        expectBytes(await bytesOf(s, REGION * 5, 4096), pattern(4096, 7));
        expect(await unserve(s)).toBe(0);
      }),
    );

    it(
      'tells a write over the border of two regions that are allowed, and none that ends or begins there',
      inRig(async (rig) => {
        const s = await served(rig, { allowed: [1, 2] });
        for (const [i, offset] of [REGION * 2 - 1024, REGION * 2, REGION, REGION * 3 - 1024].entries()) {
          s.client.ask(write(offset, 1024, i));
          expect(await s.client.answer()).toMatchObject({ cookie: i, error: 0 });
        }
        expect(s.conn.requests).toEqual([]);
        expect(regions(s)).toEqual([1, 2]);
        const before = await bytesOf(s);
        s.client.ask(write(REGION * 2 - BLOCK, 1024, 9));
        await rig.until(() => s.conn.requests.length === 1);
        expect(s.conn.request(0)).toMatchObject({ cmd: NBD_CMD_WRITE, offset: REGION * 2 - BLOCK, length: 1024 });
        expect(s.underWay.every((w) => w === 0)).toBe(true);
        expectBytes(await bytesOf(s), before);
        await execute(s, s.conn.request(0));
        expect(await s.client.answer()).toMatchObject({ cookie: 4, error: 0 });
        expect(await unserve(s)).toBe(4);
      }),
    );

    it(
      'counts reads and writes',
      inRig(async (rig) => {
        const s = await served(rig);
        for (const [i, r] of [read(0, 512), write(512, 512, 1), read(0, 1024), write(0, 512, 2), read(4096, READ_MOST)].entries()) {
          s.client.ask(r);
          expect(await s.client.answer()).toMatchObject({ cookie: i, error: 0 });
          expect(s.hub.engine.served(s.conn.id)).toBe(i + 1);
        }
        expect(await unserve(s)).toBe(5);
        expect(s.hub.engine.served(s.conn.id)).toBe(0);
        expect(s.conn.requests).toEqual([]);
      }),
    );

    it(
      'answers whatever is asked one after the other with what was written before, told or not',
      inRig(async (rig) => {
        await fc.assert(
          fc.asyncProperty(steps, fc.boolean(), async (all, structured) => {
            const s = await served(rig, { wire: structured ? STRUCTURED : SIMPLE, allowed: EVEN });
            obey(s);
            let told = 0;
            for (const [i, step] of all.entries()) {
              const a = asked(step, i, s.model);
              if (a.told) told += 1;
              s.client.ask(a.request);
              const { cookie, error, data } = await s.client.answer();
              expect({ cookie, error }).toEqual({ cookie: i, error: 0 });
              expectBytes(data, a.data);
            }
            expectBytes(await bytesOf(s), s.model);
            expect(s.conn.requests.length).toBeGreaterThanOrEqual(told);
            expect(await unserve(s)).toBe(all.length - s.conn.requests.length);
            s.client.peer.destroy();
            await rig.until(() => s.conn.closed !== undefined);
            await s.hub.engine.closeLeg(s.leg);
          }),
          { numRuns: 8 },
        );
      }),
    );

    it(
      'tells a read with flags, of nothing, crooked or beyond the size',
      inRig(async (rig) => {
        const s = await served(rig);
        const odd: RawRequest[] = [
          { ...read(0, BLOCK), flags: NBD_CMD_FLAG_FUA },
          { ...read(0, BLOCK), flags: NBD_CMD_FLAG_DF },
          read(0, 0),
          read(256, BLOCK),
          read(BLOCK, 256),
          read(BLOCK, BLOCK + 1),
          read(SIZE, BLOCK),
          read(SIZE - BLOCK, 2 * BLOCK),
          read(Number.MAX_SAFE_INTEGER - 511, BLOCK),
          read(0, 0xfffffe00),
        ];
        for (const o of odd) await expectTold(rig, await again(rig, s, STRUCTURED), o);
        await unserve(s);
      }),
    );

    it(
      'tells a read that is longer than a payload may be, which is for its owner to refuse',
      inRig(async (rig) => {
        const s = await served(rig, { wire: { ...STRUCTURED, payloadMaxBytes: 64 * KIB } });
        await expectTold(rig, s, read(0, 64 * KIB + BLOCK));
      }),
    );

    it(
      'reads up to the last byte, and long ones, told or not',
      inRig(async (rig) => {
        const s = await served(rig, { wire: STRUCTURED });
        obey(s);
        const reads = [read(SIZE - BLOCK, BLOCK), ...[47.5, 48, 48.5, 64, 127, 128, 129, 512].map((kib) => read(0, kib * KIB)), read(0, BLOCK)];
        for (const r of reads) {
          s.client.ask(r);
          await s.client.answersFrom(s.model, 1);
        }
        // Together they are more than is kept of either kind.
        s.client.ask(...reads);
        await s.client.answersFrom(s.model, reads.length);
        expect((await unserve(s)) + s.conn.requests.length).toBe(reads.length * 2);
      }),
    );

    it(
      'tells a read that the leg has no bytes for, and answers those around it',
      inRig(async (rig) => {
        const s = await served(rig);
        const f = await rig.io.files.open(s.path, { write: true });
        await f.truncate(SIZE / 2 + BLOCK);
        await f.close();
        for (const bad of [read(SIZE / 2, 2 * BLOCK), read(SIZE - BLOCK, BLOCK)]) {
          const one = await again(rig, s);
          const seen: SeenRequest[] = [];
          obey(one, (r) => seen.push(r));
          one.client.ask(read(0, 4096), bad, read(SIZE / 2, BLOCK));
          const answers = [await one.client.answer(), await one.client.answer(), await one.client.answer()].sort((a, b) => a.cookie - b.cookie);
          expect(answers.map((a) => a.error)).toEqual([0, NBD_EIO, 0]);
          expectBytes(answers[0]?.data ?? new Uint8Array(0), s.model.subarray(0, 4096));
          expectBytes(answers[2]?.data ?? new Uint8Array(0), s.model.subarray(SIZE / 2, SIZE / 2 + BLOCK));
          expect(seen.filter((r) => r.offset === bad.offset && r.length === bad.length)).toMatchObject([{ cmd: NBD_CMD_READ, flags: 0, h: 0 }]);
          expect((await unserve(one)) + seen.length).toBe(3);
          expect(seen.length).toBeLessThan(3);
        }
        await unserve(s);
      }),
    );

    it(
      'tells a write that fails, with its bytes: touched, and no longer under way',
      inRig(async (rig) => {
        const s = await served(rig, { write: false });
        s.client.ask(write(REGION * 2, 1024, 5));
        await rig.until(() => s.conn.requests.length === 1);
        const r = s.conn.request(0);
        expect(r).toMatchObject({ cmd: NBD_CMD_WRITE, flags: 0, offset: REGION * 2, length: 1024 });
        expectBytes(takeBytes(s.hub, r.h), pattern(1024, 5));
        expect(regions(s)).toEqual([2]);
        expect(s.underWay.every((w) => w === 0)).toBe(true);
        s.hub.engine.reply(0, r.req, NBD_EIO, 0, 0, 0);
        expect(await s.client.answer()).toMatchObject({ error: NBD_EIO });
        expect(await unserve(s)).toBe(0);
      }),
    );

    it(
      'tells a flush behind writes, which are answered without waiting for it',
      inRig(async (rig) => {
        const s = await served(rig, { allowed: [0] });
        const three = [0, 1, 2].map((i) => write(i * 1024, 1024, i + 3));
        s.client.ask(...three, { cmd: NBD_CMD_FLUSH });
        await rig.until(() => s.conn.requests.length === 1);
        expect(s.conn.request(0)).toMatchObject({ cmd: NBD_CMD_FLUSH });
        await s.client.answersFrom(s.model, 3);
        for (const [i, w] of three.entries()) s.model.set(w.payload ?? [], i * 1024);
        expectBytes(await bytesOf(s), s.model);
        await execute(s, s.conn.request(0));
        expect(await s.client.answer()).toMatchObject({ cookie: 3, error: 0 });
        expect(s.conn.requests.length).toBe(1);
        expect(await unserve(s)).toBe(3);
      }),
    );

    it(
      'tells writes to a region from when it is not allowed any more, until it is again',
      inRig(async (rig) => {
        const s = await served(rig, { allowed: [4] });
        obey(s);
        for (let i = 0; i < 4; i += 1) {
          s.client.ask(write(REGION * 4, BLOCK, i));
          expect(await s.client.answer()).toMatchObject({ error: 0 });
        }
        expect(s.conn.requests).toEqual([]);
        expect(s.marks.letGo(4)).toBe(false);
        expect(regions(s)).toEqual([4]);
        expect(s.marks.letGo(4)).toBe(true);
        for (let i = 1; i <= 3; i += 1) {
          s.client.ask(write(REGION * 4, BLOCK, i + 10));
          expect(await s.client.answer()).toMatchObject({ error: 0 });
          expect(s.conn.requests.length).toBe(i);
          expectBytes(await bytesOf(s, REGION * 4, BLOCK), pattern(BLOCK, i + 10));
        }
        s.marks.allow(4);
        // Not at once: what was told of late may go on being told for some time.
        const { engine } = s.hub;
        for (let i = 0; i < 500 && engine.served(s.conn.id) === 4; i += 1) {
          s.client.ask(write(REGION * 4, BLOCK, i));
          expect(await s.client.answer()).toMatchObject({ error: 0 });
        }
        expect(engine.served(s.conn.id)).toBe(5);
        await unserve(s);
      }),
    );

    it(
      'writes nothing to a region whose mark could be let go, however busy it is',
      inRig(async (rig) => {
        const REGION_AT = REGION;
        const PLACES = 16;
        const TOGETHER = 3;
        const s = await served(rig, { allowed: [1] });
        const { engine } = s.hub;
        const held: SeenRequest[] = [];
        let holding = false;
        const client = { writes: true };
        const isBusy = obey(s);
        const byHand = s.conn.onRequest;
        s.conn.onRequest = (r) => {
          if (holding) held.push(r);
          else byHand?.(r);
        };
        const writing = (async () => {
          for (let i = 0; client.writes; i += TOGETHER) {
            for (let k = i; k < i + TOGETHER; k += 1) {
              const offset = REGION_AT + (k % PLACES) * 2 * BLOCK;
              s.client.ask(write(offset, 2 * BLOCK, k));
              s.model.set(pattern(2 * BLOCK, k), offset);
            }
            for (let k = 0; k < TOGETHER; k += 1) expect((await s.client.answer()).error).toBe(0);
          }
        })();
        for (let round = 0; round < 15; round += 1) {
          const before = engine.served(s.conn.id);
          await rig.until(() => engine.served(s.conn.id) > before);
          for (let tries = 1; ; tries += 1) {
            s.marks.touched.take(() => undefined);
            holding = !isBusy() && s.marks.letGo(1);
            if (holding) break;
            if (tries % 100 === 0) await rig.pass(1);
            else if (tries % 20 === 0) await rig.turn();
          }
          const then = await bytesOf(s, REGION_AT, REGION);
          await rig.until(() => held.length > 0);
          await rig.turn();
          expectBytes(await bytesOf(s, REGION_AT, REGION), then);
          s.marks.allow(1);
          holding = false;
          for (const r of held.splice(0)) byHand?.(r);
        }
        client.writes = false;
        await writing;
        expectBytes(await bytesOf(s), s.model);
        expect((await unserve(s)) + s.conn.requests.length).toBe(s.client.count);
      }),
    );

    it(
      'says what is under way in as many words as there are, and is not unserved before that has ended',
      inRig(async (rig) => {
        const file = new MemoryLeg(rig.io.clock, SIZE);
        const s = await served(rig, { hub: rig.hubOver(file), words: 2 });
        file.held = [];
        s.client.ask(write(REGION, BLOCK, 1), write(REGION * 2, BLOCK, 2), write(REGION * 3, BLOCK, 3));
        await rig.until(() => s.conn.requests.length === 1);
        expect(s.conn.request(0)).toMatchObject({ cmd: NBD_CMD_WRITE, offset: REGION * 3 });
        expect([...s.underWay].sort()).toEqual([2, 3]);
        expect(regions(s)).toEqual([1, 2]);
        const gone = begin(s.hub, (op) => {
          s.hub.engine.unserve(op, s.conn.id);
        });
        await rig.settle();
        expect(gone.result).toBeUndefined();
        expect([...s.underWay].sort()).toEqual([2, 3]);
        expect([1, 2].map((r) => s.marks.letGo(r))).toEqual([false, false]);
        file.letGo();
        expect((await gone.promise).length).toBe(2);
        expect([...s.underWay]).toEqual([0, 0]);
        expect(regions(s)).toEqual([1, 2]);
        await s.client.answersFrom(s.model, 2);
        await execute(s, s.conn.request(0));
        await s.client.answersFrom(s.model, 1);
      }),
    );

    it(
      'says that reads are under way, which need no word to be so',
      inRig(async (rig) => {
        const file = new MemoryLeg(rig.io.clock, SIZE);
        const s = await served(rig, { hub: rig.hubOver(file), words: 1 });
        file.held = [];
        s.client.ask(read(0, BLOCK), read(REGION, BLOCK));
        await rig.until(() => file.calls.filter((c) => c === 'read').length === 2);
        expect([...s.underWay]).toEqual([UNDER_WAY_READ]);
        expect(s.marks.letGo(0)).toBe(true);
        expect(regions(s)).toEqual([]);
        file.letGo();
        await s.client.answersFrom(file.bytes, 2);
        expect([...s.underWay]).toEqual([0]);
        expect(s.conn.requests).toEqual([]);
        expect(await unserve(s)).toBe(2);
      }),
    );

    it(
      'is unserved once all that has come is told, and its client gets every answer',
      inRig(async (rig) => {
        const s = await served(rig);
        await pile(rig, s);
        const told: SeenRequest[] = [];
        s.conn.onRequest = (r) => told.push(r);
        const answered = s.hub.engine.served(s.conn.id);
        expect(answered).toBeGreaterThan(0);
        const gone = unserve(s);
        expect(s.hub.engine.served(s.conn.id)).toBe(0);
        s.client.peer.socket.resume();
        await s.client.answersFrom(s.model, answered);
        expect(await gone).toBe(answered);
        obey(s, (r) => told.push(r));
        for (const r of [...told]) await execute(s, r);
        await s.client.answersFrom(s.model, s.client.count - answered);
        expect(answered + told.length).toBe(s.client.count);
      }),
    );

    it(
      'is unserved in the end although its client never takes an answer',
      inRig(async (rig) => {
        const s = await served(rig);
        await pile(rig, s);
        const since = rig.io.clock.now();
        expect(await unserve(s)).toBeGreaterThan(0);
        expect(rig.io.clock.now() - since).toBeLessThan(WAIT_MS);
        s.hub.engine.close(s.conn.id, Errno.EIO);
        await rig.until(() => s.conn.closed !== undefined);
        await s.hub.engine.closeLeg(s.leg);
        s.client.peer.destroy();
      }),
    );

    for (const first of ['it is closed', 'it is unserved and closed']) {
      it(
        `gives a slow client every answer to what was executed when ${first}`,
        inRig(async (rig) => {
          const s = await served(rig, { wire: STRUCTURED, hub: patient(rig) });
          await pile(rig, s);
          const { engine } = s.hub;
          const known = engine.served(s.conn.id);
          const before = first === 'it is closed' ? undefined : unserve(s);
          engine.close(s.conn.id, 0);
          // It does not wait for its client with that.
          const answered = await (before ?? unserve(s));
          expect(answered).toBeGreaterThan(0);
          expect(answered).toBeLessThan(s.client.count);
          if (!mayLeave(s)) expect(answered).toBe(known);
          await rig.settle();
          if (!mayLeave(s)) expect(s.conn.closed).toBeUndefined();
          s.client.peer.socket.resume();
          await s.client.answersFrom(s.model, answered);
          await expect(s.client.peer.read(1, WAIT_MS)).rejects.toThrow();
          await rig.until(() => s.conn.closed !== undefined);
          expect(s.conn.closed).toBe(0);
          // Unserved, it gives back what it has not executed, and does not wait for its client with that.
          if (first === 'it is closed') expect(s.conn.requests).toEqual([]);
          await engine.closeLeg(s.leg);
        }),
      );
    }

    it(
      'is not closed later than its engine waits for, when its client never reads',
      inRig(async (rig) => {
        const s = await served(rig, { hub: impatient(rig) });
        await pile(rig, s);
        expect(s.hub.engine.served(s.conn.id)).toBeGreaterThan(0);
        const since = rig.io.clock.now();
        s.hub.engine.close(s.conn.id, 0);
        // Once more is once.
        s.hub.engine.close(s.conn.id, 0);
        await rig.until(() => s.conn.closed !== undefined);
        expect(mayLeave(s) ? [0, Errno.ETIMEDOUT] : [Errno.ETIMEDOUT]).toContain(s.conn.closed);
        expect(rig.io.clock.now() - since).toBeLessThan(AT_ONCE_MS);
        expect(await unserve(s)).toBeGreaterThan(0);
        await s.hub.engine.closeLeg(s.leg);
        s.client.peer.destroy();
      }),
    );

    it(
      'ends at once where its answers are given up while they leave',
      inRig(async (rig) => {
        const s = await served(rig, { hub: patient(rig) });
        await pile(rig, s);
        s.hub.engine.close(s.conn.id, 0);
        await rig.settle();
        if (!mayLeave(s)) expect(s.conn.closed).toBeUndefined();
        const since = rig.io.clock.now();
        s.hub.engine.close(s.conn.id, Errno.EIO);
        await rig.until(() => s.conn.closed !== undefined);
        expect(mayLeave(s) ? [0, Errno.EIO] : [Errno.EIO]).toContain(s.conn.closed);
        expectAtOnce(rig, since);
        expect(await unserve(s)).toBeGreaterThan(0);
        await s.hub.engine.closeLeg(s.leg);
        s.client.peer.destroy();
      }),
    );

    it(
      'ends with a client that leaves while its answers do',
      inRig(async (rig) => {
        const s = await served(rig, { hub: patient(rig) });
        await pile(rig, s);
        s.hub.engine.close(s.conn.id, 0);
        s.client.peer.destroy();
        const since = rig.io.clock.now();
        await rig.until(() => s.conn.closed !== undefined);
        expectAtOnce(rig, since);
        expect(await unserve(s)).toBeGreaterThan(0);
        await s.hub.engine.closeLeg(s.leg);
      }),
    );

    for (const [name, rest] of [
      ['nothing', undefined],
      ['half a request', write(0, 4096, 1)],
    ] as const) {
      it(
        `is closed at once with ${name} in hand`,
        inRig(async (rig) => {
          const s = await served(rig, { hub: patient(rig) });
          s.client.ask(write(0, BLOCK, 5), read(0, BLOCK));
          expect((await s.client.answer()).error).toBe(0);
          expect((await s.client.answer()).error).toBe(0);
          if (rest !== undefined) {
            s.client.peer.write(s.client.bytes([rest]).subarray(0, 1000));
            await rig.until(() => s.hub.engine.awaited(s.conn.id) !== undefined);
          }
          const since = rig.io.clock.now();
          s.hub.engine.close(s.conn.id, 0);
          await rig.until(() => s.conn.closed !== undefined);
          expect(s.conn.closed).toBe(0);
          expectAtOnce(rig, since);
          await expect(s.client.peer.read(1, WAIT_MS)).rejects.toThrow();
          expect(await unserve(s)).toBe(2);
          expect(s.underWay.every((w) => w === 0)).toBe(true);
          expect(s.conn.requests).toEqual([]);
          await s.hub.engine.closeLeg(s.leg);
        }),
      );
    }

    it(
      'answers a read with checksums as a connection does that is told of it',
      inRig(async (rig) => {
        const wire = { ...SIMPLE, checksums: true };
        const s = await served(rig, { wire });
        const other = await rig.server(s.hub, wire);
        obey(s);
        obey({ ...s, conn: other.conn });
        const request = sealed(rawRequest(read(REGION, 4096)));
        s.client.peer.write(request);
        other.peer.write(request);
        const expected = await other.peer.read(SIMPLE_REPLY.SIZE + 4 + 4096 + 4, WAIT_MS);
        expectBytes(expected.subarray(SIMPLE_REPLY.SIZE + 4, -4), s.model.subarray(REGION, REGION + 4096));
        expectBytes(await s.client.peer.read(expected.length, WAIT_MS), expected);
        expect((await unserve(s)) + s.conn.requests.length).toBe(1);
      }),
    );

    it(
      'is told of reads where there are no marks',
      inRig(async (rig) => {
        const s = await served(rig);
        const rules = { ...s.rules };
        delete rules.marks;
        const { conn, client } = await connected(rig, s.hub, rules, SIMPLE);
        obey({ ...s, conn });
        for (let i = 0; i < 8; i += 1) {
          client.ask(read(i * BLOCK, BLOCK));
          await client.answersFrom(s.model, 1);
        }
        client.ask(read(0, 4096), read(REGION, READ_MOST));
        await client.answersFrom(s.model, 2);
        expect(conn.requests.map((r) => r.cmd)).toEqual(new Array(10).fill(NBD_CMD_READ));
        expect(await unserve({ ...s, conn })).toBe(0);
        await unserve(s);
      }),
    );
  });
}

/** Of an engine that executes what it takes in the order in which it came, and tells nothing before that is answered. */
export function describeServedInOrder(inRig: InRig): void {
  describe('a connection served with marks, in order', () => {
    it(
      'answers whatever is asked at once with what was written before',
      inRig(async (rig) => {
        await fc.assert(
          fc.asyncProperty(
            steps,
            fc.array(fc.integer({ min: 1, max: 40_000 }), { minLength: 1, maxLength: 8 }),
            fc.boolean(),
            async (all, cuts, structured) => {
              const s = await served(rig, { wire: structured ? STRUCTURED : SIMPLE, allowed: EVEN });
              obey(s);
              const expected = all.map((step, i) => asked(step, i, s.model));
              const stream = s.client.bytes(expected.map((e) => e.request));
              let at = 0;
              for (let i = 0; at < stream.length; i += 1) {
                const n = cuts[i % cuts.length] ?? 1;
                s.client.peer.write(stream.subarray(at, at + n));
                at += n;
                if (i < 20) await rig.turn();
              }
              for (const [i, e] of expected.entries()) {
                const { cookie, error, data } = await s.client.answer();
                expect({ cookie, error }).toEqual({ cookie: i, error: 0 });
                expectBytes(data, e.data);
              }
              expectBytes(await bytesOf(s), s.model);
              expect(s.conn.requests.length).toBeGreaterThanOrEqual(expected.filter((e) => e.told).length);
              expect(await unserve(s)).toBe(all.length - s.conn.requests.length);
              expect(s.underWay.every((w) => w === 0)).toBe(true);
              s.client.peer.destroy();
              await rig.until(() => s.conn.closed !== undefined);
              await s.hub.engine.closeLeg(s.leg);
            },
          ),
          { numRuns: 25 },
        );
      }),
    );

    for (const [name, wire] of BOTH) {
      it(
        `reads what the write before it wrote, many times over and untold (${name})`,
        inRig(async (rig) => {
          const s = await served(rig, { wire });
          const all: RawRequest[] = [];
          const data: Uint8Array[] = [];
          for (let i = 0; i < 60; i += 1) {
            const length = BLOCK * (1 + ((i * 29) % (READ_MOST / BLOCK)));
            all.push(write(0, length, i), read(0, length));
            data.push(new Uint8Array(0), pattern(length, i));
          }
          s.client.ask(...all);
          for (const [i, d] of data.entries()) {
            const a = await s.client.answer();
            expect(a).toMatchObject({ cookie: i, error: 0 });
            expectBytes(a.data, d);
          }
          expect(s.conn.requests).toEqual([]);
          expect(await unserve(s)).toBe(120);
        }),
      );
    }

    for (const cmd of [NBD_CMD_FLUSH, NBD_CMD_DISC]) {
      it(
        `is told of a ${cmd === NBD_CMD_FLUSH ? 'flush' : 'disconnect'} when all before it is answered`,
        inRig(async (rig) => {
          const s = await served(rig);
          const before: number[] = [];
          s.conn.onRequest = () => before.push(s.hub.engine.served(s.conn.id));
          s.client.ask(...Array.from({ length: 20 }, (_x, i) => (i % 2 === 0 ? write(0, READ_MOST, i) : read(READ_MOST, READ_MOST))), { cmd });
          await s.client.answersFrom(s.model, 20);
          await rig.until(() => s.conn.requests.length === 1);
          expect(s.conn.request(0)).toMatchObject({ cmd });
          expect(before).toEqual([20]);
          if (cmd === NBD_CMD_FLUSH) {
            await execute(s, s.conn.request(0));
            expect(await s.client.answer()).toMatchObject({ cookie: 20, error: 0 });
          } else {
            s.hub.engine.close(s.conn.id, 0);
            await rig.until(() => s.conn.closed === 0);
          }
          expect(await unserve(s)).toBe(20);
        }),
      );
    }

    it(
      'answers all that came before the end of its client, however slowly that reads',
      inRig(async (rig) => {
        const s = await served(rig);
        await pile(rig, s);
        s.client.peer.end();
        await rig.settle();
        s.client.peer.socket.resume();
        await s.client.answersFrom(s.model, s.client.count);
        await rig.until(() => s.conn.closed !== undefined);
        expect(s.conn.closed).toBe(0);
        expect(s.conn.requests).toEqual([]);
        expect(await unserve(s)).toBe(s.client.count);
      }),
    );
  });
}
