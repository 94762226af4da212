import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Errno } from '../../../src/io/types.ts';
import type { NbdClient, NbdClientSettings } from '../../../src/nbd-client-js/client.ts';
import * as nbd from '../../../src/nbd/wire/constants.ts';
import { ClientWorld, nth, pattern } from '../../support/client-world.ts';
import { ALL_FLAGS, type FakeExport, type FakePeer, type FakeRequest } from '../../support/fake-nbd-server.ts';
import { settle } from '../../support/manual-clock.ts';

interface Held {
  w: ClientWorld;
  client: NbdClient;
  /** In order of arrival, with the connection they came on. */
  seen: { peer: FakePeer; request: FakeRequest }[];
  closed: { errno: number; reason: string; after: number }[];
}

/** A client whose servers keep requests for the test to answer. */
async function held(e: FakeExport, settings: Partial<NbdClientSettings> = {}): Promise<Held> {
  const w = new ClientWorld();
  const seen: Held['seen'] = [];
  const client = await w.connect(e, settings, async (peer) => {
    for (let request = await peer.nextRequest(); request !== undefined; request = await peer.nextRequest()) seen.push({ peer, request });
  });
  const closed: Held['closed'] = [];
  client.onClosed((errno, reason) => {
    closed.push({ errno, reason, after: w.recorder.done.length });
  });
  return { w, client, seen, closed };
}

function answer(s: Held, i: number, error = 0): void {
  const { peer, request } = nth(s.seen, i);
  peer.simpleReply(request, error);
}

describe('a long request', () => {
  const small: FakeExport = { blockSizes: [512, 4096, 4096] };

  it('to write is split at the longest payload, and done once', async () => {
    const s = await held(small);
    const bytes = pattern(10240);
    const h = s.w.handle(bytes);
    s.client.write(s.w.recorder, 7, 1024, 9216, h, 1024, true);
    s.w.engine.release(h);
    await settle();
    expect(s.seen.map(({ request: r }) => [r.offset, r.length, r.flags])).toEqual([
      [1024, 4096, nbd.NBD_CMD_FLAG_FUA],
      [5120, 4096, nbd.NBD_CMD_FLAG_FUA],
      [9216, 1024, nbd.NBD_CMD_FLAG_FUA],
    ]);
    expect(Buffer.concat(s.seen.map((x) => x.request.payload))).toEqual(Buffer.from(bytes.subarray(1024)));
    answer(s, 2);
    answer(s, 0);
    await settle();
    expect(s.w.recorder.done).toEqual([]);
    answer(s, 1);
    await settle();
    expect(s.w.recorder.done).toMatchObject([{ tag: 7, errno: 0, length: 9216 }]);
    expect(s.w.engine.usage()).toMatchObject({ handles: 0, bytes: 0, operations: 0 });
  });

  it('to read comes back as one', async () => {
    const w = new ClientWorld();
    const disk = pattern(1 << 20);
    const client = await w.connect({ ...small, structured: false }, {}, (p) => p.serve(disk, false));
    client.read(w.recorder, 1, 512, 65536);
    await settle();
    expect(w.bytesOf(w.recorder.done[0])).toEqual(disk.slice(512, 512 + 65536));
    expect(w.engine.usage()).toMatchObject({ handles: 0, bytes: 0 });
  });

  it('ends with the first error, once the pieces that were sent are answered, and sends no more', async () => {
    const s = await held(small, { requestsMax: 2 });
    s.client.write(s.w.recorder, 1, 0, 16384, s.w.handle(pattern(16384)), 0, false);
    s.client.flush(s.w.recorder, 2);
    await settle();
    expect(s.seen).toHaveLength(2);
    answer(s, 0, nbd.NBD_ENOSPC);
    await settle();
    expect(s.w.recorder.done).toEqual([]);
    answer(s, 1, nbd.NBD_EIO);
    await settle();
    expect(s.w.recorder.done).toMatchObject([{ tag: 1, errno: Errno.ENOSPC }]);
    expect(s.seen.map((x) => x.request.type)).toEqual([nbd.NBD_CMD_WRITE, nbd.NBD_CMD_WRITE, nbd.NBD_CMD_FLUSH]);
  });

  it('gives back what it read when a later piece fails', async () => {
    const s = await held({ ...small, structured: false });
    s.client.read(s.w.recorder, 1, 0, 8192);
    await settle();
    nth(s.seen, 0).peer.simpleReply(nth(s.seen, 0).request, 0, pattern(4096));
    answer(s, 1, nbd.NBD_EIO);
    await settle();
    expect(s.w.recorder.done).toMatchObject([{ tag: 1, errno: Errno.EIO, h: 0 }]);
    expect(s.w.engine.usage()).toMatchObject({ handles: 0, bytes: 0 });
  });

  it('without payload is split at 1 GiB', async () => {
    const s = await held({ sizeBytes: 2 ** 40 });
    s.client.trim(s.w.recorder, 1, 0, 2.5 * 2 ** 30);
    await settle();
    expect(s.seen.map((x) => x.request.length)).toEqual([2 ** 30, 2 ** 30, 2 ** 29]);
  });

  it('that needs a flush after it gets one flush, after its last piece', async () => {
    const s = await held({ ...small, flags: nbd.NBD_FLAG_HAS_FLAGS | nbd.NBD_FLAG_SEND_FLUSH });
    s.client.write(s.w.recorder, 1, 0, 8192, s.w.handle(pattern(8192)), 0, true);
    await settle();
    answer(s, 0);
    await settle();
    expect(s.seen).toHaveLength(2);
    answer(s, 1);
    await settle();
    expect(s.seen.map((x) => x.request.type)).toEqual([nbd.NBD_CMD_WRITE, nbd.NBD_CMD_WRITE, nbd.NBD_CMD_FLUSH]);
    answer(s, 2);
    await settle();
    expect(s.w.recorder.done).toMatchObject([{ tag: 1, errno: 0, length: 8192 }]);
  });
});

