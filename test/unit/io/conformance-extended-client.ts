/** Extended headers at a client connection: bytes written out by hand from the specification (branch extension-ext-header). */
import { describe, expect, it } from 'vitest';
import type { OpResult } from '../../../src/io/hub.ts';
import { Errno, type WireParams } from '../../../src/io/types.ts';
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_FLAG_PAYLOAD_LEN,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
  NBD_EIO,
} from '../../../src/nbd/wire/constants.ts';
import { encodeBlockStatus } from '../../../src/nbd/wire/transmission.ts';
import type { InRig } from './engine-conformance.ts';
import { EXTENDED, expectBytes, handleOf, joined, pattern, STRUCTURED, takeBytes, WAIT_MS } from './engine-rig.ts';

const OFFSET = 0x1_0000_0000_00;
const LENGTH = 1000;
const DONE = 1;

/** The cookie of a request, as 8 bytes. */
type Piece = (cookie: Uint8Array) => Uint8Array;

function header(magic: number, flags: number, type: number, cookie: Uint8Array, offset: bigint, length: bigint): Uint8Array {
  const out = new Uint8Array(32);
  const v = new DataView(out.buffer);
  v.setUint32(0, magic);
  v.setUint16(4, flags);
  v.setUint16(6, type);
  out.set(cookie, 8);
  v.setBigUint64(16, offset);
  v.setBigUint64(24, length);
  return out;
}
const chunk =
  (type: number, flags: number, payload: Uint8Array, offset = BigInt(OFFSET)): Piece =>
  (cookie) =>
    joined([header(0x6e8a278c, flags, type, cookie, offset, BigInt(payload.length)), payload]);
/** A header alone. */
const announces =
  (type: number, length: bigint): Piece =>
  (cookie) =>
    header(0x6e8a278c, DONE, type, cookie, BigInt(OFFSET), length);

const ofHex = (...parts: string[]): Uint8Array => new Uint8Array(Buffer.from(parts.join(''), 'hex'));
const u64 = (n: bigint): string => n.toString(16).padStart(16, '0');
const data = (from: number, bytes: Uint8Array, flags = 0): Piece => chunk(1, flags, joined([ofHex(u64(BigInt(OFFSET + from))), bytes]));
const hole = (from: number, length: number, flags = 0): Piece =>
  chunk(2, flags, ofHex(u64(BigInt(OFFSET + from)), length.toString(16).padStart(8, '0')));
/** Context, count, then (length, status) of 64 bits each. */
const status = (context: number, count: number, ...descriptors: [bigint, bigint][]): Uint8Array =>
  ofHex(context.toString(16).padStart(8, '0'), count.toString(16).padStart(8, '0'), ...descriptors.flat().map(u64));

const bytes = pattern(LENGTH, 1);
const withHole = new Uint8Array(bytes);
withHole.fill(0, 300, 700);
const done = chunk(0, DONE, new Uint8Array(0));
const error = chunk(0x8001, DONE, ofHex('00000005', '0002', '6869'));

interface Understood {
  title: string;
  cmd: number;
  pieces: Piece[];
  errno?: number;
  read?: Uint8Array;
  value?: OpResult['value'];
}

const one = (length: number, flags: number, id = 7): OpResult['value'] => ({
  kind: 'block-status',
  contexts: [{ id, extents: [{ length, flags }] }],
});

