/**
 * Connections served together by an engine that executes what it takes in the order in which it came (the native one): all are served, or
 * none, and no write that came first follows one that was asked for when another was answered.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { NBD_CMD_FLAG_FUA, NBD_CMD_FLUSH } from '../../../src/nbd/wire/constants.ts';
import { BLOCK, BOTH, bytesOf, KIB, read, REGION, REGIONS, served, type Served, unserve, write } from './conformance-serve-marks.ts';
import { ALLOWED, Device, group, joins, member, servedOf, THREADS_MAX, untilAllServed, untilServed } from './conformance-serve-together.ts';
import type { InRig } from './engine-conformance.ts';
import { expectBytes, pattern, type RawRequest } from './engine-rig.ts';

const LONGEST = 47 * KIB;
const THREAD_EACH = THREADS_MAX >= 2;

interface Kind {
  kind: 'read' | 'write' | 'flush' | 'forbidden' | 'long';
  at: number;
  blocks: number;
}

const plain = fc.record({
  kind: fc.constantFrom<Kind['kind']>('read', 'write'),
  at: fc.nat(1000),
  blocks: fc.integer({ min: 1, max: LONGEST / BLOCK }),
});
const other = fc.record({
  kind: fc.constantFrom<Kind['kind']>('flush', 'forbidden', 'long'),
  at: fc.nat(1000),
  blocks: fc.integer({ min: 1, max: 8 }),
});
/** Of one client: plain ones mostly, so that they are served in between. */
const stream = fc.array(fc.oneof({ weight: 60, arbitrary: plain }, { weight: 1, arbitrary: other }), { minLength: 150, maxLength: 400 });

/** Client `who` of `clients` has some regions for itself, and `model` for all; `data`: what a READ has to find. */
function request(k: Kind, who: number, clients: number, seed: number, model: Uint8Array): { request: RawRequest; data: Uint8Array } {
  const own = Math.floor(ALLOWED.length / clients);
  const from = who * own * REGION;
  const blocks = Math.min(k.blocks, REGION / BLOCK);
  const none = new Uint8Array(0);
  const writes = (to: number, length: number): { request: RawRequest; data: Uint8Array } => {
    model.set(pattern(length, seed), to);
    return { request: write(to, length, seed), data: none };
  };
  switch (k.kind) {
    case 'read': {
      const length = k.blocks * BLOCK;
      const offset = from + BLOCK * (k.at % ((own * REGION - length) / BLOCK + 1));
      return { request: read(offset, length), data: model.slice(offset, offset + length) };
    }
    case 'write':
      return writes(from + (k.at % own) * REGION + (k.at % (REGION / BLOCK - blocks + 1)) * BLOCK, blocks * BLOCK);
    case 'forbidden':
      return writes((REGIONS - 1) * REGION + who * 8 * BLOCK, blocks * BLOCK);
    case 'long':
      return writes(from + (k.at % (own - 3)) * REGION, (2 + (k.blocks % 3)) * REGION);
    case 'flush':
      return { request: { cmd: NBD_CMD_FLUSH }, data: none };
  }
}

/** Asks all of it in pieces, and takes the answers meanwhile: each once, in order, with what it has to have. */
async function talk(s: Served, all: readonly { request: RawRequest; data: Uint8Array }[], pieceBytes: number): Promise<void> {
  const first = s.client.count;
  const bytes = s.client.bytes(all.map((a) => a.request));
  for (let at = 0; at < bytes.length; at += pieceBytes) s.client.peer.write(bytes.subarray(at, at + pieceBytes));
  for (const [i, a] of all.entries()) {
    const { cookie, error, data } = await s.client.answer();
    expect({ cookie, error }).toEqual({ cookie: first + i, error: 0 });
    expectBytes(data, a.data);
  }
}

function regionsIn(touched: Uint32Array): number[] {
  return Array.from({ length: REGIONS }, (_x, r) => r).filter((r) => ((touched[0] ?? 0) & (1 << r)) !== 0);
}

