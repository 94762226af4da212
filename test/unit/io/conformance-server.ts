import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Errno, type WireParams } from '../../../src/io/types.ts';
import {
  NBD_CMD_BLOCK_STATUS,
  NBD_CMD_CACHE,
  NBD_CMD_DISC,
  NBD_CMD_FLAG_FUA,
  NBD_CMD_FLAG_NO_HOLE,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
  NBD_EINVAL,
  NBD_EIO,
  NBD_ENOSPC,
  NBD_EPERM,
  NBD_ESHUTDOWN,
  NBD_REPLY_FLAG_DONE,
  NBD_REPLY_TYPE_BLOCK_STATUS,
  NBD_REPLY_TYPE_ERROR,
  NBD_REPLY_TYPE_NONE,
  NBD_REPLY_TYPE_OFFSET_DATA,
} from '../../../src/nbd/wire/constants.ts';
import { getU64, SIMPLE_REPLY, STRUCTURED_REPLY, viewOf } from '../../../src/nbd/wire/layout.ts';
import {
  decodeBlockStatus,
  decodeChunk,
  decodeErrorChunk,
  decodeSimpleReply,
  encodeBlockStatus,
  newChunkHeader,
  newSimpleReplyHeader,
} from '../../../src/nbd/wire/transmission.ts';
import type { PullSocket } from '../../../src/io/pull-socket.ts';
import type { InRig } from './engine-conformance.ts';
import {
  type Connection,
  expectBytes,
  handleOf,
  joined,
  pattern,
  type RawRequest,
  rawRequest,
  ROOMY,
  SIMPLE,
  STRUCTURED,
  takeBytes,
  WAIT_MS,
} from './engine-rig.ts';

async function simpleReply(peer: PullSocket, dataBytes = 0): Promise<{ error: number; cookieHi: number; cookieLo: number; data: Uint8Array }> {
  const h = newSimpleReplyHeader();
  expect(decodeSimpleReply(viewOf(await peer.read(SIMPLE_REPLY.SIZE, WAIT_MS)), 0, h)).toBe(true);
  const data = dataBytes > 0 && h.error === 0 ? await peer.read(dataBytes, WAIT_MS) : new Uint8Array(0);
  return { ...h, data };
}

async function chunk(peer: PullSocket): Promise<{ type: number; flags: number; cookieLo: number; payload: Uint8Array }> {
  const h = newChunkHeader();
  expect(decodeChunk(viewOf(await peer.read(STRUCTURED_REPLY.SIZE, WAIT_MS)), 0, h)).toBe(true);
  const payload = h.length > 0 ? await peer.read(h.length, WAIT_MS) : new Uint8Array(0);
  return { type: h.type, flags: h.flags, cookieLo: h.cookieLo, payload };
}