const understood: Understood[] = [
  { title: 'success', cmd: NBD_CMD_FLUSH, pieces: [done] },
  { title: 'an error', cmd: NBD_CMD_READ, pieces: [error], errno: Errno.EIO },
  { title: 'one chunk of data', cmd: NBD_CMD_READ, pieces: [data(0, bytes, DONE)], read: bytes },
  {
    title: 'pieces of data and a hole in any order',
    cmd: NBD_CMD_READ,
    pieces: [data(700, bytes.subarray(700)), data(0, bytes.subarray(0, 300)), hole(300, 400), done],
    read: withHole,
  },
  { title: 'status with its count', cmd: NBD_CMD_BLOCK_STATUS, pieces: [chunk(6, DONE, status(7, 1, [1n << 46n, 3n]))], value: one(2 ** 46, 3) },
  { title: 'status without a count', cmd: NBD_CMD_BLOCK_STATUS, pieces: [chunk(6, DONE, status(7, 0, [9n, 1n]))], value: one(9, 1) },
  {
    title: 'status of a length that no number holds',
    cmd: NBD_CMD_BLOCK_STATUS,
    pieces: [chunk(6, DONE, status(7, 1, [2n ** 64n - 1n, 0n]))],
    value: one(Number.MAX_SAFE_INTEGER, 0),
  },
  { title: 'compact status', cmd: NBD_CMD_BLOCK_STATUS, pieces: [chunk(5, DONE, encodeBlockStatus(7, [{ length: 9, flags: 1 }]))], value: one(9, 1) },
  {
    title: 'status of two contexts, in chunks of both kinds',
    cmd: NBD_CMD_BLOCK_STATUS,
    pieces: [chunk(6, 0, status(7, 2, [5n, 0n], [6n, 2n])), chunk(5, DONE, encodeBlockStatus(8, [{ length: 9, flags: 1 }]))],
    value: {
      kind: 'block-status',
      contexts: [
        {
          id: 7,
          extents: [
            { length: 5, flags: 0 },
            { length: 6, flags: 2 },
          ],
        },
        { id: 8, extents: [{ length: 9, flags: 1 }] },
      ],
    },
  },
];

const STATUS_MAX = 8n + 16n * 2n ** 20n;
const malformed: { title: string; cmd?: number; wire?: WireParams; pieces: Piece[] }[] = [
  { title: 'a simple reply', cmd: NBD_CMD_FLUSH, pieces: [(c) => joined([ofHex('67446698', '00000000'), c, new Uint8Array(16)])] },
  { title: 'a structured reply', cmd: NBD_CMD_FLUSH, pieces: [(c) => joined([ofHex('668e33ef', '00010000'), c, new Uint8Array(16)])] },
  { title: 'an offset that is not the request’s', cmd: NBD_CMD_FLUSH, pieces: [chunk(0, DONE, new Uint8Array(0), BigInt(OFFSET) + 1n)] },
  { title: 'an offset that rounds to nothing near', cmd: NBD_CMD_FLUSH, pieces: [chunk(0, DONE, new Uint8Array(0), 2n ** 64n - 1n)] },
  { title: 'a cookie that nobody has', pieces: [(c) => done(c.map((b) => b ^ 0xff))] },
  { title: 'data of 2^63 bytes', pieces: [announces(1, 2n ** 63n)] },
  { title: 'data longer than was asked for by 2^32', pieces: [announces(1, 8n + BigInt(LENGTH) + 2n ** 32n)] },
  { title: 'an end of 2^32 bytes', cmd: NBD_CMD_FLUSH, pieces: [announces(0, 2n ** 32n)] },
  { title: 'an error of 2^32 bytes', cmd: NBD_CMD_FLUSH, pieces: [announces(0x8001, 2n ** 32n + 6n)] },
  { title: 'a hole of 2^32 bytes too long', pieces: [announces(2, 2n ** 32n + 12n)] },
  { title: 'a gap', pieces: [data(0, bytes.subarray(0, 999)), done] },
  { title: 'status for READ', pieces: [chunk(6, DONE, status(1, 1, [1n, 0n]))] },
  { title: 'status without extents', cmd: NBD_CMD_BLOCK_STATUS, pieces: [chunk(6, DONE, status(1, 0))] },
  { title: 'status of no length', cmd: NBD_CMD_BLOCK_STATUS, pieces: [chunk(6, DONE, status(1, 1, [0n, 0n]))] },
  { title: 'status with another count', cmd: NBD_CMD_BLOCK_STATUS, pieces: [chunk(6, DONE, status(1, 2, [1n, 0n]))] },
  { title: 'status of half an extent', cmd: NBD_CMD_BLOCK_STATUS, pieces: [chunk(6, DONE, status(1, 0, [1n, 0n]).subarray(0, 20))] },
  { title: 'status of too many extents', cmd: NBD_CMD_BLOCK_STATUS, pieces: [announces(6, STATUS_MAX + 16n)] },
  {
    title: 'one context twice, in both kinds',
    cmd: NBD_CMD_BLOCK_STATUS,
    pieces: [chunk(6, 0, status(7, 1, [1n, 0n])), chunk(5, DONE, encodeBlockStatus(7, [{ length: 9, flags: 1 }]))],
  },
  {
    title: 'extended status where it was not agreed on',
    cmd: NBD_CMD_BLOCK_STATUS,
    wire: STRUCTURED,
    pieces: [(c) => joined([ofHex('668e33ef', '0001', '0006'), c, ofHex('00000018'), status(7, 1, [1n, 0n])])],
  },
  { title: 'extended replies where they were not agreed on', cmd: NBD_CMD_FLUSH, wire: STRUCTURED, pieces: [done] },
];

