import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Touched } from '../../../src/io/touched.ts';
import type { EngineHub } from '../../../src/io/hub.ts';
import type { PullSocket } from '../../../src/io/pull-socket.ts';
import type { ServeRules } from '../../../src/io/serve.ts';
import { Errno, type LegId, type WireParams } from '../../../src/io/types.ts';
import { NBD_CMD_FLAG_FUA, NBD_CMD_FLUSH, NBD_CMD_READ, NBD_CMD_TRIM, NBD_CMD_WRITE, NBD_EIO } from '../../../src/nbd/wire/constants.ts';
import { SIMPLE_REPLY, viewOf } from '../../../src/nbd/wire/layout.ts';
import { decodeSimpleReply, newSimpleReplyHeader } from '../../../src/nbd/wire/transmission.ts';
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
  SIMPLE,
  STRUCTURED,
  takeBytes,
  WAIT_MS,
} from './engine-rig.ts';

const KIB = 1024;
const SIZE = 256 * KIB;
const REGION = 16 * KIB;
const BLOCK = 512;
let made = 0;

export interface Served {
  hub: EngineHub;
  leg: LegId;
  touched: Touched;
  rules: ServeRules;
  conn: Connection;
  peer: PullSocket;
}

export async function served(rig: Rig, wire: WireParams = SIMPLE, sizeBytes = SIZE, write = true): Promise<Served> {
  const hub = rig.hub();
  made += 1;
  const path = rig.world.path(`leg-${String(made)}`);
  const f = await rig.io.files.open(path, { write: true, create: true });
  await f.truncate(sizeBytes);
  await f.close();
  const { leg } = await hub.engine.openLeg(path, { write, lock: false });
  const touched = new Touched(sizeBytes, REGION);
  const rules = { leg, sizeBytes, blockBytes: BLOCK, touched: touched.words, regionBytes: REGION };
  const { conn, peer } = await rig.server(hub, wire);
  expect(hub.engine.serve(conn.id, rules)).toBe(true);
  return { hub, leg, touched, rules, conn, peer };
}

function regions(t: Touched): number[] {
  const all: number[] = [];
  t.take((first, last) => {
    for (let i = first; i <= last; i += 1) all.push(i);
  });
  return all;
}

export async function reply(peer: PullSocket): Promise<{ error: number; cookieLo: number }> {
  const h = newSimpleReplyHeader();
  expect(decodeSimpleReply(viewOf(await peer.read(SIMPLE_REPLY.SIZE, WAIT_MS)), 0, h)).toBe(true);
  return { error: h.error, cookieLo: h.cookieLo };
}

export async function unserve(s: Served): Promise<number> {
  const r = await s.hub.run((op) => {
    s.hub.engine.unserve(op, s.conn.id);
  });
  expect(r.errno).toBe(0);
  return r.length;
}

/** Done by hand, as a device would. */
export function execute(s: Served, answered: () => void): void {
  s.conn.onRequest = (r) => {
    const { engine } = s.hub;
    void s.hub
      .run((op) => {
        if (r.cmd === NBD_CMD_WRITE && r.h !== 0) engine.write(op, s.leg, r.offset, r.h, 0, r.length, false);
        else engine.sync(op, s.leg);
      })
      .then((done) => {
        if (r.h !== 0) engine.release(r.h);
        answered();
        engine.reply(0, r.req, done.errno, 0, 0, 0);
      });
  };
}

/** The first bytes of the leg. */
export async function bytesOf(s: Served, length: number): Promise<Uint8Array> {
  const r = await s.hub.must('read', (op) => {
    s.hub.engine.read(op, s.leg, 0, length);
  });
  return takeBytes(s.hub, r.h);
}

