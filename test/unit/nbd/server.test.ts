import { beforeEach, describe, expect, test } from 'vitest';
import { EngineHub } from '../../../src/io/hub.ts';
import { nullLog } from '../../../src/io/log.ts';
import { PullSocket } from '../../../src/io/pull-socket.ts';
import { type Address, Errno, type Io, type IoSocket, type Listener } from '../../../src/io/types.ts';
import type { Device } from '../../../src/nbd/device.ts';
import { LegDevice } from '../../../src/nbd/leg-device.ts';
import { DEFAULT_NBD_SERVER_LIMITS, NbdServer } from '../../../src/nbd/server.ts';
import * as wire from '../../../src/nbd/wire/constants.ts';
import * as hs from '../../../src/nbd/wire/handshake.ts';
import { FakeEngine } from '../../support/fake-engine.ts';
import { ManualClock, settle } from '../../support/manual-clock.ts';
import { type MemorySocket, socketPair } from '../../support/socket-pair.ts';

let engine: FakeEngine;
let hub: EngineHub;
let clock: ManualClock;
let device: LegDevice;
let other: LegDevice;
let server: NbdServer;
let listening: { address: Address; accept: (s: IoSocket) => void; mayEnter: ((remote: string) => boolean) | undefined; closed: boolean }[];
let said: [string, Record<string, unknown> | undefined][];

function forbidden(): never {
  throw new Error('the NBD server has no business here');
}

beforeEach(() => {
  engine = new FakeEngine();
  clock = new ManualClock();
  listening = [];
  said = [];
  hub = new EngineHub(engine);
  device = new LegDevice(hub, { leg: 1, sizeBytes: 1 << 20, blockSizeBytes: 512, sparse: true });
  other = new LegDevice(hub, { leg: 2, sizeBytes: 1 << 20, blockSizeBytes: 512, sparse: true });
  const io: Io = {
    clock,
    chance: { u32: forbidden, hex64: forbidden, float: forbidden },
    files: {
      open: forbidden,
      readFile: forbidden,
      list: forbidden,
      stat: forbidden,
      mkdir: forbidden,
      rename: forbidden,
      unlink: forbidden,
      syncDirectory: forbidden,
    },
    net: {
      connect: forbidden,
      listen(address, accept, mayEnter): Promise<Listener> {
        const l = { address, accept, mayEnter, closed: false };
        listening.push(l);
        return Promise.resolve({
          address,
          close() {
            l.closed = true;
            return Promise.resolve();
          },
        });
      },
    },
    bootId: 'test',
    programs: { list: forbidden, run: forbidden },
    createEngine: forbidden,
  };
  server = new NbdServer({
    io,
    hub,
    exports: { list: () => [], find: (name): Device | undefined => (name === 'a' ? device : name === 'b' ? other : undefined) },
    limits: { connectionsMax: 3, connectionsPerAddressMax: 2, handshakesMax: 4, clients: { stalledMs: 1000, idleMs: 0 } },
    log: { ...nullLog, info: (m, f) => said.push([m, f]) },
  });
});

interface Connected {
  socket: MemorySocket;
  client: PullSocket;
  inTransmission: Promise<boolean>;
}

let port = 1000;

/** Each from an address of its own, where none is said. */
function connect(early?: Uint8Array, remote = `10.0.1.${String((port += 1))}:${String(port)}`): Connected {
  const [socket, peer] = socketPair({ remote });
  return { socket, client: new PullSocket(peer, clock), inTransmission: server.serve(socket, early) };
}

async function go(name: string, remote?: string): Promise<Connected> {
  const c = connect(undefined, remote);
  c.client.write(hs.encodeClientFlags(3));
  c.client.write(hs.encodeOption(wire.NBD_OPT_GO, hs.encodeInfoRequest(name, [])));
  expect(await c.inTransmission).toBe(true);
  return c;
}

const read = (conn: number): number => engine.request(conn, wire.NBD_CMD_READ, 0, 0, 512);

