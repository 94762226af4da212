import { describe, expect, it } from 'vitest';
import type { OpResult } from '../../../src/io/hub.ts';
import { Errno, type WireParams } from '../../../src/io/types.ts';
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_EIO,
  NBD_ENOSPC,
  NBD_REPLY_FLAG_DONE,
  NBD_REPLY_TYPE_BLOCK_STATUS,
  NBD_REPLY_TYPE_ERROR,
  NBD_REPLY_TYPE_ERROR_OFFSET,
  NBD_REPLY_TYPE_FLAG_ERROR,
  NBD_REPLY_TYPE_NONE,
  NBD_REPLY_TYPE_OFFSET_DATA,
  NBD_REPLY_TYPE_OFFSET_HOLE,
} from '../../../src/nbd/wire/constants.ts';
import { STRUCTURED_REPLY, viewOf } from '../../../src/nbd/wire/layout.ts';
import {
  encodeBlockStatus,
  encodeChunk,
  encodeErrorChunk,
  encodeOffsetData,
  encodeOffsetHole,
  type RequestHeader,
} from '../../../src/nbd/wire/transmission.ts';
import { readRequest, simpleReply } from './conformance-client.ts';
import type { InRig } from './engine-conformance.ts';
import { joined, pattern, SIMPLE, STRUCTURED, takeBytes } from './engine-rig.ts';

const OFFSET = 4096;
const LENGTH = 1000;
const DONE = NBD_REPLY_FLAG_DONE;
const NONE = new Uint8Array(0);

/** One reply, or a piece of it, to a request. */
type Piece = (to: RequestHeader) => Uint8Array;

function chunk(type: number, flags: number, payload: Uint8Array): Piece {
  return (to) => {
    const out = new Uint8Array(STRUCTURED_REPLY.SIZE + payload.length);
    encodeChunk(viewOf(out), 0, flags, type, to.cookieHi, to.cookieLo, payload.length);
    out.set(payload, STRUCTURED_REPLY.SIZE);
    return out;
  };
}

function data(from: number, bytes: Uint8Array, flags = 0): Piece {
  const payload = new Uint8Array(8 + bytes.length);
  encodeOffsetData(viewOf(payload), 0, OFFSET + from);
  payload.set(bytes, 8);
  return chunk(NBD_REPLY_TYPE_OFFSET_DATA, flags, payload);
}

function hole(from: number, length: number, flags = 0): Piece {
  const payload = new Uint8Array(12);
  encodeOffsetHole(viewOf(payload), 0, OFFSET + from, length);
  return chunk(NBD_REPLY_TYPE_OFFSET_HOLE, flags, payload);
}

function simple(error: number, bytes: Uint8Array = NONE): Piece {
  return (to) => joined([simpleReply(to, error), bytes]);
}

const otherCookie: Piece = (to) => simpleReply({ ...to, cookieHi: (to.cookieHi + 1) >>> 0 }, 0);
const otherSlot: Piece = (to) => simpleReply({ ...to, cookieLo: to.cookieLo + 1 }, 0);
/** Says that `bytes` follow: the length field of a chunk, without its payload. */
function announces(type: number, bytes: number): Piece {
  return (to) => {
    const out = new Uint8Array(STRUCTURED_REPLY.SIZE);
    encodeChunk(viewOf(out), 0, DONE, type, to.cookieHi, to.cookieLo, bytes);
    return out;
  };
}

const bytes = pattern(LENGTH, 1);
const done = chunk(NBD_REPLY_TYPE_NONE, DONE, NONE);
const errorWithOffset = joined([encodeErrorChunk(NBD_EIO, 'worn out'), new Uint8Array(8)]);

interface Understood {
  title: string;
  cmd: number;
  wire?: WireParams;
  pieces: Piece[];
  errno?: number;
  read?: Uint8Array;
  value?: OpResult['value'];
}

const withHole = new Uint8Array(bytes);
withHole.fill(0, 300, 700);

