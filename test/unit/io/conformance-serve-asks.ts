/**
 * `Engine.serve` with `ServeMarks.asks`: a WRITE to a region that is not allowed waits, and its region is asked for.
 *
 *   client --WRITE--> not allowed --asks--> test: allows it, answers, `heeded` --> leg, answer
 *                                                 answers, and does not allow it --> REQUEST
 */
import { describe, expect, it } from 'vitest';
import { Asks } from '../../../src/io/asks.ts';
import { Errno } from '../../../src/io/types.ts';
import { NBD_CMD_DISC, NBD_CMD_FLUSH, NBD_CMD_WRITE } from '../../../src/nbd/wire/constants.ts';
import {
  BLOCK,
  BOTH,
  bytesOf,
  execute,
  read,
  REGION,
  regions,
  type Served,
  served as servedWithMarks,
  unserve,
  type Wishes,
  write,
} from './conformance-serve-marks.ts';
import type { InRig } from './engine-conformance.ts';
import { expectBytes, pattern, type Rig } from './engine-rig.ts';

interface Asked extends Served {
  asks: Asks;
  /** All that was asked for so far. */
  seen: number[];
  /** Of each `heed` that was done, in order. */
  ends: number[];
  allow(...regions: number[]): void;
  /** Answers all that was seen and is not answered yet. */
  answer(): void;
}

/** Nobody waits to be told of what is asked for. */
function servedUnheeded(rig: Rig): Promise<Asked> {
  return served(rig, {}, false);
}

async function served(rig: Rig, o: Wishes = {}, heeds = true): Promise<Asked> {
  const asks = new Asks();
  const s = await servedWithMarks(rig, { allowed: [], ...o, asks });
  const { hub, conn, marks } = s;
  const seen: number[] = [];
  const ends: number[] = [];
  let answered = 0;
  const heed = (): void => {
    const owner = {
      onDone: (_tag: number, errno: number): void => {
        ends.push(errno);
        if (errno !== 0) return;
        asks.take(seen);
        heed();
      },
    };
    hub.engine.heed(hub.start(owner, 0), conn.id);
  };
  if (heeds) heed();
  return {
    ...s,
    asks,
    seen,
    ends,
    allow(...all) {
      for (const region of all) marks.allow(region);
    },
    answer() {
      asks.answer(seen.length - answered);
      answered = seen.length;
      hub.engine.heeded(conn.id);
    },
  };
}

/** As a device does: what was asked for is allowed from now on. */
async function allowAll(rig: Rig, s: Asked, count: number): Promise<void> {
  await rig.until(() => s.seen.length >= count);
  s.allow(...s.seen);
  s.answer();
}

