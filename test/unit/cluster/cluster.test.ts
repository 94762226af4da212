import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { ClusterError } from '../../../src/cluster/errors.ts';
import { FakeWorld } from './fake-world.ts';
import { at, codeOf, FAILURE_TIMEOUT_MS, makeNode, type Node, pair, Stranger } from './harness.ts';

describe('connecting', () => {
  it('two nodes find each other, whoever starts first, and stop without leaving a socket', async () => {
    const world = new FakeWorld();
    const a = makeNode(world, 'a', { b: ['b'] });
    await a.cluster.start();
    await world.run(500);
    expect(a.cluster.connected('b')).toBe(false);
    expect(a.cluster.silentForMs('b')).toBeUndefined();
    const b = makeNode(world, 'b', { a: ['a'] });
    await b.cluster.start();
    // The hello of b makes a dial at once, although it was waiting.
    await world.until('both are connected', () => a.cluster.connected('b') && b.cluster.connected('a'), 10);
    expect(a.cluster.reachable()).toEqual(['b']);
    expect(a.cluster.daemonStartOf('b')).toBe('b-1');
    await world.settle(a.cluster.stop());
    await world.settle(b.cluster.stop());
    await world.run(10);
    expect(world.openSockets).toBe(0);
    expect(a.cluster.connected('b')).toBe(false);
  });

  it('an address in use is an error of start', async () => {
    const world = new FakeWorld();
    await makeNode(world, 'a', {}).cluster.start();
    await expect(makeNode(world, 'a', {}).cluster.start()).rejects.toThrow('in use');
  });

  it('connections and their ends are told', async () => {
    const world = new FakeWorld();
    const a = makeNode(world, 'a', { b: ['b'] });
    const b = makeNode(world, 'b', { a: ['a'] });
    const told: [string, boolean][] = [];
    a.cluster.onConnection((peer, connected) => told.push([peer, connected]));
    await a.cluster.start();
    await b.cluster.start();
    await world.run(100);
    await world.settle(b.cluster.stop());
    await world.run(100);
    expect(told).toEqual([
      ['b', true],
      ['b', false],
    ]);
  });

  it('a peer that was restarted is taken with its new start', async () => {
    const world = new FakeWorld();
    const { a, b } = await pair(world);
    await world.settle(b.cluster.stop());
    const again = makeNode(world, 'b', { a: ['a'] }, { daemonStart: 'b-2' });
    await again.cluster.start();
    await world.until('connected again', () => a.cluster.connected('b') && again.cluster.connected('a'), 1500);
    expect(a.cluster.daemonStartOf('b')).toBe('b-2');
  });

  it('a peer that lost power is let in with its new start once the old one is dead', async () => {
    const world = new FakeWorld();
    const { a } = await pair(world);
    world.powerOff('b');
    const again = makeNode(world, 'b', { a: ['a'] }, { daemonStart: 'b-2' });
    await again.cluster.start();
    await world.run(1000);
    expect(a.cluster.daemonStartOf('b')).toBe('b-1');
    await world.until('the new start is taken', () => a.cluster.daemonStartOf('b') === 'b-2' && again.cluster.connected('a'), 3000);
  });

  it('peers come and go at run time', async () => {
    const world = new FakeWorld();
    const { a, b } = await pair(world);
    const c = makeNode(world, 'c', { a: ['a'] });
    await c.cluster.start();
    await world.run(1000);
    expect(c.cluster.connected('a')).toBe(false);
    expect(c.cluster.status()[0]?.paths[0]?.lastError?.code).toBe('unknown-node');
    a.cluster.addPeer('c', [at('c')]);
    await world.until('c is in', () => a.cluster.connected('c') && c.cluster.connected('a'), 1500);
    expect(a.cluster.peers()).toEqual(['b', 'c']);
    a.cluster.removePeer('c');
    await world.run(1000);
    expect(c.cluster.connected('a')).toBe(false);
    expect(await codeOf(a.cluster.request('c', 'm', null, 100))).toBe('unknown-node');
    expect(b.cluster.connected('a')).toBe(true);
  });

  it('a node is no peer of itself', () => {
    const a = makeNode(new FakeWorld(), 'a', {});
    expect(() => {
      a.cluster.addPeer('a', [at('a')]);
    }).toThrow(ClusterError);
  });

  it('paths of a peer change without losing those that stay', async () => {
    const world = new FakeWorld();
    const { a } = await pair(world);
    const before = a.cluster.status()[0]?.paths[0]?.upForMs ?? -1;
    await world.run(100);
    a.cluster.addPeer('b', [at('b'), at('b%two')]);
    await world.until('the second path is up', () => a.cluster.status()[0]?.paths[1]?.state === 'up');
    expect(a.cluster.status()[0]?.paths[0]?.upForMs).toBeGreaterThanOrEqual(before + 100);
    a.cluster.addPeer('b', [at('b%two')]);
    await world.run(5);
    expect(a.cluster.status()[0]?.paths.map((p) => p.path)).toEqual(['b%two:7000']);
    expect(a.cluster.connected('b')).toBe(true);
  });
});

