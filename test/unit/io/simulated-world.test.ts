import { describe, expect, it } from 'vitest';
import { SimulationError } from '../../../src/io/simulated/schedule.ts';
import { SimWorld } from '../../../src/io/simulated/world.ts';
import { connected, Heard, patterned, writeNew } from './simulated-support.ts';

/** A history with a bit of everything: files, sockets, timers, faults. */
async function history(seed: number | string): Promise<SimWorld> {
  const world = new SimWorld(seed, { shortTransfers: 0.1 });
  const a = world.node('a').boot();
  const b = world.node('b').boot();
  const { near, far } = await connected(world, a, b, 'b');
  for (let i = 0; i < 20; i += 1) near.socket.write(patterned(1000 + i));
  await world.run(far.length(20_000));
  await world.run(writeNew(a, '/data', patterned(9000), false));
  world.node('a').powerFail();
  world.node('b').crash();
  await world.runFor(5);
  return world;
}

describe('the simulated world', () => {
  it('gives the same history for the same seed', async () => {
    const first = await history(7);
    const second = await history(7);
    expect(second.fingerprint()).toBe(first.fingerprint());
    expect(second.now()).toBe(first.now());
    expect(second.counters.snapshot()).toEqual(first.counters.snapshot());
    expect(second.node('a').peek('/data')).toEqual(first.node('a').peek('/data'));
  });

  it('gives another history for another seed, and tells numbers from texts', async () => {
    const prints = await Promise.all([7, 8, '7', 'seven'].map(async (seed) => (await history(seed)).fingerprint()));
    expect(new Set(prints).size).toBe(4);
  });

  it('lets the harness draw without disturbing the world', () => {
    const world = new SimWorld(3);
    for (let i = 0; i < 5; i += 1) world.chance.u32();
    const io = world.node('a').boot();
    const other = new SimWorld(3).node('a').boot();
    expect(io.chance.hex64()).toBe(other.chance.hex64());
  });

  it('draws other numbers in each incarnation of a node', () => {
    const node = new SimWorld(3).node('a');
    const first = node.boot().chance.hex64();
    node.crash();
    expect(node.boot().chance.hex64()).not.toBe(first);
  });

  it('jumps over time in which nothing happens', async () => {
    const world = new SimWorld(1);
    const { clock } = world.node('a').boot();
    const from = clock.now();
    await world.run(
      new Promise<void>((resolve) => {
        clock.after(3_000_000, resolve);
      }),
    );
    expect(clock.now() - from).toBeGreaterThanOrEqual(3_000_000);
    expect(world.events).toBe(1);
  });

  it('runs timers in the order of their times and never calls a cancelled one', async () => {
    const world = new SimWorld(1);
    const { clock } = world.node('a').boot();
    const seen: number[] = [];
    for (const ms of [50, 10, 30]) clock.after(ms, () => seen.push(ms));
    clock.after(20, () => seen.push(20)).cancel();
    await world.runFor(100);
    expect(seen).toEqual([10, 30, 50]);
  });

  it('runs `soon` in order, at the same virtual time, after all promises have settled', async () => {
    const world = new SimWorld(1);
    const { clock } = world.node('a').boot();
    const seen: string[] = [];
    const at = world.now();
    await world.run(
      new Promise<void>((resolve) => {
        clock.soon(() => {
          seen.push('first');
          void Promise.resolve()
            .then(() => Promise.resolve())
            .then(() => seen.push('promise of the first'));
        });
        clock.soon(() => {
          seen.push('second');
          resolve();
        });
      }),
    );
    expect(seen).toEqual(['first', 'promise of the first', 'second']);
    expect(world.now()).toBe(at);
  });

  it('refuses a timer without an end', () => {
    const { clock } = new SimWorld(1).node('a').boot();
    expect(() => clock.after(Infinity, () => undefined)).toThrow('never ends');
  });

  it('says so when the world goes quiet before the promise settles', async () => {
    const world = new SimWorld(42);
    await expect(world.run(new Promise(() => undefined))).rejects.toThrow(/went quiet.*seed 42/u);
  });

  it('stops at the limit of virtual time, and at the limit of events, and can go on after both', async () => {
    const world = new SimWorld(1);
    const { clock } = world.node('a').boot();
    let beats = 0;
    const beat = (): void => {
      beats += 1;
      clock.after(10, beat);
    };
    beat();
    await expect(world.run(new Promise(() => undefined), { virtualMs: 200 })).rejects.toThrow('limit of virtual time');
    await expect(world.run(new Promise(() => undefined), { events: 5 })).rejects.toThrow('limit of events');
    const soFar = beats;
    await world.runFor(100);
    expect(beats).toBeGreaterThan(soFar);
  });

  it('passes on a rejection of the awaited promise as it is', async () => {
    const error = new Error('the history failed');
    await expect(new SimWorld(1).run(Promise.reject(error))).rejects.toBe(error);
  });

  it('stops with the seed, the last events and the cause when the code under test throws', async () => {
    const world = new SimWorld(9);
    const { clock } = world.node('a').boot();
    const cause = new Error('broken invariant');
    clock.after(5, () => {
      throw cause;
    });
    const failure = await world.runFor(100).then(
      () => undefined,
      (e: unknown) => e,
    );
    expect(failure).toBeInstanceOf(SimulationError);
    expect(failure).toMatchObject({ seed: '9', cause });
    expect((failure as SimulationError).tail.at(-1)).toContain('a#1 timer');
  });

  it('refuses two runs at once', async () => {
    const world = new SimWorld(1);
    const first = world.runFor(10);
    await expect(world.runFor(10)).rejects.toThrow('already running');
    await first;
  });

  it('steps tens of thousands of events a second', async () => {
    const world = new SimWorld(1);
    const { clock } = world.node('a').boot();
    let left = 50_000;
    const before = process.cpuUsage();
    await world.run(
      new Promise<void>((resolve) => {
        const step = (): void => {
          left -= 1;
          if (left === 0) resolve();
          else clock.soon(step);
        };
        step();
      }),
    );
    const used = process.cpuUsage(before);
    expect(50_000 / ((used.user + used.system) / 1e6), 'events a second of processor time').toBeGreaterThan(20_000);
  });
});