describe('the queue', () => {
  it('holds what the connection has no room for, in order, and its payloads', async () => {
    const s = await held({}, { requestsMax: 2 });
    for (let tag = 0; tag < 5; tag += 1) {
      const h = s.w.handle(pattern(512, tag));
      s.client.write(s.w.recorder, tag, tag * 512, 512, h, 0, false);
      s.w.engine.release(h);
    }
    await settle();
    expect(s.seen).toHaveLength(2);
    for (let i = 0; i < 5; i += 1) {
      answer(s, i);
      await settle();
      expect(nth(s.seen, i).request.payload).toEqual(pattern(512, i));
    }
    expect(s.w.recorder.tags).toEqual([0, 1, 2, 3, 4]);
    expect(s.w.engine.usage()).toMatchObject({ handles: 0, bytes: 0 });
  });

  it('is bounded: beyond it EAGAIN, in a later turn; room says so before', async () => {
    const s = await held({}, { requestsMax: 1, queueMax: 2 });
    const rooms = [];
    for (let tag = 0; tag < 4; tag += 1) {
      rooms.push(s.client.room());
      s.client.flush(s.w.recorder, tag);
    }
    expect(rooms).toEqual([2, 2, 1, 0]);
    expect(s.w.recorder.done).toEqual([]);
    await settle();
    expect(s.w.recorder.done).toMatchObject([{ tag: 3, errno: Errno.EAGAIN }]);
    answer(s, 0);
    await settle();
    expect(s.client.room()).toBe(1);
  });

  it('takes as many further calls as room says, whenever asked', async () => {
    const s = await held({}, { requestsMax: 3, queueMax: 4 });
    let tag = 0;
    for (let round = 0; round < 10; round += 1) {
      for (let room = s.client.room(); room > 0; room -= 1) s.client.flush(s.w.recorder, (tag += 1));
      await settle();
      for (let i = s.w.recorder.done.length; i < s.seen.length; i += 1) answer(s, i);
      await settle();
    }
    expect(s.w.recorder.done.filter((d) => d.errno !== 0)).toEqual([]);
    expect(s.w.recorder.done.length).toBeGreaterThan(20);
  });

  it('bounds bytes on a connection, but never holds back a lone request', async () => {
    const s = await held({}, { bytesMax: 8192 });
    const h = s.w.handle(pattern(8192));
    s.client.write(s.w.recorder, 1, 0, 8192, h, 0, false);
    s.client.write(s.w.recorder, 2, 0, 512, h, 0, false);
    s.client.flush(s.w.recorder, 3);
    await settle();
    expect(s.seen).toHaveLength(1);
    answer(s, 0);
    await settle();
    expect(s.seen.map((x) => x.request.length)).toEqual([8192, 512, 0]);
  });

  it('goes on when an owner asks for more from within onDone', async () => {
    const s = await held({}, { requestsMax: 1 });
    let left = 50;
    const owner = {
      onDone: (): void => {
        left -= 1;
        if (left > 0) s.client.flush(owner, 0);
      },
    };
    s.client.flush(owner, 0);
    for (let i = 0; i < 50; i += 1) {
      await settle();
      answer(s, i);
    }
    await settle();
    expect(left).toBe(0);
    expect(s.client.requestsInFlight).toBe(0);
  });
});