describe('requests', () => {
  it('a request is answered by the handler of the other node', async () => {
    const world = new FakeWorld();
    const { a, b } = await pair(world);
    b.cluster.handle('add', z.object({ x: z.number(), y: z.number() }), (peer, p) => Promise.resolve({ peer, sum: p.x + p.y }));
    expect(await world.settle(a.cluster.request('b', 'add', { x: 2, y: 3 }, 1000))).toEqual({ peer: 'a', sum: 5 });
  });

  it('errors come back with their code and say who answered', async () => {
    const world = new FakeWorld();
    const { a, b } = await pair(world);
    b.cluster.handle('own', z.null(), () => Promise.reject(new ClusterError('too-early', 'wait')));
    b.cluster.handle('bug', z.null(), () => Promise.reject(new RangeError('oops')));
    b.cluster.handle('circle', z.null(), () => {
      const circle: Record<string, unknown> = {};
      circle['self'] = circle;
      return Promise.resolve(circle);
    });
    b.cluster.handle('huge', z.null(), () => Promise.resolve('x'.repeat(2 ** 20)));
    const own = a.cluster.request('b', 'own', null, 1000);
    await expect(world.settle(own)).rejects.toMatchObject({ code: 'too-early', message: 'wait', from: 'b' });
    expect(await codeOf(world.settle(a.cluster.request('b', 'bug', null, 1000)))).toBe('internal');
    expect(await codeOf(world.settle(a.cluster.request('b', 'circle', null, 1000)))).toBe('internal');
    expect(await codeOf(world.settle(a.cluster.request('b', 'huge', null, 1000)))).toBe('too-large');
    expect(await codeOf(world.settle(a.cluster.request('b', 'none', null, 1000)))).toBe('no-method');
    expect(await codeOf(world.settle(a.cluster.request('b', 'own', 7, 1000)))).toBe('invalid-params');
    expect(await codeOf(a.cluster.request('b', 'own', 'x'.repeat(2 ** 20), 1000))).toBe('too-large');
    expect(a.cluster.connected('b')).toBe(true);
  });

  it('no answer in time is a timeout, and the late answer disturbs nothing', async () => {
    const world = new FakeWorld();
    const { a, b } = await pair(world);
    let answer: (v: unknown) => void = () => undefined;
    b.cluster.handle('slow', z.null(), () => new Promise((resolve) => (answer = resolve)));
    b.cluster.handle('fast', z.null(), () => Promise.resolve('fast'));
    expect(await codeOf(world.settle(a.cluster.request('b', 'slow', null, 300)))).toBe('timeout');
    answer('late');
    await world.run(100);
    expect(await world.settle(a.cluster.request('b', 'fast', null, 300))).toBe('fast');
    expect(a.cluster.connected('b')).toBe(true);
  });

  it('without connection nothing is sent; with a connection that breaks the outcome is unknown', async () => {
    const world = new FakeWorld();
    const { a, b } = await pair(world);
    b.cluster.handle('slow', z.null(), () => new Promise(() => undefined));
    const asked = codeOf(a.cluster.request('b', 'slow', null, 60_000));
    await world.run(100);
    await world.settle(b.cluster.stop());
    expect(await world.settle(asked)).toBe('lost');
    expect(await codeOf(a.cluster.request('b', 'slow', null, 60_000))).toBe('unreachable');
    expect(await codeOf(a.cluster.request('z', 'slow', null, 60_000))).toBe('unknown-node');
  });

  it('stopping rejects what waits', async () => {
    const world = new FakeWorld();
    const { a, b } = await pair(world);
    b.cluster.handle('slow', z.null(), () => new Promise(() => undefined));
    const asked = codeOf(a.cluster.request('b', 'slow', null, 60_000));
    await world.run(100);
    await world.settle(a.cluster.stop());
    expect(await asked).toBe('closed');
    expect(await codeOf(a.cluster.request('b', 'slow', null, 60_000))).toBe('closed');
  });

  it('requests that wait are bounded here, and those carried out are bounded there', async () => {
    const world = new FakeWorld();
    const { a, b } = await pair(world, { limits: { requestsMax: 2 } });
    b.cluster.handle('slow', z.null(), () => new Promise(() => undefined));
    const first = [codeOf(a.cluster.request('b', 'slow', null, 100)), codeOf(a.cluster.request('b', 'slow', null, 100))];
    expect(await codeOf(a.cluster.request('b', 'slow', null, 100))).toBe('busy');
    expect(await world.settle(Promise.all(first))).toEqual(['timeout', 'timeout']);
    const third = a.cluster.request('b', 'slow', null, 100);
    await expect(world.settle(third)).rejects.toMatchObject({ code: 'busy', from: 'b' });
  });
});