test('a client that goes is handed to the engine with what was agreed on', async () => {
  await go('a');
  expect(engine.adopted).toMatchObject([{ conn: 1, wire: { structuredReplies: false, extendedHeaders: false, payloadMaxBytes: 32 * 1024 * 1024 } }]);
  read(1);
  engine.finish();
  expect(engine.replies.map((r) => r.errno)).toEqual([0]);
  expect(server.connections()).toMatchObject([{ exportName: 'a', requestsInFlight: 0, requestsTotal: 1 }]);
  engine.closed(1);
  expect(server.connectionCount).toBe(0);
});

test('a socket that was accepted elsewhere brings its early bytes', async () => {
  const early = Uint8Array.of(...hs.encodeClientFlags(3), ...hs.encodeOption(wire.NBD_OPT_GO, hs.encodeInfoRequest('a', [])), 9, 9);
  const c = connect(early);
  expect(await c.inTransmission).toBe(true);
  expect([...(engine.adopted[0]?.early ?? [])]).toEqual([9, 9]);
});

test('connections are accepted from a listener until it is closed', async () => {
  await server.listen({ kind: 'unix', path: '/x' });
  const [socket, peer] = socketPair();
  listening[0]?.accept(socket);
  expect(hs.decodeGreeting(await new PullSocket(peer, clock).read(18, 1000))).toBeDefined();
  expect(server.connectionCount).toBe(1);
});

test('a connection too many is ended before its greeting, in order, and the next one is served', async () => {
  for (let i = 0; i < 3; i += 1) await go('a');
  const refused = connect();
  expect(await refused.inTransmission).toBe(false);
  expect(refused.socket.closedBy).toBe('end');
  await expect(refused.client.read(1, 1000)).rejects.toMatchObject({ errno: Errno.EPIPE });
  engine.closed(1);
  await go('a');
});

test('handshakes count as connections, and a failed one gives its place back', async () => {
  const many = [connect(), connect(), connect()];
  expect(server.connectionCount).toBe(3);
  for (const c of many) c.client.destroy();
  expect(await Promise.all(many.map((c) => c.inTransmission))).toEqual([false, false, false]);
  expect(server.connectionCount).toBe(0);
});

describe('places', () => {
  const isRefused = async (remote: string): Promise<boolean> => {
    const c = connect(undefined, remote);
    const refused = !(await c.inTransmission);
    await expect(c.client.read(1, 1000)).rejects.toMatchObject({ errno: Errno.EPIPE });
    return refused;
  };

  test('one address has no more connections than its part, and others have theirs', async () => {
    await go('a', '10.0.0.1:1');
    await go('a', '10.0.0.1:2');
    expect(await isRefused('10.0.0.1:3')).toBe(true);
    await go('a', '10.0.0.2:1');
    engine.closed(1);
    await go('a', '10.0.0.1:4');
  });

  test('clients of this machine have places of their own, and no part of an address', async () => {
    for (let i = 0; i < 3; i += 1) await go('a');
    for (let i = 0; i < 3; i += 1) await go('a', 'unix:/run/nbd.sock');
    expect(await isRefused('unix:/run/nbd.sock')).toBe(true);
    expect(await isRefused('10.0.0.9:1')).toBe(true);
  });

  test('of too many handshakes the oldest of the most crowded address ends, and an honest client gets in', async () => {
    const honest = connect(undefined, '10.0.0.2:1');
    const crowd = Array.from({ length: 3 }, (_, i) => connect(undefined, `10.0.0.1:${String(i)}`));
    expect(server.connectionCount).toBe(4);
    const late = connect(undefined, '10.0.0.3:1');
    await settle();
    expect(server.connectionCount).toBe(4);
    expect(await crowd[0]?.inTransmission).toBe(false);
    for (const c of [honest, late]) {
      c.client.write(hs.encodeClientFlags(3));
      c.client.write(hs.encodeOption(wire.NBD_OPT_GO, hs.encodeInfoRequest('a', [])));
      expect(await c.inTransmission).toBe(true);
    }
  });

  test('who is quicker has the last place: one in its handshake is turned away at its end', async () => {
    const slow = connect(undefined, '10.0.0.1:1');
    for (let i = 0; i < 3; i += 1) await go('a');
    slow.client.write(hs.encodeClientFlags(3));
    slow.client.write(hs.encodeOption(wire.NBD_OPT_GO, hs.encodeInfoRequest('a', [])));
    expect(await slow.inTransmission).toBe(false);
    expect(server.connectionCount).toBe(3);
  });
});

