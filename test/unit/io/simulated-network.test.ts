import { describe, expect, it } from 'vitest';
import { SimWorld, type SimWorldOptions } from '../../../src/io/simulated/world.ts';
import { Errno, type Io, type IoSocket } from '../../../src/io/types.ts';
import { connected, filled, Heard, patterned, same, SEEDS } from './simulated-support.ts';

interface Pair {
  world: SimWorld;
  a: Io;
  b: Io;
  near: Heard;
  far: Heard;
}

/** Nodes a and b; `near` is a's end of a connection to b, `far` is b's. */
async function pair(seed: number, options: SimWorldOptions = {}): Promise<Pair> {
  const world = new SimWorld(seed, options);
  const a = world.node('a').boot();
  const b = world.node('b').boot();
  return { world, a, b, ...(await connected(world, a, b, 'b')) };
}

const TO_B = { kind: 'tcp', host: 'b', port: 7000 } as const;

describe('a connection', () => {
  it('carries bytes complete and in order, cut into other pieces than were written', async () => {
    const splits = new Set<number>();
    for (const seed of SEEDS.slice(0, 20)) {
      const { world, near, far } = await pair(seed);
      const all = patterned(300_000);
      for (let at = 0; at < all.length; at += 10_000) near.socket.write(all.subarray(at, at + 10_000));
      far.socket.write(patterned(5000, 9));
      await world.run(Promise.all([far.length(all.length), near.length(5000)]));
      expect(same(far.bytes, all)).toBe(true);
      expect(same(near.bytes, patterned(5000, 9))).toBe(true);
      splits.add(far.pieces.length);
    }
    expect(splits.size).toBeGreaterThan(5);
  });

  it('lends its bytes for the call only: who keeps them finds them changed', async () => {
    const world = new SimWorld(1);
    const kept: Uint8Array[] = [];
    const b = world.node('b').boot();
    await world.run(
      b.net.listen(TO_B, (s) => {
        s.start({ onData: (bytes) => kept.push(bytes), onClose: () => undefined });
      }),
    );
    const socket = await world.run(world.node('a').boot().net.connect(TO_B, 100));
    socket.write(filled(100, 1));
    await world.runFor(10);
    expect(kept.length).toBeGreaterThan(0);
    for (const bytes of kept) expect(bytes.includes(1)).toBe(false);
  });

  it('tells when written bytes may change, in the order of the writes', async () => {
    const { world, near, far } = await pair(1, { windowBytes: 1000 });
    const sent: number[] = [];
    const buffers = [1, 2, 3, 4].map((byte) => filled(600, byte));
    buffers.forEach((bytes, i) => {
      near.socket.write(bytes, () => {
        sent.push(i);
        bytes.fill(0xff);
      });
    });
    await world.run(far.length(2400));
    await world.runFor(1);
    expect(sent).toEqual([0, 1, 2, 3]);
    expect(far.bytes.includes(0xff)).toBe(false);
  });

  it('holds the writer back when the reader does not read, and lets it go on when it does', async () => {
    const { world, near, far } = await pair(1, { windowBytes: 10_000 });
    far.socket.pause();
    expect(near.socket.write(filled(4000, 1))).toBe(true);
    expect(near.socket.write(filled(50_000, 2))).toBe(false);
    await world.runFor(1000);
    expect(near.socket.unsentBytes()).toBe(44_000);
    expect(far.bytes.length).toBe(0);
    expect(near.drains).toBe(0);
    far.socket.resume();
    await world.run(far.length(54_000));
    await world.runFor(1);
    expect(near.socket.unsentBytes()).toBe(0);
    expect(near.drains).toBe(1);
  });

  it('keeps what arrives before the handler, and hands the socket on to another handler', async () => {
    const world = new SimWorld(1);
    const accepted: IoSocket[] = [];
    await world.run(
      world
        .node('b')
        .boot()
        .net.listen(TO_B, (s) => accepted.push(s)),
    );
    const socket = await world.run(world.node('a').boot().net.connect(TO_B, 100));
    socket.write(patterned(1000));
    await world.runFor(10);
    const far = accepted[0];
    if (far === undefined) throw new Error('nobody was accepted');
    const first = new Heard(far);
    await world.run(first.length(1000));
    const second = new Heard(far);
    socket.write(patterned(10));
    await world.run(second.length(10));
    expect(first.bytes).toEqual(patterned(1000));
    socket.destroy();
    await world.run(second.closed());
    expect(first.closes).toEqual([]);
  });

  it('ends in order for both when one ends it: all queued bytes arrive first', async () => {
    for (const seed of SEEDS.slice(0, 20)) {
      const { world, near, far } = await pair(seed, { windowBytes: 3000 });
      near.socket.write(patterned(20_000));
      near.socket.end();
      await world.run(Promise.all([far.closed(), near.closed()]));
      expect(same(far.bytes, patterned(20_000))).toBe(true);
      expect([far.closes, near.closes]).toEqual([[0], [0]]);
      expect(near.socket.write(patterned(1))).toBe(false);
    }
  });

  it('that was ended is given up when the peer never ends its side', async () => {
    const { world, near, far } = await pair(1);
    far.socket.pause();
    near.socket.end();
    await world.runFor(9000);
    expect(near.closes).toEqual([]);
    await world.runFor(2000);
    expect(near.closes).toEqual([0]);
  });

  it('is dropped by destroy: no data is delivered after it, and one close to each end', async () => {
    const { world, near, far } = await pair(1);
    far.socket.write(patterned(100));
    near.socket.destroy();
    near.socket.destroy();
    await world.runFor(100);
    expect(near.bytes.length).toBe(0);
    expect(near.closes).toEqual([0]);
    expect(far.closes.length).toBe(1);
  });

  it('resets the peer that writes to an end which is gone', async () => {
    const { world, near, far } = await pair(1);
    far.socket.pause();
    near.socket.destroy();
    await world.runFor(10);
    far.socket.write(patterned(10));
    await world.runFor(10);
    expect(far.closes).toEqual([Errno.ECONNRESET]);
  });

  it('resets the peer when destroyed with unread bytes', async () => {
    const { world, near, far } = await pair(1);
    near.socket.pause();
    far.socket.write(patterned(10));
    await world.runFor(10);
    near.socket.destroy();
    await world.run(far.closed());
    expect(far.closes).toEqual([Errno.ECONNRESET]);
  });
});

