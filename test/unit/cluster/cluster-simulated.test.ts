/** The promises of a cluster in the simulated world, where latency, splitting and the order after a thaw come from a seed. */
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { Cluster, type ClusterOptions } from '../../../src/cluster/cluster.ts';
import type { Io } from '../../../src/io/types.ts';
import { SimWorld } from '../../../src/io/simulated/world.ts';
import { at, codeOf, spokenLog } from './harness.ts';

const FAILURE_TIMEOUT_MS = 2000;
const SEEDS = [1, 2, 3, 4, 5, 6, 7, 8];

function cluster(io: Io, self: string, peers: Record<string, string[]>, o: Partial<ClusterOptions> = {}): Cluster {
  return new Cluster({
    io,
    self,
    clusterName: 'test',
    listen: at('0.0.0.0'),
    peers: Object.fromEntries(Object.entries(peers).map(([name, hosts]) => [name, hosts.map(at)])),
    failureTimeoutMs: FAILURE_TIMEOUT_MS,
    daemonStart: `${self} ${io.chance.hex64()}`,
    log: spokenLog().log,
    ...o,
  });
}

async function until(world: SimWorld, what: string, holds: () => boolean, withinMs: number): Promise<void> {
  const end = world.now() + withinMs;
  while (!holds()) {
    if (world.now() >= end) throw new Error(`seed ${String(world.seed)}: not within ${String(withinMs)} ms: ${what}`);
    await world.runFor(1);
  }
}

async function pair(seed: number): Promise<{ world: SimWorld; a: Cluster; b: Cluster }> {
  const world = new SimWorld(seed);
  const [ioA, ioB] = [world.node('a').boot(), world.node('b').boot()];
  const a = cluster(ioA, 'a', { b: ['b'] });
  const b = cluster(ioB, 'b', { a: ['a'] });
  await world.run(Promise.all([a.start(), b.start()]));
  await until(world, 'connected', () => a.connected('b') && b.connected('a'), 2000);
  return { world, a, b };
}

