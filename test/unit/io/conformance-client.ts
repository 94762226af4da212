import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { EngineHub } from '../../../src/io/hub.ts';
import { Errno, type WireParams } from '../../../src/io/types.ts';
import {
  NBD_CMD_DISC,
  NBD_CMD_FLUSH,
  NBD_CMD_READ,
  NBD_CMD_TRIM,
  NBD_CMD_WRITE,
  NBD_CMD_WRITE_ZEROES,
  NBD_EINVAL,
} from '../../../src/nbd/wire/constants.ts';
import { REQUEST, SIMPLE_REPLY, viewOf } from '../../../src/nbd/wire/layout.ts';
import { decodeRequest, encodeSimpleReply, newRequestHeader, type RequestHeader } from '../../../src/nbd/wire/transmission.ts';
import type { PullSocket } from '../../../src/io/pull-socket.ts';
import type { InRig } from './engine-conformance.ts';
import {
  begin,
  Connection,
  EXTENDED,
  expectBytes,
  handleOf,
  pattern,
  type Rig,
  ROOMY,
  type SeenRequest,
  SIMPLE,
  STRUCTURED,
  takeBytes,
  WAIT_MS,
} from './engine-rig.ts';

export async function readRequest(peer: PullSocket): Promise<RequestHeader> {
  const h = newRequestHeader();
  expect(decodeRequest(viewOf(await peer.read(REQUEST.SIZE, WAIT_MS)), 0, h)).toBe(true);
  return h;
}

export function simpleReply(to: RequestHeader, error: number): Uint8Array {
  const out = new Uint8Array(SIMPLE_REPLY.SIZE);
  encodeSimpleReply(viewOf(out), 0, error, to.cookieHi, to.cookieLo);
  return out;
}

/** Serves a disk in memory; each answer waits some turns, so that they come in any order. */
function serveMemory(rig: Rig, hub: EngineHub, conn: Connection, disk: Uint8Array, delays: readonly number[]): void {
  const answer = (r: SeenRequest): void => {
    if (r.offset + r.length > disk.length) {
      if (r.h !== 0) hub.engine.release(r.h);
      hub.engine.reply(0, r.req, NBD_EINVAL, 0, 0, 0);
      return;
    }
    if (r.cmd === NBD_CMD_READ) {
      const h = handleOf(hub, disk.subarray(r.offset, r.offset + r.length));
      hub.engine.reply(0, r.req, 0, h, 0, r.length);
      hub.engine.release(h);
      return;
    }
    if (r.cmd === NBD_CMD_WRITE) disk.set(takeBytes(hub, r.h), r.offset);
    if (r.cmd === NBD_CMD_WRITE_ZEROES) disk.fill(0, r.offset, r.offset + r.length);
    hub.engine.reply(0, r.req, 0, 0, 0, 0);
  };
  conn.onRequest = (r) => {
    let turns = delays[conn.requests.length % delays.length] ?? 0;
    const wait = (): void => {
      if (turns === 0) answer(r);
      else {
        turns -= 1;
        rig.io.clock.soon(wait);
      }
    };
    wait();
  };
}

function kindOf(wire: WireParams): string {
  if (wire.extendedHeaders) return 'extended headers';
  return wire.structuredReplies ? 'structured replies' : 'simple replies';
}