/** Of an engine that executes what it takes in the order in which it came, and serves all of them or none. */
export function describeServedTogetherInOrder(inRig: InRig): void {
  describe('connections served together, in order', () => {
    for (const clients of [2, 3]) {
      it(
        `are served when the last of ${String(clients)} has come, and none before`,
        inRig(async (rig) => {
          const all = [await served(rig, { clients, allowed: ALLOWED })];
          const first = member(all, 0);
          const rounds = async (): Promise<void> => {
            for (const s of all) {
              for (let i = 0; i < 10; i += 1) {
                s.client.ask(read(i * BLOCK, BLOCK), write(REGION, BLOCK, i));
                await s.client.answersFrom(s.model, 2);
              }
            }
          };
          for (let i = 1; i < clients; i += 1) {
            new Device(all);
            await rounds();
            await rig.settle();
            expect(all.map(servedOf)).toEqual(all.map(() => 0));
            all.push(await joins(rig, first, clients));
          }
          const device = new Device(all);
          const told = all.map((s) => device.told(s));
          await rounds();
          expect(all.map((s) => device.told(s))).toEqual(told);
          expect(all.map(servedOf)).toEqual(all.map(() => 20));
          await device.unserveAll(all.map((s) => s.client.count));
        }),
      );
    }

    it(
      'end with the unserve of one, DONE for each, and go on being told',
      inRig(async (rig) => {
        const all = await group(rig, 3);
        const device = new Device(all);
        await untilAllServed(all);
        const ended = member(all, 1);
        const count = await unserve(ended);
        expect(count + device.told(ended)).toBe(ended.client.count);
        const before = all.map(servedOf);
        for (const s of all) {
          for (let i = 0; i < 5; i += 1) {
            s.client.ask(write(REGION, BLOCK, i));
            await s.client.answersFrom(s.model, 1);
          }
        }
        expect(all.map(servedOf)).toEqual(before);
        // It is not served by itself either while the others are not given up.
        for (const s of [member(all, 0), member(all, 2)]) expect((await unserve(s)) + device.told(s)).toBe(s.client.count);
        for (const s of all) expect(s.hub.engine.serve(s.conn.id, s.rules)).toBe(true);
        await untilAllServed(all);
        await device.unserveAll();
      }),
    );

    for (const [what, makes] of [
      ['flush', (): RawRequest => ({ cmd: NBD_CMD_FLUSH })],
      ['write to a region that is not allowed', (): RawRequest => write((REGIONS - 1) * REGION, BLOCK, 3)],
      ['write to more regions than there are words for', (): RawRequest => write(0, 9 * REGION, 3)],
      ['durable read', (): RawRequest => ({ ...read(0, 2 * REGION), flags: NBD_CMD_FLAG_FUA })],
    ] as const) {
      it(
        `are told of a ${what} of one, and both are served again, also where the other asks for nothing`,
        inRig(async (rig) => {
          const all = await group(rig, 2);
          const device = new Device(all);
          await untilAllServed(all);
          for (const s of all) {
            const told = device.told(s);
            s.client.ask(makes());
            expect((await s.client.answer()).error).toBe(0);
            expect(device.told(s)).toBe(told + 1);
            await untilServed(s);
          }
          await device.unserveAll(all.map((s) => s.client.count));
        }),
      );
    }

    for (const clients of [2, 3]) {
      it(
        `answer everything once, with what it has to have, whatever ${String(clients)} of them ask at once`,
        inRig(async (rig) => {
          const counts = { served: 0, told: 0 };
          await fc.assert(
            fc.asyncProperty(
              fc.array(stream, { minLength: clients, maxLength: clients }),
              fc.integer({ min: 20, max: 400 }),
              fc.integer({ min: 100, max: 100_000 }),
              fc.constantFrom(...BOTH.map(([, wire]) => wire)),
              async (streams, wave, pieceBytes, wire) => {
                const all = await group(rig, clients, wire);
                const device = new Device(all);
                const model = member(all, 0).model;
                const asked = streams.map((kinds, who) => kinds.map((k, i) => request(k, who, clients, i, model)));
                // Between waves nothing is in hand: they are served again.
                for (let at = 0; asked.some((a) => a.length > at); at += wave) {
                  await Promise.all(all.map((s, who) => talk(s, (asked[who] ?? []).slice(at, at + wave), pieceBytes)));
                }
                expect(device.open).toBe(0);
                expectBytes(await bytesOf(member(all, 0)), model);
                counts.served += all.reduce((n, s) => n + servedOf(s), 0);
                counts.told += all.reduce((n, s) => n + device.told(s), 0);
                await device.unserveAll(streams.map((kinds) => kinds.length));
                for (const s of all) s.client.peer.destroy();
                await rig.until(() => all.every((s) => s.conn.closed !== undefined));
                await member(all, 0).hub.engine.closeLeg(member(all, 0).leg);
              },
            ),
            { numRuns: 8 },
          );
          expect(counts.served).toBeGreaterThan(100);
          expect(counts.told).toBeGreaterThan(10);
        }),
      );
    }

    it.skipIf(!THREAD_EACH)(
      'are served writes that are long, to several regions, each of which is touched',
      inRig(async (rig) => {
        const all = await group(rig, 2);
        const device = new Device(all);
        await untilAllServed(all);
        const first = member(all, 0);
        first.rules.touched.fill(0);
        const before = all.map(servedOf);
        for (const [who, s] of all.entries()) {
          s.client.ask(write((who * 6 + 1) * REGION - BLOCK, 4 * REGION, who));
          first.model.set(pattern(4 * REGION, who), (who * 6 + 1) * REGION - BLOCK);
        }
        for (const s of all) expect((await s.client.answer()).error).toBe(0);
        expect(all.map(servedOf)).toEqual(before.map((n) => n + 1));
        expect(regionsIn(first.rules.touched)).toEqual([0, 1, 2, 3, 4, 6, 7, 8, 9, 10]);
        expectBytes((await bytesOf(first)).subarray(BLOCK), first.model.subarray(BLOCK));
        await device.unserveAll(all.map((s) => s.client.count));
      }),
    );

    it(
      'know that the rest of a long write comes, however little at a time',
      inRig(async (rig) => {
        const all = await group(rig, 2);
        const device = new Device(all);
        await untilAllServed(all);
        const slow = member(all, 0);
        const { engine } = slow.hub;
        const before = servedOf(slow);
        const bytes = slow.client.bytes([write(0, 6 * REGION, 5)]);
        let at = 100;
        slow.client.peer.write(bytes.subarray(0, at));
        for (let i = 0; i < 5; i += 1) {
          await rig.until(() => engine.awaited(slow.conn.id) !== undefined);
          const known = engine.awaited(slow.conn.id);
          slow.client.peer.write(bytes.subarray(at, at + 500));
          at += 500;
          await rig.until(() => engine.awaited(slow.conn.id) !== known);
        }
        slow.client.peer.write(bytes.subarray(at));
        expect((await slow.client.answer()).error).toBe(0);
        expect(servedOf(slow)).toBe(before + 1);
        await device.unserveAll(all.map((s) => s.client.count));
      }),
    );

    for (const [flushes, long] of [
      [false, false],
      [true, false],
      [false, true],
    ] as const) {
      it(
        `do not do what one has asked first after what another has asked when it was answered since${
          flushes ? ', also where they are told in between' : long ? ', however long the writes' : ''
        }`,
        inRig(async (rig) => {
          const all = await group(rig, 2);
          const device = new Device(all);
          await untilAllServed(all);
          const before = all.reduce((n, s) => n + servedOf(s), 0);
          const rounds = long ? 400 : flushes ? 600 : 2000;
          for (let i = 0; i < rounds; i += 1) {
            const [a, b] = i % 2 === 0 ? [member(all, 0), member(all, 1)] : [member(all, 1), member(all, 0)];
            // As much as a socket takes in at once: of more it is not known what has come.
            const length = long ? BLOCK * (97 + (i % 24)) : BLOCK * (1 + ((i * 7) % 16));
            const offset = long ? BLOCK * ((i * 13) % 400) : BLOCK * ((i * 13) % 900);
            const within =
              long || Math.floor(offset / REGION) === Math.floor((offset + length - 1) / REGION) ? offset : Math.floor(offset / REGION) * REGION;
            const asks = (s: Served, n: number): void => {
              s.client.ask(write(within, length, i * 3 + n));
            };
            if (flushes && i % 7 === 0) (i % 14 === 0 ? a : b).client.ask({ cmd: NBD_CMD_FLUSH });
            asks(a, 0);
            asks(b, 1);
            if (flushes && i % 14 === 7) expect((await b.client.answer()).error).toBe(0);
            expect((await b.client.answer()).error).toBe(0);
            asks(b, 2);
            expect((await b.client.answer()).error).toBe(0);
            if (flushes && i % 14 === 0) expect((await a.client.answer()).error).toBe(0);
            expect((await a.client.answer()).error).toBe(0);
            // A long read would be told.
            const shown = long ? BLOCK : length;
            b.client.ask(read(within + length - shown, shown));
            const seen = await b.client.answer();
            const is = (n: number): boolean => Buffer.compare(seen.data, pattern(length, i * 3 + n).subarray(length - shown)) === 0;
            if (!is(2)) {
              const which = [0, 1].filter(is);
              expect({ round: i, stays: which }).toEqual({ round: i, stays: 2 });
            }
          }
          if (!long || THREAD_EACH) expect(all.reduce((n, s) => n + servedOf(s), 0) - before).toBeGreaterThan(rounds);
          await device.unserveAll(all.map((s) => s.client.count));
        }),
      );
    }
  });
}