describe('connecting', () => {
  it('is refused where nobody listens, and unknown hosts cannot be reached', async () => {
    const { world, a } = await pair(1);
    const attempt = (to: Parameters<Io['net']['connect']>[0]): Promise<IoSocket> => world.run(a.net.connect(to, 1000));
    await expect(attempt({ ...TO_B, port: 1 })).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    await expect(attempt({ ...TO_B, host: 'nowhere' })).rejects.toMatchObject({ code: 'EHOSTUNREACH' });
    await expect(attempt({ kind: 'unix', path: '/run/x' })).rejects.toMatchObject({ code: 'ENOENT' });
  });

  it('stops being possible when the listener is closed; what it accepted lives on', async () => {
    const world = new SimWorld(1);
    const accepted: IoSocket[] = [];
    const listener = await world.run(
      world
        .node('b')
        .boot()
        .net.listen({ ...TO_B, port: 0 }, (s) => accepted.push(s)),
    );
    if (listener.address.kind !== 'tcp') throw new Error('not tcp');
    const { port } = listener.address;
    expect(port).toBeGreaterThan(0);
    const a = world.node('a').boot();
    const near = new Heard(await world.run(a.net.connect({ ...TO_B, port }, 1000)));
    await world.runFor(1);
    await world.run(listener.close());
    await expect(world.run(a.net.connect({ ...TO_B, port }, 1000))).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    accepted[0]?.write(patterned(10));
    await world.run(near.length(10));
  });

  it('refuses an address in use, and one that belongs to another node', async () => {
    const { world, a, b } = await pair(1);
    await expect(world.run(b.net.listen(TO_B, () => undefined))).rejects.toMatchObject({ code: 'EADDRINUSE' });
    await expect(world.run(a.net.listen(TO_B, () => undefined))).rejects.toMatchObject({ code: 'EADDRNOTAVAIL' });
  });

  it('to loopback stays on the node: a loopback listener is not there for others', async () => {
    const { world, a, b } = await pair(1);
    await world.run(b.net.listen({ kind: 'tcp', host: '127.0.0.1', port: 8000 }, () => undefined));
    await expect(world.run(a.net.connect({ ...TO_B, port: 8000 }, 1000))).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    await expect(world.run(a.net.connect({ kind: 'tcp', host: 'localhost', port: 8000 }, 1000))).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    await world.run(b.net.connect({ kind: 'tcp', host: 'localhost', port: 8000 }, 1000));
  });

  it('to a machine without power, or over a cut in either direction, times out', async () => {
    for (const prepare of [
      (w: SimWorld) => {
        w.node('b').powerFail();
      },
      (w: SimWorld) => {
        w.cut('a', 'b');
      },
      (w: SimWorld) => {
        w.cutOneWay('a', 'b');
      },
      (w: SimWorld) => {
        w.cutOneWay('b', 'a');
      },
    ]) {
      const { world, a } = await pair(1);
      prepare(world);
      const from = world.now();
      await expect(world.run(a.net.connect(TO_B, 500))).rejects.toMatchObject({ code: 'ETIMEDOUT' });
      expect(world.now() - from).toBeGreaterThanOrEqual(500);
    }
  });

  it('succeeds late when the cut is healed before the deadline', async () => {
    const { world, a } = await pair(1);
    world.cut('a', 'b');
    const socket = a.net.connect(TO_B, 10_000);
    await world.runFor(1500);
    world.heal('a', 'b');
    await world.run(socket);
    expect(world.counters.get('handshakesLost')).toBeGreaterThan(0);
  });
});

