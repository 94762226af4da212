import { describe, expect, it } from 'vitest';
import { ClientConn } from '../../../../src/io/portable/client-conn.ts';
import { Errno, EventKind } from '../../../../src/io/types.ts';
import { NBD_CMD_FLUSH, NBD_CMD_READ, NBD_CMD_WRITE } from '../../../../src/nbd/wire/constants.ts';
import { REQUEST, SIMPLE_REPLY, viewOf } from '../../../../src/nbd/wire/layout.ts';
import { decodeRequest, encodeSimpleReply, newRequestHeader } from '../../../../src/nbd/wire/transmission.ts';
import { pattern, ROOMY, SIMPLE } from '../engine-rig.ts';
import { HandSocket, makeParts } from './rig.ts';

function makeConn(): ReturnType<typeof makeParts> & { conn: ClientConn; socket: HandSocket } {
  const parts = makeParts();
  const socket = new HandSocket();
  const conn = new ClientConn(1, parts.context, socket, SIMPLE, ROOMY);
  conn.start(new Uint8Array(0));
  return { ...parts, conn, socket };
}

function replyTo(request: Uint8Array, error: number): Uint8Array {
  const h = newRequestHeader();
  expect(decodeRequest(viewOf(request), 0, h)).toBe(true);
  const out = new Uint8Array(SIMPLE_REPLY.SIZE);
  encodeSimpleReply(viewOf(out), 0, error, h.cookieHi, h.cookieLo);
  return out;
}

describe('a client connection', () => {
  it('gives a slot used again another cookie, so that a late answer finds nobody', async () => {
    const c = makeConn();
    c.conn.send(1, NBD_CMD_FLUSH, 0, 0, 0, 0, 0);
    await c.turn();
    const first = c.socket.takeAll();
    c.socket.handler?.onData(replyTo(first, 0));
    c.conn.send(2, NBD_CMD_FLUSH, 0, 0, 0, 0, 0);
    await c.turn();
    expect(c.seen).toMatchObject([{ kind: EventKind.DONE, id: 1, errno: 0 }]);
    c.socket.handler?.onData(replyTo(first, 0));
    await c.turn();
    expect(c.seen.slice(1)).toMatchObject([
      { kind: EventKind.DONE, id: 2, errno: Errno.EINVAL },
      { kind: EventKind.CLOSED, errno: Errno.EINVAL },
    ]);
  });

  it('sends a long payload from where it lies and a short one as a copy', async () => {
    const c = makeConn();
    for (const [op, length] of [
      [1, 100],
      [2, 50_000],
    ] as const) {
      const h = c.context.handles.allocate(length);
      c.context.handles.view(h).set(pattern(length, op));
      c.conn.send(op, NBD_CMD_WRITE, 0, 0, length, h, 0);
      c.context.handles.release(h);
    }
    expect(c.context.handles.liveHandles).toBe(1);
    await c.turn();
    const all = c.socket.takeAll();
    expect(all.length).toBe(2 * REQUEST.SIZE + 50_100);
    expect(all.subarray(REQUEST.SIZE, REQUEST.SIZE + 100)).toEqual(pattern(100, 1));
    expect(Buffer.compare(all.subarray(2 * REQUEST.SIZE + 100), pattern(50_000, 2))).toBe(0);
    expect(c.context.handles.liveHandles).toBe(0);
    c.conn.close(Errno.ETIMEDOUT);
  });

  it('cuts the line rather than leave a payload to be read after its operation ended', () => {
    for (const [length, ending] of [
      [50_000, 'destroy'],
      [0, 'end'],
    ] as const) {
      const c = makeConn();
      const h = c.context.handles.allocate(length);
      c.conn.send(1, length > 0 ? NBD_CMD_WRITE : NBD_CMD_FLUSH, 0, 0, length, h, 0);
      c.context.handles.release(h);
      c.conn.close(0);
      expect(c.socket.ending).toBe(ending);
      expect(c.context.handles.liveHandles).toBe(0);
    }
  });

  it('hears nothing after its end', async () => {
    const c = makeConn();
    c.conn.send(1, NBD_CMD_READ, 0, 0, 512, 0, 0);
    await c.turn();
    const asked = c.socket.takeAll();
    c.conn.close(Errno.ETIMEDOUT);
    c.socket.handler?.onData(replyTo(asked, 0));
    c.socket.handler?.onClose(0);
    await c.turn();
    expect(c.seen.map((e) => [e.kind, e.errno])).toEqual([
      [EventKind.DONE, Errno.ETIMEDOUT],
      [EventKind.CLOSED, Errno.ETIMEDOUT],
    ]);
  });

  it('refuses a range that no request can have', () => {
    const c = makeConn();
    for (const [offset, length] of [
      [-1, 1],
      [1.5, 1],
      [0, 2 ** 53],
      [0, -1],
      [2 ** 53, 1],
    ] as const) {
      expect(() => {
        c.conn.send(1, NBD_CMD_READ, 0, offset, length, 0, 0);
      }).toThrow(RangeError);
    }
  });
});