describe('a crashed incarnation', () => {
  it('never hears of what it had asked for, and changes nothing any more', async () => {
    const world = new SimWorld(5);
    const node = world.node('a');
    const old = node.boot();
    const file = await world.run(writeNew(old, '/f', patterned(600), true));
    const heard: string[] = [];
    const tell = (what: string) => (): void => {
      heard.push(what);
    };
    old.clock.after(1, tell('timer'));
    old.clock.soon(tell('soon'));
    old.files.stat('/f').then(tell('stat'), tell('stat failed'));
    old.net.connect({ kind: 'tcp', host: 'nowhere', port: 1 }, 100).then(tell('connect'), tell('connect failed'));
    node.crash();

    node.boot();
    old.clock.after(1, tell('late timer'));
    file.write(patterned(600, 9), 0).then(tell('late write'), tell('late write failed'));
    old.files.unlink('/f').then(tell('late unlink'), tell('late unlink failed'));
    old.files.open('/g', { create: true }).then(tell('late open'), tell('late open failed'));
    old.net.listen({ kind: 'tcp', host: '0.0.0.0', port: 7000 }, tell('late connection')).then(tell('late listen'), tell('late listen failed'));
    await world.runFor(1000);

    expect(heard).toEqual([]);
    expect(node.peek('/f')).toEqual(patterned(600));
    expect(node.peek('/g')).toBeUndefined();
  });

  it('cannot speak through a socket that it still holds', async () => {
    const world = new SimWorld(5);
    const a = world.node('a').boot();
    const { near, far } = await connected(world, a, world.node('b').boot(), 'b');
    world.node('a').crash();
    expect(near.socket.write(patterned(10))).toBe(false);
    near.socket.end();
    near.socket.destroy();
    await world.run(far.closed());
    await world.runFor(10);
    expect(far.bytes.length).toBe(0);
    expect(near.closes).toEqual([]);
  });

  it('leaves operations in flight done, half done or not done', async () => {
    const seen = new Set<string>();
    for (let seed = 0; seed < 60; seed += 1) {
      const world = new SimWorld(seed);
      const node = world.node('a');
      const io = node.boot();
      const file = await world.run(writeNew(io, '/f', new Uint8Array(2048), true));
      void file.write(patterned(2048), 0);
      node.crash();
      const now = node.peek('/f') ?? new Uint8Array(0);
      const nonZero = now.findLastIndex((b) => b !== 0) + 1;
      seen.add(nonZero === 0 ? 'none' : nonZero < 2000 ? 'part' : 'all');
    }
    expect(seen).toEqual(new Set(['none', 'part', 'all']));
  });

  it('cannot be booted twice, crashed when stopped, or asked for its io when stopped', () => {
    const node = new SimWorld(1).node('a');
    expect(() => node.io).toThrow('boot it first');
    expect(() => {
      node.crash();
    }).toThrow('not running');
    node.boot();
    expect(() => node.boot()).toThrow('running already');
    node.powerFail();
    expect(node.state).toBe('dark');
    expect(() => {
      node.powerFail();
    }).toThrow('no power');
  });
});

