import { describe, expect, it } from 'vitest';
import { Errno, IoError } from '../../../src/io/types.ts';
import type { NbdClientSettings } from '../../../src/nbd-client-js/client.ts';
import * as nbd from '../../../src/nbd/wire/constants.ts';
import { encodeBlockStatusExt } from '../../../src/nbd/wire/extended.ts';
import { encodeBlockStatus } from '../../../src/nbd/wire/transmission.ts';
import { ClientWorld, nth, pattern } from '../../support/client-world.ts';
import { ALL_FLAGS, type FakeExport, type FakeRequest } from '../../support/fake-nbd-server.ts';
import { settle } from '../../support/manual-clock.ts';

const NOTHING = nbd.NBD_FLAG_HAS_FLAGS;

describe.each([true, false])('a client of a server (structured replies: %s)', (structured) => {
  it('reads what it wrote', async () => {
    const w = new ClientWorld();
    const disk = new Uint8Array(1 << 20);
    const client = await w.connect({ structured, sizeBytes: disk.length }, {}, (p) => p.serve(disk, structured));
    const bytes = pattern(65536);
    const h = w.handle(bytes);
    client.write(w.recorder, 1, 4096, 60000 - (60000 % 512), h, 512, false);
    w.engine.release(h);
    await settle();
    expect(w.recorder.done).toEqual([{ tag: 1, errno: 0, length: 59904, h: 0, value: undefined }]);
    expect(disk.subarray(4096, 4096 + 59904)).toEqual(bytes.subarray(512, 512 + 59904));
    client.read(w.recorder, 2, 4096, 8192);
    await settle();
    expect(w.recorder.done[1]).toMatchObject({ tag: 2, errno: 0, length: 8192 });
    expect(w.bytesOf(w.recorder.done[1])).toEqual(bytes.subarray(512, 512 + 8192));
    expect(w.engine.usage()).toMatchObject({ handles: 0, bytes: 0, operations: 0 });
  });

  it('has promises for whoever is in no hurry', async () => {
    const w = new ClientWorld();
    const disk = new Uint8Array(65536);
    const client = await w.connect({ structured, sizeBytes: disk.length }, {}, (p) => p.serve(disk, structured));
    await client.writeBytes(512, pattern(1024), true);
    await client.flushNow();
    expect(await client.readBytes(0, 2048)).toEqual(disk.slice(0, 2048));
    expect(disk.slice(512, 1536)).toEqual(pattern(1024));
    expect(w.engine.usage()).toMatchObject({ handles: 0, bytes: 0 });
  });
});

/** A client whose server keeps requests for the test to answer. */
async function held(
  flags: number,
  contextId?: number,
): Promise<{ w: ClientWorld; seen: FakeRequest[]; client: Awaited<ReturnType<ClientWorld['connect']>> }> {
  const w = new ClientWorld();
  const seen: FakeRequest[] = [];
  const e = { flags, ...(contextId === undefined ? {} : { contextId }) };
  const client = await w.connect(e, {}, async (p) => {
    for (let r = await p.nextRequest(); r !== undefined; r = await p.nextRequest()) seen.push(r);
  });
  return { w, seen, client };
}

