import { beforeEach, describe, expect, test } from 'vitest';
import { EngineHub } from '../../../src/io/hub.ts';
import { Touched } from '../../../src/io/touched.ts';
import { Errno } from '../../../src/io/types.ts';
import { LegDevice, type LegDeviceOptions } from '../../../src/nbd/leg-device.ts';
import { Transmission } from '../../../src/nbd/transmission.ts';
import { CMD_DAMAGED } from '../../../src/nbd/wire/checksums.ts';
import * as wire from '../../../src/nbd/wire/constants.ts';
import { PIECE_MAX_BYTES } from '../../../src/nbd/long-change.ts';
import { decodeBlockStatusExt, encodeStatusPayload, statusPayloadBytes } from '../../../src/nbd/wire/extended.ts';
import { decodeBlockStatus } from '../../../src/nbd/wire/transmission.ts';
import { FakeEngine } from '../../support/fake-engine.ts';
import { ManualClock } from '../../support/manual-clock.ts';

const CONN = 1;
let engine: FakeEngine;
let clock: ManualClock;
let device: LegDevice;
let connection: Transmission;
let closedWith: number | undefined;

beforeEach(() => {
  serve(false, 1 << 20);
});

function serve(extendedHeaders: boolean, sizeBytes: number, o: LegDeviceOptions = {}): void {
  engine = new FakeEngine();
  clock = new ManualClock();
  closedWith = undefined;
  const hub = new EngineHub(engine);
  device = new LegDevice(hub, { leg: 1, sizeBytes, blockSizeBytes: 512, sparse: true }, { blockSizeMinBytes: 512, ...o });
  connection = new Transmission({
    hub,
    device,
    structuredReplies: true,
    extendedHeaders,
    readOnly: false,
    contexts: [{ id: 1, name: 'base:allocation' }],
    clock,
    disconnectTimeoutMs: 1000,
    onClosed: (errno) => {
      closedWith = errno;
    },
  });
  connection.attach(CONN);
}

/** A connection with checksums; how often damage was told of. */
/** Answers what was told of: whether each was a header. */
function withChecksums(): () => boolean[] {
  const told: boolean[] = [];
  const nothing = (): void => undefined;
  const damaged = (header: boolean): void => {
    told.push(header);
  };
  serve(false, 1 << 20, { checksums: true, watch: { changed: nothing, syncBegins: nothing, syncEnds: nothing, syncFailed: nothing, damaged } });
  return () => told;
}

const errnos = (): number[] => engine.replies.map((r) => r.errno);
const bytes = (n: number): Uint8Array => new Uint8Array(n).fill(7);
const read = (offset = 0, length = 512): number => engine.request(CONN, wire.NBD_CMD_READ, 0, offset, length);
const write = (offset = 0, length = 512, flags = 0): number => engine.request(CONN, wire.NBD_CMD_WRITE, flags, offset, length, bytes(length));
const disconnect = (): number => engine.request(CONN, wire.NBD_CMD_DISC, 0, 0, 0);

test('each command reaches the device with its flags', () => {
  write(512, 512, wire.NBD_CMD_FLAG_FUA);
  read(1024);
  engine.request(CONN, wire.NBD_CMD_FLUSH, 0, 0, 0);
  engine.request(CONN, wire.NBD_CMD_TRIM, wire.NBD_CMD_FLAG_FUA, 0, 512);
  engine.request(CONN, wire.NBD_CMD_WRITE_ZEROES, wire.NBD_CMD_FLAG_NO_HOLE, 0, 512);
  engine.request(CONN, wire.NBD_CMD_BLOCK_STATUS, 0, 0, 512);
  engine.request(CONN, wire.NBD_CMD_CACHE, 0, 0, 512);
  expect(engine.ops.map((o) => [o.what, o.offset, o.fua, o.mayPunch])).toEqual([
    ['write', 512, true, false],
    ['read', 1024, false, false],
    ['sync', 0, false, false],
    ['zero', 0, true, true],
    ['zero', 0, false, false],
    ['extents', 0, false, false],
  ]);
  expect(errnos()).toEqual([0]);
});

test('a read answers with its data, and no handle is left', () => {
  const req = read();
  engine.finish(0, { data: bytes(512) });
  expect(engine.replies).toMatchObject([{ req, errno: 0, length: 512 }]);
  expect(engine.replies[0]?.h).not.toBe(0);
  expect(engine.handlesAlive).toBe(0);
});