describe('a frozen process', () => {
  it('gets its timers, file completions and data after the thaw, while others go on', async () => {
    const world = new SimWorld(11);
    const node = world.node('a');
    const a = node.boot();
    const b = world.node('b').boot();
    const { near, far } = await connected(world, a, b, 'b');
    const heard: string[] = [];
    let beats = 0;
    const beat = (): void => {
      beats += 1;
      b.clock.after(10, beat);
    };
    beat();
    a.clock.after(10, () => heard.push('timer'));
    void a.files.list('/').then(() => heard.push('file'));
    far.socket.write(patterned(100));
    node.freeze();
    await world.runFor(500);
    expect(heard).toEqual([]);
    expect(near.bytes.length).toBe(0);
    expect(beats).toBeGreaterThan(40);
    expect(node.state).toBe('frozen');

    node.thaw();
    await world.runFor(10);
    expect(heard.sort()).toEqual(['file', 'timer']);
    expect(near.bytes).toEqual(patterned(100));
  });

  it('finds that its clock has gone on', async () => {
    const world = new SimWorld(11);
    const node = world.node('a');
    const { clock } = node.boot();
    const from = clock.now();
    node.freeze();
    await world.runFor(500);
    node.thaw();
    expect(clock.now() - from).toBeGreaterThanOrEqual(500);
  });

  it('is still connected to by its kernel, up to the window', async () => {
    const world = new SimWorld(12, { windowBytes: 4096 });
    const node = world.node('a');
    const accepted: Heard[] = [];
    await world.run(node.boot().net.listen({ kind: 'tcp', host: '0.0.0.0', port: 7000 }, (s) => accepted.push(new Heard(s))));
    node.freeze();
    const socket = await world.run(world.node('b').boot().net.connect({ kind: 'tcp', host: 'a', port: 7000 }, 1000));
    expect(socket.write(filledWith(10_000))).toBe(false);
    await world.runFor(100);
    expect(socket.unsentBytes()).toBe(10_000 - 4096);
    expect(accepted).toEqual([]);
    node.thaw();
    await world.runFor(100);
    expect(accepted[0]?.bytes.length).toBe(10_000);
    expect(socket.unsentBytes()).toBe(0);
  });

  it('can be killed: what was held is gone', async () => {
    const world = new SimWorld(13);
    const node = world.node('a');
    const { clock } = node.boot();
    let fired = false;
    clock.after(1, () => {
      fired = true;
    });
    node.freeze();
    await world.runFor(10);
    node.crash();
    node.boot();
    await world.runFor(10);
    expect(fired).toBe(false);
  });

  it('meets expired timers before its sockets in some histories and after them in others', async () => {
    const orders = new Set<string>();
    for (let seed = 0; seed < 20; seed += 1) {
      const world = new SimWorld(seed);
      const node = world.node('a');
      const a = node.boot();
      const { near, far } = await connected(world, a, world.node('b').boot(), 'b');
      const order: string[] = [];
      void near.length(1).then(() => order.push('data'));
      a.clock.after(100, () => order.push('timer'));
      node.freeze();
      far.socket.write(patterned(1));
      await world.runFor(200);
      node.thaw();
      await world.runFor(10);
      orders.add(order.join());
    }
    expect(orders).toEqual(new Set(['data,timer', 'timer,data']));
  });
});

function filledWith(length: number): Uint8Array {
  return new Uint8Array(length).fill(1);
}