describe('a client of a server with extended headers', () => {
  const TIB = 2 ** 40;
  async function heldExtended(e: FakeExport, settings: Partial<NbdClientSettings> = {}): ReturnType<typeof held> {
    const w = new ClientWorld();
    const seen: FakeRequest[] = [];
    const client = await w.connect({ extended: true, sizeBytes: 2 ** 47, flags: ALL_FLAGS, ...e }, settings, async (p) => {
      for (let r = await p.nextRequest(); r !== undefined; r = await p.nextRequest()) seen.push(r);
    });
    expect(client.info.extended).toBe(true);
    return { w, seen, client };
  }
  const ranges = (seen: FakeRequest[]): [number, number, number][] => seen.map((r) => [r.type, r.offset, r.length]);

  it('reads what it wrote', async () => {
    const w = new ClientWorld();
    const disk = new Uint8Array(1 << 20);
    const client = await w.connect({ extended: true, sizeBytes: disk.length, blockSizes: [512, 4096, 8192] }, {}, (p) => p.serve(disk, true));
    await client.writeBytes(512, pattern(20_480), true);
    expect(disk.slice(512, 512 + 20_480)).toEqual(pattern(20_480));
    expect(await client.readBytes(0, 30_720)).toEqual(disk.slice(0, 30_720));
    client.writeZeroes(w.recorder, 1, 1024, 512, { fua: false, mayPunch: true });
    await client.flushNow();
    expect(disk.slice(1024, 1536)).toEqual(new Uint8Array(512));
    expect(w.engine.usage()).toMatchObject({ handles: 0, bytes: 0 });
  });

  it('trims and punches a tebibyte in one request, and zeroes a gibibyte where that may take long', async () => {
    const { w, seen, client } = await heldExtended({});
    client.trim(w.recorder, 1, 0, TIB);
    client.writeZeroes(w.recorder, 2, 0, TIB, { fua: false, mayPunch: true });
    client.writeZeroes(w.recorder, 3, 0, 2 * 2 ** 30, { fua: false, mayPunch: false });
    await settle();
    expect(ranges(seen)).toEqual([
      [nbd.NBD_CMD_TRIM, 0, TIB],
      [nbd.NBD_CMD_WRITE_ZEROES, 0, TIB],
      [nbd.NBD_CMD_WRITE_ZEROES, 0, 2 ** 30],
      [nbd.NBD_CMD_WRITE_ZEROES, 2 ** 30, 2 ** 30],
    ]);
  });

  it('trims and punches a gibibyte at a server that announces nothing fast: it may write zeroes out', async () => {
    const { w, seen, client } = await heldExtended({ flags: ALL_FLAGS & ~nbd.NBD_FLAG_SEND_FAST_ZERO });
    client.trim(w.recorder, 1, 0, 2 ** 30 + 512);
    client.writeZeroes(w.recorder, 2, 0, 2 ** 30 + 512, { fua: false, mayPunch: true });
    await settle();
    expect(seen.map((r) => r.length)).toEqual([2 ** 30, 512, 2 ** 30, 512]);
  });

  it('keeps to the length that it was told, however long, with these headers and without', async () => {
    const all = await heldExtended({}, { discardMaxBytes: 2 ** 60 });
    all.client.writeZeroes(all.w.recorder, 1, 512, 2 ** 47 - 512, { fua: true, mayPunch: false });
    await settle();
    expect(ranges(all.seen)).toEqual([[nbd.NBD_CMD_WRITE_ZEROES, 512, 2 ** 47 - 512]]);

    const w = new ClientWorld();
    const seen: FakeRequest[] = [];
    const compact = await w.connect({ sizeBytes: 2 ** 47, flags: ALL_FLAGS }, { discardMaxBytes: 2 ** 60 }, async (p) => {
      for (let r = await p.nextRequest(); r !== undefined; r = await p.nextRequest()) seen.push(r);
    });
    compact.trim(w.recorder, 1, 0, 2 ** 32);
    await settle();
    expect(ranges(seen)).toEqual([
      [nbd.NBD_CMD_TRIM, 0, 2 ** 32 - 65536],
      [nbd.NBD_CMD_TRIM, 2 ** 32 - 65536, 65536],
    ]);
  });

  it('asks for the status of the whole export at once, and understands both kinds of answer', async () => {
    for (const [type, payload] of [
      [nbd.NBD_REPLY_TYPE_BLOCK_STATUS_EXT, encodeBlockStatusExt(9, [{ length: 2 ** 47, flags: 3 }])],
      [nbd.NBD_REPLY_TYPE_BLOCK_STATUS, encodeBlockStatus(9, [{ length: 4096, flags: 3 }])],
    ] as const) {
      const { w, seen, client } = await heldExtended({ contextId: 9 });
      client.blockStatus(w.recorder, 1, 0, 2 ** 47);
      await settle();
      expect(ranges(seen)).toEqual([[nbd.NBD_CMD_BLOCK_STATUS, 0, 2 ** 47]]);
      nth(w.peers, 0).chunk(nth(seen, 0), nbd.NBD_REPLY_FLAG_DONE, type, payload);
      await settle();
      const length = type === nbd.NBD_REPLY_TYPE_BLOCK_STATUS ? 4096 : 2 ** 47;
      expect(w.recorder.done).toMatchObject([
        { errno: 0, length, value: { kind: 'extents', extents: [{ offset: 0, length, hole: true, zero: true }] } },
      ]);
    }
  });

  it('names its context where the server granted others, and can be told', async () => {
    const otherContexts = { 4: 'x:y' };
    const filter = nbd.NBD_FLAG_BLOCK_STATUS_PAYLOAD;
    const named = await heldExtended({ contextId: 9, otherContexts, flags: ALL_FLAGS | filter });
    named.client.blockStatus(named.w.recorder, 1, 512, 2 ** 46);
    await settle();
    expect(nth(named.seen, 0)).toMatchObject({ flags: nbd.NBD_CMD_FLAG_PAYLOAD_LEN, offset: 512, length: 12 });
    expect(Buffer.from(nth(named.seen, 0).payload).toString('hex')).toBe('0000400000000000' + '00000009');
    nth(named.w.peers, 0).chunk(
      nth(named.seen, 0),
      nbd.NBD_REPLY_FLAG_DONE,
      nbd.NBD_REPLY_TYPE_BLOCK_STATUS_EXT,
      encodeBlockStatusExt(9, [{ length: 2 ** 45, flags: 0 }]),
    );
    await settle();
    expect(named.w.recorder.done).toMatchObject([{ errno: 0, length: 2 ** 45 }]);
    expect(named.w.engine.usage()).toMatchObject({ handles: 0, bytes: 0, operations: 0 });

    for (const e of [
      { contextId: 9, flags: ALL_FLAGS | filter },
      { contextId: 9, otherContexts },
    ]) {
      const plain = await heldExtended(e);
      plain.client.blockStatus(plain.w.recorder, 1, 0, 4096);
      await settle();
      expect(nth(plain.seen, 0)).toMatchObject({ flags: 0, length: 4096 });
    }
  });

  it('does not ask for them when told not to', async () => {
    const w = new ClientWorld();
    const client = await w.connect({ extended: true }, { extendedHeaders: false });
    expect(client.info).toMatchObject({ extended: false, structured: true });
    expect(nth(w.peers, 0).options).not.toContain(nbd.NBD_OPT_EXTENDED_HEADERS);
  });
});