test('a refused request is answered, its payload released, and the device not asked', () => {
  write(1 << 20);
  write(0, 100);
  engine.request(CONN, 99, 0, 0, 512);
  expect(errnos()).toEqual([wire.NBD_ENOSPC, wire.NBD_EINVAL, wire.NBD_EINVAL]);
  expect(engine.ops).toEqual([]);
  expect(engine.handlesAlive).toBe(0);
});

test('a write whose payload the engine threw away is refused', () => {
  engine.request(CONN, wire.NBD_CMD_WRITE, 0, 0, 512);
  expect(errnos()).toEqual([wire.NBD_EINVAL]);
});

test('requests for nothing succeed without the device', () => {
  read(0, 0);
  engine.request(CONN, wire.NBD_CMD_WRITE, 0, 0, 0);
  engine.request(CONN, wire.NBD_CMD_TRIM, 0, 512, 0);
  expect(errnos()).toEqual([0, 0, 0]);
  expect(engine.ops).toEqual([]);
});

test('block status is encoded for the context that was selected', () => {
  engine.request(CONN, wire.NBD_CMD_BLOCK_STATUS, wire.NBD_CMD_FLAG_REQ_ONE, 512, 1024);
  engine.finish(0, { value: { kind: 'extents', extents: [{ offset: 0, length: 8192, hole: true, zero: true }] } });
  expect(decodeBlockStatus(engine.replies[0]?.chunks?.[0] ?? new Uint8Array(0))).toEqual({
    contextId: 1,
    descriptors: [{ length: 1024, flags: wire.NBD_STATE_HOLE | wire.NBD_STATE_ZERO }],
  });
});