describe('a cut link', () => {
  it('delivers nothing and tells nobody; what waited arrives after the heal', async () => {
    for (const seed of SEEDS.slice(0, 20)) {
      const { world, near, far } = await pair(seed);
      world.cut('a', 'b');
      expect(world.isCut('a', 'b') && world.isCut('b', 'a')).toBe(true);
      near.socket.write(patterned(5000));
      far.socket.write(patterned(100));
      await world.runFor(30_000);
      expect([near.bytes.length, far.bytes.length]).toEqual([0, 0]);
      expect([near.closes, far.closes]).toEqual([[], []]);
      world.heal('a', 'b');
      await world.run(Promise.all([far.length(5000), near.length(100)]));
      expect(same(far.bytes, patterned(5000))).toBe(true);
    }
  });

  it('hides the end of a peer until the heal', async () => {
    const { world, near, far } = await pair(1);
    world.cut('a', 'b');
    near.socket.destroy();
    await world.runFor(10_000);
    expect(far.closes).toEqual([]);
    world.healAll();
    await world.run(far.closed());
  });

  it('hides a reset for good, until the other end speaks', async () => {
    const { world, near, far } = await pair(1);
    near.socket.pause();
    far.socket.write(patterned(10));
    await world.runFor(10);
    world.cut('a', 'b');
    near.socket.destroy();
    await world.runFor(10_000);
    world.heal('a', 'b');
    await world.runFor(100_000);
    expect(far.closes).toEqual([]);
    expect(world.counters.get('resetsLost')).toBe(1);
    far.socket.write(patterned(10));
    await world.run(far.closed());
    expect(far.closes).toEqual([Errno.ECONNRESET]);
  });

  it('resets, after the heal, the end that wrote while the other went away', async () => {
    const { world, near, far } = await pair(1);
    world.cut('a', 'b');
    far.socket.write(patterned(10));
    near.socket.destroy();
    await world.runFor(200_000);
    expect(far.closes).toEqual([]);
    world.heal('a', 'b');
    await world.run(far.closed());
    expect(far.closes).toEqual([Errno.ECONNRESET]);
  });

  it('in one direction lets the other pass, whose sender is held back at the window for want of acknowledgements', async () => {
    const { world, near, far } = await pair(1, { windowBytes: 10_000 });
    world.cutOneWay('b', 'a');
    near.socket.write(filled(50_000, 1));
    far.socket.write(filled(10, 2));
    await world.runFor(10_000);
    expect(far.bytes.length).toBe(10_000);
    expect(near.socket.unsentBytes()).toBe(40_000);
    expect(near.bytes.length).toBe(0);
    world.heal('a', 'b');
    await world.run(Promise.all([far.length(50_000), near.length(10)]));
  });

  it('of one network leaves a node reachable by its address in another', async () => {
    const world = new SimWorld(1);
    const a = world.node('a').boot();
    world.addHost('b-mgmt', 'b', 'mgmt');
    await world.run(
      world
        .node('b')
        .boot()
        .net.listen({ kind: 'tcp', host: '0.0.0.0', port: 7000 }, () => undefined),
    );
    world.cut('a', 'b', 'lan');
    await expect(world.run(a.net.connect(TO_B, 100))).rejects.toMatchObject({ code: 'ETIMEDOUT' });
    await world.run(a.net.connect({ ...TO_B, host: 'b-mgmt' }, 100));
    world.cut('a', 'b');
    await expect(world.run(a.net.connect({ ...TO_B, host: 'b-mgmt' }, 100))).rejects.toMatchObject({ code: 'ETIMEDOUT' });
  });

  it('isolates one node from all others', () => {
    const world = new SimWorld(1);
    for (const name of ['a', 'b', 'c']) world.node(name);
    world.isolate('b');
    expect([world.isCut('a', 'b'), world.isCut('b', 'c'), world.isCut('a', 'c')]).toEqual([true, true, false]);
    world.healAll();
    expect(world.isCut('a', 'b')).toBe(false);
    expect(() => {
      world.cut('a', 'a');
    }).toThrow('from itself');
  });
});