const understood: Understood[] = [
  { title: 'a simple reply with data', cmd: NBD_CMD_READ, wire: SIMPLE, pieces: [simple(0, bytes)], read: bytes },
  { title: 'a simple error without data', cmd: NBD_CMD_READ, wire: SIMPLE, pieces: [simple(NBD_EIO)], errno: Errno.EIO },
  { title: 'a simple reply to FLUSH though chunks were agreed on', cmd: NBD_CMD_FLUSH, pieces: [simple(0)] },
  { title: 'one chunk of data', cmd: NBD_CMD_READ, pieces: [data(0, bytes, DONE)], read: bytes },
  {
    title: 'pieces of data and a hole in any order, the end by itself',
    cmd: NBD_CMD_READ,
    pieces: [data(700, bytes.subarray(700)), data(0, bytes.subarray(0, 300)), hole(300, 400), done],
    read: withHole,
  },
  { title: 'nothing but a hole', cmd: NBD_CMD_READ, pieces: [hole(0, LENGTH, DONE)], read: new Uint8Array(LENGTH) },
  {
    title: 'an error after some data',
    cmd: NBD_CMD_READ,
    pieces: [data(0, bytes.subarray(0, 500)), chunk(NBD_REPLY_TYPE_ERROR_OFFSET, 0, errorWithOffset), done],
    errno: Errno.EIO,
  },
  {
    title: 'two errors, of which the first counts',
    cmd: NBD_CMD_READ,
    pieces: [chunk(NBD_REPLY_TYPE_ERROR, 0, encodeErrorChunk(NBD_ENOSPC, 'full')), chunk(NBD_REPLY_TYPE_ERROR, DONE, encodeErrorChunk(NBD_EIO, ''))],
    errno: Errno.ENOSPC,
  },
  {
    title: 'an error of a kind not known yet',
    cmd: NBD_CMD_FLUSH,
    pieces: [chunk(NBD_REPLY_TYPE_FLAG_ERROR + 99, DONE, encodeErrorChunk(NBD_EIO, 'news'))],
    errno: Errno.EIO,
  },
  {
    title: 'an error without a number',
    cmd: NBD_CMD_FLUSH,
    pieces: [chunk(NBD_REPLY_TYPE_ERROR, DONE, encodeErrorChunk(0, ''))],
    errno: Errno.EINVAL,
  },
  {
    title: 'block status of two contexts',
    cmd: NBD_CMD_BLOCK_STATUS,
    pieces: [
      chunk(
        NBD_REPLY_TYPE_BLOCK_STATUS,
        0,
        encodeBlockStatus(7, [
          { length: 600, flags: 3 },
          { length: 400, flags: 0 },
        ]),
      ),
      chunk(NBD_REPLY_TYPE_BLOCK_STATUS, DONE, encodeBlockStatus(8, [{ length: 1000, flags: 1 }])),
    ],
    value: {
      kind: 'block-status',
      contexts: [
        {
          id: 7,
          extents: [
            { length: 600, flags: 3 },
            { length: 400, flags: 0 },
          ],
        },
        { id: 8, extents: [{ length: 1000, flags: 1 }] },
      ],
    },
  },
];