describe('with extended headers', () => {
  const PAYLOAD = wire.NBD_CMD_FLAG_PAYLOAD_LEN;
  const SIZE = 2 ** 46;
  beforeEach(() => {
    serve(true, SIZE);
  });
  const filter = (length: number, ...contextIds: number[]): Uint8Array => {
    const payload = new Uint8Array(statusPayloadBytes(contextIds.length));
    encodeStatusPayload(payload, { length, contextIds });
    return payload;
  };
  const status = (payload: Uint8Array, offset = 0): number =>
    engine.request(CONN, wire.NBD_CMD_BLOCK_STATUS, PAYLOAD, offset, payload.length, payload);
  const told = (): unknown => decodeBlockStatusExt(engine.replies[0]?.chunks?.[0] ?? new Uint8Array(0));

  test('block status has lengths of 64 bits', () => {
    engine.request(CONN, wire.NBD_CMD_BLOCK_STATUS, 0, 0, SIZE);
    expect(engine.ops).toMatchObject([{ what: 'extents', offset: 0, length: SIZE }]);
    engine.finish(0, { value: { kind: 'extents', extents: [{ offset: 0, length: SIZE, hole: true, zero: true }] } });
    expect(told()).toEqual({ contextId: 1, descriptors: [{ length: SIZE, flags: wire.NBD_STATE_HOLE | wire.NBD_STATE_ZERO }] });
  });

  test('block status over any range tells of a bounded number of extents', () => {
    engine.request(CONN, wire.NBD_CMD_BLOCK_STATUS, 0, 0, SIZE);
    const extents = Array.from({ length: 100_000 }, (_, i) => ({ offset: i * 4096, length: 4096, hole: i % 2 === 0, zero: false }));
    engine.finish(0, { value: { kind: 'extents', extents } });
    expect(engine.replies[0]?.chunks?.[0]?.length).toBe(8 + 16 * 8192);
  });

  test('block status that names its context has the range of its payload', () => {
    status(filter(SIZE - 512, 1), 512);
    expect(engine.ops).toMatchObject([{ what: 'extents', offset: 512, length: SIZE - 512 }]);
    expect(engine.handlesAlive).toBe(0);
    engine.finish(0, { value: { kind: 'extents', extents: [{ offset: 512, length: SIZE, hole: false, zero: false }] } });
    expect(told()).toEqual({ contextId: 1, descriptors: [{ length: SIZE, flags: 0 }] });
  });

  test('block status of other contexts, of none, of nothing and beyond the end is refused', () => {
    status(filter(512, 2));
    status(filter(512, 1, 1));
    status(filter(512));
    status(filter(0, 1));
    status(filter(512, 1).subarray(0, 9));
    status(new Uint8Array(0));
    status(filter(512, 1), SIZE);
    engine.request(CONN, wire.NBD_CMD_BLOCK_STATUS, PAYLOAD, 0, 12);
    expect(errnos()).toEqual(new Array(8).fill(wire.NBD_EINVAL));
    expect(engine.ops).toEqual([]);
    expect(engine.handlesAlive).toBe(0);
  });

  test('a payload where none may be is refused, and released', () => {
    for (const cmd of [wire.NBD_CMD_READ, wire.NBD_CMD_TRIM, wire.NBD_CMD_FLUSH, wire.NBD_CMD_RESIZE, 99]) {
      engine.request(CONN, cmd, PAYLOAD, 0, 512, bytes(512));
      engine.request(CONN, cmd, PAYLOAD, 0, 0, bytes(0));
    }
    expect(errnos()).toEqual(new Array(10).fill(wire.NBD_EINVAL));
    expect(engine.handlesAlive).toBe(0);
  });

  test('zeroes over the whole device reach it in bounded pieces, and are answered once', () => {
    serve(true, 2.5 * PIECE_MAX_BYTES);
    engine.request(CONN, wire.NBD_CMD_WRITE_ZEROES, wire.NBD_CMD_FLAG_FUA, 0, 2.5 * PIECE_MAX_BYTES);
    const seen: [number, number, boolean, boolean][] = [];
    for (let i = 0; i < 3; i += 1) {
      expect(engine.ops.length).toBe(1);
      for (const o of engine.ops) seen.push([o.offset, o.length, o.fua, o.mayPunch]);
      engine.finish();
    }
    expect(seen).toEqual([
      [0, PIECE_MAX_BYTES, true, true],
      [PIECE_MAX_BYTES, PIECE_MAX_BYTES, true, true],
      [2 * PIECE_MAX_BYTES, PIECE_MAX_BYTES / 2, true, true],
    ]);
    expect(errnos()).toEqual([0]);
  });

  test('a long trim ends with its first error, at a device that has become smaller, and when its client is gone', () => {
    const trim = (): number => engine.request(CONN, wire.NBD_CMD_TRIM, 0, 0, SIZE);
    trim();
    engine.finish();
    engine.finish(Errno.EIO);
    expect([errnos(), engine.ops]).toEqual([[wire.NBD_EIO], []]);
    trim();
    device.setSizeBytes(PIECE_MAX_BYTES);
    engine.finish();
    expect([errnos()[1], engine.ops]).toEqual([wire.NBD_EINVAL, []]);
    device.setSizeBytes(SIZE);
    trim();
    connection.close(Errno.EIO);
    engine.finish();
    expect([errnos().length, engine.ops]).toEqual([2, []]);
  });

  test('CMD_DISC waits for a long trim, to its deadline', () => {
    engine.request(CONN, wire.NBD_CMD_TRIM, 0, 0, 3 * PIECE_MAX_BYTES);
    disconnect();
    engine.finish();
    expect(engine.ops.length).toBe(1);
    clock.advance(1000);
    expect(engine.closes).toEqual([{ conn: CONN, errno: Errno.ETIMEDOUT }]);
    engine.finish();
    expect(engine.ops).toEqual([]);
  });
});

test('an errno that NBD does not know is told as EIO', () => {
  read();
  engine.finish(Errno.ETIMEDOUT);
  expect(errnos()).toEqual([wire.NBD_EIO]);
});

describe('CMD_DISC', () => {
  test('with nothing in flight closes, and has no reply', () => {
    disconnect();
    expect(engine.stopped).toEqual([CONN]);
    expect(engine.closes).toEqual([{ conn: CONN, errno: 0 }]);
    expect(engine.replies).toEqual([]);
    engine.closed(CONN);
    expect(closedWith).toBe(0);
    expect(clock.pending).toBe(0);
  });

  test('waits for requests in flight, and for their replies to be sent', () => {
    engine.holdReplies = true;
    write();
    write(512);
    disconnect();
    engine.finish();
    expect(engine.closes).toEqual([]);
    engine.finish();
    expect(errnos()).toEqual([0, 0]);
    expect(engine.closes).toEqual([]);
    engine.sent();
    expect(engine.closes).toEqual([{ conn: CONN, errno: 0 }]);
  });

  test('also waits for replies that were given before it came', () => {
    engine.holdReplies = true;
    write();
    engine.finish();
    disconnect();
    expect(engine.closes).toEqual([]);
    engine.sent();
    expect(engine.closes).toEqual([{ conn: CONN, errno: 0 }]);
  });

  test('M14: is not waited for without end', () => {
    write();
    disconnect();
    clock.advance(1000);
    expect(engine.closes).toEqual([{ conn: CONN, errno: Errno.ETIMEDOUT }]);
  });
});