describe('a slow link', () => {
  it('takes the time that its rate and delay ask for', async () => {
    const { world, near, far } = await pair(1);
    world.slow('a', 'b', { rateBytesPerSec: 100_000, delayMs: 50 });
    const from = world.now();
    near.socket.write(filled(200_000, 1));
    await world.run(far.length(200_000));
    const took = world.now() - from;
    expect(took).toBeGreaterThan(2000);
    expect(took).toBeLessThan(2300);
    world.slow('a', 'b', {});
    const again = world.now();
    near.socket.write(filled(200_000, 1));
    await world.run(far.length(400_000));
    expect(world.now() - again).toBeLessThan(50);
  });
});

describe('bits flipped on a link', () => {
  it('arrive, and leave the sender as silent as before', async () => {
    const { world, near, far } = await pair(1);
    const since = world.now();
    world.flipBits('a', 'b', 1);
    await world.runFor(100);
    near.socket.write(patterned(1000));
    await world.run(far.length(1000));
    expect(same(far.bytes, patterned(1000))).toBe(false);
    await world.runFor(100);
    expect(world.longestSilence('a', 'b', since)).toBe(world.now() - since);
    world.flipBits('a', 'b', 0);
    near.socket.write(patterned(1));
    await world.run(far.length(1001));
    await world.runFor(50);
    expect(world.longestSilence('a', 'b', since)).toBeLessThan(world.now() - since - 40);
  });
});

