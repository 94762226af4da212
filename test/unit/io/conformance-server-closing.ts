import { describe, expect, it } from 'vitest';
import { Errno } from '../../../src/io/types.ts';
import { NBD_CMD_FLUSH, NBD_CMD_READ, NBD_CMD_WRITE } from '../../../src/nbd/wire/constants.ts';
import { SIMPLE_REPLY } from '../../../src/nbd/wire/layout.ts';
import type { InRig } from './engine-conformance.ts';
import { MemoryLeg } from './memory-leg.ts';
import { begin, Connection, expectBytes, handleOf, joined, pattern, rawRequest, ROOMY, SIMPLE, WAIT_MS } from './engine-rig.ts';

/** More than sockets hold of it at once. */
const HALF_BYTES = 1024 * 1024;

export function describeServerClosing(inRig: InRig): void {
  describe('the end of a server connection', () => {
    it(
      'comes in order when the peer leaves, also in the middle of a payload',
      inRig(async (rig) => {
        const hub = rig.hub();
        const { conn, peer } = await rig.server(hub);
        const write = rawRequest({ cmd: NBD_CMD_WRITE, payload: pattern(5000, 1) });
        peer.write(joined([rawRequest({ cmd: NBD_CMD_FLUSH }), write.subarray(0, 3000)]));
        await rig.until(() => conn.requests.length === 1);
        peer.end();
        await rig.until(() => conn.closed !== undefined);
        expect(conn.closed).toBe(0);
        expect(conn.history).toEqual(['request', 'closed']);
        expect(hub.engine.usage()).toMatchObject({ handles: 0, connections: 0 });
      }),
    );

    it(
      'by half comes to the peer after all that was answered, however slowly it reads; what was not answered is forgotten',
      inRig(async (rig) => {
        const hub = rig.hub();
        const { conn, peer } = await rig.server(hub);
        const bytes = pattern(HALF_BYTES, 3);
        const heads = [rawRequest({ cmd: NBD_CMD_READ, length: HALF_BYTES }), rawRequest({ cmd: NBD_CMD_READ, length: HALF_BYTES })];
        peer.write(joined([...heads, rawRequest({ cmd: NBD_CMD_FLUSH })]));
        await rig.until(() => conn.requests.length === 3);
        const replies = [0, 1].map((i) => {
          const h = handleOf(hub, bytes);
          const sent = begin(hub, (op) => {
            hub.engine.reply(op, conn.request(i).req, 0, h, 0, HALF_BYTES);
          });
          hub.engine.release(h);
          return sent;
        });
        peer.end();
        for (let i = 0; i < 2; i += 1) {
          const answer = await peer.read(SIMPLE_REPLY.SIZE + HALF_BYTES, WAIT_MS);
          expectBytes(answer.subarray(SIMPLE_REPLY.SIZE), bytes);
        }
        expect(await Promise.all(replies.map((r) => r.promise))).toMatchObject([{ errno: 0 }, { errno: 0 }]);
        await rig.until(() => conn.closed !== undefined);
        expect(conn.closed).toBe(0);
        await expect(peer.read(1, WAIT_MS)).rejects.toThrow();
        const late = await hub.run((op) => {
          hub.engine.reply(op, conn.request(2).req, 0, 0, 0, 0);
        });
        expect(late.errno).not.toBe(0);
      }),
    );

    it(
      'forgets unanswered requests: a late answer fails and releases nothing twice',
      inRig(async (rig) => {
        const hub = rig.hub();
        const { conn, peer } = await rig.server(hub);
        peer.write(rawRequest({ cmd: NBD_CMD_READ, length: 512 }));
        peer.write(rawRequest({ cmd: NBD_CMD_WRITE, payload: pattern(512, 1) }));
        await rig.until(() => conn.requests.length === 2);
        hub.engine.close(conn.id, Errno.ETIMEDOUT);
        const h = handleOf(hub, pattern(512, 2));
        const late = await hub.run((op) => {
          hub.engine.reply(op, conn.request(0).req, 0, h, 0, 512);
        });
        expect(late.errno).not.toBe(0);
        expect(hub.engine.view(h)).toEqual(pattern(512, 2));
        hub.engine.release(h);
        hub.engine.reply(0, conn.request(1).req, 0, 0, 0, 0);
        hub.engine.release(conn.request(1).h);
        await rig.until(() => conn.closed !== undefined);
        expect(conn.closed).toBe(Errno.ETIMEDOUT);
        hub.engine.close(conn.id, Errno.EIO);
        await expect(peer.read(1, WAIT_MS)).rejects.toThrow();
      }),
    );

    it(
      'finishes replies that cannot leave with its errno, then reports CLOSED, last',
      inRig(async (rig) => {
        const hub = rig.hub();
        const length = 1024 * 1024;
        const { accepted, connected } = await rig.pair();
        connected.pause();
        const conn = new Connection(hub, hub.engine.adopt(accepted, 'server', SIMPLE, ROOMY, new Uint8Array(0)));
        for (let i = 0; i < 20; i += 1) connected.write(rawRequest({ cmd: NBD_CMD_READ, length, cookieLo: i }));
        await rig.until(() => conn.requests.length === 20);
        const h = handleOf(hub, pattern(length, 3));
        const replies = conn.requests.map((r) => {
          const reply = begin(hub, (op) => {
            hub.engine.reply(op, r.req, 0, h, 0, length);
          });
          void reply.promise.then(() => {
            conn.history.push('replied');
          });
          return reply;
        });
        hub.engine.release(h);
        await rig.settle();
        expect(replies.some((r) => r.result === undefined)).toBe(true);
        hub.engine.close(conn.id, Errno.ETIMEDOUT);
        expect(hub.engine.usage()).toMatchObject({ handles: 0, connections: 0 });
        await rig.until(() => conn.closed !== undefined);
        const errnos = (await Promise.all(replies.map((r) => r.promise))).map((r) => r.errno);
        expect(new Set(errnos.slice(-5))).toEqual(new Set([Errno.ETIMEDOUT]));
        expect(conn.closed).toBe(Errno.ETIMEDOUT);
        connected.destroy();
      }),
    );

    it(
      'lets answers already given leave when it is orderly',
      inRig(async (rig) => {
        const hub = rig.hub();
        const length = 512 * 1024;
        const { conn, peer } = await rig.server(hub);
        peer.write(rawRequest({ cmd: NBD_CMD_READ, length }));
        peer.write(rawRequest({ cmd: NBD_CMD_FLUSH }));
        await rig.until(() => conn.requests.length === 2);
        const h = handleOf(hub, pattern(length, 4));
        const reply = begin(hub, (op) => {
          hub.engine.reply(op, conn.request(0).req, 0, h, 0, length);
        });
        hub.engine.release(h);
        hub.engine.close(conn.id, 0);
        const bytes = await peer.read(SIMPLE_REPLY.SIZE + length, WAIT_MS);
        expectBytes(bytes.subarray(SIMPLE_REPLY.SIZE), pattern(length, 4));
        await rig.until(() => conn.closed !== undefined);
        expect(conn.closed).toBe(0);
        expect((await reply.promise).errno).toBe(0);
        await expect(peer.read(1, WAIT_MS)).rejects.toThrow();
      }),
    );

    it(
      'does not wait for ever for a peer that does not read, even when orderly',
      inRig(async (rig) => {
        const hub = rig.hubOver(new MemoryLeg(rig.io.clock, 512));
        const length = 1024 * 1024;
        const { accepted, connected } = await rig.pair();
        connected.pause();
        const conn = new Connection(hub, hub.engine.adopt(accepted, 'server', SIMPLE, ROOMY, new Uint8Array(0)));
        for (let i = 0; i < 16; i += 1) connected.write(rawRequest({ cmd: NBD_CMD_READ, length, cookieLo: i }));
        await rig.until(() => conn.requests.length === 16);
        const h = handleOf(hub, pattern(length, 5));
        for (const r of conn.requests) hub.engine.reply(0, r.req, 0, h, 0, length);
        hub.engine.release(h);
        hub.engine.close(conn.id, 0);
        await rig.until(() => conn.closed !== undefined);
        expect(conn.closed).toBe(Errno.ETIMEDOUT);
        connected.destroy();
      }),
    );

    it(
      'after stopReceiving answers what came before and takes nothing more',
      inRig(async (rig) => {
        const hub = rig.hub();
        const { conn, peer } = await rig.server(hub, SIMPLE, { requestsMax: 2, bytesMax: 1024 });
        for (let i = 0; i < 5; i += 1) peer.write(rawRequest({ cmd: NBD_CMD_FLUSH, cookieLo: i }));
        await rig.until(() => conn.requests.length === 2);
        hub.engine.stopReceiving(conn.id);
        peer.write(rawRequest({ cmd: NBD_CMD_FLUSH, cookieLo: 9 }));
        hub.engine.reply(0, conn.request(0).req, 0, 0, 0, 0);
        hub.engine.reply(0, conn.request(1).req, 0, 0, 0, 0);
        await peer.read(2 * SIMPLE_REPLY.SIZE, WAIT_MS);
        await rig.settle();
        expect(conn.requests.length).toBe(2);
        peer.end();
        await rig.until(() => conn.closed === 0);
      }),
    );

    it(
      'comes for every connection at shutdown',
      inRig(async (rig) => {
        const hub = rig.hub();
        const one = await rig.server(hub);
        const two = await rig.client(hub);
        await hub.engine.shutdown();
        await rig.until(() => one.conn.closed !== undefined && two.conn.closed !== undefined);
        expect([one.conn.closed, two.conn.closed]).toEqual([Errno.ESHUTDOWN, Errno.ESHUTDOWN]);
      }),
    );
  });
}