describe('an address whose handshakes fail again and again', () => {
  test('is turned away at once for a while, and others are not', async () => {
    const fails = async (): Promise<void> => {
      const c = connect(undefined, '10.0.0.1:1');
      c.client.write(Uint8Array.of(255, 255, 255, 255));
      expect(await c.inTransmission).toBe(false);
    };
    const { misdeedsMax, withinMs } = DEFAULT_NBD_SERVER_LIMITS.offenders;
    for (let i = 0; i < misdeedsMax; i += 1) await fails();
    const barred = connect(undefined, '10.0.0.1:1');
    expect(await barred.inTransmission).toBe(false);
    expect(barred.socket.closedBy).toBe('destroy');
    await go('a', '10.0.0.2:1');
    clock.advance(withinMs);
    await go('a', '10.0.0.1:1');
  });

  test('is turned away at the door of a listener, and so is whoever has no place', async () => {
    await server.listen({ kind: 'tcp', host: '10.0.0.100', port: 10809 });
    const mayEnter = (remote: string): boolean => listening[0]?.mayEnter?.(remote) === true;
    for (let i = 0; i < DEFAULT_NBD_SERVER_LIMITS.offenders.misdeedsMax; i += 1) {
      expect(mayEnter('10.0.0.1:1')).toBe(true);
      const c = connect(Uint8Array.of(255, 255, 255, 255), '10.0.0.1:1');
      expect(await c.inTransmission).toBe(false);
    }
    expect([mayEnter('10.0.0.1:1'), mayEnter('10.0.0.2:1')]).toEqual([false, true]);
    for (let i = 0; i < 3; i += 1) await go('a');
    expect(mayEnter('10.0.0.2:1')).toBe(false);
    engine.closed(1);
    expect(mayEnter('10.0.0.2:1')).toBe(true);
  });
});

test('clients that come and go without end fill no log: ten lines a minute of an address, then how many there were', async () => {
  for (let i = 1; i <= 40; i += 1) {
    await go('a', '10.0.0.1:1');
    engine.closed(i);
  }
  const lines = (message: string): unknown[] => said.filter(([m]) => m === message);
  expect([lines('nbd client connected').length, lines('nbd client disconnected').length]).toEqual([10, 10]);
  await go('a', 'unix:/run/nbd.sock');
  await go('a', '10.0.0.2:1');
  expect(lines('nbd client connected')).toHaveLength(12);
  clock.advance(60_000);
  await go('a', '10.0.0.1:1');
  expect(lines('nbd client connected').at(-1)).toMatchObject(['nbd client connected', { notLogged: 30 }]);
});

describe('a client that takes no reply', () => {
  test('is ended when the limit is over, if it comes from outside', async () => {
    await go('a');
    await go('a', 'unix:/run/nbd.sock');
    engine.awaits.set(1, 5);
    engine.awaits.set(2, 5);
    clock.advance(2000);
    expect(engine.closes).toEqual([{ conn: 1, errno: Errno.ETIMEDOUT }]);
  });

  test('stays when it takes something in between, and when nothing is awaited of it', async () => {
    await go('a');
    await go('a');
    for (let i = 0; i < 20; i += 1) {
      engine.awaits.set(1, i);
      clock.advance(700);
    }
    expect(engine.closes).toEqual([]);
  });
});