export function describeClientRole(inRig: InRig): void {
  describe('a client connection', () => {
    for (const wire of [SIMPLE, STRUCTURED, EXTENDED]) {
      it(
        `speaks to a server connection with ${kindOf(wire)}, many requests in flight, answers in any order`,
        inRig(async (rig) => {
          const serverHub = rig.hub();
          const clientHub = rig.hub();
          const slots = 32;
          const slotBytes = 16 * 1024;
          const operation = fc.record({
            kind: fc.constantFrom<'read' | 'write' | 'zero' | 'flush'>('read', 'write', 'zero', 'flush'),
            slot: fc.nat({ max: slots - 1 }),
            length: fc.integer({ min: 1, max: slotBytes }),
          });
          const delays = fc.array(fc.nat({ max: 4 }), { minLength: 1, maxLength: 7 });
          await fc.assert(
            fc.asyncProperty(
              fc.array(operation, { minLength: 1, maxLength: 80 }),
              delays,
              fc.integer({ min: 1, max: 20 }),
              async (ops, d, requestsMax) => {
                const { accepted, connected } = await rig.pair();
                const none = new Uint8Array(0);
                const server = new Connection(
                  serverHub,
                  serverHub.engine.adopt(accepted, 'server', wire, { requestsMax: 8, bytesMax: 100_000 }, none),
                );
                const client = new Connection(clientHub, clientHub.engine.adopt(connected, 'client', wire, { requestsMax, bytesMax: 200_000 }, none));
                const disk = pattern(slots * slotBytes, 1);
                const model = pattern(slots * slotBytes, 1);
                serveMemory(rig, serverHub, server, disk, d);
                // One operation at a time for each slot, as the range lock above an engine sees to.
                const last = new Map<number, Promise<void>>();
                const run = async (before: Promise<void> | undefined, o: (typeof ops)[number], i: number): Promise<void> => {
                  await before;
                  const at = o.slot * slotBytes;
                  const engine = clientHub.engine;
                  if (o.kind === 'read') {
                    const r = await clientHub.must('read', (op) => {
                      engine.send(op, client.id, NBD_CMD_READ, 0, at, o.length, 0, 0);
                    });
                    expectBytes(takeBytes(clientHub, r.h), model.subarray(at, at + o.length));
                  } else if (o.kind === 'write') {
                    const h = handleOf(clientHub, pattern(o.length + 3, i));
                    model.set(pattern(o.length + 3, i).subarray(3), at);
                    const done = clientHub.must('write', (op) => {
                      engine.send(op, client.id, NBD_CMD_WRITE, 0, at, o.length, h, 3);
                    });
                    engine.release(h);
                    await done;
                  } else {
                    const zero = o.kind === 'zero';
                    if (zero) model.fill(0, at, at + o.length);
                    await clientHub.must(o.kind, (op) => {
                      engine.send(op, client.id, zero ? NBD_CMD_WRITE_ZEROES : NBD_CMD_FLUSH, 0, zero ? at : 0, zero ? o.length : 0, 0, 0);
                    });
                  }
                };
                ops.forEach((o, i) => {
                  last.set(o.slot, run(last.get(o.slot), o, i));
                });
                await Promise.all(last.values());
                expectBytes(disk, model);
                clientHub.engine.close(client.id, 0);
                await rig.until(() => server.closed !== undefined && client.closed !== undefined);
                expect([server.closed, client.closed]).toEqual([0, 0]);
                expect(clientHub.engine.usage()).toEqual({ handles: 0, bytes: 0, operations: 0, connections: 0 });
              },
            ),
            { numRuns: 12 },
          );
        }),
      );
    }

    it(
      'passes the server’s error on',
      inRig(async (rig) => {
        const serverHub = rig.hub();
        const clientHub = rig.hub();
        const { accepted, connected } = await rig.pair();
        const server = new Connection(serverHub, serverHub.engine.adopt(accepted, 'server', STRUCTURED, ROOMY, new Uint8Array(0)));
        const client = new Connection(clientHub, clientHub.engine.adopt(connected, 'client', STRUCTURED, ROOMY, new Uint8Array(0)));
        server.onRequest = (r) => {
          serverHub.engine.reply(0, r.req, Errno.ENOSPC, 0, 0, 0);
        };
        for (const cmd of [NBD_CMD_READ, NBD_CMD_TRIM]) {
          const r = await clientHub.run((op) => {
            clientHub.engine.send(op, client.id, cmd, 0, 0, 4096, 0, 0);
          });
          expect(r).toMatchObject({ errno: Errno.ENOSPC, length: 0, h: 0 });
        }
      }),
    );

    it(
      'sends no more at once than its limit, and all in the end',
      inRig(async (rig) => {
        const hub = rig.hub();
        const { conn, peer } = await rig.client(hub, SIMPLE, { requestsMax: 3, bytesMax: 100_000 });
        const ops = Array.from({ length: 10 }, () =>
          hub.run((op) => {
            hub.engine.send(op, conn.id, NBD_CMD_FLUSH, 0, 0, 0, 0, 0);
          }),
        );
        const seen = [await readRequest(peer), await readRequest(peer), await readRequest(peer)];
        await rig.settle();
        await expect(peer.read(1, 50)).rejects.toMatchObject({ errno: Errno.ETIMEDOUT });
        for (let i = 0; i < 10; i += 1) {
          const r = seen[i];
          if (r === undefined) throw new Error('a request is missing');
          peer.write(simpleReply(r, 0));
          if (i < 7) seen.push(await readRequest(peer));
        }
        expect((await Promise.all(ops)).map((r) => r.errno)).toEqual(new Array(10).fill(0));
        expect(new Set(seen.map((r) => `${String(r.cookieHi)} ${String(r.cookieLo)}`)).size).toBe(10);
      }),
    );

    it(
      'keeps a payload until it has left, even when it was refused before',
      inRig(async (rig) => {
        const hub = rig.hub();
        const { accepted, connected } = await rig.pair();
        const wire = { ...SIMPLE, payloadMaxBytes: 16 * 1024 * 1024 };
        const conn = new Connection(hub, hub.engine.adopt(connected, 'client', wire, ROOMY, new Uint8Array(0)));
        // A peer that reads the header alone, refuses, and reads on only later.
        const length = 16 * 1024 * 1024;
        let head = new Uint8Array(0);
        let received = 0;
        accepted.start({
          onData: (b) => {
            received += b.length;
            if (head.length < REQUEST.SIZE) {
              head = new Uint8Array([...head, ...b.subarray(0, REQUEST.SIZE)]);
              if (head.length >= REQUEST.SIZE) accepted.pause();
            }
          },
          onClose: () => undefined,
        });
        const h = handleOf(hub, pattern(length, 1));
        const write = begin(hub, (op) => {
          hub.engine.send(op, conn.id, NBD_CMD_WRITE, 0, 0, length, h, 0);
        });
        hub.engine.release(h);
        await rig.until(() => head.length >= REQUEST.SIZE);
        const asked = newRequestHeader();
        decodeRequest(viewOf(head), 0, asked);
        accepted.write(simpleReply(asked, NBD_EINVAL));
        await rig.settle();
        expect(write.result).toBeUndefined();
        expect(hub.engine.usage().handles).toBe(1);
        accepted.resume();
        expect((await write.promise).errno).toBe(Errno.EINVAL);
        await rig.until(() => received === REQUEST.SIZE + length);
        accepted.destroy();
        await rig.until(() => conn.closed !== undefined);
      }),
    );

    it(
      'says DISC and leaves in order',
      inRig(async (rig) => {
        const hub = rig.hub();
        const { conn, peer } = await rig.client(hub);
        await hub.must('disconnect', (op) => {
          hub.engine.send(op, conn.id, NBD_CMD_DISC, 0, 0, 0, 0, 0);
        });
        hub.engine.close(conn.id, 0);
        expect(await readRequest(peer)).toMatchObject({ type: NBD_CMD_DISC });
        await expect(peer.read(1, WAIT_MS)).rejects.toMatchObject({ errno: Errno.EPIPE });
        await rig.until(() => conn.closed !== undefined);
        expect(conn.closed).toBe(0);
      }),
    );

    it(
      'fails everything in flight and waiting when closed, then reports CLOSED, last',
      inRig(async (rig) => {
        const hub = rig.hub();
        const { conn } = await rig.client(hub, SIMPLE, { requestsMax: 2, bytesMax: 100_000 });
        const h = handleOf(hub, pattern(8192, 1));
        const ops = [NBD_CMD_READ, NBD_CMD_WRITE, NBD_CMD_WRITE, NBD_CMD_FLUSH].map((cmd) =>
          hub
            .run((op) => {
              hub.engine.send(op, conn.id, cmd, 0, 0, 8192, h, 0);
            })
            .then((r) => r.errno),
        );
        hub.engine.release(h);
        await rig.settle();
        hub.engine.close(conn.id, Errno.ETIMEDOUT);
        expect(await Promise.all(ops)).toEqual(new Array(4).fill(Errno.ETIMEDOUT));
        await rig.until(() => conn.closed === Errno.ETIMEDOUT);
        const late = await hub.run((op) => {
          hub.engine.send(op, conn.id, NBD_CMD_FLUSH, 0, 0, 0, 0, 0);
        });
        expect(late.errno).toBe(Errno.ESHUTDOWN);
      }),
    );

    it(
      'does not call an end orderly that leaves questions open',
      inRig(async (rig) => {
        const hub = rig.hub();
        const { conn, peer } = await rig.client(hub);
        const op = hub.run((id) => {
          hub.engine.send(id, conn.id, NBD_CMD_READ, 0, 0, 512, 0, 0);
        });
        await readRequest(peer);
        peer.end();
        expect((await op).errno).toBe(Errno.ECONNRESET);
        await rig.until(() => conn.closed !== undefined);
        expect(conn.closed).toBe(Errno.ECONNRESET);
      }),
    );

    it(
      'refuses a request over the payload limit and keeps the connection',
      inRig(async (rig) => {
        const hub = rig.hub();
        const { conn } = await rig.client(hub);
        const r = await hub.run((op) => {
          hub.engine.send(op, conn.id, NBD_CMD_READ, 0, 0, SIMPLE.payloadMaxBytes + 1, 0, 0);
        });
        expect(r.errno).toBe(Errno.EINVAL);
        expect(conn.closed).toBeUndefined();
      }),
    );
  });
}
