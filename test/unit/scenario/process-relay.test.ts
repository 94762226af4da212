import { connect, createServer, type Server, type Socket } from 'node:net';
import { afterEach, expect, it } from 'vitest';
import { Relays } from '../../../src/scenario/process-relay.ts';

const closers: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

interface End {
  socket: Socket;
  text(): string;
  closed(): boolean;
}

function watched(socket: Socket): End {
  let text = '';
  let closed = false;
  socket.on('data', (b: Buffer) => {
    text += b.toString('latin1');
  });
  socket.on('error', () => undefined);
  socket.on('close', () => {
    closed = true;
  });
  closers.push(() => {
    socket.destroy();
  });
  return { socket, text: () => text, closed: () => closed };
}

async function until(condition: () => boolean): Promise<void> {
  await expect.poll(condition, { timeout: 5000, interval: 5 }).toBe(true);
}

/** B listens; A dials it through a relay. */
async function linked(): Promise<{ relays: Relays; port: number; accepted: End[] }> {
  const accepted: End[] = [];
  const server: Server = createServer((s) => accepted.push(watched(s)));
  await new Promise<void>((resolve) => server.listen({ host: '127.0.0.1', port: 0 }, resolve));
  closers.push(() => {
    server.close();
  });
  const at = server.address();
  if (at === null || typeof at === 'string') throw new Error('no port');
  const relays = new Relays();
  closers.push(() => relays.close());
  return { relays, port: await relays.open('a', 'b', '127.0.0.1', at.port), accepted };
}

async function dialled(): Promise<{ relays: Relays; near: End; far: End }> {
  const { relays, port, accepted } = await linked();
  const near = watched(connect({ host: '127.0.0.1', port }));
  await until(() => accepted.length === 1);
  const [far] = accepted;
  if (far === undefined) throw new Error('nobody came');
  return { relays, near, far };
}

it('carries bytes both ways, and an end', async () => {
  const { near, far } = await dialled();
  near.socket.write('ping');
  await until(() => far.text() === 'ping');
  far.socket.write('pong');
  await until(() => near.text() === 'pong');
  near.socket.end('bye');
  await until(() => far.text() === 'pingbye' && far.closed());
  await until(() => near.closed());
});

it('holds one direction back while that is cut, the other goes on, and nothing is lost', async () => {
  const { relays, near, far } = await dialled();
  relays.cut('a', 'b');
  near.socket.write('held');
  far.socket.write('free');
  await until(() => near.text() === 'free');
  expect(far.text()).toBe('');
  relays.heal('a', 'b');
  await until(() => far.text() === 'held');
});

it('is silent about an end behind a cut, until the heal', async () => {
  const { relays, near, far } = await dialled();
  relays.cut('b', 'a');
  far.socket.resetAndDestroy();
  near.socket.write('x');
  await until(() => far.closed());
  expect(near.closed()).toBe(false);
  relays.heal('b', 'a');
  await until(() => near.closed());
});

it('lets a new connection wait while either direction is cut', async () => {
  const { relays, port, accepted } = await linked();
  relays.cut('b', 'a');
  const near = watched(connect({ host: '127.0.0.1', port }));
  await new Promise<void>((resolve) => near.socket.once('connect', resolve));
  near.socket.write('early');
  expect(accepted).toEqual([]);
  relays.heal('a', 'b');
  await until(() => accepted[0]?.text() === 'early');
});

it('ends a connection to somebody who does not listen', async () => {
  const relays = new Relays();
  closers.push(() => relays.close());
  const nobody = createServer();
  await new Promise<void>((resolve) => nobody.listen({ host: '127.0.0.1', port: 0 }, resolve));
  const at = nobody.address();
  await new Promise<void>((resolve) => {
    nobody.close(() => {
      resolve();
    });
  });
  if (at === null || typeof at === 'string') throw new Error('no port');
  const near = watched(connect({ host: '127.0.0.1', port: await relays.open('a', 'b', '127.0.0.1', at.port) }));
  await until(() => near.closed());
});

it('keeps to a rate, and to a delay, until the heal', async () => {
  const { relays, near, far } = await dialled();
  relays.slow('a', 'b', { rateBytesPerSec: 1_000_000, delayMs: 20 });
  const began = performance.now();
  near.socket.write('x'.repeat(200_000));
  await until(() => far.text().length === 200_000);
  expect(performance.now() - began).toBeGreaterThan(180);
  relays.slow('a', 'b', { rateBytesPerSec: 1000, delayMs: 0 });
  near.socket.write('y'.repeat(100_000));
  await until(() => near.socket.bytesWritten === 300_000);
  relays.heal('a', 'b');
  await until(() => far.text().length === 300_000);
});