describe('M14: a connection that was closed in order, and does not end,', () => {
  const ends = (): number[] => engine.closes.map((c) => c.errno);

  test('is cut off at the deadline that CMD_DISC had, counted from there', () => {
    write();
    disconnect();
    clock.advance(600);
    engine.finish();
    expect(ends()).toEqual([0]);
    clock.advance(399);
    expect(ends()).toEqual([0]);
    clock.advance(1);
    expect(engine.closes).toEqual([
      { conn: CONN, errno: 0 },
      { conn: CONN, errno: Errno.ETIMEDOUT },
    ]);
    engine.closed(CONN, Errno.ETIMEDOUT);
    expect([closedWith, clock.pending]).toEqual([Errno.ETIMEDOUT, 0]);
  });

  test.each(['drain', 'abandon'] as const)('is cut off at the deadline that %s gave it, and what comes after that is dropped', (how) => {
    connection[how](wire.NBD_ESHUTDOWN, 500);
    expect(ends()).toEqual([0]);
    // Given back by the engine.
    write();
    clock.advance(499);
    expect(ends()).toEqual([0]);
    clock.advance(1);
    expect(ends()).toEqual([0, Errno.ETIMEDOUT]);
    write();
    expect([engine.replies, engine.ops, engine.handlesAlive]).toEqual([[], [], 0]);
    clock.advance(10_000);
    expect(ends()).toEqual([0, Errno.ETIMEDOUT]);
  });

  test('is not cut off when it has ended by then', () => {
    disconnect();
    clock.advance(999);
    engine.closed(CONN);
    expect(clock.pending).toBe(0);
    clock.advance(1000);
    expect([ends(), closedWith]).toEqual([[0], 0]);
  });

  test('has no deadline where nobody gave one, and one that was cut off needs none any more', () => {
    connection.close(0);
    expect([ends(), clock.pending]).toEqual([[0], 0]);
    serve(false, 1 << 20);
    write();
    connection.drain(wire.NBD_ESHUTDOWN, 500);
    connection.close(Errno.EIO);
    expect([ends(), clock.pending]).toEqual([[Errno.EIO], 0]);
    clock.advance(500);
    expect(ends()).toEqual([Errno.EIO]);
  });
});

describe('a drained connection', () => {
  test('answers what was in flight and refuses what comes, then closes', () => {
    write();
    connection.drain(wire.NBD_ESHUTDOWN, 500);
    write(512);
    expect(errnos()).toEqual([wire.NBD_ESHUTDOWN]);
    expect(engine.closes).toEqual([]);
    engine.finish();
    expect(errnos()).toEqual([wire.NBD_ESHUTDOWN, 0]);
    expect(engine.closes).toEqual([{ conn: CONN, errno: 0 }]);
    expect(engine.handlesAlive).toBe(0);
  });

  test('is cut off at its deadline', () => {
    write();
    connection.drain(wire.NBD_ESHUTDOWN, 500);
    clock.advance(499);
    expect(engine.closes).toEqual([]);
    clock.advance(1);
    expect(engine.closes).toEqual([{ conn: CONN, errno: Errno.ETIMEDOUT }]);
  });
});

describe('an abandoned connection', () => {
  test('answers everything in flight with the error at once, and nothing twice', () => {
    const a = read();
    const b = write();
    connection.abandon(wire.NBD_ESHUTDOWN, 500);
    expect(engine.replies.map((r) => [r.req, r.errno])).toEqual([
      [a, wire.NBD_ESHUTDOWN],
      [b, wire.NBD_ESHUTDOWN],
    ]);
    expect(engine.closes).toEqual([{ conn: CONN, errno: 0 }]);
    engine.finish();
    engine.finish();
    expect(engine.replies.length).toBe(2);
    expect(engine.handlesAlive).toBe(0);
  });

  test('overrides a drain that was under way', () => {
    write();
    connection.drain(wire.NBD_ESHUTDOWN, 10_000);
    engine.holdReplies = true;
    connection.abandon(wire.NBD_EPERM, 10);
    expect(errnos()).toEqual([wire.NBD_EPERM]);
    clock.advance(10);
    expect(engine.closes).toEqual([{ conn: CONN, errno: Errno.ETIMEDOUT }]);
  });
});