describe.each(SEEDS)('two nodes in the world of seed %i', (seed) => {
  it('a quiet minute: nobody is ever silent, and no connection is lost', async () => {
    const { world, a, b } = await pair(seed);
    const lost: string[] = [];
    for (const c of [a, b]) c.onConnection((peer, up) => !up && lost.push(peer));
    for (let i = 0; i < 60; i += 1) {
      await world.runFor(997);
      expect(a.silentForMs('b')).toBeLessThan(FAILURE_TIMEOUT_MS / 4);
      expect(b.silentForMs('a')).toBeLessThan(FAILURE_TIMEOUT_MS / 4);
      expect([a.mumblingForMs('b'), b.mumblingForMs('a')]).toEqual([0, 0]);
    }
    expect(lost).toEqual([]);
  });

  it('a cut shows as silence on both sides and heals', async () => {
    const { world, a, b } = await pair(seed);
    world.cut('a', 'b');
    await world.runFor(3 * FAILURE_TIMEOUT_MS);
    expect(a.silentForMs('b')).toBeGreaterThan(2 * FAILURE_TIMEOUT_MS);
    expect(b.silentForMs('a')).toBeGreaterThan(2 * FAILURE_TIMEOUT_MS);
    expect(a.connected('b') || b.connected('a')).toBe(false);
    world.healAll();
    await until(world, 'connected again', () => a.connected('b') && b.connected('a'), 2 * FAILURE_TIMEOUT_MS);
    await until(world, 'heard', () => (a.silentForMs('b') ?? 1e9) < 500 && (b.silentForMs('a') ?? 1e9) < 500, 1000);
  });

  it('whoever waits for a connection hears of it when it is back, and else when its time is over', async () => {
    const { world, a } = await pair(seed);
    expect(await world.run(a.connectedWithin('b', 1))).toBe(true);
    expect(await world.run(a.connectedWithin('c', 1000))).toBe(false);
    world.cut('a', 'b');
    await world.runFor(2 * FAILURE_TIMEOUT_MS);
    const before = world.now();
    expect(await world.run(a.connectedWithin('b', 300))).toBe(false);
    expect(world.now() - before).toBeCloseTo(300, -1);
    const waiting = a.connectedWithin('b', 2 * FAILURE_TIMEOUT_MS);
    world.healAll();
    expect(await world.run(waiting)).toBe(true);
  });

  it('a cut one way: nothing sent after it counts as heard by the peer', async () => {
    const { world, a, b } = await pair(seed);
    const cutAt = world.node('a').io.clock.now();
    world.cutOneWay('a', 'b');
    for (let i = 0; i < 30; i += 1) {
      await world.runFor(200);
      expect(a.peerHeardUsSince('b', cutAt)).toBe(false);
    }
    expect(b.silentForMs('a')).toBeGreaterThan(2 * FAILURE_TIMEOUT_MS);
    expect(a.connected('b') || b.connected('a')).toBe(false);
    world.healAll();
    await until(world, 'heard', () => a.peerHeardUsSince('b', cutAt), 2 * FAILURE_TIMEOUT_MS);
  });

  it('a peer of which nothing but hellos comes through is not silent, and shows for how long it has said nothing', async () => {
    const { world, a, b } = await pair(seed);
    world.flipBitsOneWay('b', 'a', 1);
    await world.runFor(5 * FAILURE_TIMEOUT_MS);
    expect(b.silentForMs('a')).toBeLessThan(FAILURE_TIMEOUT_MS);
    expect(b.mumblingForMs('a')).toBeGreaterThan(FAILURE_TIMEOUT_MS);
    // Of b nothing comes through, not even a hello: that is silence.
    expect(a.silentForMs('b')).toBeGreaterThan(2 * FAILURE_TIMEOUT_MS);
    world.flipBitsOneWay('b', 'a', 0);
    await until(world, 'understood', () => b.mumblingForMs('a') < FAILURE_TIMEOUT_MS / 4, 2 * FAILURE_TIMEOUT_MS);
    expect(b.mumblingForMs('nobody')).toBe(0);
  });

  it('a frozen node wakes up, holds nobody for dead, and acts on nothing said while it slept', async () => {
    const { world, a, b } = await pair(seed);
    const stalls: number[] = [];
    const said: number[] = [];
    let thawedAt = Infinity;
    const silence = (): void => {
      expect(a.silentForMs('b')).toBeLessThan(FAILURE_TIMEOUT_MS / 2);
    };
    a.stalls((ms) => stalls.push(ms));
    b.provideFacts(() => ({ saidAt: world.now() }));
    a.onFacts(
      (_peer, facts) => {
        said.push(facts.saidAt);
        silence();
      },
      z.object({ saidAt: z.number() }),
    );
    // A timer of somebody else, which may wake up before ours.
    const look = (): void => {
      silence();
      world.node('a').io.clock.after(50, look);
    };
    look();
    await world.runFor(500);
    world.node('a').freeze();
    await world.runFor(4 * FAILURE_TIMEOUT_MS);
    said.length = 0;
    thawedAt = world.now();
    world.node('a').thaw();
    await world.runFor(FAILURE_TIMEOUT_MS);
    expect(stalls.length).toBe(1);
    expect(stalls[0]).toBeGreaterThanOrEqual(4 * FAILURE_TIMEOUT_MS);
    expect(said.length).toBeGreaterThan(0);
    expect(said.every((t) => t >= thawedAt)).toBe(true);
    expect(a.connected('b') && b.connected('a')).toBe(true);
  });

  it('a node that was killed, or lost power, comes back as another start of its daemon', async () => {
    const { world, a } = await pair(seed);
    const old = a.daemonStartOf('b');
    for (const how of ['crash', 'powerFail'] as const) {
      world.node('b')[how]();
      const again = cluster(world.node('b').boot(), 'b', { a: ['a'] });
      await world.run(again.start());
      await until(world, `back after ${how}`, () => again.connected('a') && a.connected('b'), 3 * FAILURE_TIMEOUT_MS);
      expect(a.daemonStartOf('b')).not.toBe(old);
    }
  });

  it('requests of every size come back whole, and all settle when the peer dies', async () => {
    const { world, a, b } = await pair(seed);
    b.handle('echo', z.string(), (_peer, s) => Promise.resolve(s));
    b.handle('never', z.unknown(), () => new Promise(() => undefined));
    const sizes = [0, 1, 1000, 70_000, 1_000_000];
    const answers = await world.run(Promise.all(sizes.map((n) => a.request('b', 'echo', 'ü'.repeat(n / 2), 5000))));
    expect(answers).toEqual(sizes.map((n) => 'ü'.repeat(n / 2)));
    const waiting = sizes.map(() => codeOf(a.request('b', 'never', null, 60_000)));
    await world.runFor(100);
    world.node('b').powerFail();
    expect(new Set(await world.run(Promise.all(waiting)))).toEqual(new Set(['lost']));
  });

  it('a raw NBD connection carries every byte in order from the first', async () => {
    const { world, a, b } = await pair(seed);
    const sent = Uint8Array.from({ length: 5000 }, (_v, i) => i % 251);
    b.onNbd(z.object({ token: z.string() }), () => (socket, early) => {
      expect(early.length).toBe(0);
      socket.write(sent);
      socket.start({ onData: () => undefined, onClose: () => undefined });
      socket.resume();
    });
    const nbd = await world.run(a.dialNbd('b', { token: 't' }, 1000));
    const got: Buffer[] = [Buffer.from(nbd.early)];
    await world.runFor(50);
    nbd.socket.start({ onData: (bytes) => got.push(Buffer.from(bytes)), onClose: () => undefined });
    nbd.socket.resume();
    await until(world, 'all came', () => Buffer.concat(got).length >= sent.length, 1000);
    expect(Buffer.concat(got).equals(sent)).toBe(true);
  });

  it('a raw NBD connection over a slow link has its time for each answer, not for all together', async () => {
    const { world, a, b } = await pair(seed);
    b.onNbd(z.object({ token: z.string() }), () => (socket) => {
      socket.destroy();
    });
    for (const [from, to] of [
      ['a', 'b'],
      ['b', 'a'],
    ] as const)
      world.slow(from, to, { delayMs: 400 });
    expect(await codeOf(world.run(a.dialNbd('b', { token: 't' }, 1000)))).toBe('resolved');
    expect(await codeOf(world.run(a.dialNbd('b', { token: 't' }, 700)))).toBe('timeout');
  });

  it('with two paths a peer is silent only when both are cut', async () => {
    const world = new SimWorld(seed);
    const [ioA, ioB] = [world.node('a').boot(), world.node('b').boot()];
    world.addHost('a2', 'a', 'second');
    world.addHost('b2', 'b', 'second');
    const a = cluster(ioA, 'a', { b: ['b', 'b2'] });
    const b = cluster(ioB, 'b', { a: ['a', 'a2'] });
    await world.run(Promise.all([a.start(), b.start()]));
    await world.runFor(2000);
    expect(a.status()[0]?.paths.map((p) => p.state)).toEqual(['up', 'up']);
    world.cut('a', 'b', 'lan');
    for (let i = 0; i < 20; i += 1) {
      await world.runFor(300);
      expect(a.connected('b') && b.connected('a')).toBe(true);
      expect(a.silentForMs('b')).toBeLessThan(FAILURE_TIMEOUT_MS / 2);
    }
    world.cut('a', 'b', 'second');
    await world.runFor(2 * FAILURE_TIMEOUT_MS);
    expect(a.silentForMs('b')).toBeGreaterThan(FAILURE_TIMEOUT_MS);
    expect(a.connected('b')).toBe(false);
  });

  it('stops at once while connected, cut, or half dead', async () => {
    const { world, a, b } = await pair(seed);
    world.cut('a', 'b');
    await world.runFor(world.chance.between(0, 5000));
    await world.run(a.stop(), { virtualMs: 100 });
    world.healAll();
    await world.run(b.stop(), { virtualMs: 100 });
  });
});

it('the same seed gives the same history', async () => {
  const prints: string[] = [];
  for (let i = 0; i < 2; i += 1) {
    const { world } = await pair(42);
    world.cut('a', 'b');
    await world.runFor(5000);
    world.healAll();
    await world.runFor(5000);
    prints.push(world.fingerprint());
  }
  expect(prints[0]).toBe(prints[1]);
});
