import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CHECKSUM_BYTES, CMD_DAMAGED } from '../../../src/nbd/wire/checksums.ts';
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
  NBD_EIO,
  NBD_REPLY_FLAG_DONE,
  NBD_REPLY_TYPE_ERROR,
  NBD_REPLY_TYPE_OFFSET_DATA,
  NBD_REPLY_TYPE_OFFSET_HOLE,
} from '../../../src/nbd/wire/constants.ts';
import { CHUNK_OFFSET_HOLE, REQUEST, setU64, SIMPLE_REPLY, STRUCTURED_REPLY, viewOf } from '../../../src/nbd/wire/layout.ts';
import { encodeBlockStatus, encodeChunk, encodeErrorChunk, encodeOffsetHole, encodeSimpleReply } from '../../../src/nbd/wire/transmission.ts';
import { Errno, type WireParams } from '../../../src/io/types.ts';
import type { InRig } from './engine-conformance.ts';
import { begin, expectBytes, handleOf, joined, pattern, type RawRequest, rawRequest, SIMPLE, STRUCTURED, takeBytes, WAIT_MS } from './engine-rig.ts';

const SEALED: WireParams = { ...SIMPLE, checksums: true };
const SEALED_CHUNKS: WireParams = { ...STRUCTURED, checksums: true };
const LARGE_BYTES = 600_000;

/** The bytes, and their checksum; nothing of nothing. */
function sealed(bytes: Uint8Array): Uint8Array {
  if (bytes.length === 0) return bytes;
  const out = new Uint8Array(bytes.length + CHECKSUM_BYTES);
  out.set(bytes);
  viewOf(out).setUint32(bytes.length, crc32(bytes), false);
  return out;
}

function sealedRequest(r: RawRequest): Uint8Array {
  const raw = rawRequest(r);
  return joined([sealed(raw.subarray(0, REQUEST.SIZE)), sealed(raw.subarray(REQUEST.SIZE))]);
}

function sealedSimple(cookie: Uint8Array, error: number, data: Uint8Array = new Uint8Array(0)): Uint8Array {
  const head = new Uint8Array(SIMPLE_REPLY.SIZE);
  encodeSimpleReply(viewOf(head), 0, error, 0, 0);
  head.set(cookie, SIMPLE_REPLY.cookie);
  return joined([sealed(head), sealed(data)]);
}

function sealedChunk(cookie: Uint8Array, flags: number, type: number, payload: Uint8Array): Uint8Array {
  const head = new Uint8Array(STRUCTURED_REPLY.SIZE);
  encodeChunk(viewOf(head), 0, flags, type, 0, 0, payload.length);
  head.set(cookie, STRUCTURED_REPLY.cookie);
  return joined([sealed(head), sealed(payload)]);
}

function dataAt(offset: number, bytes: Uint8Array): Uint8Array {
  const out = new Uint8Array(8 + bytes.length);
  setU64(viewOf(out), 0, offset);
  out.set(bytes, 8);
  return out;
}

function holeAt(offset: number, length: number): Uint8Array {
  const out = new Uint8Array(CHUNK_OFFSET_HOLE.SIZE);
  encodeOffsetHole(viewOf(out), 0, offset, length);
  return out;
}

function flipped(bytes: Uint8Array, bit: number): Uint8Array {
  const out = bytes.slice();
  out[bit >> 3] = (out[bit >> 3] ?? 0) ^ (1 << (bit & 7));
  return out;
}

/** Every seventh bit, and so every byte and every place within one. */
function* someBits(bytes: Uint8Array, from = 0): Generator<number> {
  for (let bit = from; bit < bytes.length * 8; bit += 7) yield bit;
}