describe('a lost connection', () => {
  it('ends every request in flight or queued with one error each, then says so once', async () => {
    const s = await held({}, { requestsMax: 4, connections: 2 });
    const h = s.w.handle(pattern(4096));
    for (let tag = 0; tag < 20; tag += 1) {
      if (tag % 2 === 0) s.client.write(s.w.recorder, tag, 0, 4096, h, 0, true);
      else s.client.read(s.w.recorder, tag, 0, 4096);
    }
    s.w.engine.release(h);
    await settle();
    expect(s.seen).toHaveLength(8);
    nth(s.w.peers, 1).pull.destroy();
    await settle();
    expect(s.w.recorder.tags.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 20 }, (_, i) => i));
    expect(new Set(s.w.recorder.done.map((d) => d.errno))).toEqual(new Set([Errno.ECONNRESET]));
    expect(s.closed).toEqual([{ errno: Errno.ECONNRESET, reason: 'memory:a: connection lost (ECONNRESET)', after: 20 }]);
    expect(s.client.lost).toEqual({ errno: Errno.ECONNRESET, reason: 'memory:a: connection lost (ECONNRESET)' });
    expect(s.w.sockets.map((x) => x.closed)).toEqual([true, true]);
    expect(s.w.engine.usage()).toEqual({ handles: 0, bytes: 0, operations: 0, connections: 0 });
  });

  it('is known before the first onDone that follows from it', async () => {
    const s = await held({});
    const known: boolean[] = [];
    const owner = {
      onDone: (): void => {
        known.push(s.client.lost !== undefined);
      },
    };
    for (let i = 0; i < 3; i += 1) s.client.flush(owner, i);
    await settle();
    nth(s.w.peers, 0).pull.destroy();
    await settle();
    expect(known).toEqual([true, true, true]);
  });

  it('refuses what comes afterwards, in a later turn', async () => {
    const s = await held({});
    nth(s.w.peers, 0).close();
    await settle();
    expect(s.closed).toEqual([{ errno: Errno.ESHUTDOWN, reason: 'memory:a: the server closed the connection', after: 0 }]);
    expect(s.client.room()).toBe(0);
    s.client.flush(s.w.recorder, 1);
    expect(s.w.recorder.done).toEqual([]);
    await settle();
    expect(s.w.recorder.errno(1)).toBe(Errno.ESHUTDOWN);
    const late: number[] = [];
    s.client.onClosed((errno) => {
      late.push(errno);
    });
    expect(late).toEqual([]);
    await settle();
    expect(late).toEqual([Errno.ESHUTDOWN]);
    expect(s.closed).toHaveLength(1);
  });

  it('between a write and the flush that makes it durable is no success (M3)', async () => {
    const s = await held({ flags: nbd.NBD_FLAG_HAS_FLAGS | nbd.NBD_FLAG_SEND_FLUSH });
    s.client.write(s.w.recorder, 1, 0, 512, s.w.handle(pattern(512)), 0, true);
    await settle();
    answer(s, 0);
    nth(s.w.peers, 0).close();
    await settle();
    expect(s.w.recorder.done).toHaveLength(1);
    expect(s.w.recorder.errno(1)).not.toBe(0);
  });

  it('is what a wrong answer means', async () => {
    const s = await held({});
    s.client.flush(s.w.recorder, 1);
    await settle();
    nth(s.w.peers, 0).simpleReply({ ...nth(s.seen, 0).request, cookieLo: 12345 });
    await settle();
    expect(s.w.recorder.errno(1)).toBe(Errno.EINVAL);
    expect(s.closed).toMatchObject([{ errno: Errno.EINVAL, reason: 'memory:a: the server broke the protocol' }]);
  });

  it('is what close makes, with the errno given', async () => {
    const s = await held({}, { requestsMax: 1 });
    s.client.flush(s.w.recorder, 1);
    s.client.flush(s.w.recorder, 2);
    s.client.close(Errno.EIO, 'enough');
    expect(s.w.recorder.done).toEqual([]);
    await settle();
    expect(s.w.recorder.done.map((d) => d.errno)).toEqual([Errno.EIO, Errno.EIO]);
    expect(s.closed).toEqual([{ errno: Errno.EIO, reason: 'memory:a: enough', after: 2 }]);
  });
});