describe('heartbeats', () => {
  it('facts go both ways, in the heartbeat and in its answer', async () => {
    const world = new FakeWorld();
    const a = makeNode(world, 'a', { b: ['b'] });
    const b = makeNode(world, 'b', {}, { peers: { a: [] } });
    const heardByA: unknown[] = [];
    const heardByB: unknown[] = [];
    a.cluster.provideFacts((peer) => ({ to: peer, say: 'I am a' }));
    b.cluster.provideFacts((peer) => ({ to: peer, heard: heardByB.length }));
    a.cluster.onFacts((peer, facts, path, askedAt) => heardByA.push([peer, facts, path, askedAt !== undefined && askedAt <= world.now]));
    b.cluster.onFacts((peer, facts, path, askedAt) => heardByB.push([peer, facts, path, askedAt]));
    await a.cluster.start();
    await b.cluster.start();
    await world.until('an answer came', () => heardByA.length > 0);
    expect(heardByB[0]).toEqual(['a', { to: 'b', say: 'I am a' }, 'from a%main:1', undefined]);
    // The answer is made after the heartbeat was heard.
    expect(heardByA[0]).toEqual(['b', { to: 'a', heard: 1 }, 'b:7000', true]);
    const before = heardByB.length;
    a.cluster.heartbeatNow('b');
    await world.run(2);
    expect(heardByB.length).toBe(before + 1);
  });

  it('facts that are not as agreed are garbage: their connection ends, no other', async () => {
    const world = new FakeWorld();
    const { a, b } = await pair(world);
    const c = makeNode(world, 'c', { a: ['a'] });
    a.cluster.addPeer('c', [at('c')]);
    await c.cluster.start();
    const heard: [string, number][] = [];
    a.cluster.onFacts((peer, facts) => heard.push([peer, facts.n]), z.object({ n: z.number() }));
    b.cluster.provideFacts(() => ({ n: 'x' }));
    c.cluster.provideFacts(() => ({ n: 3 }));
    await world.run(1000);
    expect(heard.length).toBeGreaterThan(0);
    expect(heard.every(([peer, n]) => peer === 'c' && n === 3)).toBe(true);
    expect(a.spoken.filter((s) => s.fields?.['code'] === 'protocol' && s.fields['peer'] === 'b').length).toBeLessThanOrEqual(2);
  });

  it('facts too long for a heartbeat are left out and it is said; the heartbeat goes on', async () => {
    const world = new FakeWorld();
    const { a, b } = await pair(world);
    const heard: unknown[] = [];
    b.cluster.onFacts((_peer, facts) => heard.push(facts));
    a.cluster.provideFacts(() => 'x'.repeat(2 ** 20));
    await world.run(1000);
    expect(heard.length).toBeGreaterThan(0);
    expect(heard.every((f) => f === null)).toBe(true);
    expect(a.spoken.filter((s) => s.message.includes('facts do not fit')).length).toBe(1);
  });

  it('an answered heartbeat tells that the peer has heard us since', async () => {
    const world = new FakeWorld();
    const { a } = await pair(world);
    await world.run(1000);
    const t = world.now;
    expect(a.cluster.peerHeardUsSince('b', t - 500)).toBe(true);
    expect(a.cluster.peerHeardUsSince('b', t)).toBe(false);
    await world.run(450);
    expect(a.cluster.peerHeardUsSince('b', t)).toBe(true);
    expect(a.cluster.peerHeardUsSince('nobody', t)).toBe(false);
  });
});

