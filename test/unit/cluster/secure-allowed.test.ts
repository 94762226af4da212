/** Nodes that are moved to TLS and back one at a time: `allowed`, and what it opens nowhere else. */
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import type { LinkTls } from '../../../src/cluster/context.ts';
import type { NbdSocket } from '../../../src/cluster/nbd-dial.ts';
import type { IoSocket, Net, SocketHandler } from '../../../src/io/types.ts';
import { TLS_FIRST_BYTE } from '../../../src/io/tls.ts';
import { FakeTls, type FakeIdentity } from '../../support/fake-tls.ts';
import { FakeWorld } from './fake-world.ts';
import { makeNode, type Node, Stranger } from './harness.ts';

type Mode = LinkTls['mode'] | 'off';

const otherOf = (self: string): string => (self === 'a' ? 'b' : 'a');

function nodeWith(
  world: FakeWorld,
  self: 'a' | 'b',
  mode: Mode,
  o: { identity?: FakeIdentity; net?: (inner: Net) => Net; start?: string } = {},
): Node {
  const { net, ...rest } = world.io(self);
  const tls = new FakeTls(o.identity ?? { names: [self] }, rest.clock);
  return makeNode(
    world,
    self,
    { [otherOf(self)]: [otherOf(self)] },
    {
      io: { ...rest, net: o.net?.(net) ?? net },
      linkTls: mode === 'off' ? null : { tls, mode, peersHere: false },
      daemonStart: o.start ?? `${self}-1`,
    },
  );
}

async function started(world: FakeWorld, ...nodes: Node[]): Promise<void> {
  for (const { cluster } of nodes) {
    cluster.onNbd(z.null(), () => (socket) => {
      socket.destroy();
    });
    await cluster.start();
  }
  await world.run(1500);
}

/** Whether each of its connections is secured: dialed, then those that the peer dialed. */
function standing({ cluster }: Node): (boolean | undefined)[][] {
  return cluster.status().map((p) => [...p.paths.map((x) => x.secured), ...p.inbound.map((x) => x.secured)]);
}

const toldOfClear = (n: Node): unknown[] =>
  n.spoken.filter((s) => s.level === 'warn' && s.message.startsWith('a connection between nodes is not secured')).map((s) => s.fields);

async function nbd(world: FakeWorld, from: Node): Promise<NbdSocket> {
  return await world.settle(from.cluster.dialNbd(from.cluster.self === 'a' ? 'b' : 'a', null, 1000));
}

/** Whatever begins as TLS does is hung up on, by somebody in between. */
function tlsCut(inner: Net): Net {
  const cut = (s: IoSocket): IoSocket =>
    new Proxy(s, {
      get: (target, key): unknown => {
        if (key === 'write') {
          return (bytes: Uint8Array, sent?: () => void): boolean => {
            if (bytes[0] !== TLS_FIRST_BYTE) return target.write(bytes, sent);
            target.destroy();
            return true;
          };
        }
        if (key === 'start') {
          return (h: SocketHandler): void => {
            target.start(h);
          };
        }
        const value: unknown = Reflect.get(target, key);
        return typeof value === 'function' ? value.bind(target) : value;
      },
    });
  return { listen: (at, f) => inner.listen(at, f), connect: async (to, ms) => cut(await inner.connect(to, ms)) };
}