describe('a server that does not answer', () => {
  it('is given up when its oldest request is overdue, whatever else it answers', async () => {
    const s = await held({}, { connections: 2 });
    s.client.flush(s.w.recorder, 0);
    await settle();
    for (let tag = 1; tag < 10; tag += 1) {
      s.w.clock.advance(100);
      s.client.flush(s.w.recorder, tag);
      await settle();
      answer(s, tag);
      await settle();
    }
    expect(s.w.recorder.done).toHaveLength(9);
    expect(s.w.clock.pending).toBeLessThanOrEqual(4);
    s.w.clock.advance(99);
    await settle();
    expect(s.closed).toEqual([]);
    s.w.clock.advance(1);
    await settle();
    expect(s.w.recorder.errno(0)).toBe(Errno.ETIMEDOUT);
    expect(s.closed).toEqual([{ errno: Errno.ETIMEDOUT, reason: 'memory:a: no reply within 1000 ms', after: 10 }]);
  });

  it('to one request is given up when that is overdue, though the same connection answers younger ones', async () => {
    const s = await held({});
    for (let tag = 0; tag < 11; tag += 1) s.client.flush(s.w.recorder, tag);
    await settle();
    s.w.clock.advance(500);
    answer(s, 0);
    await settle();
    for (let i = 2; i < 11; i += 1) {
      s.w.clock.advance(100);
      answer(s, i);
      await settle();
    }
    s.w.clock.advance(99);
    await settle();
    expect(s.closed).toEqual([]);
    s.w.clock.advance(1);
    await settle();
    expect(s.closed).toMatchObject([{ errno: Errno.ETIMEDOUT }]);
    expect(s.w.recorder.errno(1)).toBe(Errno.ETIMEDOUT);
  });

  it('is given up one timeout after its last answer, however much is still to be answered', async () => {
    const s = await held({});
    for (let tag = 0; tag < 8; tag += 1) s.client.flush(s.w.recorder, tag);
    await settle();
    s.w.clock.advance(900);
    answer(s, 0);
    await settle();
    s.w.clock.advance(999);
    await settle();
    expect(s.closed).toEqual([]);
    s.w.clock.advance(1);
    await settle();
    expect(s.closed).toMatchObject([{ errno: Errno.ETIMEDOUT, after: 8 }]);
  });

  it('is not missed while nothing is asked of it', async () => {
    const s = await held({});
    s.client.flush(s.w.recorder, 0);
    await settle();
    answer(s, 0);
    await settle();
    s.w.clock.advance(30_000);
    await settle();
    expect(s.closed).toEqual([]);
  });
});

describe('a server behind a slow link', () => {
  it('is kept while it answers one request after the other, each in time (M14)', async () => {
    const s = await held({});
    for (let tag = 0; tag < 8; tag += 1) s.client.flush(s.w.recorder, tag);
    await settle();
    for (let i = 0; i < 8; i += 1) {
      s.w.clock.advance(900);
      await settle();
      answer(s, i);
      await settle();
    }
    expect(s.w.recorder.done.map((d) => d.errno)).toEqual(Array(8).fill(0));
    expect(s.closed).toEqual([]);
  });
});