describe('closing an export', () => {
  test('ends its connections and no others, and resolves when all have closed', async () => {
    await go('a');
    await go('b');
    await go('a');
    read(1);
    read(2);
    let done = false;
    const closing = server.closeExport(device, wire.NBD_ESHUTDOWN).then(() => {
      done = true;
    });
    expect(engine.replies.map((r) => r.errno)).toEqual([wire.NBD_ESHUTDOWN]);
    expect(engine.closes.map((c) => c.conn)).toEqual([1, 3]);
    engine.closed(1);
    await settle();
    expect(done).toBe(false);
    engine.closed(3);
    await closing;
    expect(server.connections().map((c) => c.exportName)).toEqual(['b']);
  });

  test('without grace answers nothing', async () => {
    await go('a');
    read(1);
    const closing = server.closeExport(device, Errno.EPERM, 0);
    expect(engine.replies).toEqual([]);
    expect(engine.closes).toEqual([{ conn: 1, errno: Errno.EPERM }]);
    engine.closed(1);
    await closing;
  });

  test('M14: a client that does not take its replies is cut off after the grace', async () => {
    await go('a');
    engine.holdReplies = true;
    read(1);
    const closing = server.closeExport(device);
    expect(engine.closes).toEqual([]);
    clock.advance(200);
    expect(engine.closes).toEqual([{ conn: 1, errno: Errno.ETIMEDOUT }]);
    engine.closed(1);
    await closing;
  });

  test('M9: also ends the handshake of a client that is being told that it may use it', async () => {
    const c = connect();
    const info = device.info();
    // The server asks for it on the way from "this device" to "you may go": in no list of the engine yet.
    device.info = () => {
      void server.closeExport(device);
      return info;
    };
    c.client.write(hs.encodeClientFlags(3));
    c.client.write(hs.encodeOption(wire.NBD_OPT_GO, hs.encodeInfoRequest('a', [])));
    expect(await c.inTransmission).toBe(false);
    expect(c.socket.closed).toBe(true);
    expect(engine.adopted).toEqual([]);
    expect(server.connectionCount).toBe(0);
  });
});

/** One that lets a client in when the test says so. */
class Guarded extends LegDevice {
  readonly events: string[] = [];
  readonly coming: (() => void)[] = [];

  enter(): Promise<void> {
    this.events.push('enter');
    return new Promise((resolve) => this.coming.push(resolve));
  }

  leave(): void {
    this.events.push('leave');
  }

  override closed(conn: number): void {
    this.events.push(`closed ${String(conn)}`);
  }

  override read(...a: Parameters<LegDevice['read']>): void {
    this.events.push('read');
    super.read(...a);
  }
}

