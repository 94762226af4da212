/** Long WRITEs of a served connection without marks, such as a mirror sends to its target: executed without telling like all others. */
import { describe, expect, it } from 'vitest';
import type { WireParams } from '../../../src/io/types.ts';
import { NBD_CMD_WRITE } from '../../../src/nbd/wire/constants.ts';
import { bytesOf, execute, sealed, served, unserve } from './conformance-serve.ts';
import type { InRig } from './engine-conformance.ts';
import { expectBytes, joined, pattern, rawRequest, SIMPLE, takeBytes, WAIT_MS } from './engine-rig.ts';

const KIB = 1024;
const SIZE = 8192 * KIB;
const APART = 640 * KIB;

function writeOf(wire: WireParams, i: number, length: number): Uint8Array {
  const plain = rawRequest({ cmd: NBD_CMD_WRITE, offset: i * APART, payload: pattern(length, i), cookieLo: i });
  return wire.checksums === true ? joined([sealed(plain.subarray(0, 28)), sealed(plain.subarray(28))]) : plain;
}

/** What the first bytes of the leg are after writes of these lengths. */
function expected(lengths: readonly number[]): Uint8Array {
  const model = new Uint8Array(lengths.length * APART);
  for (const [i, length] of lengths.entries()) model.set(pattern(length, i), i * APART);
  return model;
}

export function describeServeLong(inRig: InRig): void {
  describe('long writes of a served connection', () => {
    for (const wire of [SIMPLE, { ...SIMPLE, checksums: true }]) {
      const replyBytes = wire.checksums === true ? 20 : 16;
      const how = wire.checksums === true ? 'with checksums' : 'without checksums';

      it(
        `are executed without telling, in one stream with short ones, ${how}`,
        inRig(async (rig) => {
          const s = await served(rig, wire, SIZE);
          const lengths = [256, 256, 4, 48, 500, 511, 47, 256, 0.5, 64, 300].map((k) => k * KIB);
          const stream = joined(lengths.map((length, i) => writeOf(wire, i, length)));
          // Cut where no request ends.
          for (let at = 0; at < stream.length; at += 100_003) s.peer.write(stream.subarray(at, at + 100_003));
          await s.peer.read(replyBytes * lengths.length, WAIT_MS);
          expectBytes(await bytesOf(s, lengths.length * APART), expected(lengths));
          expect(s.conn.requests).toEqual([]);
          expect(await unserve(s)).toBe(lengths.length);
        }),
      );

      it(
        `are written well whether they are told or not, ${how}`,
        inRig(async (rig) => {
          const s = await served(rig, wire, SIZE);
          let told = 0;
          execute(s, () => {
            told += 1;
          });
          const lengths = [256, 640, 256, 512, 4, 640, 64, 256].map((k) => k * KIB);
          s.peer.write(joined(lengths.map((length, i) => writeOf(wire, i, length))));
          await s.peer.read(replyBytes * lengths.length, WAIT_MS);
          expectBytes(await bytesOf(s, lengths.length * APART), expected(lengths));
          expect((await unserve(s)) + told).toBe(lengths.length);
        }),
      );
    }

    it(
      'are told when it is unserved in the middle of one, also when little of it is missing',
      inRig(async (rig) => {
        for (const missing of [200 * KIB, 1000]) {
          const s = await served(rig, SIMPLE, SIZE);
          const [first, second] = [writeOf(SIMPLE, 0, 256 * KIB), writeOf(SIMPLE, 1, 256 * KIB)];
          s.peer.write(first);
          await s.peer.read(16, WAIT_MS);
          s.peer.write(second.subarray(0, second.length - missing));
          await rig.until(() => s.hub.engine.awaited(s.conn.id) !== undefined);
          expect(await unserve(s)).toBe(1);
          s.peer.write(second.subarray(second.length - missing));
          await rig.until(() => s.conn.requests.length === 1);
          const r = s.conn.request(0);
          expect(r).toMatchObject({ cmd: NBD_CMD_WRITE, offset: APART, length: 256 * KIB });
          expectBytes(takeBytes(s.hub, r.h), pattern(256 * KIB, 1));
          // What comes next is noticed, however short.
          s.peer.write(writeOf(SIMPLE, 2, 512));
          await rig.until(() => s.conn.requests.length === 2);
          expectBytes(takeBytes(s.hub, s.conn.request(1).h), pattern(512, 2));
          s.peer.destroy();
          await rig.until(() => s.conn.closed !== undefined);
        }
      }),
    );

    it(
      'wait for the rest of them, however little is missing, and leave the connection as quick for short ones',
      inRig(async (rig) => {
        const s = await served(rig, SIMPLE, SIZE);
        for (const [i, missing] of [200 * KIB, 64 * KIB, 1000, 1].entries()) {
          const long = writeOf(SIMPLE, 2 * i, 256 * KIB);
          s.peer.write(long.subarray(0, long.length - missing));
          s.peer.write(long.subarray(long.length - missing));
          await s.peer.read(16, WAIT_MS);
          s.peer.write(writeOf(SIMPLE, 2 * i + 1, 512));
          await s.peer.read(16, WAIT_MS);
        }
        expectBytes(await bytesOf(s, 8 * APART), expected([0, 1, 2, 3].flatMap(() => [256 * KIB, 512])));
        expect(s.conn.requests).toEqual([]);
        expect(await unserve(s)).toBe(8);
      }),
    );
  });
}
