/** Extended headers at a server connection: bytes written out by hand from the specification (branch extension-ext-header). */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Errno } from '../../../src/io/types.ts';
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_CACHE,
  NBD_CMD_DISC,
  NBD_CMD_FLAG_PAYLOAD_LEN,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
  NBD_EINVAL,
} from '../../../src/nbd/wire/constants.ts';
import { encodeBlockStatusExt } from '../../../src/nbd/wire/extended.ts';
import type { InRig } from './engine-conformance.ts';
import { EXTENDED, handleOf, joined, pattern, rawRequest, ROOMY, takeBytes, WAIT_MS } from './engine-rig.ts';

const PAYLOAD = NBD_CMD_FLAG_PAYLOAD_LEN;
const NONE = new Uint8Array(0);

interface Asked {
  cmd: number;
  flags?: number;
  cookie?: bigint;
  offset?: bigint;
  length: bigint;
}

/** A request's header; its payload is the caller's to send. */
export function extendedRequest(r: Asked): Uint8Array {
  const out = new Uint8Array(32);
  const v = new DataView(out.buffer);
  v.setUint32(0, 0x21e41c71);
  v.setUint16(4, r.flags ?? 0);
  v.setUint16(6, r.cmd);
  v.setBigUint64(8, r.cookie ?? 1n);
  v.setBigUint64(16, r.offset ?? 0n);
  v.setBigUint64(24, r.length);
  return out;
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

export function describeExtendedServer(inRig: InRig): void {
  describe('a server connection with extended headers', () => {
    it(
      'hands over every request complete and in order, payloads of any command and lengths of 64 bits, however the bytes are cut',
      inRig(async (rig) => {
        const hub = rig.hub();
        const u64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
        const arbitrary = fc.array(
          fc.record({
            cmd: fc.constantFrom(NBD_CMD_READ, NBD_CMD_WRITE, NBD_CMD_FLUSH, NBD_CMD_TRIM, NBD_CMD_CACHE, NBD_CMD_BLOCK_STATUS, 77),
            flags: fc.integer({ min: 0, max: 0xffff }),
            offset: u64,
            length: u64,
            payloadBytes: fc.integer({ min: 0, max: 6000 }),
          }),
          { minLength: 1, maxLength: 12 },
        );
        await fc.assert(
          fc.asyncProperty(arbitrary, fc.array(fc.integer({ min: 1, max: 3000 }), { minLength: 1, maxLength: 8 }), async (all, cuts) => {
            const { conn, peer } = await rig.server(hub, EXTENDED);
            const asked = all.map((a) => {
              const flags = a.cmd === NBD_CMD_WRITE ? a.flags | PAYLOAD : a.flags;
              const has = (flags & PAYLOAD) !== 0;
              return { ...a, flags, has, length: has ? BigInt(a.payloadBytes) : a.length };
            });
            const stream = joined(asked.flatMap((a, i) => [extendedRequest(a), a.has ? pattern(a.payloadBytes, i) : NONE]));
            let at = 0;
            for (let i = 0; at < stream.length; i += 1) {
              const n = cuts[i % cuts.length] ?? 1;
              peer.write(stream.subarray(at, at + n));
              at += n;
              if (i < 40) await rig.turn();
            }
            await rig.until(() => conn.requests.length === asked.length);
            asked.forEach((a, i) => {
              const r = conn.request(i);
              // A number above the safe integers may be rounded, but never to one that a device could have.
              expect(r).toMatchObject({ cmd: a.cmd, flags: a.flags, offset: Number(a.offset), length: Number(a.length) });
              if (a.has) expect(takeBytes(hub, r.h)).toEqual(pattern(a.payloadBytes, i));
              else expect(r.h).toBe(0);
            });
            peer.destroy();
            await rig.until(() => conn.closed !== undefined);
          }),
          { numRuns: 12 },
        );
      }),
    );

    it(
      'answers in extended replies, which repeat cookie and offset to the bit',
      inRig(async (rig) => {
        const hub = rig.hub();
        const { conn, peer } = await rig.server(hub, EXTENDED);
        const cookie = 0x0102030405060708n;
        const head = (type: string, offset: string, bytes: number): string =>
          '6e8a278c' + '0001' + type + '0102030405060708' + offset + bytes.toString(16).padStart(16, '0');

        peer.write(extendedRequest({ cmd: NBD_CMD_READ, cookie, offset: 0x1122334455n, length: 2n }));
        await rig.until(() => conn.requests.length === 1);
        const h = handleOf(hub, new Uint8Array([0xaa, 0xbb]));
        hub.engine.reply(0, conn.request(0).req, 0, h, 0, 2);
        hub.engine.release(h);
        expect(hex(await peer.read(32 + 8 + 2, WAIT_MS))).toBe(head('0001', '0000001122334455', 10) + '0000001122334455' + 'aabb');

        // No number holds this offset exactly.
        peer.write(extendedRequest({ cmd: NBD_CMD_WRITE_ZEROES, cookie, offset: 0xfffffffffffffff1n, length: 0xfffffffffffffff3n }));
        await rig.until(() => conn.requests.length === 2);
        expect(conn.request(1).offset).toBeGreaterThan(Number.MAX_SAFE_INTEGER);
        expect(conn.request(1).length).toBeGreaterThan(Number.MAX_SAFE_INTEGER);
        hub.engine.reply(0, conn.request(1).req, NBD_EINVAL, 0, 0, 0);
        expect(hex(await peer.read(32 + 6, WAIT_MS))).toBe(head('8001', 'fffffffffffffff1', 6) + '00000016' + '0000');

        peer.write(joined([extendedRequest({ cmd: NBD_CMD_WRITE, flags: PAYLOAD, cookie, offset: 7n, length: 3n }), pattern(3, 1)]));
        await rig.until(() => conn.requests.length === 3);
        expect(takeBytes(hub, conn.request(2).h)).toEqual(pattern(3, 1));
        hub.engine.reply(0, conn.request(2).req, 0, 0, 0, 0);
        expect(hex(await peer.read(32, WAIT_MS))).toBe(head('0000', '0000000000000007', 0));

        peer.write(extendedRequest({ cmd: NBD_CMD_BLOCK_STATUS, cookie, offset: 0xfffffffffffffff1n, length: 2n ** 46n }));
        await rig.until(() => conn.requests.length === 4);
        expect(conn.request(3).length).toBe(2 ** 46);
        hub.engine.replyBlockStatus(
          0,
          conn.request(3).req,
          [1, 2].map((id) => encodeBlockStatusExt(id, [{ length: 2 ** 46, flags: 3 }])),
        );
        const status = (id: string): string => id + '00000001' + '0000400000000000' + '0000000000000003';
        expect(hex(await peer.read(2 * (32 + 24), WAIT_MS))).toBe(
          head('0006', 'fffffffffffffff1', 24).replace('0001', '0000') +
            status('00000001') +
            head('0006', 'fffffffffffffff1', 24) +
            status('00000002'),
        );
        expect(conn.closed).toBeUndefined();
      }),
    );

    it(
      'counts every payload against the limits',
      inRig(async (rig) => {
        const hub = rig.hub();
        const { conn, peer } = await rig.server(hub, EXTENDED, { requestsMax: 100, bytesMax: 10_000 });
        for (const cmd of [NBD_CMD_TRIM, NBD_CMD_BLOCK_STATUS, 99]) {
          peer.write(joined([extendedRequest({ cmd, flags: PAYLOAD, length: 4000n }), pattern(4000, cmd)]));
        }
        await rig.until(() => conn.requests.length === 2);
        await rig.settle();
        expect(conn.requests.length).toBe(2);
        expect(hub.engine.usage().bytes).toBe(8000);
        for (let i = 0; i < 3; i += 1) {
          await rig.until(() => conn.requests.length > i);
          takeBytes(hub, conn.request(i).h);
          hub.engine.reply(0, conn.request(i).req, NBD_EINVAL, 0, 0, 0);
          await peer.read(32 + 6, WAIT_MS);
        }
      }),
    );

    it(
      'reads nothing after DISC, whatever length it has',
      inRig(async (rig) => {
        const hub = rig.hub();
        const { conn, peer } = await rig.server(hub, EXTENDED);
        peer.write(extendedRequest({ cmd: NBD_CMD_DISC, flags: PAYLOAD, length: 2n ** 63n }));
        peer.write(extendedRequest({ cmd: NBD_CMD_FLUSH, length: 0n }));
        await rig.until(() => conn.requests.length === 1);
        await rig.settle();
        expect(conn.requests).toMatchObject([{ cmd: NBD_CMD_DISC, h: 0 }]);
        hub.engine.close(conn.id, 0);
        await rig.until(() => conn.closed === 0);
      }),
    );

    it(
      'is not to be had with simple replies: a bug',
      inRig(async (rig) => {
        const hub = rig.hub();
        const { accepted } = await rig.pair();
        expect(() => hub.engine.adopt(accepted, 'server', { ...EXTENDED, structuredReplies: false }, ROOMY, NONE)).toThrow(/extended headers/);
      }),
    );

    const max = BigInt(EXTENDED.payloadMaxBytes);
    const refused: [string, Uint8Array][] = [
      ['a compact request', rawRequest({ cmd: NBD_CMD_FLUSH, length: 0 })],
      ['a WRITE that does not say that its payload follows', extendedRequest({ cmd: NBD_CMD_WRITE, length: 4n })],
      ['a WRITE over the limit', extendedRequest({ cmd: NBD_CMD_WRITE, flags: PAYLOAD, length: max + 1n })],
      ['a WRITE of 2^64 - 1', extendedRequest({ cmd: NBD_CMD_WRITE, flags: PAYLOAD, length: 2n ** 64n - 1n })],
      ['any other payload over the limit', extendedRequest({ cmd: NBD_CMD_TRIM, flags: PAYLOAD, length: 2n ** 32n })],
    ];
    for (const [what, bytes] of refused) {
      it(
        `ends for ${what}`,
        inRig(async (rig) => {
          const hub = rig.hub();
          const { conn, peer } = await rig.server(hub, EXTENDED);
          peer.write(extendedRequest({ cmd: NBD_CMD_FLUSH, length: 0n }));
          // A header's length of bytes at least: what is short of one is waited for.
          peer.write(joined([bytes, new Uint8Array(8)]));
          await rig.until(() => conn.closed !== undefined);
          expect(conn.closed).toBe(Errno.EINVAL);
          expect(conn.history).toEqual(['request', 'closed']);
        }),
      );
    }

    it(
      'is not what a connection with compact headers understands',
      inRig(async (rig) => {
        const hub = rig.hub();
        const { conn, peer } = await rig.server(hub);
        peer.write(extendedRequest({ cmd: NBD_CMD_FLUSH, length: 0n }));
        await rig.until(() => conn.closed !== undefined);
        expect(conn.closed).toBe(Errno.EINVAL);
        expect(conn.requests).toEqual([]);
      }),
    );
  });
}