describe('the entrance of a device', () => {
  let guarded: Guarded;

  beforeEach(() => {
    guarded = new Guarded(hub, { leg: 1, sizeBytes: 1 << 20, blockSizeBytes: 512, sparse: true });
    device = guarded;
  });

  /** It has agreed to use the device, and waits. */
  async function comes(remote?: string): Promise<Connected> {
    const waiting = guarded.coming.length;
    const c = connect(Uint8Array.of(...hs.encodeClientFlags(3), ...hs.encodeOption(wire.NBD_OPT_GO, hs.encodeInfoRequest('a', [])), 9, 9), remote);
    await settle();
    expect(guarded.coming.length).toBe(waiting + 1);
    return c;
  }

  const letIn = (which = 0): void => guarded.coming[which]?.();
  const events = (): string[] => guarded.events.filter((e) => e === 'enter' || e === 'leave');

  test('is awaited before a connection is handed over, with all that had come of it; it leaves once, when it has closed', async () => {
    const c = await comes();
    expect([engine.adopted, server.connections(), server.connectionCount, guarded.events]).toEqual([[], [], 1, ['enter']]);
    letIn();
    expect(await c.inTransmission).toBe(true);
    expect([...(engine.adopted[0]?.early ?? [])]).toEqual([9, 9]);
    expect([server.connections().length, server.connectionCount]).toEqual([1, 1]);
    read(1);
    engine.finish();
    expect(guarded.events).toEqual(['enter', 'read']);
    const closing = server.closeExport(device);
    expect(guarded.events).toEqual(['enter', 'read']);
    engine.closed(1);
    await closing;
    expect(guarded.events).toEqual(['enter', 'read', 'leave', 'closed 1']);
    await server.close({ drainMs: 10 });
    expect(events()).toEqual(['enter', 'leave']);
  });

  test('holds each client for itself, and each leaves once', async () => {
    const a = await comes();
    const b = await comes();
    letIn(1);
    expect(await b.inTransmission).toBe(true);
    expect(server.connections().length).toBe(1);
    letIn(0);
    expect(await a.inTransmission).toBe(true);
    engine.closed(1, Errno.ECONNRESET);
    expect(events()).toEqual(['enter', 'enter', 'leave']);
    engine.closed(2);
    expect(events()).toEqual(['enter', 'enter', 'leave', 'leave']);
  });

  test('is not asked for by who never agrees to use the device, or uses another', async () => {
    const c = connect();
    c.client.write(hs.encodeClientFlags(3));
    c.client.write(hs.encodeOption(wire.NBD_OPT_INFO, hs.encodeInfoRequest('a', [])));
    await settle();
    c.client.destroy();
    expect(await c.inTransmission).toBe(false);
    await go('b');
    engine.closed(1);
    expect(guarded.events).toEqual([]);
  });

  test.each<[string, () => Promise<void>]>([
    ['the export is closed', () => server.closeExport(device)],
    ['the server is closed', () => server.close({ drainMs: 10 })],
    [
      'others want to come in, and there are too many',
      async () => {
        for (let i = 0; i < 4; i += 1) connect(undefined, `10.0.0.1:${String(i + 2)}`);
        await settle();
      },
    ],
  ])('lets nobody in any more who was cancelled while it waited, and who leaves once: %s', async (_what, end) => {
    const c = await comes('10.0.0.1:1');
    await end();
    expect([c.socket.closed, events()]).toEqual([true, ['enter']]);
    letIn();
    expect(await c.inTransmission).toBe(false);
    expect([engine.adopted, events()]).toEqual([[], ['enter', 'leave']]);
  });

  test('is left at once, once, by a client whose place others have taken meanwhile', async () => {
    const c = await comes();
    for (let i = 0; i < 3; i += 1) await go('b');
    expect([c.socket.closed, events()]).toEqual([false, ['enter']]);
    letIn();
    expect(await c.inTransmission).toBe(false);
    expect([c.socket.closed, engine.adopted.length, events()]).toEqual([true, 3, ['enter', 'leave']]);
    for (const conn of [1, 2, 3]) engine.closed(conn);
    expect([events(), server.connectionCount]).toEqual([['enter', 'leave'], 0]);
  });

  test('is left once by a client that has gone while it waited, when the engine has noticed', async () => {
    const c = await comes();
    c.client.destroy();
    await settle();
    expect(events()).toEqual(['enter']);
    letIn();
    expect(await c.inTransmission).toBe(true);
    expect(events()).toEqual(['enter']);
    engine.closed(1, Errno.EPIPE);
    expect([events(), server.connectionCount]).toEqual([['enter', 'leave'], 0]);
  });
});

describe('clean shutdown', () => {
  test('drains what is in flight, closes idle connections at once, and takes no more', async () => {
    await server.listen({ kind: 'unix', path: '/x' });
    await go('a');
    await go('b');
    const shaking = connect();
    read(1);
    const closing = server.close({ drainMs: 5000 });
    expect(listening[0]?.closed).toBe(true);
    expect(await shaking.inTransmission).toBe(false);
    expect(engine.closes.map((c) => c.conn)).toEqual([2]);
    expect(await connect().inTransmission).toBe(false);
    read(1);
    engine.finish();
    expect(engine.replies.map((r) => r.errno)).toEqual([wire.NBD_ESHUTDOWN, 0]);
    expect(engine.closes.map((c) => c.conn)).toEqual([2, 1]);
    engine.closed(2);
    engine.closed(1);
    await closing;
    expect(server.connectionCount).toBe(0);
    expect(clock.pending).toBe(0);
  });

  test('M14: cuts off what does not drain in time', async () => {
    await go('a');
    read(1);
    const closing = server.close({ drainMs: 5000 });
    clock.advance(5000);
    expect(engine.closes).toEqual([{ conn: 1, errno: Errno.ETIMEDOUT }]);
    engine.closed(1);
    await closing;
    engine.finish();
    expect(engine.handlesAlive).toBe(0);
  });
});

test('the longest payload fits into the bytes of one connection', () => {
  expect(DEFAULT_NBD_SERVER_LIMITS.connection.bytesMax).toBeGreaterThan(device.info().payloadMaxBytes);
});