describe('silence', () => {
  it('a peer that is heard is silent for no longer than a heartbeat', async () => {
    const world = new FakeWorld();
    const { a } = await pair(world);
    for (let i = 0; i < 50; i += 1) {
      await world.run(97);
      expect(a.cluster.silentForMs('b')).toBeLessThanOrEqual(FAILURE_TIMEOUT_MS / 5 + 2);
    }
  });

  it('a new start that is not let in yet is no silence (M2)', async () => {
    const world = new FakeWorld();
    const { a } = await pair(world);
    world.powerOff('b');
    await world.run(FAILURE_TIMEOUT_MS / 2);
    expect(a.cluster.silentForMs('b')).toBeGreaterThan(FAILURE_TIMEOUT_MS / 4);
    const s = await Stranger.call(world, 'x', 'a');
    s.hello('b', 'a', { daemonStart: 'b-2' });
    await world.until('it is hung up on', () => s.closed);
    expect(s.got).toMatchObject([{ ok: false, code: 'duplicate' }]);
    expect(a.cluster.silentForMs('b')).toBeLessThan(FAILURE_TIMEOUT_MS / 10);
  });

  it('a cut both ways shows as silence, ends the connections, and heals', async () => {
    const world = new FakeWorld();
    const { a, b } = await pair(world);
    world.cut('a', 'b');
    world.cut('b', 'a');
    await world.run(3 * FAILURE_TIMEOUT_MS);
    expect(a.cluster.silentForMs('b')).toBeGreaterThan(2 * FAILURE_TIMEOUT_MS);
    expect(b.cluster.silentForMs('a')).toBeGreaterThan(2 * FAILURE_TIMEOUT_MS);
    expect(a.cluster.reachable()).toEqual([]);
    const t = world.now;
    world.heal();
    await world.until('connected again', () => a.cluster.connected('b') && b.cluster.connected('a'), 1.5 * FAILURE_TIMEOUT_MS);
    await world.until('heard since', () => a.cluster.peerHeardUsSince('b', t), 1000);
    expect(a.cluster.silentForMs('b')).toBeLessThan(FAILURE_TIMEOUT_MS);
  });

  it('a cut one way: who is not heard keeps hearing for a while, and knows that it was not answered', async () => {
    const world = new FakeWorld();
    const { a, b } = await pair(world);
    await world.run(100);
    const t = world.now;
    world.cut('a', 'b');
    await world.run(FAILURE_TIMEOUT_MS - 500);
    expect(b.cluster.silentForMs('a')).toBeGreaterThan(FAILURE_TIMEOUT_MS - 1000);
    expect(a.cluster.silentForMs('b')).toBeLessThan(500);
    expect(a.cluster.peerHeardUsSince('b', t + 10)).toBe(false);
    await world.run(2 * FAILURE_TIMEOUT_MS);
    expect(a.cluster.connected('b')).toBe(false);
    expect(b.cluster.connected('a')).toBe(false);
  });

  it('a peer is silent only when every path is, and requests go on over the path that is left', async () => {
    const world = new FakeWorld();
    const a = makeNode(world, 'a', { b: ['b%one', 'b%two'] });
    const b = makeNode(world, 'b', { a: ['a%one', 'a%two'] });
    b.cluster.handle('echo', z.unknown(), (_peer, p) => Promise.resolve(p));
    const down: string[] = [];
    a.cluster.onConnection((peer, connected) => {
      if (!connected) down.push(peer);
    });
    await a.cluster.start();
    await b.cluster.start();
    await world.run(500);
    expect(a.cluster.status()[0]?.paths.map((p) => p.state)).toEqual(['up', 'up']);
    world.cut('a', 'b', 'one');
    world.cut('b', 'a', 'one');
    await world.run(900);
    // Not yet closed, and already avoided.
    expect(a.cluster.status()[0]?.paths.map((p) => p.state)).toEqual(['up', 'up']);
    expect(await world.settle(a.cluster.request('b', 'echo', 1, 300))).toBe(1);
    await world.run(3 * FAILURE_TIMEOUT_MS);
    expect(a.cluster.status()[0]?.paths[0]?.state).not.toBe('up');
    expect(a.cluster.status()[0]?.paths[0]?.lastError?.code).toBe('timeout');
    expect(a.cluster.silentForMs('b')).toBeLessThan(500);
    expect(await world.settle(a.cluster.request('b', 'echo', 2, 300))).toBe(2);
    expect(down).toEqual([]);
    world.cut('a', 'b', 'two');
    world.cut('b', 'a', 'two');
    await world.run(2 * FAILURE_TIMEOUT_MS);
    expect(a.cluster.silentForMs('b')).toBeGreaterThan(FAILURE_TIMEOUT_MS);
    expect(down).toEqual(['b']);
  });

  it('a frozen peer shows as silence, although its kernel still takes bytes', async () => {
    const world = new FakeWorld();
    const { a } = await pair(world);
    world.freeze('b');
    await world.run(FAILURE_TIMEOUT_MS + 500);
    expect(a.cluster.silentForMs('b')).toBeGreaterThan(FAILURE_TIMEOUT_MS);
    await world.run(FAILURE_TIMEOUT_MS);
    expect(a.cluster.connected('b')).toBe(false);
    world.thaw('b');
    await world.until('connected again', () => a.cluster.connected('b'), 1.5 * FAILURE_TIMEOUT_MS);
  });
});

describe('our own stalls', () => {
  for (const order of ['as-due', 'reversed'] as const) {
    it(`a node that was frozen for long holds nobody for dead, and trusts nothing said before (${order})`, async () => {
      const world = new FakeWorld();
      const { a, b } = await pair(world);
      const stalls: number[] = [];
      const answered: number[] = [];
      a.cluster.stalls((ms) => {
        stalls.push(ms);
        expect(a.cluster.silentForMs('b')).toBe(0);
      });
      b.cluster.provideFacts(() => ({ saidAt: world.now }));
      a.cluster.onFacts((_peer, facts) => answered.push(facts.saidAt), z.object({ saidAt: z.number() }));
      await world.run(500);
      answered.length = 0;
      world.freeze('a');
      await world.run(5 * FAILURE_TIMEOUT_MS);
      expect(stalls).toEqual([]);
      const thawedAt = world.now;
      world.thaw('a', order);
      // Asked before any late timer has run.
      expect(a.cluster.silentForMs('b')).toBe(0);
      expect(stalls.length).toBe(1);
      expect(stalls[0]).toBeGreaterThanOrEqual(5 * FAILURE_TIMEOUT_MS);
      await world.until('heard anew', () => a.cluster.peerHeardUsSince('b', thawedAt), FAILURE_TIMEOUT_MS);
      expect(answered.every((saidAt) => saidAt >= thawedAt)).toBe(true);
      expect(stalls.length).toBe(1);
    });
  }

  it('a short stall restarts the clocks and keeps the connections', async () => {
    const world = new FakeWorld();
    const { a } = await pair(world);
    await world.run(500);
    const stalls: number[] = [];
    a.cluster.stalls((ms) => stalls.push(ms));
    const up = a.cluster.status()[0]?.paths[0]?.upForMs ?? 0;
    world.freeze('a');
    await world.run(1500);
    world.thaw('a');
    await world.run(1);
    expect(stalls.length).toBe(1);
    expect(stalls[0]).toBeGreaterThanOrEqual(1500);
    expect(a.cluster.silentForMs('b')).toBeLessThan(10);
    expect(a.cluster.status()[0]?.paths[0]?.upForMs).toBeGreaterThanOrEqual(up + 1500);
  });

  it('a stall does not make up contact with a peer that was never heard', async () => {
    const world = new FakeWorld();
    const a = makeNode(world, 'a', { b: ['b'] });
    await a.cluster.start();
    world.freeze('a');
    await world.run(9000);
    world.thaw('a');
    await world.run(100);
    expect(a.cluster.silentForMs('b')).toBeUndefined();
    expect(a.cluster.receivedAt('b')).toBeUndefined();
  });

  it('silence after a stall counts from its end', async () => {
    const world = new FakeWorld();
    const { a } = await pair(world);
    world.freeze('a');
    world.powerOff('b');
    await world.run(10_000);
    world.thaw('a');
    await world.run(0);
    expect(a.cluster.silentForMs('b')).toBeLessThan(10);
    await world.run(FAILURE_TIMEOUT_MS);
    expect(a.cluster.silentForMs('b')).toBeGreaterThanOrEqual(FAILURE_TIMEOUT_MS);
  });
});