export function describeServerRole(inRig: InRig): void {
  describe('a server connection', () => {
    it(
      'hands over every request complete and in order, however the bytes are cut',
      inRig(async (rig) => {
        const hub = rig.hub();
        const arbitrary = fc.array(
          fc.record({
            cmd: fc.constantFrom(
              NBD_CMD_READ,
              NBD_CMD_WRITE,
              NBD_CMD_FLUSH,
              NBD_CMD_TRIM,
              NBD_CMD_CACHE,
              NBD_CMD_WRITE_ZEROES,
              NBD_CMD_BLOCK_STATUS,
              77,
            ),
            flags: fc.integer({ min: 0, max: 0xffff }),
            cookieHi: fc.integer({ min: 0, max: 0xffffffff }),
            cookieLo: fc.integer({ min: 0, max: 0xffffffff }),
            offset: fc.maxSafeNat(),
            length: fc.integer({ min: 0, max: 6000 }),
          }),
          { minLength: 1, maxLength: 12 },
        );
        await fc.assert(
          fc.asyncProperty(arbitrary, fc.array(fc.integer({ min: 1, max: 3000 }), { minLength: 1, maxLength: 8 }), async (asked, cuts) => {
            const { conn, peer } = await rig.server(hub);
            const raw = asked.map((a, i): RawRequest => ({ ...a, payload: pattern(a.length, i) }));
            const stream = joined(raw.map((r) => rawRequest(r)));
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
              expect(r).toMatchObject({ cmd: a.cmd, flags: a.flags, offset: a.offset, length: a.length });
              if (a.cmd === NBD_CMD_WRITE) expect(takeBytes(hub, r.h)).toEqual(pattern(a.length, i));
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
      'parses first what the handshake had read already',
      inRig(async (rig) => {
        const hub = rig.hub();
        const { accepted, connected } = await rig.pair();
        const early = rawRequest({ cmd: NBD_CMD_WRITE, payload: pattern(100, 1) });
        const id = hub.engine.adopt(accepted, 'server', SIMPLE, ROOMY, early.subarray(0, 60));
        const seen: Uint8Array[] = [];
        hub.own(id, {
          onRequest: (_req, _cmd, _flags, _offset, _length, h) => {
            seen.push(takeBytes(hub, h));
          },
          onClosed: () => undefined,
        });
        connected.write(early.subarray(60));
        await rig.until(() => seen.length === 1);
        expect(seen[0]).toEqual(pattern(100, 1));
      }),
    );

    it(
      'answers with simple replies, each to its own cookie, in the order of the answers',
      inRig(async (rig) => {
        const hub = rig.hub();
        const { conn, peer } = await rig.server(hub);
        peer.write(rawRequest({ cmd: NBD_CMD_READ, offset: 512, length: 10_000, cookieHi: 0xffffffff, cookieLo: 7 }));
        peer.write(rawRequest({ cmd: NBD_CMD_FLUSH, cookieHi: 5, cookieLo: 0xfffffffe }));
        peer.write(rawRequest({ cmd: NBD_CMD_READ, offset: 0, length: 100, cookieLo: 9 }));
        await rig.until(() => conn.requests.length === 3);
        const h = handleOf(hub, pattern(20_000, 1));
        hub.engine.reply(0, conn.request(2).req, 0, h, 50, 100);
        hub.engine.reply(0, conn.request(1).req, 0, 0, 0, 0);
        const big = await hub.run((op) => {
          hub.engine.reply(op, conn.request(0).req, 0, h, 10_000, 10_000);
        });
        expect(big.errno).toBe(0);
        hub.engine.release(h);
        const all = pattern(20_000, 1);
        expect(await simpleReply(peer, 100)).toEqual({ error: 0, cookieHi: 0, cookieLo: 9, data: all.subarray(50, 150) });
        expect(await simpleReply(peer)).toMatchObject({ error: 0, cookieHi: 5, cookieLo: 0xfffffffe });
        expect(await simpleReply(peer, 10_000)).toEqual({ error: 0, cookieHi: 0xffffffff, cookieLo: 7, data: all.subarray(10_000) });
      }),
    );

    const errors: [number, number][] = [
      [Errno.EIO, NBD_EIO],
      [Errno.EROFS, NBD_EPERM],
      [Errno.EFBIG, NBD_ENOSPC],
      [Errno.ENOSPC, NBD_ENOSPC],
      [Errno.EINVAL, NBD_EINVAL],
      [Errno.ESHUTDOWN, NBD_ESHUTDOWN],
      [Errno.ETIMEDOUT, NBD_EIO],
      [4095, NBD_EIO],
    ];
    for (const wire of [SIMPLE, STRUCTURED]) {
      it(
        wire.structuredReplies ? 'reports errors as chunks, in NBD numbers' : 'reports errors as simple replies, in NBD numbers',
        inRig(async (rig) => {
          const hub = rig.hub();
          const { conn, peer } = await rig.server(hub, wire);
          for (const [i] of errors.entries()) peer.write(rawRequest({ cmd: NBD_CMD_READ, length: 512, cookieLo: i }));
          await rig.until(() => conn.requests.length === errors.length);
          for (const [i, [errno, onWire]] of errors.entries()) {
            hub.engine.reply(0, conn.request(i).req, errno, 0, 0, 0);
            if (wire.structuredReplies) {
              const c = await chunk(peer);
              expect(c).toMatchObject({ type: NBD_REPLY_TYPE_ERROR, flags: NBD_REPLY_FLAG_DONE, cookieLo: i });
              expect(decodeErrorChunk(c.payload)).toEqual({ error: onWire, message: '' });
            } else expect(await simpleReply(peer)).toMatchObject({ error: onWire, cookieLo: i });
          }
        }),
      );
    }

    it(
      'answers with structured chunks: data, none, block status',
      inRig(async (rig) => {
        const hub = rig.hub();
        const { conn, peer } = await rig.server(hub, STRUCTURED);
        peer.write(rawRequest({ cmd: NBD_CMD_READ, offset: 2 ** 40, length: 6000, cookieLo: 1 }));
        peer.write(rawRequest({ cmd: NBD_CMD_WRITE, payload: pattern(5, 1), cookieLo: 2 }));
        peer.write(rawRequest({ cmd: NBD_CMD_BLOCK_STATUS, length: 4096, cookieLo: 3 }));
        await rig.until(() => conn.requests.length === 3);
        hub.engine.release(conn.request(1).h);
        const h = handleOf(hub, pattern(6000, 2));
        hub.engine.reply(0, conn.request(0).req, 0, h, 0, 6000);
        hub.engine.release(h);
        hub.engine.reply(0, conn.request(1).req, 0, 0, 0, 0);
        const status = [encodeBlockStatus(4, [{ length: 4096, flags: 3 }]), encodeBlockStatus(5, [{ length: 512, flags: 0 }])];
        hub.engine.replyBlockStatus(0, conn.request(2).req, status);

        const data = await chunk(peer);
        expect(data).toMatchObject({ type: NBD_REPLY_TYPE_OFFSET_DATA, flags: NBD_REPLY_FLAG_DONE, cookieLo: 1 });
        expect(getU64(viewOf(data.payload), 0)).toBe(2 ** 40);
        expect(data.payload.subarray(8)).toEqual(pattern(6000, 2));
        expect(await chunk(peer)).toMatchObject({ type: NBD_REPLY_TYPE_NONE, flags: NBD_REPLY_FLAG_DONE, cookieLo: 2 });
        const first = await chunk(peer);
        expect(first).toMatchObject({ type: NBD_REPLY_TYPE_BLOCK_STATUS, flags: 0, cookieLo: 3 });
        expect(decodeBlockStatus(first.payload)).toEqual({ contextId: 4, descriptors: [{ length: 4096, flags: 3 }] });
        const second = await chunk(peer);
        expect(second).toMatchObject({ type: NBD_REPLY_TYPE_BLOCK_STATUS, flags: NBD_REPLY_FLAG_DONE, cookieLo: 3 });
        expect(decodeBlockStatus(second.payload)?.contextId).toBe(5);
      }),
    );

    it(
      'keeps two requests with one cookie apart',
      inRig(async (rig) => {
        const hub = rig.hub();
        const { conn, peer } = await rig.server(hub);
        peer.write(rawRequest({ cmd: NBD_CMD_READ, offset: 1, length: 3, cookieLo: 42 }));
        peer.write(rawRequest({ cmd: NBD_CMD_READ, offset: 2, length: 3, cookieLo: 42 }));
        await rig.until(() => conn.requests.length === 2);
        expect(conn.request(0).req).not.toBe(conn.request(1).req);
        const h = handleOf(hub, new Uint8Array([1, 2, 3, 4, 5, 6]));
        hub.engine.reply(0, conn.request(1).req, 0, h, 3, 3);
        hub.engine.reply(0, conn.request(0).req, 0, h, 0, 3);
        hub.engine.release(h);
        expect((await simpleReply(peer, 3)).data).toEqual(new Uint8Array([4, 5, 6]));
        expect((await simpleReply(peer, 3)).data).toEqual(new Uint8Array([1, 2, 3]));
      }),
    );

    it(
      'holds no more requests than its limit, and reads on as answers leave',
      inRig(async (rig) => {
        const hub = rig.hub();
        const { conn, peer } = await rig.server(hub, SIMPLE, { requestsMax: 4, bytesMax: 1024 * 1024 });
        for (let i = 0; i < 30; i += 1)
          peer.write(rawRequest({ cmd: i % 2 === 0 ? NBD_CMD_FLUSH : NBD_CMD_WRITE, cookieLo: i, payload: pattern(700, i) }));
        await rig.until(() => conn.requests.length === 4);
        await rig.settle();
        expect(conn.requests.length).toBe(4);
        for (let i = 0; i < 30; i += 1) {
          await rig.until(() => conn.requests.length > i);
          const r = conn.request(i);
          if (r.cmd === NBD_CMD_WRITE) expect(takeBytes(hub, r.h)).toEqual(pattern(700, i));
          hub.engine.reply(0, r.req, 0, 0, 0, 0);
          expect(await simpleReply(peer)).toMatchObject({ error: 0, cookieLo: i });
          expect(conn.requests.length).toBeLessThanOrEqual(i + 5);
        }
        expect(conn.requests.length).toBe(30);
      }),
    );

    it(
      'holds no more payload than its limit, but always room for one request',
      inRig(async (rig) => {
        const hub = rig.hub();
        const { conn, peer } = await rig.server(hub, SIMPLE, { requestsMax: 100, bytesMax: 10_000 });
        const sizes = [4000, 4000, 4000, 50_000, 1, 9999, 2];
        sizes.forEach((n, i) => {
          peer.write(rawRequest({ cmd: NBD_CMD_WRITE, cookieLo: i, payload: pattern(n, i) }));
        });
        let held = 0;
        for (const [i, n] of sizes.entries()) {
          await rig.until(() => conn.requests.length > i);
          await rig.settle();
          held = conn.requests.slice(i).reduce((sum, r) => sum + r.length, 0);
          if (conn.requests.length - i > 1) expect(held).toBeLessThanOrEqual(10_000);
          expect(hub.engine.usage().bytes).toBe(held);
          const r = conn.request(i);
          expectBytes(takeBytes(hub, r.h), pattern(n, i));
          hub.engine.reply(0, r.req, 0, 0, 0, 0);
          await simpleReply(peer);
        }
      }),
    );

    it(
      'shares room: beyond it a connection has its own part, and those that wait are served in their order',
      inRig(async (rig) => {
        const hub = rig.hub();
        const limits = { ...ROOMY, shared: { ownBytes: 1000, allBytesMax: 10_000 } };
        const [a, b, c] = [await rig.server(hub, SIMPLE, limits), await rig.server(hub, SIMPLE, limits), await rig.server(hub, SIMPLE, limits)];
        const apart = await rig.server(hub, SIMPLE, ROOMY);
        const write = (to: { peer: PullSocket }, ...sizes: number[]): void => {
          for (const [i, n] of sizes.entries()) to.peer.write(rawRequest({ cmd: NBD_CMD_WRITE, cookieLo: i, payload: pattern(n, i) }));
        };
        const answer = async (to: { conn: Connection; peer: PullSocket }, i: number): Promise<void> => {
          hub.engine.release(to.conn.request(i).h);
          hub.engine.reply(0, to.conn.request(i).req, 0, 0, 0, 0);
          expect(await simpleReply(to.peer)).toMatchObject({ error: 0 });
        };
        write(a, 9000);
        await rig.until(() => a.conn.requests.length === 1);
        write(b, 600, 400, 5000);
        await rig.until(() => b.conn.requests.length === 2);
        await rig.settle();
        write(c, 900, 2000);
        await rig.until(() => c.conn.requests.length === 1);
        write(apart, 50_000);
        await rig.until(() => apart.conn.requests.length === 1);
        await rig.settle();
        // 10,900 bytes are held by those that share: more than the room has, each within its own part.
        expect([b.conn.requests.length, c.conn.requests.length]).toEqual([2, 1]);
        await answer(b, 0);
        await answer(b, 1);
        await rig.settle();
        expect([b.conn.requests.length, c.conn.requests.length]).toEqual([2, 1]);
        await answer(a, 0);
        await rig.until(() => b.conn.requests.length === 3 && c.conn.requests.length === 2);
        expectBytes(takeBytes(hub, c.conn.request(1).h), pattern(2000, 1));
        hub.engine.reply(0, c.conn.request(1).req, 0, 0, 0, 0);
        await answer(b, 2);
        await answer(c, 0);
        await answer(apart, 0);
      }),
    );

    it(
      'shares room: one that waits and goes leaves its turn to the next',
      inRig(async (rig) => {
        const hub = rig.hub();
        const limits = { ...ROOMY, shared: { ownBytes: 0, allBytesMax: 10_000 } };
        const [a, b, c] = [await rig.server(hub, SIMPLE, limits), await rig.server(hub, SIMPLE, limits), await rig.server(hub, SIMPLE, limits)];
        a.peer.write(rawRequest({ cmd: NBD_CMD_WRITE, payload: pattern(6000, 1) }));
        await rig.until(() => a.conn.requests.length === 1);
        b.peer.write(rawRequest({ cmd: NBD_CMD_READ, length: 9000 }));
        await rig.settle();
        c.peer.write(rawRequest({ cmd: NBD_CMD_READ, length: 3000 }));
        await rig.settle();
        expect([b.conn.requests.length, c.conn.requests.length]).toEqual([0, 0]);
        hub.engine.close(b.conn.id, Errno.ETIMEDOUT);
        await rig.until(() => c.conn.requests.length === 1);
        hub.engine.close(c.conn.id, Errno.ETIMEDOUT);
        hub.engine.release(a.conn.request(0).h);
        hub.engine.close(a.conn.id, Errno.ETIMEDOUT);
        await rig.until(() => [a, b, c].every((x) => x.conn.closed === Errno.ETIMEDOUT));
      }),
    );

    it(
      'says whether its peer is waited for: a request in half, replies that it does not take',
      inRig(async (rig) => {
        const hub = rig.hub();
        const length = 1024 * 1024;
        const { accepted, connected } = await rig.pair();
        const id = hub.engine.adopt(accepted, 'server', SIMPLE, ROOMY, new Uint8Array(0));
        const h = handleOf(hub, pattern(length, 1));
        let requests = 0;
        hub.own(id, {
          onRequest: (req, cmd, _flags, _offset, _length, payload) => {
            requests += 1;
            if (payload !== 0) hub.engine.release(payload);
            if (cmd === NBD_CMD_READ) hub.engine.reply(0, req, 0, h, 0, length);
            else hub.engine.reply(0, req, 0, 0, 0, 0);
          },
          onClosed: () => undefined,
        });
        let received = 0;
        connected.start({
          onData: (b) => {
            received += b.length;
          },
          onClose: () => undefined,
        });
        connected.resume();
        await rig.settle();
        expect(hub.engine.awaited(id)).toBeUndefined();

        const half = rawRequest({ cmd: NBD_CMD_WRITE, payload: pattern(600, 1) });
        connected.write(half.subarray(0, 20));
        await rig.until(() => hub.engine.awaited(id) !== undefined);
        const first = hub.engine.awaited(id);
        await rig.settle();
        expect(hub.engine.awaited(id)).toBe(first);
        connected.write(half.subarray(20, 300));
        await rig.until(() => hub.engine.awaited(id) !== first);
        connected.write(half.subarray(300));
        await rig.until(() => requests === 1 && received === SIMPLE_REPLY.SIZE && hub.engine.awaited(id) === undefined);

        connected.pause();
        const asked = 40;
        for (let i = 0; i < asked; i += 1) connected.write(rawRequest({ cmd: NBD_CMD_READ, length, cookieLo: i }));
        await rig.until(() => hub.engine.awaited(id) !== undefined && requests > 4);
        await rig.settle();
        const stuck = hub.engine.awaited(id);
        await rig.settle();
        expect(stuck).toBeDefined();
        expect(hub.engine.awaited(id)).toBe(stuck);
        connected.resume();
        await rig.until(() => received === SIMPLE_REPLY.SIZE + asked * (SIMPLE_REPLY.SIZE + length));
        await rig.until(() => hub.engine.awaited(id) === undefined);
        expect(hub.engine.awaited(id + 1)).toBeUndefined();
        hub.engine.release(h);
      }),
    );

    it(
      'stops receiving while a peer does not read its replies',
      inRig(async (rig) => {
        const hub = rig.hub();
        const length = 256 * 1024;
        const { accepted, connected } = await rig.pair();
        const id = hub.engine.adopt(accepted, 'server', SIMPLE, { requestsMax: 1000, bytesMax: 4 * length }, new Uint8Array(0));
        const h = handleOf(hub, pattern(length, 1));
        let requests = 0;
        hub.own(id, {
          onRequest: (req) => {
            requests += 1;
            hub.engine.reply(0, req, 0, h, 0, length);
          },
          onClosed: () => undefined,
        });
        connected.pause();
        let received = 0;
        connected.start({
          onData: (b) => {
            received += b.length;
          },
          onClose: () => undefined,
        });
        const asked = 60;
        for (let i = 0; i < asked; i += 1) connected.write(rawRequest({ cmd: NBD_CMD_READ, length, cookieLo: i }));
        await rig.until(() => requests >= 4);
        await rig.settle();
        // Besides what the limit allows, the kernels and streams of both ends have taken some.
        expect(requests).toBeLessThan(asked / 2);
        connected.resume();
        await rig.until(() => received === asked * (SIMPLE_REPLY.SIZE + length));
        hub.engine.release(h);
      }),
    );

    it(
      'passes flags on and reads nothing after DISC, yet answers what came before it',
      inRig(async (rig) => {
        const hub = rig.hub();
        const { conn, peer } = await rig.server(hub);
        peer.write(rawRequest({ cmd: NBD_CMD_WRITE_ZEROES, flags: NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_NO_HOLE, length: 0xffffffff, cookieLo: 1 }));
        peer.write(rawRequest({ cmd: NBD_CMD_DISC, cookieLo: 2 }));
        peer.write(rawRequest({ cmd: NBD_CMD_FLUSH, cookieLo: 3 }));
        await rig.until(() => conn.requests.length === 2);
        await rig.settle();
        expect(conn.requests.map((r) => r.cmd)).toEqual([NBD_CMD_WRITE_ZEROES, NBD_CMD_DISC]);
        expect(conn.request(0)).toMatchObject({ flags: NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_NO_HOLE, length: 0xffffffff });
        hub.engine.reply(0, conn.request(0).req, 0, 0, 0, 0);
        expect(await simpleReply(peer)).toMatchObject({ error: 0, cookieLo: 1 });
        hub.engine.close(conn.id, 0);
        await rig.until(() => conn.closed === 0);
      }),
    );

    it(
      'refuses a second answer, a short one, and block status without structured replies, as bugs',
      inRig(async (rig) => {
        const hub = rig.hub();
        const { conn, peer } = await rig.server(hub);
        peer.write(rawRequest({ cmd: NBD_CMD_READ, length: 100 }));
        await rig.until(() => conn.requests.length === 1);
        const { req } = conn.request(0);
        const h = handleOf(hub, pattern(100, 1));
        expect(() => {
          hub.engine.reply(0, req, 0, h, 0, 99);
        }).toThrow(/answered with 99/);
        expect(() => {
          hub.engine.replyBlockStatus(0, req, [new Uint8Array(12)]);
        }).toThrow(/structured/);
        hub.engine.reply(0, req, 0, h, 0, 100);
        hub.engine.release(h);
        expect(() => {
          hub.engine.reply(0, req, 0, 0, 0, 0);
        }).toThrow();
      }),
    );

    const refused: [string, WireParams, Uint8Array][] = [
      ['a wrong magic', SIMPLE, new Uint8Array(28).fill(0x25)],
      ['a payload over the limit', SIMPLE, rawRequest({ cmd: NBD_CMD_WRITE, length: SIMPLE.payloadMaxBytes + 1 })],
    ];
    for (const [what, wire, bytes] of refused) {
      it(
        `ends for ${what}, and no other connection with it`,
        inRig(async (rig) => {
          const hub = rig.hub();
          const bad = await rig.server(hub, wire);
          const good = await rig.server(hub, wire);
          bad.peer.write(rawRequest({ cmd: NBD_CMD_FLUSH }));
          bad.peer.write(bytes);
          await rig.until(() => bad.conn.closed !== undefined);
          expect(bad.conn.closed).toBe(Errno.EINVAL);
          expect(bad.conn.history).toEqual(['request', 'closed']);
          good.peer.write(rawRequest({ cmd: NBD_CMD_FLUSH, cookieLo: 8 }));
          await rig.until(() => good.conn.requests.length === 1);
          hub.engine.reply(0, good.conn.request(0).req, 0, 0, 0, 0);
          expect(await simpleReply(good.peer)).toMatchObject({ cookieLo: 8 });
        }),
      );
    }
  });
}