describe('disconnecting', () => {
  it('waits for what is in flight and queued, says DISC on each connection, and refuses what comes', async () => {
    const s = await held({}, { connections: 2, requestsMax: 1 });
    for (let tag = 0; tag < 3; tag += 1) s.client.flush(s.w.recorder, tag);
    let over = false;
    const disconnected = s.client.disconnect().then(() => {
      over = true;
    });
    s.client.flush(s.w.recorder, 3);
    await settle();
    expect(s.w.recorder.done).toMatchObject([{ tag: 3, errno: Errno.ESHUTDOWN }]);
    expect(s.client.room()).toBe(0);
    for (let i = 0; i < 3; i += 1) {
      expect(over).toBe(false);
      answer(s, i);
      await settle();
    }
    await disconnected;
    expect(s.w.recorder.tags.toSorted()).toEqual([0, 1, 2, 3]);
    expect(s.seen.slice(3).map((x) => x.request.type)).toEqual([nbd.NBD_CMD_DISC, nbd.NBD_CMD_DISC]);
    expect(s.closed).toMatchObject([{ errno: 0, after: 4 }]);
    expect(s.w.engine.usage()).toMatchObject({ operations: 0, connections: 0 });
  });

  it('ends by the deadline when the server does not answer', async () => {
    const s = await held({});
    s.client.flush(s.w.recorder, 0);
    const disconnected = s.client.disconnect();
    await settle();
    s.w.clock.advance(1000);
    await disconnected;
    expect(s.w.recorder.errno(0)).toBe(Errno.ETIMEDOUT);
    expect(s.closed).toMatchObject([{ errno: Errno.ETIMEDOUT }]);
  });

  it('is done at once when the connection is lost already', async () => {
    const s = await held({});
    nth(s.w.peers, 0).close();
    await settle();
    await s.client.disconnect();
    await s.client.disconnect();
    expect(s.closed).toHaveLength(1);
  });
});

describe('several connections', () => {
  it('share the requests', async () => {
    const s = await held({ flags: ALL_FLAGS }, { connections: 3, requestsMax: 2 });
    expect(s.client.connections).toBe(3);
    for (let tag = 0; tag < 6; tag += 1) s.client.flush(s.w.recorder, tag);
    await settle();
    expect(s.w.peers.map((p) => s.seen.filter((x) => x.peer === p).length)).toEqual([2, 2, 2]);
  });
});

describe('any bytes as replies', () => {
  const u8 = fc.uint8Array({ maxLength: 40 });
  const reply = fc.record({
    which: fc.nat({ max: 5 }),
    error: fc.constantFrom(0, 0, 0, 5, 22, 104, 0xffffffff),
    data: u8,
    chunk: fc.boolean(),
    type: fc.nat({ max: 6 }),
    flags: fc.nat({ max: 1 }),
  });

  it('end each request once, leak nothing, and never throw', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.oneof(u8, reply), { maxLength: 12 }), fc.boolean(), async (script, structured) => {
        const s = await held({ structured, sizeBytes: 8192, contextId: 1, blockSizes: [1, 1, 4096] }, { requestsMax: 4 });
        const h = s.w.handle(pattern(512));
        s.client.read(s.w.recorder, 0, 0, 16);
        s.client.write(s.w.recorder, 1, 0, 512, h, 0, true);
        s.client.flush(s.w.recorder, 2);
        s.client.read(s.w.recorder, 3, 0, 6000);
        if (structured) s.client.blockStatus(s.w.recorder, 4, 0, 512);
        s.w.engine.release(h);
        await settle();
        const peer = nth(s.w.peers, 0);
        for (const step of script) {
          if (step instanceof Uint8Array) peer.write(step);
          else {
            const request = s.seen[step.which % Math.max(1, s.seen.length)]?.request;
            if (request === undefined) continue;
            if (step.chunk) peer.chunk(request, step.flags, step.type, step.data);
            else peer.simpleReply(request, step.error, step.data);
          }
          await settle();
        }
        s.w.clock.advance(1000);
        await settle();
        s.client.close(Errno.EIO);
        await settle();
        expect(s.w.recorder.done).toHaveLength(structured ? 5 : 4);
        expect(s.closed).toHaveLength(1);
        for (const d of s.w.recorder.done) if (d.h !== 0) s.w.engine.release(d.h);
        expect(s.w.engine.usage()).toEqual({ handles: 0, bytes: 0, operations: 0, connections: 0 });
        expect(s.w.hub.operationsInFlight).toBe(0);
      }),
      { numRuns: 200 },
    );
  });
});