describe('a mirror with a shorter failure timeout than its daemon', () => {
  const SHORT_MS = 200;
  const downs = (n: Node): string[] => {
    const down: string[] = [];
    n.cluster.onConnection((peer, up) => !up && down.push(peer));
    return down;
  };

  it('heartbeats come as often as it asks for, from when it is there until it goes', async () => {
    const world = new FakeWorld();
    const { a, b } = await pair(world);
    const gaps: number[] = [];
    let last = world.now;
    b.cluster.onFacts((_peer, _facts, path) => {
      if (!path.startsWith('from')) return;
      gaps.push(world.now - last);
      last = world.now;
    }, z.unknown());
    let timeoutMs = Infinity;
    a.cluster.provideTimeouts(() => timeoutMs);
    await world.run(1900);
    expect(Math.max(...gaps)).toBe(FAILURE_TIMEOUT_MS / 5);
    timeoutMs = SHORT_MS;
    a.cluster.timeoutsChanged();
    await world.run(2);
    expect(world.now - last).toBeLessThan(2);
    gaps.length = 0;
    await world.run(1000);
    expect(Math.max(...gaps)).toBe(SHORT_MS / 5);
    timeoutMs = 100 * FAILURE_TIMEOUT_MS;
    a.cluster.timeoutsChanged();
    await world.run(1000);
    gaps.length = 0;
    await world.run(2000);
    expect(Math.max(...gaps)).toBe(FAILURE_TIMEOUT_MS / 5);
  });

  it('a stall as long as it is looked for by it; only the links with whoever shares it begin anew', async () => {
    const world = new FakeWorld();
    const a = makeNode(world, 'a', { b: ['b'], c: ['c'] });
    const [b, c] = [makeNode(world, 'b', { a: ['a'] }), makeNode(world, 'c', { a: ['a'] })];
    for (const n of [a, b, c]) await n.cluster.start();
    a.cluster.provideTimeouts((peer) => (peer === 'c' ? Infinity : SHORT_MS));
    await world.until('all are connected', () => a.cluster.reachable().length === 2 && b.cluster.connected('a') && c.cluster.connected('a'));
    const stalls: number[] = [];
    a.cluster.stalls((ms) => stalls.push(ms));
    const down = [downs(a), downs(b), downs(c)];
    const freeze = async (ms: number): Promise<void> => {
      await world.run(500);
      world.freeze('a');
      await world.run(ms);
      world.thaw('a');
      expect([a.cluster.silentForMs('b'), (a.cluster.silentForMs('c') ?? 0) > 0]).toEqual([0, true]);
      await world.run(300);
    };
    await freeze(120);
    expect(stalls).toEqual([expect.any(Number)]);
    expect(stalls[0]).toBeGreaterThanOrEqual(120);
    expect(down).toEqual([[], [], []]);
    await freeze(250);
    expect(stalls).toHaveLength(2);
    expect(down).toEqual([['b'], ['a'], []]);
  });

  it('a peer that has it not, and is slower, is not cut off for that; nor is one that has lost it', async () => {
    const world = new FakeWorld();
    const { a, b } = await pair(world);
    const down = [downs(a), downs(b)];
    a.cluster.provideTimeouts(() => SHORT_MS);
    await world.run(5000);
    let timeoutMs = SHORT_MS;
    b.cluster.provideTimeouts(() => timeoutMs);
    await world.run(1000);
    expect(a.cluster.status()[0]?.inbound[0]?.silentForMs).toBeLessThan(SHORT_MS / 4);
    timeoutMs = Infinity;
    b.cluster.timeoutsChanged();
    await world.run(5000);
    expect(down).toEqual([[], []]);
  });

  it('a link goes as soon as its peer is lost by it: nothing that was said before comes through it later', async () => {
    const world = new FakeWorld();
    const { a, b } = await pair(world);
    for (const n of [a, b]) n.cluster.provideTimeouts(() => SHORT_MS);
    await world.run(500);
    const heard: number[] = [];
    a.cluster.provideFacts(() => ({ saidAt: world.now }));
    b.cluster.onFacts((_peer, facts) => heard.push(facts.saidAt), z.object({ saidAt: z.number() }));
    world.cut('a', 'b');
    await world.run(0.8 * FAILURE_TIMEOUT_MS);
    const healed = world.now;
    heard.length = 0;
    world.heal();
    await world.run(FAILURE_TIMEOUT_MS);
    expect(heard.length).toBeGreaterThan(0);
    expect(Math.min(...heard)).toBeGreaterThanOrEqual(healed);
  });
});