test('answers that come after the connection has gone are dropped, with their handles', () => {
  read();
  write();
  engine.request(CONN, wire.NBD_CMD_BLOCK_STATUS, 0, 0, 512);
  engine.closed(CONN, Errno.ECONNRESET);
  expect(closedWith).toBe(Errno.ECONNRESET);
  engine.finish();
  engine.finish();
  engine.finish(0, { value: { kind: 'extents', extents: [] } });
  expect(engine.replies).toEqual([]);
  expect(engine.handlesAlive).toBe(0);
});

test('requests of a batch that were parsed before a close are dropped, with their payloads', () => {
  connection.close(0);
  connection.close(0);
  write();
  expect(engine.closes.length).toBe(1);
  expect(engine.replies).toEqual([]);
  expect(engine.handlesAlive).toBe(0);
});

test('counts say what is in flight and what there was', () => {
  read();
  write();
  expect([connection.requestsInFlight, connection.requestsTotal]).toEqual([2, 2]);
  engine.finish();
  expect([connection.requestsInFlight, connection.requestsTotal]).toEqual([1, 2]);
});

test('a context that can say nothing any more fails the request', () => {
  engine = new FakeEngine();
  const hub = new EngineHub(engine);
  const leg = new LegDevice(hub, { leg: 1, sizeBytes: 1 << 20, blockSizeBytes: 512, sparse: true });
  const gone = { id: 2, name: 'q:gone', context: { name: 'q:gone', extents: () => undefined } };
  const options = {
    structuredReplies: true,
    extendedHeaders: false,
    readOnly: false,
    contexts: [gone],
    clock,
    disconnectTimeoutMs: 1000,
    onClosed: () => undefined,
  };
  new Transmission({ hub, device: leg, ...options }).attach(CONN);
  engine.request(CONN, wire.NBD_CMD_BLOCK_STATUS, 0, 0, 512);
  engine.finish(0, { value: { kind: 'extents', extents: [] } });
  expect(errnos()).toEqual([wire.NBD_EIO]);
});

describe('a request that came damaged, as the engine says', () => {
  const damaged = (): number => engine.request(CONN, CMD_DAMAGED, wire.NBD_CMD_FLAG_FUA, 512, 512);

  test('is answered EBADMSG, told of, and reaches no device; the connection goes on', () => {
    const told = withChecksums();
    const req = damaged();
    expect(engine.replies).toMatchObject([{ req, errno: Errno.EBADMSG }]);
    expect(engine.ops).toEqual([]);
    expect(told()).toEqual([false]);
    write();
    expect(engine.ops).toMatchObject([{ what: 'write' }]);
  });

  test('as a header ends the connection, and is told of too', () => {
    const told = withChecksums();
    engine.closed(CONN, Errno.EPROTO);
    expect([closedWith, told()]).toEqual([Errno.EPROTO, [true]]);
  });

  test('is no such thing on a plain connection: that command does not exist', () => {
    damaged();
    expect(errnos()).toEqual([wire.NBD_EINVAL]);
    expect(engine.ops).toEqual([]);
  });

  test('is the only one with that answer: what a device ends with is a number of NBD’s', () => {
    withChecksums();
    write();
    engine.finish(Errno.EBADMSG);
    expect(errnos()).toEqual([wire.NBD_EIO]);
  });
});

test('a connection that may write, with compact headers, is shown to its device with the first read or write, and counts what is not told', () => {
  serve(false, 1 << 20, { touched: new Touched(1 << 20, 65536) });
  expect(engine.servedNow.size).toBe(0);
  engine.serves = true;
  connection.attach(CONN);
  expect(engine.servedNow.size).toBe(0);
  write();
  expect(engine.servedNow.has(CONN)).toBe(true);
  engine.answered.set(CONN, 41);
  expect(connection.requestsTotal).toBe(42);
  engine.finish();
  engine.closed(CONN, 0);
  expect(closedWith).toBe(0);
  expect(engine.unserving.has(CONN)).toBe(true);
});

test('one with extended headers is not', () => {
  serve(true, 1 << 20, { touched: new Touched(1 << 20, 65536) });
  engine.serves = true;
  connection.attach(CONN);
  expect(engine.servedNow.size).toBe(0);
});

// -------------------------------------------------------------------------------------- requests that it is not told of