export function describeServe(inRig: InRig): void {
  describe('a served connection', () => {
    it(
      'writes and answers what is plain without telling, and tells the rest once all before it is answered',
      inRig(async (rig) => {
        const arbitrary = fc.array(
          fc.record({
            kind: fc.constantFrom('plain', 'plain', 'plain', 'fua', 'flush', 'crooked'),
            block: fc.integer({ min: 0, max: SIZE / BLOCK - 40 }),
            blocks: fc.integer({ min: 1, max: 39 }),
          }),
          { minLength: 1, maxLength: 30 },
        );
        await fc.assert(
          fc.asyncProperty(arbitrary, fc.array(fc.integer({ min: 1, max: 9000 }), { minLength: 1, maxLength: 8 }), async (asked, cuts) => {
            const s = await served(rig);
            let told = 0;
            execute(s, () => {
              told += 1;
            });
            const model = new Uint8Array(SIZE);
            const raw = asked.map((a, i): RawRequest => {
              const crooked = a.kind === 'crooked' ? 1 : 0;
              if (a.kind === 'flush') return { cmd: NBD_CMD_FLUSH, cookieLo: i };
              return {
                cmd: NBD_CMD_WRITE,
                cookieLo: i,
                flags: a.kind === 'fua' ? NBD_CMD_FLAG_FUA : 0,
                offset: a.block * BLOCK + crooked,
                payload: pattern(a.blocks * BLOCK, i),
              };
            });
            const stream = joined(raw.map((r) => rawRequest(r)));
            let at = 0;
            for (let i = 0; at < stream.length; i += 1) {
              const n = cuts[i % cuts.length] ?? 1;
              s.peer.write(stream.subarray(at, at + n));
              at += n;
              if (i < 20) await rig.turn();
            }
            const seen = new Set<number>();
            for (let i = 0; i < raw.length; i += 1) {
              const r = await reply(s.peer);
              expect(r.error).toBe(0);
              seen.add(r.cookieLo);
            }
            expect(seen.size).toBe(raw.length);
            const plain = asked.filter((a) => a.kind === 'plain').length;
            // What was received together with something that is told may be told too.
            expect(told).toBeGreaterThanOrEqual(raw.length - plain);
            expect(await unserve(s)).toBe(raw.length - told);
            // Those told are on their way beside each other: only where they do not overlap is the outcome known.
            const written = new Uint8Array(SIZE);
            for (const r of raw) {
              const { offset = 0, payload } = r;
              if (payload === undefined) continue;
              for (let k = 0; k < payload.length; k += 1) written[offset + k] = (written[offset + k] ?? 0) + 1;
              model.set(payload, offset);
            }
            const now = await bytesOf(s, SIZE);
            const wrong = now.findIndex((b, k) => (written[k] ?? 0) < 2 && b !== model[k]);
            expect(wrong).toBe(-1);
            const touched = new Set(regions(s.touched));
            for (const r of raw) {
              if (r.payload !== undefined && told === 0) expect(touched.has(Math.floor((r.offset ?? 0) / REGION))).toBe(true);
            }
            s.peer.destroy();
            await rig.until(() => s.conn.closed !== undefined);
            await s.hub.engine.closeLeg(s.leg);
          }),
          { numRuns: 12 },
        );
      }),
    );

    for (const wire of [STRUCTURED, { ...SIMPLE, checksums: true }]) {
      it(
        `answers as the connection does: ${wire.structuredReplies ? 'chunks' : 'checksums'}`,
        inRig(async (rig) => {
          const s = await served(rig, wire);
          const other = await rig.server(s.hub, wire);
          const plain = rawRequest({ cmd: NBD_CMD_WRITE, offset: 4096, payload: pattern(4096, 3), cookieHi: 9, cookieLo: 8 });
          const request = wire.checksums === true ? joined([sealed(plain.subarray(0, 28)), sealed(plain.subarray(28))]) : plain;
          s.peer.write(request);
          other.peer.write(request);
          await rig.until(() => other.conn.requests.length === 1);
          const r = other.conn.request(0);
          s.hub.engine.release(r.h);
          s.hub.engine.reply(0, r.req, 0, 0, 0, 0);
          const length = (wire.structuredReplies ? 20 : 16) + (wire.checksums === true ? 4 : 0);
          expectBytes(await s.peer.read(length, WAIT_MS), await other.peer.read(length, WAIT_MS));
          expect(s.conn.requests).toEqual([]);
          expectBytes((await bytesOf(s, 8192)).subarray(4096), pattern(4096, 3));
          await unserve(s);
        }),
      );
    }

    it(
      'writes long ones and short ones alike, told or not',
      inRig(async (rig) => {
        const s = await served(rig);
        execute(s, () => undefined);
        const lengths = [512, 64 * KIB, 1024, 48 * KIB, 47 * KIB, 128 * KIB, 512, 512];
        const model = new Uint8Array(SIZE);
        for (const [i, length] of lengths.entries()) {
          const payload = pattern(length, i);
          s.peer.write(rawRequest({ cmd: NBD_CMD_WRITE, offset: i * 8 * KIB, payload, cookieLo: i }));
          model.set(payload, i * 8 * KIB);
          expect(await reply(s.peer)).toEqual({ error: 0, cookieLo: i });
        }
        expectBytes(await bytesOf(s, SIZE), model);
        expect((await unserve(s)) + s.conn.requests.length).toBe(lengths.length);
      }),
    );

    it(
      'tells what came damaged, and does not write it',
      inRig(async (rig) => {
        const s = await served(rig, { ...SIMPLE, checksums: true });
        const plain = rawRequest({ cmd: NBD_CMD_WRITE, offset: 0, payload: pattern(512, 3) });
        const request = joined([sealed(plain.subarray(0, 28)), sealed(plain.subarray(28))]);
        request[40] = (request[40] ?? 0) ^ 4;
        s.peer.write(request);
        await rig.until(() => s.conn.requests.length === 1);
        expect(s.conn.request(0)).toMatchObject({ cmd: 0xffff, h: 0 });
        expectBytes(await bytesOf(s, 512), new Uint8Array(512));
        s.hub.engine.reply(0, s.conn.request(0).req, Errno.EBADMSG, 0, 0, 0);
        await unserve(s);
      }),
    );

    it(
      'tells what is no plain write, or not within the rules',
      inRig(async (rig) => {
        const s = await served(rig);
        const odd: RawRequest[] = [
          { cmd: NBD_CMD_READ, length: 512 },
          { cmd: NBD_CMD_TRIM, length: 512 },
          { cmd: NBD_CMD_WRITE, flags: 2, payload: pattern(512, 1) },
          { cmd: NBD_CMD_WRITE, offset: SIZE, payload: pattern(512, 1) },
          { cmd: NBD_CMD_WRITE, offset: SIZE - 512, payload: pattern(1024, 1) },
          { cmd: NBD_CMD_WRITE, offset: 256, payload: pattern(512, 1) },
          { cmd: NBD_CMD_WRITE, offset: 512, payload: pattern(256, 1) },
          { cmd: NBD_CMD_WRITE, payload: new Uint8Array(0) },
          { cmd: NBD_CMD_WRITE, offset: Number.MAX_SAFE_INTEGER - 511, payload: pattern(512, 1) },
        ];
        for (const [i, o] of odd.entries()) {
          s.peer.write(rawRequest({ ...o, cookieLo: i }));
          await rig.until(() => s.conn.requests.length === i + 1);
          const r = s.conn.request(i);
          expect(r).toMatchObject({ cmd: o.cmd, flags: o.flags ?? 0, offset: o.offset ?? 0 });
          if (r.h !== 0) s.hub.engine.release(r.h);
          s.hub.engine.reply(0, r.req, NBD_EIO, 0, 0, 0);
          expect(await reply(s.peer)).toEqual({ error: NBD_EIO, cookieLo: i });
        }
        expect(regions(s.touched)).toEqual([]);
        expectBytes(await bytesOf(s, SIZE), new Uint8Array(SIZE));
        expect(await unserve(s)).toBe(0);
      }),
    );

    it(
      'tells a write that fails, with its bytes, and that its region was touched',
      inRig(async (rig) => {
        const s = await served(rig, SIMPLE, SIZE, false);
        s.peer.write(rawRequest({ cmd: NBD_CMD_WRITE, offset: REGION * 2, payload: pattern(1024, 5) }));
        await rig.until(() => s.conn.requests.length === 1);
        const r = s.conn.request(0);
        expect(r).toMatchObject({ cmd: NBD_CMD_WRITE, offset: REGION * 2, length: 1024 });
        expectBytes(takeBytes(s.hub, r.h), pattern(1024, 5));
        expect(regions(s.touched)).toEqual([2]);
        s.hub.engine.reply(0, r.req, NBD_EIO, 0, 0, 0);
        expect(await reply(s.peer)).toMatchObject({ error: NBD_EIO });
        expect(await unserve(s)).toBe(0);
      }),
    );

    it(
      'is told again after it was unserved, and can be served again',
      inRig(async (rig) => {
        const s = await served(rig);
        const write = (i: number): Uint8Array => rawRequest({ cmd: NBD_CMD_WRITE, offset: i * 512, payload: pattern(512, i), cookieLo: i });
        for (const i of [0, 1]) {
          s.peer.write(write(i));
          expect(await reply(s.peer)).toEqual({ error: 0, cookieLo: i });
        }
        expect(s.hub.engine.served(s.conn.id)).toBe(2);
        expect(await unserve(s)).toBe(2);
        expect(s.hub.engine.served(s.conn.id)).toBe(0);
        // Half a request is no reason to lose it.
        s.peer.write(write(2).subarray(0, 100));
        await rig.settle();
        s.peer.write(write(2).subarray(100));
        await rig.until(() => s.conn.requests.length === 1);
        s.hub.engine.release(s.conn.request(0).h);
        expect(s.hub.engine.serve(s.conn.id, s.rules)).toBe(true);
        s.hub.engine.reply(0, s.conn.request(0).req, 0, 0, 0, 0);
        expect(await reply(s.peer)).toEqual({ error: 0, cookieLo: 2 });
        s.peer.write(write(3));
        expect(await reply(s.peer)).toEqual({ error: 0, cookieLo: 3 });
        expect(s.conn.requests.length).toBe(1);
        expect(await unserve(s)).toBe(1);
      }),
    );

    it(
      'keeps half a request that had come when it was unserved',
      inRig(async (rig) => {
        const s = await served(rig);
        const whole = rawRequest({ cmd: NBD_CMD_WRITE, offset: 1024, payload: pattern(2048, 7) });
        s.peer.write(whole.subarray(0, 500));
        await rig.settle();
        expect(await unserve(s)).toBe(0);
        s.peer.write(whole.subarray(500));
        await rig.until(() => s.conn.requests.length === 1);
        expectBytes(takeBytes(s.hub, s.conn.request(0).h), pattern(2048, 7));
        s.hub.engine.reply(0, s.conn.request(0).req, 0, 0, 0, 0);
        await reply(s.peer);
      }),
    );

    it(
      'ends with its peer, all that came before answered; is to be unserved even so, and holds no leg afterwards',
      inRig(async (rig) => {
        const s = await served(rig);
        s.peer.write(rawRequest({ cmd: NBD_CMD_WRITE, payload: pattern(512, 7) }));
        await reply(s.peer);
        s.peer.destroy();
        await rig.until(() => s.conn.closed !== undefined);
        expect(await unserve(s)).toBe(1);
        expect(await unserve(s)).toBe(0);
        await s.hub.engine.closeLeg(s.leg);
      }),
    );

    it(
      'is closed like any other, also when its peer takes no answers',
      inRig(async (rig) => {
        const s = await served(rig);
        const one = rawRequest({ cmd: NBD_CMD_WRITE, payload: pattern(512, 7) });
        s.peer.write(joined(Array.from({ length: 2000 }, () => one)));
        await rig.until(() => s.hub.engine.served(s.conn.id) > 100);
        s.hub.engine.close(s.conn.id, Errno.ETIMEDOUT);
        await rig.until(() => s.conn.closed !== undefined);
        expect(s.conn.closed).toBe(Errno.ETIMEDOUT);
        expect(await unserve(s)).toBeGreaterThan(100);
        for (const r of s.conn.requests) s.hub.engine.release(r.h);
        await s.hub.engine.closeLeg(s.leg);
      }),
    );

    it(
      'waits for a write that is under way before it says that there is none',
      inRig(async (rig) => {
        const s = await served(rig);
        const asked = Array.from({ length: 50 }, (_x, i) =>
          rawRequest({ cmd: NBD_CMD_WRITE, offset: i * 4096, payload: pattern(4096, i), cookieLo: i }),
        );
        s.peer.write(joined(asked));
        await rig.turn();
        const gone = begin(s.hub, (op) => {
          s.hub.engine.unserve(op, s.conn.id);
        });
        const { length } = await gone.promise;
        // From here on nothing reaches the leg that was not told.
        const before = await bytesOf(s, SIZE);
        await rig.settle();
        expectBytes(await bytesOf(s, SIZE), before);
        await rig.until(() => length + s.conn.requests.length === 50);
        for (const r of s.conn.requests) {
          s.hub.engine.release(r.h);
          s.hub.engine.reply(0, r.req, 0, 0, 0, 0);
        }
        for (let i = 0; i < 50; i += 1) await reply(s.peer);
      }),
    );

    it(
      'is refused for what is no connection',
      inRig(async (rig) => {
        const s = await served(rig);
        const client = await rig.client(s.hub);
        expect(s.hub.engine.serve(client.conn.id, s.rules)).toBe(false);
        expect(s.hub.engine.serve(12345, s.rules)).toBe(false);
        await unserve(s);
      }),
    );
  });
}

export function sealed(bytes: Uint8Array): Uint8Array {
  const out = new Uint8Array(bytes.length + 4);
  out.set(bytes);
  viewOf(out).setUint32(bytes.length, crc32(bytes), false);
  return out;
}