describe('a peer with a longer failure timeout', () => {
  it('sends heartbeats more seldom, and is not cut off for that', async () => {
    const world = new FakeWorld();
    const a = makeNode(world, 'a', { b: ['b'] });
    const b = makeNode(world, 'b', { a: ['a'] }, { failureTimeoutMs: 10 * FAILURE_TIMEOUT_MS });
    await a.cluster.start();
    await b.cluster.start();
    await world.until('both are connected', () => a.cluster.connected('b') && b.cluster.connected('a'));
    const down: string[] = [];
    b.cluster.onConnection((peer, up) => !up && down.push(peer));
    await world.run(30_000);
    expect(down).toEqual([]);
    world.powerOff('b');
    const again = makeNode(world, 'b', { a: ['a'] }, { daemonStart: 'b-2' });
    await again.cluster.start();
    await world.until('its next start is let in by our own', () => again.cluster.connected('a'), 2 * FAILURE_TIMEOUT_MS);
  });
});

describe('raw NBD connections', () => {
  const schema = z.object({ token: z.string() });

  it('after the ok the socket carries bytes as they are, early ones included', async () => {
    const world = new FakeWorld();
    const { a, b } = await pair(world);
    const server: string[] = [];
    b.cluster.onNbd(schema, (peer, params, daemonStart) => (socket, early) => {
      server.push(`${peer} ${params.token} ${daemonStart} early:${String(early.length)}`);
      socket.write(Buffer.from('NBDMAGIC'));
      socket.start({ onData: (bytes) => server.push(Buffer.from(bytes).toString()), onClose: () => server.push('closed') });
      socket.resume();
    });
    const nbd = await world.settle(a.cluster.dialNbd('b', { token: 't1' }, 1000));
    expect(nbd.daemonStart).toBe('b-1');
    let got = Buffer.from(nbd.early).toString();
    nbd.socket.start({ onData: (bytes) => (got += Buffer.from(bytes).toString()), onClose: () => undefined });
    nbd.socket.resume();
    nbd.socket.write(Buffer.from('client flags'));
    await world.until('both heard', () => server.length === 2 && got.length === 8);
    expect(got).toBe('NBDMAGIC');
    expect(server).toEqual(['a t1 a-1 early:0', 'client flags']);
    // The connection is its own: stopping the cluster leaves it alone.
    await world.settle(a.cluster.stop());
    await world.settle(b.cluster.stop());
    nbd.socket.write(Buffer.from('more'));
    await world.run(10);
    expect(server).toContain('more');
  });

  it('a refusal comes back with its code; parameters and absent servers are refused too', async () => {
    const world = new FakeWorld();
    const { a, b } = await pair(world);
    const dial = (params: unknown): Promise<string> => codeOf(world.settle(a.cluster.dialNbd('b', params, 1000)));
    expect(await dial({ token: 't' })).toBe('refused');
    b.cluster.onNbd(schema, (_peer, params) => {
      if (params.token === 'bug') throw new RangeError('oops');
      throw new ClusterError('old-epoch', 'a higher epoch was seen');
    });
    await expect(world.settle(a.cluster.dialNbd('b', { token: 't' }, 1000))).rejects.toMatchObject({ code: 'old-epoch', from: 'b' });
    expect(await dial({ token: 'bug' })).toBe('internal');
    expect(await dial({})).toBe('invalid-params');
    expect(await codeOf(a.cluster.dialNbd('z', {}, 1000))).toBe('unknown-node');
    await world.run(3 * FAILURE_TIMEOUT_MS);
    // One link each way, two ends each: nothing of the refused calls is left.
    expect(world.openSockets).toBe(4);
  });

  it('one that never decides is answered with a timeout, and the decision that comes later takes no socket', async () => {
    const world = new FakeWorld();
    const { a, b } = await pair(world);
    let decide: () => void = () => undefined;
    let taken = 0;
    b.cluster.onNbd(
      schema,
      () =>
        new Promise((resolve) => {
          decide = () => {
            resolve(() => (taken += 1));
          };
        }),
    );
    expect(await codeOf(world.settle(a.cluster.dialNbd('b', { token: 't' }, 60_000)))).toBe('timeout');
    decide();
    await world.run(10);
    expect(taken).toBe(0);
    expect(await codeOf(world.settle(a.cluster.dialNbd('b', { token: 't' }, 50)))).toBe('timeout');
    await world.run(10);
    decide();
    await world.run(10);
    expect(taken).toBe(0);
  });

  it('another path is tried when one is cut', async () => {
    const world = new FakeWorld();
    const a = makeNode(world, 'a', { b: ['b%one', 'b%two'] });
    const b = makeNode(world, 'b', { a: ['a'] });
    b.cluster.onNbd(schema, () => (socket) => {
      socket.destroy();
    });
    await a.cluster.start();
    await b.cluster.start();
    await world.run(100);
    world.cut('a', 'b', 'one');
    expect(await codeOf(world.settle(a.cluster.dialNbd('b', { token: 't' }, 1000)))).toBe('resolved');
    world.cut('a', 'b', 'two');
    expect(await codeOf(world.settle(a.cluster.dialNbd('b', { token: 't' }, 1000)))).toBe('timeout');
  });

  it('stopping cuts off a call whose handshake is under way', async () => {
    const world = new FakeWorld();
    const { a, b } = await pair(world);
    b.cluster.onNbd(schema, () => new Promise(() => undefined));
    const dialed = codeOf(a.cluster.dialNbd('b', { token: 't' }, 60_000));
    await world.run(100);
    await world.settle(a.cluster.stop());
    expect(await world.settle(dialed, 100)).not.toBe('resolved');
  });
});

