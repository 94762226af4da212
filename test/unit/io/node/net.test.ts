import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { nodeClock } from '../../../../src/io/node/clock.ts';
import { describeAddress, nodeNet } from '../../../../src/io/node/net.ts';
import { PullSocket } from '../../../../src/io/pull-socket.ts';
import { type Address, Errno, type IoSocket } from '../../../../src/io/types.ts';
import { expectIoError } from '../engine-rig.ts';
import { temporaryFolders } from './temporary-folder.ts';

const folder = temporaryFolders();
const WAIT_MS = 5000;

async function listening(at: Address): Promise<{ address: Address; next: () => Promise<IoSocket>; close: () => Promise<void> }> {
  const waiting: ((s: IoSocket) => void)[] = [];
  const come: IoSocket[] = [];
  const listener = await nodeNet.listen(at, (s) => {
    const w = waiting.shift();
    if (w === undefined) come.push(s);
    else w(s);
  });
  const next = (): Promise<IoSocket> =>
    new Promise((resolve) => {
      const s = come.shift();
      if (s === undefined) waiting.push(resolve);
      else resolve(s);
    });
  return { address: listener.address, next, close: () => listener.close() };
}

describe('the network', () => {
  it('listens on a free TCP port and says which', async () => {
    const l = await listening({ kind: 'tcp', host: '127.0.0.1', port: 0 });
    expect(l.address).toMatchObject({ kind: 'tcp', host: '127.0.0.1' });
    expect(l.address.kind === 'tcp' ? l.address.port : 0).toBeGreaterThan(0);
    const client = new PullSocket(await nodeNet.connect(l.address, WAIT_MS), nodeClock);
    const accepted = await l.next();
    expect(accepted.remote).toMatch(/^127\.0\.0\.1:\d+$/);
    const server = new PullSocket(accepted, nodeClock);
    client.write(new Uint8Array([1, 2, 3]));
    expect(await server.read(3, WAIT_MS)).toEqual(new Uint8Array([1, 2, 3]));
    client.destroy();
    server.destroy();
    await l.close();
  });

  it('keeps accepted connections when it stops listening', async () => {
    const l = await listening({ kind: 'unix', path: join(await folder(), 's') });
    const client = new PullSocket(await nodeNet.connect(l.address, WAIT_MS), nodeClock);
    const server = new PullSocket(await l.next(), nodeClock);
    await l.close();
    await expectIoError(nodeNet.connect(l.address, WAIT_MS), Errno.ENOENT);
    server.write(new Uint8Array([9]));
    expect(await client.read(1, WAIT_MS)).toEqual(new Uint8Array([9]));
    client.destroy();
    server.destroy();
  });

  it('refuses an address in use', async () => {
    for (const at of [{ kind: 'unix', path: join(await folder(), 's') } as const, { kind: 'tcp', host: '127.0.0.1', port: 0 } as const]) {
      const l = await listening(at);
      await expectIoError(
        nodeNet.listen(l.address, () => undefined),
        Errno.EADDRINUSE,
      );
      const s = await nodeNet.connect(l.address, WAIT_MS);
      s.destroy();
      (await l.next()).destroy();
      await l.close();
    }
  });

  it('takes over the socket file of a process that died', async () => {
    const path = join(await folder(), 's');
    const program = `require('net').createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, 'SIGKILL'))`;
    expect(spawnSync(process.execPath, ['-e', program], { timeout: WAIT_MS }).signal).toBe('SIGKILL');
    await expectIoError(nodeNet.connect({ kind: 'unix', path }, WAIT_MS), Errno.ECONNREFUSED);
    const l = await listening({ kind: 'unix', path });
    const s = await nodeNet.connect(l.address, WAIT_MS);
    s.destroy();
    await l.close();
  });

  it('reports why it cannot connect', async () => {
    const l = await listening({ kind: 'tcp', host: '127.0.0.1', port: 0 });
    await l.close();
    await expectIoError(nodeNet.connect(l.address, WAIT_MS), Errno.ECONNREFUSED);
    await expectIoError(nodeNet.connect({ kind: 'unix', path: '/no/such/socket' }, WAIT_MS), Errno.ENOENT);
    await expectIoError(
      nodeNet.listen({ kind: 'unix', path: '/no/such/socket' }, () => undefined),
      Errno.EACCES,
    );
  });

  it('gives up connecting at the deadline', async () => {
    // A listener that accepts nothing, and whose queue is full, lets further connections wait.
    const program = [
      'const {createServer, connect} = require("net");',
      'const s = createServer().listen({host: "127.0.0.1", port: 0, backlog: 1}, () => {',
      '  process.stdout.write(String(s.address().port) + "\\n");',
      '  setTimeout(() => { const until = Date.now() + 6000; while (Date.now() < until); process.exit(0); }, 1);',
      '});',
    ].join('\n');
    const { spawn } = await import('node:child_process');
    const child = spawn(process.execPath, ['-e', program], { stdio: ['ignore', 'pipe', 'inherit'] });
    try {
      const port = await new Promise<number>((resolve) => {
        child.stdout.once('data', (b: Buffer) => {
          resolve(Number(b.toString()));
        });
      });
      const tried = Array.from({ length: 6 }, () => nodeNet.connect({ kind: 'tcp', host: '127.0.0.1', port }, 300));
      const ends = await Promise.allSettled(tried);
      for (const e of ends) if (e.status === 'fulfilled') e.value.destroy();
      const late = ends.find((e) => e.status === 'rejected');
      expect(late?.reason).toMatchObject({ errno: Errno.ETIMEDOUT });
    } finally {
      child.kill('SIGKILL');
    }
  });
});

it('writes addresses as people do', () => {
  expect(describeAddress({ kind: 'tcp', host: 'a.example', port: 10809 })).toBe('a.example:10809');
  expect(describeAddress({ kind: 'tcp', host: '::1', port: 1 })).toBe('[::1]:1');
  expect(describeAddress({ kind: 'unix', path: '/run/x' })).toBe('unix:/run/x');
});
