/** The same cluster over real TCP on the loopback interface. */
import { afterEach, expect, it, vi } from 'vitest';
import { z } from 'zod';
import { Cluster, type ClusterOptions } from '../../../src/cluster/cluster.ts';
import { nullLog } from '../../../src/io/log.ts';
import { createNodeIo } from '../../../src/io/node/node-io.ts';
import { codeOf } from './harness.ts';

const io = createNodeIo();
const running: Cluster[] = [];

afterEach(async () => {
  await Promise.all(running.splice(0).map((c) => c.stop()));
});

async function started(self: string, o: Partial<ClusterOptions> = {}): Promise<Cluster> {
  const c = new Cluster({
    io,
    self,
    clusterName: 'test',
    listen: { kind: 'tcp', host: '127.0.0.1', port: 0 },
    peers: {},
    failureTimeoutMs: 1000,
    daemonStart: `${self} ${io.chance.hex64()}`,
    log: nullLog,
    ...o,
  });
  running.push(c);
  await c.start();
  return c;
}

function introduce(a: Cluster, b: Cluster): void {
  if (a.address === undefined || b.address === undefined) throw new Error('both listen');
  a.addPeer(b.self, [b.address]);
  b.addPeer(a.self, [a.address]);
}

async function connected(a: Cluster, b: Cluster): Promise<void> {
  await vi.waitFor(() => {
    expect(a.connected(b.self) && b.connected(a.self)).toBe(true);
  }, 5000);
}

it('two nodes connect, ask each other things of any size, and stop', async () => {
  const [a, b] = [await started('a'), await started('b')];
  introduce(a, b);
  await connected(a, b);
  for (const c of [a, b]) c.handle('echo', z.string(), (_peer, s) => Promise.resolve(s));
  const long = 'ü'.repeat(500_000);
  const answers = await Promise.all([a.request('b', 'echo', long, 5000), b.request('a', 'echo', long, 5000), a.request('b', 'echo', '', 5000)]);
  expect(answers.map((s) => s === long)).toEqual([true, true, false]);
  await vi.waitFor(() => {
    expect(a.peerHeardUsSince('b', 0)).toBe(true);
  });
  expect(a.status()[0]).toMatchObject({ peer: 'b', connected: true, protocol: 1, paths: [{ state: 'up' }], inbound: [{}] });
  await b.stop();
  await vi.waitFor(() => {
    expect(a.connected('b')).toBe(false);
  });
  expect(await codeOf(a.request('b', 'echo', '', 5000))).toBe('unreachable');
});

it('a raw NBD connection passes bytes untouched and outlives both clusters', async () => {
  const [a, b] = [await started('a'), await started('b')];
  introduce(a, b);
  b.onNbd(z.object({ token: z.literal('t') }), () => (socket, early) => {
    socket.write(new TextEncoder().encode('NBDMAGIC'));
    socket.write(early);
    socket.start({
      onData: (bytes) => {
        socket.write(new Uint8Array(bytes));
      },
      onClose: () => undefined,
    });
    socket.resume();
  });
  expect(await codeOf(a.dialNbd('b', { token: 'x' }, 2000))).toBe('invalid-params');
  const nbd = await a.dialNbd('b', { token: 't' }, 2000);
  let got = Buffer.from(nbd.early).toString();
  let closed = false;
  nbd.socket.start({
    onData: (bytes) => {
      got += Buffer.from(bytes).toString();
    },
    onClose: () => {
      closed = true;
    },
  });
  nbd.socket.resume();
  await vi.waitFor(() => {
    expect(got).toBe('NBDMAGIC');
  });
  await Promise.all([a.stop(), b.stop()]);
  nbd.socket.write(new TextEncoder().encode(' and on'));
  await vi.waitFor(() => {
    expect(got).toBe('NBDMAGIC and on');
  });
  nbd.socket.destroy();
  await vi.waitFor(() => {
    expect(closed).toBe(true);
  });
});

it('garbage is hung up on while a peer stays connected', async () => {
  const [a, b] = [await started('a'), await started('b')];
  introduce(a, b);
  await connected(a, b);
  if (a.address === undefined) throw new Error('a listens');
  const s = await io.net.connect(a.address, 1000);
  const closed = new Promise<number>((resolve) => {
    s.start({ onData: () => undefined, onClose: resolve });
  });
  s.write(new TextEncoder().encode('GET / HTTP/1.1\r\n\r\n'));
  await closed;
  expect(a.connected('b')).toBe(true);
});

it('a port in use is an error of start', async () => {
  const a = await started('a');
  if (a.address === undefined) throw new Error('a listens');
  await expect(started('b', { listen: a.address })).rejects.toMatchObject({ code: 'EADDRINUSE' });
});