describe('the peer of a node', () => {
  it('that was killed hears of it: bytes the kernel had, then the end', async () => {
    const { world, near, far } = await pair(1);
    near.socket.write(patterned(1000));
    world.node('a').crash();
    await world.run(far.closed());
    expect(same(far.bytes, patterned(1000))).toBe(true);
    expect(far.closes).toEqual([0]);
    expect(near.closes).toEqual([]);
  });

  it('that lost power hears nothing, writes into silence, and is reset when the machine is up again', async () => {
    const { world, far } = await pair(1);
    world.node('a').powerFail();
    far.socket.write(patterned(1000));
    await world.runFor(60_000);
    expect(far.closes).toEqual([]);
    world.node('a').powerOn();
    expect(world.node('a').state).toBe('stopped');
    await world.run(far.closed());
    expect(far.closes).toEqual([Errno.ECONNRESET]);
  });

  it('that lost power and came back is not told as long as it says nothing itself', async () => {
    const { world, far } = await pair(1);
    world.node('a').powerFail();
    world.node('a').boot();
    await world.runFor(60_000);
    expect(far.closes).toEqual([]);
    far.socket.write(patterned(1));
    await world.run(far.closed());
  });

  it('that lost power gets a part of what was under way, never out of order', async () => {
    const lengths = new Set<number>();
    for (const seed of SEEDS) {
      const { world, near, far } = await pair(seed);
      const all = patterned(200_000);
      near.socket.write(all);
      world.node('a').powerFail();
      await world.runFor(1000);
      expect(same(far.bytes, all.subarray(0, far.bytes.length))).toBe(true);
      lengths.add(far.bytes.length);
    }
    expect(lengths.size).toBeGreaterThan(2);
  });
});

describe('a harness client on a node', () => {
  async function withClient(seed: number): Promise<{ world: SimWorld; client: Heard; daemon: Heard }> {
    const world = new SimWorld(seed);
    const accepted = new Promise<IoSocket>((resolve, reject) => {
      world.node('a').boot().net.listen({ kind: 'unix', path: '/run/nbd.sock' }, resolve).catch(reject);
    });
    await world.runFor(1);
    const client = await world.run(world.client('a').net.connect({ kind: 'unix', path: '/run/nbd.sock' }, 100));
    return { world, client: new Heard(client), daemon: new Heard(await world.run(accepted)) };
  }

  it('reaches the unix sockets of its node, and not those of another', async () => {
    const { world, client, daemon } = await withClient(1);
    client.socket.write(patterned(10));
    await world.run(daemon.length(10));
    const elsewhere = world.client('b').net.connect({ kind: 'unix', path: '/run/nbd.sock' }, 100);
    await expect(world.run(elsewhere)).rejects.toMatchObject({ code: 'ENOENT' });
  });

  it('outlives the daemon: it is told of the crash, and connects to the next incarnation', async () => {
    const { world, client } = await withClient(1);
    world.node('a').crash();
    await world.run(client.closed());
    const again = (): Promise<IoSocket> => world.run(world.client('a').net.connect({ kind: 'unix', path: '/run/nbd.sock' }, 100));
    await expect(again()).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    await world.run(
      world
        .node('a')
        .boot()
        .net.listen({ kind: 'unix', path: '/run/nbd.sock' }, () => undefined),
    );
    await again();
  });

  it('is cut off at once by a power failure', async () => {
    const { world, client } = await withClient(1);
    world.node('a').powerFail();
    await world.run(client.closed());
    expect(client.closes).toEqual([Errno.ECONNRESET]);
  });

  it('is not stopped by a freeze of the daemon', async () => {
    const { world, client, daemon } = await withClient(1);
    world.node('a').freeze();
    client.socket.write(patterned(10));
    await world.runFor(100);
    expect(daemon.bytes.length).toBe(0);
    expect(client.socket.unsentBytes()).toBe(0);
    world.node('a').thaw();
    await world.run(daemon.length(10));
  });
});