describe('what goes on the wire', () => {
  it('is one request for each call, with its flags', async () => {
    const { w, seen, client } = await held(ALL_FLAGS);
    const h = w.handle(pattern(512));
    client.write(w.recorder, 1, 0, 512, h, 0, false);
    client.write(w.recorder, 2, 512, 512, h, 0, true);
    client.flush(w.recorder, 3);
    client.trim(w.recorder, 4, 1024, 512);
    client.trim(w.recorder, 5, 1024, 512, true);
    client.writeZeroes(w.recorder, 6, 2048, 512, { fua: false, mayPunch: true });
    client.writeZeroes(w.recorder, 7, 2048, 512, { fua: true, mayPunch: false });
    client.writeZeroes(w.recorder, 8, 2048, 512, { fua: false, mayPunch: true, fastOnly: true });
    w.engine.release(h);
    await settle();
    expect(seen.map((r) => [r.type, r.flags, r.offset, r.length])).toEqual([
      [nbd.NBD_CMD_WRITE, 0, 0, 512],
      [nbd.NBD_CMD_WRITE, nbd.NBD_CMD_FLAG_FUA, 512, 512],
      [nbd.NBD_CMD_FLUSH, 0, 0, 0],
      [nbd.NBD_CMD_TRIM, 0, 1024, 512],
      [nbd.NBD_CMD_TRIM, nbd.NBD_CMD_FLAG_FUA, 1024, 512],
      [nbd.NBD_CMD_WRITE_ZEROES, 0, 2048, 512],
      [nbd.NBD_CMD_WRITE_ZEROES, nbd.NBD_CMD_FLAG_FUA | nbd.NBD_CMD_FLAG_NO_HOLE, 2048, 512],
      [nbd.NBD_CMD_WRITE_ZEROES, nbd.NBD_CMD_FLAG_FAST_ZERO, 2048, 512],
    ]);
    expect(w.recorder.done).toEqual([]);
    for (const r of [...seen].reverse()) nth(w.peers, 0).simpleReply(r);
    await settle();
    expect(w.recorder.tags).toEqual([8, 7, 6, 5, 4, 3, 2, 1]);
  });

  it('is a write, then a flush, for FUA at a server that has none; done when the flush is', async () => {
    const { w, seen, client } = await held(NOTHING | nbd.NBD_FLAG_SEND_FLUSH);
    const h = w.handle(pattern(512));
    client.write(w.recorder, 1, 0, 512, h, 0, true);
    await settle();
    expect(seen.map((r) => [r.type, r.flags])).toEqual([[nbd.NBD_CMD_WRITE, 0]]);
    nth(w.peers, 0).simpleReply(nth(seen, 0));
    await settle();
    expect(w.recorder.done).toEqual([]);
    expect(seen.map((r) => r.type)).toEqual([nbd.NBD_CMD_WRITE, nbd.NBD_CMD_FLUSH]);
    nth(w.peers, 0).simpleReply(nth(seen, 1));
    await settle();
    expect(w.recorder.done).toMatchObject([{ tag: 1, errno: 0, length: 512 }]);
  });

  it('is no success when that flush fails (M3)', async () => {
    const { w, seen, client } = await held(NOTHING | nbd.NBD_FLAG_SEND_FLUSH);
    client.write(w.recorder, 1, 0, 512, w.handle(pattern(512)), 0, true);
    await settle();
    nth(w.peers, 0).simpleReply(nth(seen, 0));
    await settle();
    nth(w.peers, 0).simpleReply(nth(seen, 1), nbd.NBD_EIO);
    await settle();
    expect(w.recorder.done).toMatchObject([{ tag: 1, errno: Errno.EIO, length: 0 }]);
    expect(seen).toHaveLength(2);
  });
});