const malformed: { title: string; cmd?: number; wire?: WireParams; pieces: Piece[] }[] = [
  { title: 'a wrong magic', pieces: [() => new Uint8Array(16).fill(0x67)] },
  { title: 'a cookie that nobody has', pieces: [otherCookie] },
  { title: 'a slot that nobody has', pieces: [otherSlot] },
  { title: 'a second answer', pieces: [data(0, bytes, DONE), done] },
  { title: 'chunks that were not agreed on', wire: SIMPLE, pieces: [data(0, bytes, DONE)] },
  { title: 'a simple success for READ where chunks were agreed on', pieces: [simple(0, bytes)] },
  { title: 'a simple success for BLOCK_STATUS', cmd: NBD_CMD_BLOCK_STATUS, pieces: [simple(0)] },
  { title: 'a simple reply in the middle of chunks', pieces: [data(0, bytes.subarray(0, 500)), simple(NBD_EIO)] },
  { title: 'data before the request’s range', pieces: [data(-1, bytes.subarray(0, 10))] },
  { title: 'data after the request’s range', pieces: [data(LENGTH - 5, bytes.subarray(0, 6))] },
  { title: 'more data than was asked for', pieces: [announces(NBD_REPLY_TYPE_OFFSET_DATA, 8 + LENGTH + 1)] },
  { title: 'a chunk of data without data', pieces: [announces(NBD_REPLY_TYPE_OFFSET_DATA, 8)] },
  { title: 'data that comes twice', pieces: [data(0, bytes.subarray(0, 600)), data(599, bytes.subarray(0, 10))] },
  { title: 'a hole over data', pieces: [data(100, bytes.subarray(0, 600)), hole(0, LENGTH, DONE)] },
  { title: 'a hole of no length', pieces: [hole(10, 0)] },
  { title: 'a hole beyond the range', pieces: [hole(10, LENGTH)] },
  { title: 'a hole of the wrong size', pieces: [announces(NBD_REPLY_TYPE_OFFSET_HOLE, 13)] },
  { title: 'an end with a gap in the data', pieces: [data(0, bytes.subarray(0, 999)), done] },
  { title: 'an end without any data', pieces: [done] },
  { title: 'NONE that is not the end', cmd: NBD_CMD_FLUSH, pieces: [chunk(NBD_REPLY_TYPE_NONE, 0, NONE)] },
  { title: 'NONE with a payload', cmd: NBD_CMD_FLUSH, pieces: [announces(NBD_REPLY_TYPE_NONE, 4)] },
  { title: 'data for FLUSH', cmd: NBD_CMD_FLUSH, pieces: [data(0, bytes.subarray(0, 4), DONE)] },
  { title: 'block status for READ', pieces: [chunk(NBD_REPLY_TYPE_BLOCK_STATUS, DONE, encodeBlockStatus(1, [{ length: 1, flags: 0 }]))] },
  { title: 'block status without extents', cmd: NBD_CMD_BLOCK_STATUS, pieces: [chunk(NBD_REPLY_TYPE_BLOCK_STATUS, DONE, new Uint8Array(4))] },
  { title: 'no block status at all', cmd: NBD_CMD_BLOCK_STATUS, pieces: [done] },
  {
    title: 'one context twice',
    cmd: NBD_CMD_BLOCK_STATUS,
    pieces: [0, DONE].map((flags) => chunk(NBD_REPLY_TYPE_BLOCK_STATUS, flags, encodeBlockStatus(1, [{ length: 1, flags: 0 }]))),
  },
  { title: 'an unknown kind of chunk', pieces: [chunk(99, DONE, NONE)] },
  { title: 'an error chunk too short', pieces: [announces(NBD_REPLY_TYPE_ERROR, 5)] },
  { title: 'an error chunk too long', pieces: [announces(NBD_REPLY_TYPE_ERROR, 1_000_000)] },
  { title: 'an error message beyond its chunk', pieces: [chunk(NBD_REPLY_TYPE_ERROR, DONE, new Uint8Array([0, 0, 0, 5, 0, 9]))] },
];

export function describeClientReplies(inRig: InRig): void {
  describe('a client understands', () => {
    for (const u of understood) {
      it(
        u.title,
        inRig(async (rig) => {
          const hub = rig.hub();
          const { conn, peer } = await rig.client(hub, u.wire ?? STRUCTURED);
          for (const cutBytes of [Infinity, 1, 7]) {
            const asked = hub.run((op) => {
              hub.engine.send(op, conn.id, u.cmd, 0, OFFSET, LENGTH, 0, 0);
            });
            const to = await readRequest(peer);
            const stream = joined(u.pieces.map((p) => p(to)));
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
  });

  describe('a client ends the connection for', () => {
    for (const m of malformed) {
      it(
        m.title,
        inRig(async (rig) => {
          const hub = rig.hub();
          const { conn, peer } = await rig.client(hub, m.wire ?? STRUCTURED);
          const ask = (cmd: number): Promise<OpResult> =>
            hub.run((op) => {
              hub.engine.send(op, conn.id, cmd, 0, OFFSET, LENGTH, 0, 0);
            });
          const asked = ask(m.cmd ?? NBD_CMD_READ);
          const other = ask(NBD_CMD_FLUSH);
          const to = await readRequest(peer);
          await readRequest(peer);
          peer.write(joined(m.pieces.map((p) => p(to))));
          await rig.until(() => conn.closed !== undefined);
          expect(conn.closed).toBe(Errno.EINVAL);
          expect((await other).errno).toBe(Errno.EINVAL);
          const r = await asked;
          if (m.title === 'a second answer') hub.engine.release(r.h);
          else expect(r).toMatchObject({ errno: Errno.EINVAL, h: 0 });
        }),
      );
    }
  });
}