export function describeExtendedClient(inRig: InRig): void {
  describe('a client connection with extended headers', () => {
    it(
      'sends requests of 32 bytes: 64 bits of length, the flag for every payload',
      inRig(async (rig) => {
        const hub = rig.hub();
        const { conn, peer } = await rig.client(hub, EXTENDED);
        const h = handleOf(hub, pattern(5000, 1));
        const sends: [number, number, number, number, number][] = [
          [NBD_CMD_WRITE_ZEROES, 2, 0x1122334455, 2 ** 46, 0],
          [NBD_CMD_WRITE, 1, 512, 4999, 1],
          [NBD_CMD_BLOCK_STATUS, NBD_CMD_FLAG_PAYLOAD_LEN, 2 ** 52, 12, 3],
          [NBD_CMD_READ, 4, 7, 9, 0],
        ];
        const all = sends.map(([cmd, flags, offset, length, hOffset]) =>
          hub.run((op) => {
            hub.engine.send(op, conn.id, cmd, flags, offset, length, cmd === NBD_CMD_WRITE || cmd === NBD_CMD_BLOCK_STATUS ? h : 0, hOffset);
          }),
        );
        hub.engine.release(h);
        const next = async (): Promise<string> => {
          const bytes = Buffer.from(await peer.read(32, WAIT_MS)).toString('hex');
          return `${bytes.slice(0, 16)}/${bytes.slice(32)}`;
        };
        expect(await next()).toBe('21e41c71' + '0002' + '0006' + '/' + '0000001122334455' + '0000400000000000');
        expect(await next()).toBe('21e41c71' + '0021' + '0001' + '/' + '0000000000000200' + '0000000000001387');
        expectBytes(await peer.read(4999, WAIT_MS), pattern(5000, 1).subarray(1));
        expect(await next()).toBe('21e41c71' + '0020' + '0007' + '/' + '0010000000000000' + '000000000000000c');
        expectBytes(await peer.read(12, WAIT_MS), pattern(5000, 1).subarray(3, 15));
        expect(await next()).toBe('21e41c71' + '0004' + '0000' + '/' + '0000000000000007' + '0000000000000009');
        hub.engine.close(conn.id, Errno.ECONNRESET);
        for (const r of await Promise.all(all)) expect(r.errno).toBe(Errno.ECONNRESET);
      }),
    );

    it(
      'is what lengths beyond 32 bits need, and payloads of anything but WRITE',
      inRig(async (rig) => {
        const hub = rig.hub();
        const compact = await rig.client(hub, STRUCTURED);
        const extended = await rig.client(hub, EXTENDED);
        const h = handleOf(hub, pattern(16, 1));
        const send = async (conn: number, cmd: number, flags: number, length: number): Promise<number> => {
          const r = await hub.run((op) => {
            hub.engine.send(op, conn, cmd, flags, 0, length, h, 0);
          });
          return r.errno;
        };
        expect(await send(compact.conn.id, NBD_CMD_TRIM, 0, 2 ** 32)).toBe(Errno.EINVAL);
        expect(await send(compact.conn.id, NBD_CMD_BLOCK_STATUS, NBD_CMD_FLAG_PAYLOAD_LEN, 12)).toBe(Errno.EINVAL);
        expect(await send(extended.conn.id, NBD_CMD_READ, 0, 2 ** 32)).toBe(Errno.EINVAL);
        hub.engine.release(h);
      }),
    );

    for (const u of understood) {
      it(
        `understands ${u.title}`,
        inRig(async (rig) => {
          const hub = rig.hub();
          const { conn, peer } = await rig.client(hub, EXTENDED);
          for (const cutBytes of [Infinity, 1, 7]) {
            const asked = hub.run((op) => {
              hub.engine.send(op, conn.id, u.cmd, 0, OFFSET, LENGTH, 0, 0);
            });
            const cookie = (await peer.read(32, WAIT_MS)).slice(8, 16);
            const stream = joined(u.pieces.map((p) => p(cookie)));
            for (let at = 0; at < stream.length; at += cutBytes) {
              peer.write(stream.subarray(at, Math.min(stream.length, at + cutBytes)));
              if (at < 60 * 7) await rig.turn();
            }
            const r = await asked;
            expect(r.errno).toBe(u.errno ?? 0);
            expect(r.value).toEqual(u.value);
            if (u.read === undefined) expect(r.h).toBe(0);
            else expect(takeBytes(hub, r.h)).toEqual(u.read);
          }
          expect(conn.closed).toBeUndefined();
        }),
      );
    }

    for (const m of malformed) {
      it(
        `ends for ${m.title}`,
        inRig(async (rig) => {
          const hub = rig.hub();
          const { conn, peer } = await rig.client(hub, m.wire ?? EXTENDED);
          const asked = hub.run((op) => {
            hub.engine.send(op, conn.id, m.cmd ?? NBD_CMD_READ, 0, OFFSET, LENGTH, 0, 0);
          });
          const cookie = (await peer.read(m.wire === undefined ? 32 : 28, WAIT_MS)).slice(8, 16);
          peer.write(joined(m.pieces.map((p) => p(cookie))));
          await rig.until(() => conn.closed !== undefined);
          expect(conn.closed).toBe(Errno.EINVAL);
          expect(await asked).toMatchObject({ errno: Errno.EINVAL, h: 0 });
        }),
      );
    }

    it(
      'takes as many extents as a server should send at most, and from several contexts twice as many',
      inRig(async (rig) => {
        const hub = rig.hub();
        const { conn, peer } = await rig.client(hub, EXTENDED);
        const most = new Uint8Array(8 + 16 * 2 ** 20);
        const v = new DataView(most.buffer);
        for (let at = 8; at < most.length; at += 16) v.setBigUint64(at, 1n);
        const ask = async (contexts: number): Promise<OpResult> => {
          const asked = hub.run((op) => {
            hub.engine.send(op, conn.id, NBD_CMD_BLOCK_STATUS, 0, OFFSET, 2 ** 40, 0, 0);
          });
          const cookie = (await peer.read(32, WAIT_MS)).slice(8, 16);
          for (let i = 0; i < contexts; i += 1) {
            v.setUint32(0, i);
            const piece = chunk(6, i === contexts - 1 ? DONE : 0, most)(cookie);
            peer.write(piece);
          }
          return await asked;
        };
        const { value } = await ask(1);
        expect(value?.kind === 'block-status' && value.contexts.map((c) => c.extents.length)).toEqual([2 ** 20]);
        expect((await ask(3)).errno).toBe(Errno.EINVAL);
        expect(conn.closed).toBe(Errno.EINVAL);
      }),
      120_000,
    );

    it(
      'refuses errors that say nothing with EINVAL',
      inRig(async (rig) => {
        const hub = rig.hub();
        const { conn, peer } = await rig.client(hub, EXTENDED);
        for (const [number, errno] of [
          ['00000000', Errno.EINVAL],
          ['00000005', NBD_EIO],
        ] as const) {
          const asked = hub.run((op) => {
            hub.engine.send(op, conn.id, NBD_CMD_FLUSH, 0, OFFSET, 0, 0, 0);
          });
          const cookie = (await peer.read(32, WAIT_MS)).slice(8, 16);
          peer.write(chunk(0x8001, DONE, ofHex(number, '0000'))(cookie));
          expect((await asked).errno).toBe(errno);
        }
      }),
    );
  });
}