describe('a call that cannot be', () => {
  it.each([
    ['beyond the end', (1 << 20) - 512, 1024],
    ['of no length', 0, 0],
    ['of a negative offset', -512, 512],
    ['at half a byte', 0.5, 512],
    ['of a length beyond numbers', 0, 2 ** 60],
    ['unaligned in offset', 100, 512],
    ['unaligned in length', 0, 100],
  ])('%s ends with EINVAL, in a later turn, and sends nothing', async (_name, offset, length) => {
    const { w, seen, client } = await held(ALL_FLAGS);
    client.read(w.recorder, 1, offset, length);
    client.trim(w.recorder, 2, offset, length);
    expect(w.recorder.done).toEqual([]);
    expect(client.requestsInFlight).toBe(2);
    await settle();
    expect(w.recorder.done).toMatchObject([
      { tag: 1, errno: Errno.EINVAL, length: 0 },
      { tag: 2, errno: Errno.EINVAL, length: 0 },
    ]);
    expect(client.requestsInFlight).toBe(0);
    expect(seen).toEqual([]);
  });

  it('may end at the end of an export that is no multiple of the block size', async () => {
    const w = new ClientWorld();
    const disk = pattern(1000);
    const client = await w.connect({ sizeBytes: 1000 }, {}, (p) => p.serve(disk, true));
    expect(await client.readBytes(512, 488)).toEqual(disk.slice(512));
    await expect(client.readBytes(512, 100)).rejects.toThrow(/EINVAL/);
  });

  it('asks for what the server has not: ENOTSUP', async () => {
    const { w, seen, client } = await held(NOTHING);
    const h = w.handle(pattern(512));
    client.flush(w.recorder, 1);
    client.write(w.recorder, 2, 0, 512, h, 0, true);
    client.trim(w.recorder, 3, 0, 512);
    client.writeZeroes(w.recorder, 4, 0, 512, { fua: false, mayPunch: true });
    client.blockStatus(w.recorder, 5, 0, 512);
    await settle();
    expect(w.recorder.done.map((d) => d.errno)).toEqual(Array(5).fill(Errno.ENOTSUP));
    expect(seen).toEqual([]);
    const fast = await held(NOTHING | nbd.NBD_FLAG_SEND_WRITE_ZEROES);
    fast.client.writeZeroes(fast.w.recorder, 1, 0, 512, { fua: false, mayPunch: true, fastOnly: true });
    await settle();
    expect(fast.w.recorder.errno(1)).toBe(Errno.ENOTSUP);
  });

  it('writes to a read-only export: EROFS', async () => {
    const { w, client } = await held(ALL_FLAGS | nbd.NBD_FLAG_READ_ONLY);
    client.write(w.recorder, 1, 0, 512, w.handle(pattern(512)), 0, false);
    client.trim(w.recorder, 2, 0, 512);
    client.writeZeroes(w.recorder, 3, 0, 512, { fua: false, mayPunch: true });
    await settle();
    expect(w.recorder.done.map((d) => d.errno)).toEqual([Errno.EROFS, Errno.EROFS, Errno.EROFS]);
  });
});