describe('where TLS is allowed', () => {
  it('on both, all is secured and nothing is told', async () => {
    const world = new FakeWorld();
    const [a, b] = [nodeWith(world, 'a', 'allowed'), nodeWith(world, 'b', 'allowed')];
    await started(world, a, b);
    expect([standing(a), standing(b)]).toEqual([[[true, true]], [[true, true]]]);
    expect([(await nbd(world, a)).secured, (await nbd(world, b)).secured]).toEqual([true, true]);
    expect([...toldOfClear(a), ...toldOfClear(b), a.cluster.refused, b.cluster.refused]).toEqual([0, 0]);
  });

  it.each<Mode>(['auto', 'required'])('and the other has %s, all is secured', async (mode) => {
    const world = new FakeWorld();
    const [a, b] = [nodeWith(world, 'a', 'allowed'), nodeWith(world, 'b', mode)];
    await started(world, a, b);
    expect([standing(a), standing(b)]).toEqual([[[true, true]], [[true, true]]]);
    expect([(await nbd(world, a)).secured, (await nbd(world, b)).secured]).toEqual([true, true]);
    expect(toldOfClear(a)).toEqual([]);
  });

  it('and the other has none, they are in clear, which is told once for each way', async () => {
    const world = new FakeWorld();
    const [a, b] = [nodeWith(world, 'a', 'allowed'), nodeWith(world, 'b', 'off')];
    await started(world, a, b);
    expect([standing(a), standing(b)]).toEqual([[[false, false]], [[false, false]]]);
    for (let i = 0; i < 3; i += 1) expect([(await nbd(world, a)).secured, (await nbd(world, b)).secured]).toEqual([false, false]);
    expect(toldOfClear(a)).toEqual([
      { peer: 'b', path: 'inbound', why: 'it came without TLS' },
      { peer: 'b', path: 'b:7000', why: expect.stringContaining('closed') as unknown },
    ]);
    expect(toldOfClear(b)).toEqual([]);
  });

  it.each<[string, FakeIdentity, RegExp]>([
    ['expired', { names: ['b'], refusal: 'its certificate has expired' }, /its certificate has expired/],
    ['is that of another', { names: ['c'] }, /certificate is that of c|proved to be c/],
  ])('a peer whose certificate %s stays connected, and is not shown as secured', async (_what, identity, why) => {
    const world = new FakeWorld();
    const [a, b] = [nodeWith(world, 'a', 'allowed'), nodeWith(world, 'b', 'allowed', { identity })];
    await started(world, a, b);
    expect([a.cluster.connected('b'), b.cluster.connected('a')]).toEqual([true, true]);
    expect(standing(a).flat()).toContain(false);
    expect(toldOfClear(a)).toContainEqual(expect.objectContaining({ why: expect.stringMatching(why) as unknown }));
  });

  it('a peer that says nothing is not tried in clear', async () => {
    const world = new FakeWorld();
    const a = nodeWith(world, 'a', 'allowed');
    const first: (number | undefined)[] = [];
    await world.io('b').net.listen({ kind: 'tcp', host: 'b', port: 7000 }, (s) => {
      let heard = false;
      s.start({
        onData: (bytes) => {
          if (!heard) first.push(bytes[0]);
          heard = true;
        },
        onClose: () => undefined,
      });
    });
    await started(world, a);
    await world.run(8000);
    expect(first.length).toBeGreaterThan(2);
    expect(new Set(first)).toEqual(new Set([TLS_FIRST_BYTE]));
    await world.settle(a.cluster.stop());
  });

  it('a node that stops between the two attempts makes no second one', async () => {
    const world = new FakeWorld();
    let dials = 0;
    const counting = (inner: Net): Net => ({
      listen: (at, f) => inner.listen(at, f),
      connect: (to, ms) => {
        dials += 1;
        return inner.connect(to, ms);
      },
    });
    const a = nodeWith(world, 'a', 'allowed', { net: counting });
    const calls: IoSocket[] = [];
    await world.io('b').net.listen({ kind: 'tcp', host: 'b', port: 7000 }, (s) => calls.push(s));
    await a.cluster.start();
    await world.until('it has dialed', () => calls.length === 1);
    await world.settle(a.cluster.stop());
    await world.run(3000);
    expect(dials).toBe(1);
    expect(world.openSockets).toBe(1);
  });
});

describe('nodes are moved one at a time', () => {
  it('to TLS and back, and hear each other at each step', async () => {
    const world = new FakeWorld();
    const steps: [Mode, Mode, boolean][] = [
      ['off', 'off', false],
      ['allowed', 'off', false],
      ['allowed', 'allowed', true],
      ['required', 'allowed', true],
      ['required', 'required', true],
      ['required', 'allowed', true],
      ['allowed', 'allowed', true],
      ['off', 'allowed', false],
      ['off', 'off', false],
    ];
    const nodes: Partial<Record<'a' | 'b', Node>> = {};
    const modes: Partial<Record<'a' | 'b', Mode>> = {};
    for (const [i, [forA, forB, secured]] of steps.entries()) {
      for (const [self, mode] of [
        ['a', forA],
        ['b', forB],
      ] as const) {
        if (modes[self] === mode) continue;
        const before = nodes[self];
        if (before !== undefined) await world.settle(before.cluster.stop());
        modes[self] = mode;
        const fresh = nodeWith(world, self, mode, { start: `${self}-${String(i)}` });
        nodes[self] = fresh;
        await started(world, fresh);
      }
      await world.run(3000);
      const { a, b } = nodes;
      if (a === undefined || b === undefined) throw new Error('both run');
      expect([i, a.cluster.connected('b'), b.cluster.connected('a')]).toEqual([i, true, true]);
      expect([i, standing(a), standing(b)]).toEqual([i, [[secured, secured]], [[secured, secured]]]);
    }
  });
});

describe('where TLS is not merely allowed', () => {
  it.each<Mode>(['auto', 'required'])('somebody in between who cuts it gets no word in clear (%s)', async (mode) => {
    const world = new FakeWorld();
    const [a, b] = [nodeWith(world, 'a', mode, { net: tlsCut }), nodeWith(world, 'b', 'allowed', { net: tlsCut })];
    await started(world, a, b);
    expect([a.cluster.connected('b'), b.cluster.connected('a')]).toEqual([false, false]);
    await expect(world.settle(a.cluster.dialNbd('b', null, 1000))).rejects.toThrow();
    // The one that is merely allowed tries in clear, and is not taken.
    expect(a.spoken.some((s) => s.message === 'a connection was not taken' && String(s.fields?.['why']).includes('a connection without TLS'))).toBe(
      true,
    );
  });

  it('he turns those that are allowed into clear, and that is told', async () => {
    const world = new FakeWorld();
    const [a, b] = [nodeWith(world, 'a', 'allowed', { net: tlsCut }), nodeWith(world, 'b', 'allowed', { net: tlsCut })];
    await started(world, a, b);
    expect(standing(a)).toEqual([[false, false]]);
    expect(toldOfClear(a)).toHaveLength(2);
  });

  it.each<Mode>(['auto', 'required'])('a stranger in clear is not taken (%s)', async (mode) => {
    const world = new FakeWorld();
    const a = nodeWith(world, 'a', mode);
    await started(world, a);
    const s = await Stranger.call(world, 'b', 'a');
    s.hello('b', 'a');
    await world.run(50);
    expect([s.got, s.closed]).toEqual([[], true]);
  });
});
