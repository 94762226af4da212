import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { RequestTable } from '../../../../src/io/portable/requests.ts';
import { ServerConn } from '../../../../src/io/portable/server-conn.ts';
import { type ConnLimits, Errno, EventKind } from '../../../../src/io/types.ts';
import { NBD_CMD_DISC, NBD_CMD_FLUSH, NBD_CMD_READ, NBD_CMD_WRITE } from '../../../../src/nbd/wire/constants.ts';
import { joined, pattern, rawRequest, ROOMY, SIMPLE } from '../engine-rig.ts';
import { HandSocket, makeParts } from './rig.ts';

const NONE = new Uint8Array(0);

function makeConn(
  limits: ConnLimits = ROOMY,
  early: Uint8Array = NONE,
): ReturnType<typeof makeParts> & { conn: ServerConn; socket: HandSocket; table: RequestTable } {
  const parts = makeParts();
  const table = new RequestTable();
  const socket = new HandSocket();
  const conn = new ServerConn(1, parts.context, table, socket, SIMPLE, limits);
  conn.start(early);
  return { ...parts, conn, socket, table };
}

function answer(c: ReturnType<typeof makeConn>, id: number): void {
  const r = c.table.find(id);
  if (r === undefined) throw new Error('the request is gone');
  c.conn.reply(r, 0, 0, 0, 0, 0);
}

describe('the parser of requests', () => {
  it('survives any bytes whatever, and leaves no payload behind', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.uint8Array({ maxLength: 60 }), { maxLength: 8 }), fc.boolean(), async (pieces, valid) => {
        const c = makeConn();
        if (valid) c.socket.handler?.onData(rawRequest({ cmd: NBD_CMD_WRITE, payload: pattern(30, 1) }).subarray(0, 40));
        for (const p of pieces) c.socket.handler?.onData(p);
        c.socket.handler?.onClose(0);
        await c.turn();
        expect(c.seen.at(-1)?.kind).toBe(EventKind.CLOSED);
        for (const e of c.seen) if (e.handle !== 0) c.context.handles.release(e.handle);
        expect(c.context.handles.liveHandles).toBe(0);
      }),
    );
  });

  it('pauses at the limit and resumes only when there is room', async () => {
    const c = makeConn({ requestsMax: 2, bytesMax: 1e6 });
    const many = joined(Array.from({ length: 6 }, (_, i) => rawRequest({ cmd: NBD_CMD_FLUSH, cookieLo: i })));
    c.socket.handler?.onData(many);
    expect(c.socket.paused).toBe(true);
    // A socket may deliver a little more after it was paused.
    c.socket.handler?.onData(rawRequest({ cmd: NBD_CMD_FLUSH, cookieLo: 6 }));
    await c.turn();
    expect(c.seen.length).toBe(2);
    for (let i = 0; i < 7; i += 1) {
      answer(c, c.seen[i]?.id ?? 0);
      await c.turn();
      expect(c.seen.length).toBe(Math.min(7, 2 + i));
      c.socket.takeAll();
      await c.turn();
      expect(c.seen.length).toBe(Math.min(7, 3 + i));
      expect(c.socket.paused).toBe(i < 4);
    }
  });

  it('that was stalled when DISC came in reads on, so that the peer’s end is noticed', async () => {
    const c = makeConn({ requestsMax: 1, bytesMax: 1e6 });
    c.socket.handler?.onData(joined([rawRequest({ cmd: NBD_CMD_FLUSH }), rawRequest({ cmd: NBD_CMD_DISC }), rawRequest({ cmd: NBD_CMD_FLUSH })]));
    expect(c.socket.paused).toBe(true);
    await c.turn();
    answer(c, c.seen[0]?.id ?? 0);
    await c.turn();
    c.socket.takeAll();
    await c.turn();
    expect(c.seen.map((e) => e.cmd)).toEqual([NBD_CMD_FLUSH, NBD_CMD_DISC]);
    expect(c.socket.paused).toBe(false);
  });

  it('copies bytes that were only lent', async () => {
    const c = makeConn({ requestsMax: 1, bytesMax: 1e6 });
    const lent = Buffer.from(joined([rawRequest({ cmd: NBD_CMD_FLUSH }), rawRequest({ cmd: NBD_CMD_READ, offset: 77, length: 5 })]));
    c.socket.handler?.onData(lent);
    lent.fill(0xdb);
    await c.turn();
    answer(c, c.seen[0]?.id ?? 0);
    await c.turn();
    c.socket.takeAll();
    await c.turn();
    expect(c.seen[1]).toMatchObject({ cmd: NBD_CMD_READ, length: 5 });
  });

  it('closes for malformed early bytes without ever starting the socket', async () => {
    const c = makeConn(ROOMY, new Uint8Array(28));
    expect(c.socket.handler).toBeUndefined();
    expect(c.socket.ending).toBe('destroy');
    await c.turn();
    expect(c.seen).toMatchObject([{ kind: EventKind.CLOSED, errno: Errno.EINVAL }]);
  });
});

describe('an orderly close', () => {
  it('waits for replies, and no longer than its deadline', async () => {
    for (const reads of [true, false]) {
      const c = makeConn();
      c.socket.handler?.onData(rawRequest({ cmd: NBD_CMD_FLUSH }));
      await c.turn();
      answer(c, c.seen[0]?.id ?? 0);
      c.conn.close(0);
      expect(c.socket.ending).toBe('end');
      await c.turn();
      expect(c.seen.length).toBe(1);
      if (reads) c.socket.takeAll();
      else c.clock.advance(101);
      await c.turn();
      expect(c.seen.at(-1)).toMatchObject({ kind: EventKind.CLOSED, errno: reads ? 0 : Errno.ETIMEDOUT });
      expect(c.clock.pending).toBe(0);
    }
  });
});

describe('a reply', () => {
  it('keeps its bytes until they have left, though the caller lets go of them', async () => {
    const c = makeConn();
    const length = 50_000;
    c.socket.handler?.onData(rawRequest({ cmd: NBD_CMD_READ, length }));
    await c.turn();
    const { handles } = c.context;
    const h = handles.allocate(length);
    handles.view(h).set(pattern(length, 1));
    const r = c.table.find(c.seen[0]?.id ?? 0);
    if (r === undefined) throw new Error('the request is gone');
    c.conn.reply(r, 5, 0, h, 0, length);
    handles.release(h);
    const other = handles.allocate(length);
    handles.view(other).fill(0xdb);
    handles.release(other);
    expect(handles.liveHandles).toBe(1);
    await c.turn();
    expect(Buffer.compare(c.socket.takeAll().subarray(16), pattern(length, 1))).toBe(0);
    expect(handles.liveHandles).toBe(0);
    await c.turn();
    expect(c.seen.at(-1)).toMatchObject({ kind: EventKind.DONE, id: 5, errno: 0 });
  });

  it('makes the room again that its request took', async () => {
    const c = makeConn({ requestsMax: 10, bytesMax: 1000 });
    for (let round = 0; round < 3; round += 1) {
      c.socket.handler?.onData(joined([rawRequest({ cmd: NBD_CMD_READ, length: 400 }), rawRequest({ cmd: NBD_CMD_READ, length: 400 })]));
      await c.turn();
      expect(c.seen.length).toBe(2);
      const h = c.context.handles.allocate(400);
      for (const e of c.seen.splice(0)) {
        const r = c.table.find(e.id);
        if (r !== undefined) c.conn.reply(r, 0, 0, h, 0, 400);
      }
      c.context.handles.release(h);
      await c.turn();
      c.socket.takeAll();
    }
  });
});
