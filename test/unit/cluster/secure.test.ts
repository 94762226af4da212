import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { FakeTls, type FakeIdentity } from '../../support/fake-tls.ts';
import { FakeWorld } from './fake-world.ts';
import { codeOf, makeNode, type Node, Stranger } from './harness.ts';

/** A node that proves to be what it is called, or something else. */
function secureNode(world: FakeWorld, self: string, peer: string, identity: FakeIdentity = { names: [self] }): Node {
  return makeNode(world, self, { [peer]: [peer] }, { linkTls: { tls: new FakeTls(identity, world.io(self).clock), mode: 'auto', peersHere: true } });
}

async function started(world: FakeWorld, a: Node, b: Node): Promise<void> {
  await a.cluster.start();
  await b.cluster.start();
  await world.run(600);
}

const refusals = (n: Node): string[] =>
  n.spoken.filter((s) => s.message === 'a connection was not taken').map((s) => (s.fields?.['why'] as string | undefined) ?? '');

describe('nodes that speak TLS', () => {
  it('connect, ask and answer, and open NBD connections, all of it secured', async () => {
    const world = new FakeWorld();
    const [a, b] = [secureNode(world, 'a', 'b'), secureNode(world, 'b', 'a')];
    b.cluster.handle('double', z.object({ n: z.number() }), (_peer, p) => Promise.resolve(p.n * 2));
    let remote = '';
    b.cluster.onNbd(z.null(), () => (socket) => {
      remote = socket.constructor.name;
      socket.destroy();
    });
    await started(world, a, b);
    expect([a.cluster.connected('b'), b.cluster.connected('a')]).toEqual([true, true]);
    expect(await world.settle(a.cluster.request('b', 'double', { n: 21 }, 1000))).toBe(42);
    const nbd = await world.settle(a.cluster.dialNbd('b', null, 1000));
    expect([remote, nbd.socket.constructor.name]).toEqual(['MaskedSocket', 'MaskedSocket']);
    expect([a.cluster.refused, b.cluster.refused]).toEqual([0, 0]);
    await world.settle(a.cluster.stop());
    await world.settle(b.cluster.stop());
    await world.run(10);
    expect(world.openSockets).toBe(0);
  });

  it.each<[string, FakeIdentity, string]>([
    ['whose certificate has expired', { names: ['b'], refusal: 'its certificate has expired' }, 'TLS from b: its certificate has expired'],
    ['with the certificate of another', { names: ['c'] }, 'TLS from b: it has proved to be c'],
    ['with the certificate of a client', { names: ['b'], mayServe: false }, "TLS from b: its certificate is a client's, and a node's is needed"],
  ])('take no node %s, tell it, log it once and count it', async (_what, identity, why) => {
    const world = new FakeWorld();
    const [a, b] = [secureNode(world, 'a', 'b'), secureNode(world, 'b', 'a', identity)];
    await started(world, a, b);
    expect(b.cluster.connected('a')).toBe(false);
    expect(refusals(a)).toEqual([why]);
    expect(a.cluster.refused).toBeGreaterThan(0);
    expect(await codeOf(world.settle(b.cluster.dialNbd('a', null, 1000)))).toBe('refused');
    expect(b.spoken.some((s) => s.message === 'not connected' && s.fields?.['why'] === why)).toBe(true);
  });

  it('take no connection in clear from elsewhere than loopback, and no TLS where they have none', async () => {
    const world = new FakeWorld();
    const a = secureNode(world, 'a', 'b');
    const b = makeNode(world, 'b', { a: ['a'] });
    await started(world, a, b);
    expect([a.cluster.connected('b'), b.cluster.connected('a')]).toEqual([false, false]);
    expect(refusals(a)).toEqual(['a connection without TLS, which a takes from loopback alone']);
    expect(refusals(b)).toEqual(['a TLS connection, and TLS between nodes is off on b']);
    expect([a.cluster.refused > 0, b.cluster.refused > 0]).toEqual([true, true]);
  });

  it('wait for no stranger, and stop while one is in the middle of it', async () => {
    const world = new FakeWorld();
    const a = secureNode(world, 'a', 'b');
    await a.cluster.start();
    const s = await Stranger.call(world, 'x', 'a');
    s.socket.write(Uint8Array.of(0x16));
    await world.run(100);
    const other = await Stranger.call(world, 'y', 'a');
    other.socket.write(Uint8Array.of(0x16, 9));
    await world.run(5000);
    expect([s.closed, other.closed]).toEqual([true, true]);
    const last = await Stranger.call(world, 'z', 'a');
    last.socket.write(Uint8Array.of(0x16));
    await world.run(10);
    await world.settle(a.cluster.stop());
    await world.run(10);
    expect(last.closed).toBe(true);
    expect(world.openSockets).toBe(0);
  });
});