describe('strangers and bad manners', () => {
  it.each([
    ['another cluster', { cluster: 'other' }, 'wrong-cluster'],
    ['an unknown name', { node: 'z' }, 'unknown-node'],
    ['our own name', { node: 'a' }, 'refused'],
    ['another node in mind', { to: 'z' }, 'wrong-node'],
    ['a protocol too new', { protocol: { min: 2, max: 3 } }, 'version'],
    ['the name of a living daemon', { daemonStart: 'b-2' }, 'duplicate'],
  ])('a hello with %s is refused with a reason', async (_what, more, code) => {
    const world = new FakeWorld();
    const { a } = await pair(world);
    const s = await Stranger.call(world, 'x', 'a');
    s.hello('b', 'a', more);
    await world.until('it is hung up on', () => s.closed);
    expect(s.got).toMatchObject([{ ok: false, code }]);
    expect(a.cluster.connected('b')).toBe(true);
    expect(a.spoken.filter((l) => l.message === 'a connection was not taken').length).toBe(1);
  });

  it('a newer node that still speaks our version is taken, with that version', async () => {
    const world = new FakeWorld();
    const a = makeNode(world, 'a', { b: ['b'] });
    const b = makeNode(world, 'b', { a: ['a'] }, { protocol: { min: 1, max: 2 } });
    await a.cluster.start();
    await b.cluster.start();
    await world.run(100);
    expect(a.cluster.status()[0]).toMatchObject({ connected: true, protocol: 1 });
    expect(b.cluster.status()[0]).toMatchObject({ connected: true, protocol: 1 });
  });

  it('nodes without a common version stay apart, and status says why', async () => {
    const world = new FakeWorld();
    const a = makeNode(world, 'a', { b: ['b'] });
    const b = makeNode(world, 'b', { a: ['a'] }, { protocol: { min: 2, max: 2 } });
    await a.cluster.start();
    await b.cluster.start();
    await world.run(1000);
    expect(a.cluster.connected('b')).toBe(false);
    expect(a.cluster.status()[0]?.paths[0]?.lastError).toMatchObject({ code: 'version' });
    expect(a.cluster.status()[0]?.paths[0]?.lastError?.message).toMatch(/upgrade/u);
  });

  it('an address that leads to another node is noticed', async () => {
    const world = new FakeWorld();
    const a = makeNode(world, 'a', { b: ['c'] });
    const c = makeNode(world, 'c', { a: ['a'] });
    await a.cluster.start();
    await c.cluster.start();
    await world.run(100);
    expect(a.cluster.status()[0]?.paths[0]?.lastError?.code).toBe('wrong-node');
  });

  it('a listener that answers for another node or with an unoffered version is left', async () => {
    const world = new FakeWorld();
    const answers = [
      { ok: true, protocol: 1, node: 'z', daemonStart: 's' },
      { ok: true, protocol: 9, node: 'b', daemonStart: 's' },
      { nonsense: true },
    ];
    const codes: unknown[] = [];
    for (const answer of answers) {
      const a = makeNode(world, 'a', { b: ['b'] }, { listen: null });
      const listener = await world.io('b').net.listen(at('b'), (socket) => {
        new Stranger(socket).say(answer);
      });
      await a.cluster.start();
      await world.run(50);
      codes.push(a.cluster.status()[0]?.paths[0]?.lastError?.code);
      await world.settle(a.cluster.stop());
      await listener.close();
    }
    expect(codes).toEqual(['wrong-node', 'protocol', 'protocol']);
  });

  it('garbage and silence are cut off, logged once, and disturb nobody', async () => {
    const world = new FakeWorld();
    const { a } = await pair(world);
    await world.run(100);
    const before = a.spoken.length;
    for (let i = 0; i < 20; i += 1) {
      const s = await Stranger.call(world, 'x', 'a');
      s.socket.write(Buffer.from('GET / HTTP/1.1\r\n\r\n'));
      await world.until('garbage is cut off', () => s.closed, 100);
    }
    const quiet = await Stranger.call(world, 'x', 'a');
    const slow = await Stranger.call(world, 'x', 'a');
    for (let i = 0; i < 30 && !slow.closed; i += 1) {
      slow.socket.write(new Uint8Array([i === 1 ? 1 : 0]));
      await world.run(100);
    }
    expect(quiet.closed).toBe(true);
    expect(slow.closed).toBe(true);
    expect(a.cluster.connected('b')).toBe(true);
    expect(a.cluster.silentForMs('b')).toBeLessThan(500);
    expect(a.spoken.slice(before).map((s) => s.fields?.['code'])).toEqual(['protocol', 'timeout']);
  });

  it('connections without hello are bounded: the oldest makes room, a peer still gets in', async () => {
    const world = new FakeWorld();
    const a = makeNode(world, 'a', { b: [] }, { limits: { handshakesMax: 3 } });
    await a.cluster.start();
    const crowd: Stranger[] = [];
    for (let i = 0; i < 5; i += 1) crowd.push(await Stranger.call(world, 'x', 'a'));
    await world.run(10);
    expect(crowd.map((s) => s.closed)).toEqual([true, true, false, false, false]);
    const b = await Stranger.call(world, 'b', 'a');
    b.hello('b', 'a');
    await world.run(10);
    expect(b.got).toMatchObject([{ ok: true }]);
  });

  it('connections of one peer are bounded', async () => {
    const world = new FakeWorld();
    const a = makeNode(world, 'a', { b: [] }, { limits: { inboundPerPeerMax: 2 } });
    await a.cluster.start();
    const got: unknown[] = [];
    for (let i = 0; i < 3; i += 1) {
      const s = await Stranger.call(world, 'b', 'a');
      s.hello('b', 'a');
      await world.run(10);
      got.push(s.got[0]);
    }
    expect(got).toMatchObject([{ ok: true }, { ok: true }, { ok: false, code: 'busy' }]);
  });

  it('a peer that says hello and then nothing is cut off after failureTimeout', async () => {
    const world = new FakeWorld();
    const a = makeNode(world, 'a', { b: [] });
    await a.cluster.start();
    const s = await Stranger.call(world, 'b', 'a');
    s.hello('b', 'a');
    await world.run(FAILURE_TIMEOUT_MS - 100);
    expect(s.closed).toBe(false);
    await world.until('it is cut off', () => s.closed, 1000);
  });

  it('a peer that does not read its answers is cut off at the bound', async () => {
    const world = new FakeWorld();
    const a = makeNode(world, 'a', { b: [] }, { limits: { unsentMaxBytes: 200_000 } });
    a.cluster.handle('big', z.unknown(), () => Promise.resolve('x'.repeat(100_000)));
    await a.cluster.start();
    const s = await Stranger.call(world, 'b', 'a');
    s.hello('b', 'a');
    await world.run(10);
    s.socket.pause();
    for (let i = 1; i <= 10; i += 1) s.say({ type: 'request', id: i, method: 'big' });
    await world.run(10);
    s.socket.resume();
    await world.until('it is cut off', () => s.closed, 100);
    expect(s.got.length).toBeLessThan(6);
  });

  it('a peer that does not read our requests is cut off at the bound, and they are lost', async () => {
    const world = new FakeWorld();
    const { a } = await pair(world, { limits: { unsentMaxBytes: 200_000 } });
    world.freeze('b');
    const asked = [...Array(10).keys()].map(() => codeOf(a.cluster.request('b', 'big', 'x'.repeat(100_000), 1000)));
    const codes = await world.settle(Promise.all(asked));
    expect(codes.slice(0, 3)).toEqual(['lost', 'lost', 'lost']);
    expect(codes.at(-1)).toBe('unreachable');
  });

  it.each([
    ['a response', { type: 'response', id: 1, result: 1 }],
    ['a pong', { type: 'pong', id: 1 }],
    ['no message', { type: 'shout' }],
    ['a list', []],
  ])('a peer that sends %s on the connection that it dialed is hung up on', async (_what, message) => {
    const world = new FakeWorld();
    const a = makeNode(world, 'a', { b: [] });
    await a.cluster.start();
    const s = await Stranger.call(world, 'b', 'a');
    s.hello('b', 'a');
    await world.run(10);
    s.say(message);
    await world.until('it is cut off', () => s.closed, 100);
    expect(a.spoken.some((l) => l.fields?.['code'] === 'protocol' && l.fields['peer'] === 'b')).toBe(true);
  });

  it.each([
    ['a request', { type: 'request', id: 1, method: 'm' }],
    ['a pong out of order', { type: 'pong', id: 77 }],
    ['an answer to nothing', { type: 'response', id: 77, result: 1 }],
  ])('a peer that answers with %s is hung up on', async (_what, message) => {
    const world = new FakeWorld();
    const a = makeNode(world, 'a', { b: ['b'] }, { listen: null });
    const met: Stranger[] = [];
    await world.io('b').net.listen(at('b'), (socket) => {
      const s = new Stranger(socket);
      s.say({ ok: true, protocol: 1, node: 'b', daemonStart: 's' });
      s.say(message);
      met.push(s);
    });
    await a.cluster.start();
    await world.until('it is cut off', () => met[0]?.closed === true, 100);
    expect(a.cluster.connected('b')).toBe(false);
    expect(a.cluster.status()[0]?.paths[0]?.lastError?.code).toBe('protocol');
  });

  it('a peer that accepts and hangs up is not dialed in a circle', async () => {
    const world = new FakeWorld();
    const a = makeNode(world, 'a', { b: ['b'] }, { listen: null });
    let calls = 0;
    await world.io('b').net.listen(at('b'), (socket) => {
      calls += 1;
      new Stranger(socket).say({ ok: true, protocol: 1, node: 'b', daemonStart: 's' });
      socket.end();
    });
    await a.cluster.start();
    await world.run(10_000);
    expect(calls).toBeGreaterThan(5);
    expect(calls).toBeLessThan(25);
  });
});