export function describeServeAsks(inRig: InRig): void {
  describe('a connection served with somewhere to ask for marks', () => {
    for (const [name, wire] of BOTH) {
      it(
        `lets a write to a region that is not allowed wait, touches nothing meanwhile, and executes it without telling when it may (${name})`,
        inRig(async (rig) => {
          const s = await served(rig, { wire });
          s.client.ask(write(REGION * 3 + BLOCK, 4096, 7));
          await rig.until(() => s.seen.length === 1);
          await rig.settle();
          expect([s.seen, regions(s), s.conn.requests]).toEqual([[3], [], []]);
          // It is not the client that has to do something now.
          expect(s.hub.engine.awaited(s.conn.id)).toBe(undefined);
          expectBytes(await bytesOf(s), s.model);
          s.allow(3);
          s.answer();
          expect(await s.client.answer()).toMatchObject({ cookie: 0, error: 0 });
          expect(s.underWay.every((w) => w === 0)).toBe(true);
          expect(regions(s)).toEqual([3]);
          s.model.set(pattern(4096, 7), REGION * 3 + BLOCK);
          expectBytes(await bytesOf(s), s.model);
          expect(s.conn.requests).toEqual([]);
          expect(await unserve(s)).toBe(1);
          expect(s.ends).toEqual([0, Errno.ESHUTDOWN]);
        }),
      );
    }

    it(
      'asks for all that has come, and executes it when that is allowed, in whatever parts that is answered',
      inRig(async (rig) => {
        const s = await served(rig);
        const writes = Array.from({ length: 12 }, (_x, i) => write(REGION * i + BLOCK * i, 2048, i));
        s.client.ask(...writes);
        await rig.until(() => s.seen.length > 0);
        for (let i = 0; i < 12; i += 1) {
          await rig.until(() => s.seen.length > i);
          s.allow(s.seen[i] ?? -1);
          s.asks.answer(1);
          s.hub.engine.heeded(s.conn.id);
        }
        await s.client.answersFrom(s.model, 12);
        expect(new Set(s.seen).size).toBe(12);
        for (let i = 0; i < 12; i += 1) s.model.set(pattern(2048, i), REGION * i + BLOCK * i);
        expectBytes(await bytesOf(s), s.model);
        expect(regions(s)).toEqual(Array.from({ length: 12 }, (_x, i) => i));
        expect(s.conn.requests).toEqual([]);
        expect(await unserve(s)).toBe(12);
      }),
    );

    it(
      'tells a write whose region is answered and still not allowed, once',
      inRig(async (rig) => {
        const s = await served(rig);
        s.client.ask(write(REGION * 3, 4096, 7));
        // It may ask more than once: what was allowed may have gone again.
        for (let answered = 0; s.conn.requests.length === 0; ) {
          await rig.until(() => s.seen.length > answered || s.conn.requests.length > 0);
          answered = s.seen.length;
          s.answer();
        }
        expect(new Set(s.seen)).toEqual(new Set([3]));
        expect(s.conn.request(0)).toMatchObject({ cmd: NBD_CMD_WRITE, offset: REGION * 3, length: 4096 });
        await execute(s, s.conn.request(0));
        expect(await s.client.answer()).toMatchObject({ cookie: 0, error: 0 });
        s.model.set(pattern(4096, 7), REGION * 3);
        expectBytes(await bytesOf(s), s.model);
        expect(s.conn.requests.length).toBe(1);
        expect(await unserve(s)).toBe(0);
      }),
    );

    it(
      'tells all that waits when it is to be served no more, before that is done, and nothing of it was written',
      inRig(async (rig) => {
        const s = await served(rig);
        s.client.ask(write(0, BLOCK, 1), write(REGION, BLOCK, 2), write(REGION * 2, BLOCK, 3));
        await rig.until(() => s.seen.length === 3);
        // The next one is waited for then: that ends before the rest does. An engine may say once more that there is something, if not all came at once.
        await rig.settle();
        const told: number[] = [];
        s.conn.onRequest = (r) => {
          told.push(r.offset);
        };
        const end = unserve(s).then((answered) => {
          expect(told).toEqual([0, REGION, 2 * REGION]);
          return answered;
        });
        expect(await end).toBe(0);
        expect(s.ends.at(-1)).toBe(Errno.ESHUTDOWN);
        // An answer that comes late is nobody's.
        s.allow(0, 1, 2);
        s.answer();
        await rig.settle();
        expectBytes(await bytesOf(s), s.model);
        for (const r of s.conn.requests) await execute(s, r);
        await s.client.answersFrom(s.model, 3);
      }),
    );

    it(
      'is told of a write to more than one region, and of a flush, whatever waits',
      inRig(async (rig) => {
        const s = await served(rig);
        s.client.ask(write(REGION - BLOCK, 2 * BLOCK, 1));
        await rig.until(() => s.conn.requests.length === 1);
        await execute(s, s.conn.request(0));
        expect(await s.client.answer()).toMatchObject({ cookie: 0, error: 0 });
        expect(s.seen).toEqual([]);
        s.conn.onRequest = (r) => {
          void execute(s, r);
        };
        s.client.ask(write(REGION * 4, BLOCK, 2), { cmd: NBD_CMD_FLUSH });
        // The write is told as well, or is asked for and waits.
        const first = s.client.answer();
        const both = first.then(() => s.client.answer());
        await rig.until(() => s.conn.requests.some((r) => r.cmd === NBD_CMD_FLUSH));
        s.allow(4);
        s.answer();
        expect(new Set([(await first).cookie, (await both).cookie])).toEqual(new Set([1, 2]));
        await unserve(s);
      }),
    );

    it(
      'answers a read that comes while a write waits',
      inRig(async (rig) => {
        const s = await served(rig);
        s.conn.onRequest = (r) => {
          if (r.cmd !== NBD_CMD_WRITE) void execute(s, r);
        };
        s.client.ask(write(REGION * 4, BLOCK, 2), read(0, BLOCK));
        const a = await s.client.answer();
        expect(a).toMatchObject({ cookie: 1, error: 0 });
        expectBytes(a.data, s.model.subarray(0, BLOCK));
        for (const r of s.conn.requests) if (r.cmd === NBD_CMD_WRITE) await execute(s, r);
        s.allow(4);
        s.answer();
        expect(await s.client.answer()).toMatchObject({ cookie: 0, error: 0 });
        await unserve(s);
      }),
    );

    it.each([false, true])('executes or tells all that a client has sent before it says good-bye, what waits first (and hangs up: %s)', (hangsUp) =>
      inRig(async (rig) => {
        const s = await served(rig, { allowed: [5] });
        // The TCP of a kernel throws away what was not received when the other side refuses an answer.
        const mayLose = hangsUp && s.client.peer.socket.remote.startsWith('127.0.0.1:');
        const told: number[] = [];
        s.conn.onRequest = (r) => {
          told.push(r.cmd);
        };
        s.client.ask(write(REGION * 4, BLOCK, 2));
        await rig.until(() => s.seen.length === 1);
        s.client.ask(write(REGION * 5, BLOCK, 3), { cmd: NBD_CMD_DISC });
        await rig.settle();
        if (hangsUp) s.client.peer.socket.destroy();
        else s.client.peer.end();
        await rig.settle();
        s.allow(4);
        s.answer();
        await rig.until(() => told.includes(NBD_CMD_DISC) || (mayLose && s.conn.closed !== undefined));
        if (mayLose) return;
        expect(told.at(-1)).toBe(NBD_CMD_DISC);
        for (const r of s.conn.requests) if (r.cmd === NBD_CMD_WRITE) await execute(s, r);
        s.model.set(pattern(BLOCK, 2), REGION * 4);
        s.model.set(pattern(BLOCK, 3), REGION * 5);
        await unserve(s);
        expectBytes(await bytesOf(s), s.model);
        s.hub.engine.close(s.conn.id, 0);
        await rig.until(() => s.conn.closed !== undefined);
      })(),
    );

    it(
      'is not told once more of what is answered already, and of what comes then it is',
      inRig(async (rig) => {
        const s = await servedUnheeded(rig);
        const heeded: number[] = [];
        const heed = (): void => {
          void s.hub
            .run((op) => {
              s.hub.engine.heed(op, s.conn.id);
            })
            .then(({ errno }) => heeded.push(errno));
        };
        heed();
        s.client.ask(write(REGION * 4, BLOCK, 2));
        await rig.until(() => heeded.length === 1);
        s.asks.take(s.seen);
        s.allow(4);
        s.answer();
        await s.client.answersFrom(s.model, 1);
        // Asked for while nobody waits to be told, and taken by who looks by himself.
        s.client.ask(write(REGION * 5, BLOCK, 3));
        await rig.until(() => {
          s.asks.take(s.seen);
          return s.seen.length === 2;
        });
        s.allow(5);
        s.answer();
        await s.client.answersFrom(s.model, 1);
        heed();
        await rig.settle();
        expect(heeded).toEqual([0]);
        s.client.ask(write(REGION * 6, BLOCK, 4));
        await rig.until(() => heeded.length === 2);
        s.asks.take(s.seen);
        expect(s.seen).toEqual([4, 5, 6]);
        s.allow(6);
        s.answer();
        await s.client.answersFrom(s.model, 1);
        // What was asked for while nobody waited, and is not answered, is told at once.
        s.client.ask(write(REGION * 7, BLOCK, 5));
        await rig.until(() => !s.asks.isAnswered);
        heed();
        await rig.until(() => heeded.length === 3);
        s.asks.take(s.seen);
        s.allow(7);
        s.answer();
        await s.client.answersFrom(s.model, 1);
        expect(await unserve(s)).toBe(4);
        expect(heeded).toEqual([0, 0, 0]);
      }),
    );

    it(
      'is heeded by one at a time',
      inRig(async (rig) => {
        const s = await served(rig);
        const r = await s.hub.run((op) => {
          s.hub.engine.heed(op, s.conn.id);
        });
        expect(r.errno).toBe(Errno.EINVAL);
        expect(await unserve(s)).toBe(0);
        expect(s.ends).toEqual([Errno.ESHUTDOWN]);
      }),
    );

    it(
      'keeps what waits of a client that has gone from the leg, or finishes it: it ends in either case',
      inRig(async (rig) => {
        const s = await served(rig);
        s.client.ask(write(REGION * 4, BLOCK, 2));
        await rig.until(() => s.seen.length === 1);
        s.client.peer.end();
        await rig.settle();
        s.allow(4);
        s.answer();
        await unserve(s);
        await rig.until(() => s.conn.closed !== undefined || s.conn.requests.length > 0);
        for (const r of s.conn.requests) await execute(s, r);
        await rig.until(() => s.conn.closed !== undefined);
        expect(s.underWay.every((w) => w === 0)).toBe(true);
      }),
    );

    it(
      'executes many more than it may ask for at a time, each once, while what is asked for is allowed and taken back at random',
      inRig(async (rig) => {
        const s = await served(rig);
        const count = 1500;
        s.conn.onRequest = (r) => {
          void execute(s, r);
        };
        const state = { open: true };
        const allowing = (async () => {
          for (let n = 0; state.open; ) {
            await rig.until(() => s.seen.length > n || !state.open);
            const fresh = s.seen.slice(n);
            n = s.seen.length;
            s.allow(...fresh);
            s.answer();
            // One that is not being written now is to be asked for once more.
            for (const region of fresh.slice(0, 1)) s.marks.letGo(region);
            s.marks.take(() => undefined);
          }
        })();
        for (let i = 0; i < count; i += 1) s.client.ask(write(((i * 7) % 16) * REGION + (i % 64) * BLOCK, BLOCK, i % 64));
        await s.client.answersFrom(s.model, count);
        state.open = false;
        await allowing;
        for (let i = 0; i < count; i += 1) s.model.set(pattern(BLOCK, i % 64), ((i * 7) % 16) * REGION + (i % 64) * BLOCK);
        await unserve(s);
        expectBytes(await bytesOf(s), s.model);
      }),
    );

    it(
      'has nothing to be heeded when it is not served any more, which is said at once',
      inRig(async (rig) => {
        const s = await served(rig);
        await unserve(s);
        const r = await s.hub.run((op) => {
          s.hub.engine.heed(op, s.conn.id);
        });
        expect(r.errno).toBe(Errno.ESHUTDOWN);
        s.hub.engine.heeded(s.conn.id);
        s.client.ask(write(REGION * 4, BLOCK, 2));
        await rig.until(() => s.conn.requests.length === 1);
        await execute(s, s.conn.request(0));
        expect(await s.client.answer()).toMatchObject({ cookie: 0, error: 0 });
      }),
    );
  });

  it(
    'asks for every region that writes wait for, in the order of the writes',
    inRig(async (rig) => {
      const s = await served(rig);
      s.client.ask(...Array.from({ length: 16 }, (_x, i) => write(REGION * (15 - i), BLOCK, i)));
      await allowAll(rig, s, 1);
      const answers = s.client.answersFrom(s.model, 16);
      for (let n = 2; n <= 16; n += 1) await allowAll(rig, s, n);
      await answers;
      expect(s.seen).toEqual(Array.from({ length: 16 }, (_x, i) => 15 - i));
      expect(await unserve(s)).toBe(16);
    }),
  );
}