describe('block status', () => {
  it('tells extents, as far as the server pleases', async () => {
    const { w, seen, client } = await held(ALL_FLAGS, 9);
    client.blockStatus(w.recorder, 1, 4096, 65536);
    await settle();
    expect(nth(seen, 0)).toMatchObject({ type: nbd.NBD_CMD_BLOCK_STATUS, offset: 4096, length: 65536 });
    const answer = encodeBlockStatus(9, [
      { length: 512, flags: 0 },
      { length: 1024, flags: 3 },
    ]);
    nth(w.peers, 0).chunk(nth(seen, 0), nbd.NBD_REPLY_FLAG_DONE, nbd.NBD_REPLY_TYPE_BLOCK_STATUS, answer);
    await settle();
    expect(w.recorder.done).toEqual([
      {
        tag: 1,
        errno: 0,
        length: 1536,
        h: 0,
        value: {
          kind: 'extents',
          extents: [
            { offset: 4096, length: 512, hole: false, zero: false },
            { offset: 4608, length: 1024, hole: true, zero: true },
          ],
        },
      },
    ]);
  });

  it('is an error when the answer is about another context', async () => {
    const { w, seen, client } = await held(ALL_FLAGS, 9);
    client.blockStatus(w.recorder, 1, 0, 512);
    await settle();
    const answer = encodeBlockStatus(8, [{ length: 512, flags: 0 }]);
    nth(w.peers, 0).chunk(nth(seen, 0), nbd.NBD_REPLY_FLAG_DONE, nbd.NBD_REPLY_TYPE_BLOCK_STATUS, answer);
    await settle();
    expect(w.recorder.errno(1)).toBe(Errno.EIO);
  });

  it('of a whole range is asked for again and again, and joined', async () => {
    const w = new ClientWorld();
    let requests = 0;
    const client = await w.connect({ contextId: 1, sizeBytes: 8192 }, {}, async (p) => {
      for (let r = await p.nextRequest(); r !== undefined; r = await p.nextRequest()) {
        requests += 1;
        const answer = encodeBlockStatus(1, [{ length: 1024, flags: r.offset < 4096 ? 0 : 3 }]);
        p.chunk(r, nbd.NBD_REPLY_FLAG_DONE, nbd.NBD_REPLY_TYPE_BLOCK_STATUS, answer);
      }
    });
    expect(await client.extents(512, 7680)).toEqual([
      { offset: 512, length: 4096, hole: false, zero: false },
      { offset: 4608, length: 3584, hole: true, zero: true },
    ]);
    expect(requests).toBe(8);
  });

  it('of a server that cannot tell is one extent of data', async () => {
    const { client } = await held(ALL_FLAGS);
    expect(await client.extents(0, 4096)).toEqual([{ offset: 0, length: 4096, hole: false, zero: false }]);
  });
});

describe('an error', () => {
  it('of the server reaches the promise, with what was asked', async () => {
    const w = new ClientWorld();
    const client = await w.connect({}, {}, async (p) => {
      for (let r = await p.nextRequest(); r !== undefined; r = await p.nextRequest()) p.simpleReply(r, nbd.NBD_ENOSPC);
    });
    const e: unknown = await client.writeBytes(512, pattern(512)).catch((x: unknown) => x);
    expect(e).toBeInstanceOf(IoError);
    expect(e).toMatchObject({ errno: Errno.ENOSPC, message: 'write of 512 bytes at 512: ENOSPC' });
    await expect(client.flushNow()).rejects.toThrow('flush: ENOSPC');
    await expect(client.readBytes(0, 512)).rejects.toThrow('read of 512 bytes at 0: ENOSPC');
    expect(client.lost).toBeUndefined();
    expect(w.engine.usage()).toMatchObject({ handles: 0, bytes: 0 });
  });

  it('that the server may not use is EINVAL, so that EAGAIN stays the word for a full queue', async () => {
    const { w, seen, client } = await held(ALL_FLAGS);
    client.flush(w.recorder, 1);
    await settle();
    nth(w.peers, 0).simpleReply(nth(seen, 0), Errno.EAGAIN);
    await settle();
    expect(w.recorder.errno(1)).toBe(Errno.EINVAL);
  });

  it('of a lost connection tells why', async () => {
    const { w, client } = await held(ALL_FLAGS);
    const failed = client.flushNow();
    await settle();
    w.clock.advance(1000);
    await expect(failed).rejects.toThrow('flush: ETIMEDOUT (memory:a: no reply within 1000 ms)');
  });
});