export function describeChecksums(inRig: InRig): void {
  describe('a connection with checksums', () => {
    it(
      'has one behind each header and each payload of a request',
      inRig(async (rig) => {
        const hub = rig.hub();
        const { conn, peer } = await rig.client(hub, SEALED);
        for (const length of [1, 500, 4096, 4097, LARGE_BYTES]) {
          const bytes = pattern(length, length);
          const h = handleOf(hub, joined([new Uint8Array(3), bytes]));
          const write = begin(hub, (op) => {
            hub.engine.send(op, conn.id, NBD_CMD_WRITE, 1, 8192, length, h, 3);
          });
          hub.engine.release(h);
          const head = await peer.read(REQUEST.SIZE, WAIT_MS);
          const rest = await peer.read(CHECKSUM_BYTES + length + CHECKSUM_BYTES, WAIT_MS);
          expectBytes(joined([head, rest.subarray(0, CHECKSUM_BYTES)]), sealed(head));
          expectBytes(rest.subarray(CHECKSUM_BYTES), sealed(bytes));
          peer.write(sealedSimple(head.subarray(8, 16), 0));
          expect((await write.promise).errno).toBe(0);
        }
        for (const cmd of [NBD_CMD_FLUSH, NBD_CMD_TRIM]) {
          const done = begin(hub, (op) => {
            hub.engine.send(op, conn.id, cmd, 0, 0, cmd === NBD_CMD_FLUSH ? 0 : 512, 0, 0);
          });
          const head = await peer.read(REQUEST.SIZE + CHECKSUM_BYTES, WAIT_MS);
          expectBytes(head, sealed(head.subarray(0, REQUEST.SIZE)));
          peer.write(sealedSimple(head.subarray(8, 16), Errno.EBADMSG));
          expect((await done.promise).errno).toBe(Errno.EBADMSG);
        }
      }),
    );

    it(
      'hands over what matches, however the bytes are cut',
      inRig(async (rig) => {
        const hub = rig.hub();
        const one = fc.record({
          cmd: fc.constantFrom(NBD_CMD_WRITE, NBD_CMD_WRITE, NBD_CMD_READ, NBD_CMD_WRITE_ZEROES),
          offset: fc.maxSafeNat(),
          length: fc.constantFrom(0, 1, 7, 512, 5000, 70_000),
        });
        const cuts = fc.array(fc.integer({ min: 1, max: 9000 }), { minLength: 1, maxLength: 6 });
        await fc.assert(
          fc.asyncProperty(fc.array(one, { minLength: 1, maxLength: 8 }), cuts, async (requests, pieces) => {
            const { conn, peer } = await rig.server(hub, SEALED);
            const raw = requests.map((r, i): RawRequest => ({ ...r, payload: pattern(r.length, i) }));
            const stream = joined(raw.map(sealedRequest));
            for (let at = 0, i = 0; at < stream.length; i += 1) {
              const n = pieces[i % pieces.length] ?? 1;
              peer.write(stream.slice(at, at + n));
              at += n;
              await rig.turn();
            }
            await rig.until(() => conn.requests.length === requests.length);
            for (const [i, r] of requests.entries()) {
              const seen = conn.request(i);
              expect(seen).toMatchObject({ cmd: r.cmd, offset: r.offset, length: r.length });
              if (seen.h !== 0) expectBytes(takeBytes(hub, seen.h), pattern(r.length, i));
            }
            hub.engine.close(conn.id, Errno.ESHUTDOWN);
            peer.destroy();
            await rig.until(() => conn.closed !== undefined);
          }),
          { numRuns: 15 },
        );
      }),
    );

    it(
      'gives no request away of which any bit was flipped, and goes on after a damaged payload',
      inRig(async (rig) => {
        const hub = rig.hub();
        const good = sealedRequest({ cmd: NBD_CMD_WRITE, offset: 4096, cookieLo: 5, payload: pattern(16, 1) });
        const next = sealedRequest({ cmd: NBD_CMD_WRITE_ZEROES, offset: 0, length: 4096 });
        const headBits = (REQUEST.SIZE + CHECKSUM_BYTES) * 8;
        for (const bit of someBits(good)) {
          const { conn, peer } = await rig.server(hub, SEALED);
          peer.write(joined([flipped(good, bit), next]));
          if (bit < headBits) {
            await rig.until(() => conn.closed !== undefined);
            expect({ bit, closed: conn.closed, requests: conn.requests }).toEqual({ bit, closed: Errno.EPROTO, requests: [] });
          } else {
            await rig.until(() => conn.requests.length === 2);
            expect(conn.request(0)).toMatchObject({ cmd: CMD_DAMAGED, offset: 4096, length: 16, h: 0 });
            expect(conn.request(1)).toMatchObject({ cmd: NBD_CMD_WRITE_ZEROES, length: 4096 });
            hub.engine.reply(0, conn.request(0).req, Errno.EBADMSG, 0, 0, 0);
            const cookie = rawRequest({ cmd: NBD_CMD_WRITE, cookieLo: 5 }).subarray(8, 16);
            expectBytes(await peer.read(SIMPLE_REPLY.SIZE + CHECKSUM_BYTES, WAIT_MS), sealedSimple(cookie, Errno.EBADMSG));
            hub.engine.close(conn.id, Errno.ESHUTDOWN);
            await rig.until(() => conn.closed !== undefined);
          }
          peer.destroy();
        }
      }),
    );

    it(
      'notices a bit flipped in a long payload',
      inRig(async (rig) => {
        const hub = rig.hub();
        const good = sealedRequest({ cmd: NBD_CMD_WRITE, offset: 0, payload: pattern(LARGE_BYTES, 1) });
        const { conn, peer } = await rig.server(hub, SEALED);
        const bits = [REQUEST.SIZE + CHECKSUM_BYTES, 300_000, good.length - CHECKSUM_BYTES - 1, good.length - 1].map((byte) => byte * 8 + 3);
        for (const bit of bits) peer.write(flipped(good, bit));
        peer.write(good);
        await rig.until(() => conn.requests.length === bits.length + 1);
        for (const [i] of bits.entries()) expect(conn.request(i)).toMatchObject({ cmd: CMD_DAMAGED, h: 0 });
        expectBytes(takeBytes(hub, conn.request(bits.length).h), pattern(LARGE_BYTES, 1));
        peer.destroy();
        await rig.until(() => conn.closed !== undefined);
      }),
    );

    it(
      'has one behind each header and payload of an answer',
      inRig(async (rig) => {
        const hub = rig.hub();
        for (const wire of [SEALED, SEALED_CHUNKS]) {
          const chunks = wire.structuredReplies;
          const { conn, peer } = await rig.server(hub, wire);
          const head = (chunks ? STRUCTURED_REPLY.SIZE : SIMPLE_REPLY.SIZE) + CHECKSUM_BYTES;
          for (const [i, length] of [1, 4096, 5000, LARGE_BYTES].entries()) {
            peer.write(sealedRequest({ cmd: NBD_CMD_READ, offset: 512, length, cookieLo: 9 }));
            await rig.until(() => conn.requests.length === i + 1);
            const h = handleOf(hub, pattern(length, 4));
            hub.engine.reply(0, conn.request(i).req, 0, h, 0, length);
            hub.engine.release(h);
            const cookie = rawRequest({ cmd: NBD_CMD_READ, cookieLo: 9 }).subarray(8, 16);
            const bytes = pattern(length, 4);
            const expected = chunks
              ? sealedChunk(cookie, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_OFFSET_DATA, dataAt(512, bytes))
              : sealedSimple(cookie, 0, bytes);
            expect(expected.length).toBe(head + (chunks ? 8 : 0) + length + CHECKSUM_BYTES);
            expectBytes(await peer.read(expected.length, WAIT_MS), expected);
          }
          const seen = conn.requests.length;
          peer.write(sealedRequest({ cmd: NBD_CMD_TRIM, length: 512, cookieLo: 9 }));
          await rig.until(() => conn.requests.length === seen + 1);
          hub.engine.reply(0, conn.request(seen).req, Errno.EIO, 0, 0, 0);
          const cookie = rawRequest({ cmd: NBD_CMD_READ, cookieLo: 9 }).subarray(8, 16);
          const error = chunks
            ? sealedChunk(cookie, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_ERROR, encodeErrorChunk(Errno.EIO, ''))
            : sealedSimple(cookie, Errno.EIO);
          expectBytes(await peer.read(error.length, WAIT_MS), error);
          peer.destroy();
          await rig.until(() => conn.closed !== undefined);
        }
      }),
    );

    it(
      'says EBADMSG of a damaged request, which a plain connection has no word for',
      inRig(async (rig) => {
        const hub = rig.hub();
        const { conn, peer } = await rig.server(hub, SIMPLE);
        peer.write(rawRequest({ cmd: NBD_CMD_TRIM, length: 512 }));
        await rig.until(() => conn.requests.length === 1);
        hub.engine.reply(0, conn.request(0).req, Errno.EBADMSG, 0, 0, 0);
        const reply = await peer.read(SIMPLE_REPLY.SIZE, WAIT_MS);
        expect(viewOf(reply).getUint32(SIMPLE_REPLY.error, false)).toBe(NBD_EIO);
        peer.destroy();
        await rig.until(() => conn.closed !== undefined);
      }),
    );

    it(
      'takes a READ of which any bit was flipped for damaged, and never for data',
      inRig(async (rig) => {
        const hub = rig.hub();
        const bytes = pattern(40, 2);
        for (const wire of [SEALED, SEALED_CHUNKS]) {
          for (let bit = -1, ended = false; !ended; bit += 7) {
            const { conn, peer } = await rig.client(hub, wire);
            const read = begin(hub, (op) => {
              hub.engine.send(op, conn.id, NBD_CMD_READ, 0, 512, bytes.length, 0, 0);
            });
            const cookie = (await peer.read(REQUEST.SIZE + CHECKSUM_BYTES, WAIT_MS)).subarray(8, 16);
            const answer = wire.structuredReplies
              ? joined([
                  sealedChunk(cookie, 0, NBD_REPLY_TYPE_OFFSET_DATA, dataAt(512, bytes.subarray(0, 16))),
                  sealedChunk(cookie, 0, NBD_REPLY_TYPE_OFFSET_HOLE, holeAt(528, 4)),
                  sealedChunk(cookie, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_OFFSET_DATA, dataAt(532, bytes.subarray(20))),
                ])
              : sealedSimple(cookie, 0, bytes);
            ended = bit + 7 >= answer.length * 8;
            peer.write(bit < 0 ? answer : flipped(answer, bit));
            const r = await read.promise;
            if (bit < 0) {
              const expected = bytes.slice();
              if (wire.structuredReplies) expected.fill(0, 16, 20);
              expect(r.errno).toBe(0);
              expectBytes(takeBytes(hub, r.h), expected);
            } else {
              expect([Errno.EBADMSG, Errno.EPROTO, Errno.EINVAL], `bit ${String(bit)}`).toContain(r.errno);
              expect(r.h).toBe(0);
            }
            hub.engine.close(conn.id, Errno.ESHUTDOWN);
            await rig.until(() => conn.closed !== undefined);
            peer.destroy();
          }
        }
      }),
    );

    it(
      'reads long answers in one piece or in many, and goes on after damaged data',
      inRig(async (rig) => {
        const hub = rig.hub();
        const bytes = pattern(LARGE_BYTES, 3);
        const { conn, peer } = await rig.client(hub, SEALED_CHUNKS);
        const cut = 250_001;
        for (const pieces of [[bytes], [bytes.subarray(0, cut), bytes.subarray(cut)]]) {
          for (const damage of [true, false]) {
            const read = begin(hub, (op) => {
              hub.engine.send(op, conn.id, NBD_CMD_READ, 0, 4096, LARGE_BYTES, 0, 0);
            });
            const cookie = (await peer.read(REQUEST.SIZE + CHECKSUM_BYTES, WAIT_MS)).subarray(8, 16);
            let at = 4096;
            for (const [i, piece] of pieces.entries()) {
              const done = i === pieces.length - 1 ? NBD_REPLY_FLAG_DONE : 0;
              const c = sealedChunk(cookie, done, NBD_REPLY_TYPE_OFFSET_DATA, dataAt(at, piece));
              peer.write(damage && i === 0 ? flipped(c, 200_000 * 8) : c);
              at += piece.length;
            }
            const r = await read.promise;
            expect(r.errno).toBe(damage ? Errno.EBADMSG : 0);
            if (!damage) expectBytes(takeBytes(hub, r.h), bytes);
          }
        }
        hub.engine.close(conn.id, Errno.ESHUTDOWN);
        await rig.until(() => conn.closed !== undefined);
        peer.destroy();
      }),
    );

    it(
      'ends with EPROTO where the payload of another chunk was damaged, since it may have been a success',
      inRig(async (rig) => {
        const hub = rig.hub();
        const { conn, peer } = await rig.client(hub, SEALED_CHUNKS);
        const trim = begin(hub, (op) => {
          hub.engine.send(op, conn.id, NBD_CMD_TRIM, 0, 0, 512, 0, 0);
        });
        const cookie = (await peer.read(REQUEST.SIZE + CHECKSUM_BYTES, WAIT_MS)).subarray(8, 16);
        const error = sealedChunk(cookie, NBD_REPLY_FLAG_DONE, NBD_REPLY_TYPE_ERROR, encodeErrorChunk(Errno.EIO, ''));
        peer.write(flipped(error, (STRUCTURED_REPLY.SIZE + CHECKSUM_BYTES + 3) * 8));
        expect((await trim.promise).errno).toBe(Errno.EPROTO);
        expect(conn.closed).toBe(Errno.EPROTO);
        peer.destroy();
      }),
    );

    it(
      'carries block status',
      inRig(async (rig) => {
        const hub = rig.hub();
        const { accepted, connected } = await rig.pair();
        const none = new Uint8Array(0);
        const limits = { requestsMax: 8, bytesMax: 1 << 20 };
        const client = hub.engine.adopt(connected, 'client', SEALED_CHUNKS, limits, none);
        const server = hub.engine.adopt(accepted, 'server', SEALED_CHUNKS, limits, none);
        const closed: number[] = [];
        const onClosed = (errno: number): void => {
          closed.push(errno);
        };
        const contexts = [1, 2].map((id) => encodeBlockStatus(id, [{ length: 4096, flags: id }]));
        hub.own(client, { onRequest: () => undefined, onClosed });
        hub.own(server, {
          onRequest: (req) => {
            hub.engine.replyBlockStatus(0, req, contexts);
          },
          onClosed,
        });
        const r = await hub.run((op) => {
          hub.engine.send(op, client, NBD_CMD_BLOCK_STATUS, 0, 0, 4096, 0, 0);
        });
        expect(r).toMatchObject({
          errno: 0,
          value: { kind: 'block-status', contexts: [{ id: 1 }, { id: 2, extents: [{ length: 4096, flags: 2 }] }] },
        });
        hub.engine.close(client, 0);
        await rig.until(() => closed.length === 2);
      }),
    );
  });
}
