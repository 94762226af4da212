/** Which connections between nodes of one machine may be in clear. */
import { describe, expect, it } from 'vitest';
import { FakeTls } from '../../support/fake-tls.ts';
import { FakeWorld } from './fake-world.ts';
import { at, makeNode, type Node, Stranger } from './harness.ts';

const HOST = { a: '127.0.0.1', b: '127.0.0.2' } as const;

interface Way {
  mode: 'auto' | 'required';
  peersHere: boolean;
}

/** A node at an address of loopback; without `way` it speaks no TLS. */
function nodeHere(world: FakeWorld, self: 'a' | 'b', way?: Way): { node: Node; tls: FakeTls } {
  const io = world.io(HOST[self]);
  const peer = self === 'a' ? 'b' : 'a';
  const tls = new FakeTls({ names: [self] }, io.clock);
  const linkTls = way === undefined ? null : { tls, ...way };
  return { node: makeNode(world, self, { [peer]: [HOST[peer]] }, { io, listen: at(HOST[self]), linkTls }), tls };
}

const refusals = (n: Node): unknown[] => n.spoken.filter((s) => s.message === 'a connection was not taken').map((s) => s.fields?.['why']);

async function started(world: FakeWorld, ...nodes: { node: Node }[]): Promise<void> {
  for (const { node } of nodes) await node.cluster.start();
  await world.run(600);
}

describe('nodes on one machine', () => {
  it('speak in clear where peers are there', async () => {
    const world = new FakeWorld();
    const way: Way = { mode: 'auto', peersHere: true };
    const [a, b] = [nodeHere(world, 'a', way), nodeHere(world, 'b', way)];
    await started(world, a, b);
    expect([a.node.cluster.connected('b'), b.node.cluster.connected('a')]).toEqual([true, true]);
    expect([a.tls.accepted, b.tls.accepted]).toEqual([0, 0]);
    expect([a.node.cluster.refused, b.node.cluster.refused]).toEqual([0, 0]);
  });

  it('speak TLS where that is required', async () => {
    const world = new FakeWorld();
    const way: Way = { mode: 'required', peersHere: true };
    const [a, b] = [nodeHere(world, 'a', way), nodeHere(world, 'b', way)];
    await started(world, a, b);
    expect([a.node.cluster.connected('b'), b.node.cluster.connected('a')]).toEqual([true, true]);
    expect(Math.min(a.tls.accepted, b.tls.accepted)).toBeGreaterThan(0);
  });

  it.each<[string, Way]>([
    ['is required', { mode: 'required', peersHere: true }],
    ['is for all peers, none of whom is here', { mode: 'auto', peersHere: false }],
  ])('are not taken in clear where TLS %s, and that is logged once and counted', async (_what, way) => {
    const world = new FakeWorld();
    const [a, b] = [nodeHere(world, 'a', way), nodeHere(world, 'b')];
    await started(world, a, b);
    expect(b.node.cluster.connected('a')).toBe(false);
    expect(refusals(a.node)).toEqual(['a connection without TLS, which a takes from nobody']);
    expect(a.node.cluster.refused).toBeGreaterThan(1);
  });

  it('may be dialed by TLS from elsewhere as well, which is then to be proved', async () => {
    const world = new FakeWorld();
    const a = nodeHere(world, 'a', { mode: 'auto', peersHere: true });
    await started(world, a);
    const call = async (from: string, name: string): Promise<Stranger> => {
      const io = world.io(from);
      const raw = await world.settle(io.net.connect(at(HOST.a), 1000));
      const s = new Stranger(await world.settle(new FakeTls({ names: [name] }, io.clock).connect(raw, 'a', 1000)));
      s.hello('b', 'a');
      await world.run(50);
      return s;
    };
    expect((await call('10.0.0.9', 'mallory')).got[0]).toMatchObject({ ok: false, error: 'TLS from b: it has proved to be mallory' });
    expect((await call('127.0.0.9', 'mallory')).got[0]).toMatchObject({ ok: false });
    expect((await call('10.0.0.9', 'b')).got[0]).toMatchObject({ ok: true });
    expect(a.node.cluster.refused).toBe(2);
  });

  it('take a hello in clear from loopback alone', async () => {
    const world = new FakeWorld();
    const a = nodeHere(world, 'a', { mode: 'auto', peersHere: true });
    await started(world, a);
    const far = await Stranger.call(world, '10.0.0.9', HOST.a);
    far.hello('b', 'a');
    await world.run(50);
    expect([far.got, far.closed]).toEqual([[], true]);
    expect(refusals(a.node)).toEqual(['a connection without TLS, which a takes from loopback alone']);
    const near = await Stranger.call(world, '127.0.0.9', HOST.a);
    near.hello('b', 'a');
    await world.run(50);
    expect(near.got[0]).toMatchObject({ ok: true });
  });
});