/** Writes down which connections it is told of, and in which order with their requests. */
class Watched extends LegDevice {
  readonly events: string[] = [];
  readonly busy = new Set<number>();

  override opened(conn: number): void {
    this.events.push(`opened ${String(conn)}`);
  }

  override closed(conn: number): void {
    this.events.push(`closed ${String(conn)}`);
  }

  isBusy(conn: number): boolean {
    return this.busy.has(conn);
  }

  override read(...a: Parameters<LegDevice['read']>): void {
    this.events.push('read');
    super.read(...a);
  }

  override write(...a: Parameters<LegDevice['write']>): void {
    this.events.push('write');
    super.write(...a);
  }
}

describe('a device that may have the engine serve its connections', () => {
  let watched: Watched;

  function attach(o: { extendedHeaders?: boolean; readOnly?: boolean } = {}): void {
    serve(false, 1 << 20);
    const hub = new EngineHub(engine);
    watched = new Watched(hub, { leg: 1, sizeBytes: 1 << 20, blockSizeBytes: 512, sparse: true }, { blockSizeMinBytes: 512 });
    connection = new Transmission({
      hub,
      device: watched,
      structuredReplies: true,
      extendedHeaders: o.extendedHeaders ?? false,
      readOnly: o.readOnly ?? false,
      contexts: [{ id: 1, name: 'base:allocation' }],
      clock,
      disconnectTimeoutMs: 1000,
      onClosed: (errno) => {
        closedWith = errno;
      },
    });
    connection.attach(CONN);
  }

  const request = (cmd: number, flags = 0, length = 512): number => engine.request(CONN, cmd, flags, 0, length);

  test('is told of one with its first read, once, before it', () => {
    attach();
    read();
    write();
    read();
    expect(watched.events).toEqual(['opened 1', 'read', 'write', 'read']);
  });

  test('is told of one with its first write, once, before it, whatever came before that', () => {
    attach();
    request(wire.NBD_CMD_FLUSH, 0, 0);
    request(wire.NBD_CMD_BLOCK_STATUS);
    write(0, 512, wire.NBD_CMD_FLAG_FUA);
    write();
    expect(watched.events).toEqual(['opened 1', 'write', 'write']);
  });

  test('hears nothing of one that is idle, that only flushes, or that asks for all but reads and writes', () => {
    attach();
    expect(watched.events).toEqual([]);
    request(wire.NBD_CMD_FLUSH, 0, 0);
    request(wire.NBD_CMD_TRIM);
    request(wire.NBD_CMD_WRITE_ZEROES);
    request(wire.NBD_CMD_CACHE);
    request(wire.NBD_CMD_BLOCK_STATUS);
    expect(watched.events).toEqual([]);
    while (engine.ops.length > 0) engine.finish();
    disconnect();
    engine.sent();
    engine.closed(CONN);
    expect([watched.events, closedWith]).toEqual([['closed 1'], 0]);
  });

  test('hears nothing of requests that reach no device', () => {
    attach();
    read(0, 0);
    write(1 << 20);
    read(100);
    engine.request(CONN, wire.NBD_CMD_WRITE, 0, 0, 512);
    expect(watched.events).toEqual([]);
    write();
    expect(watched.events).toEqual(['opened 1', 'write']);
  });

  test('hears nothing of a read that comes while its connection ends, nor after that', () => {
    attach();
    connection.drain(wire.NBD_ESHUTDOWN, 1000);
    read();
    connection.close(0);
    read();
    engine.closed(CONN);
    expect(watched.events).toEqual(['closed 1']);
  });

  test.each([
    ['that may only read', { readOnly: true }],
    ['with extended headers', { extendedHeaders: true }],
  ])('never hears of one %s', (_what, o) => {
    attach(o);
    read();
    write();
    read();
    expect(watched.events.filter((e) => e.startsWith('opened'))).toEqual([]);
    expect(watched.events).toContain('read');
  });

  test('says whether a request that it was not told of is on its way: then the connection has one request more in flight', () => {
    attach();
    expect(connection.requestsInFlight).toBe(0);
    watched.busy.add(2);
    expect(connection.requestsInFlight).toBe(0);
    watched.busy.add(CONN);
    expect(connection.requestsInFlight).toBe(1);
    read();
    write();
    expect(connection.requestsInFlight).toBe(3);
    engine.finish();
    watched.busy.clear();
    expect(connection.requestsInFlight).toBe(1);
    engine.finish();
    expect(connection.requestsInFlight).toBe(0);
  });
});
