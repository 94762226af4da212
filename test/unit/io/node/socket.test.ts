import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { nodeClock } from '../../../../src/io/node/clock.ts';
import { nodeNet } from '../../../../src/io/node/net.ts';
import { type IoSocket, type SocketHandler, Errno } from '../../../../src/io/types.ts';
import { temporaryFolders } from './temporary-folder.ts';

const folder = temporaryFolders();

/** One of our sockets, and Node's at the other end. */
async function connected(kind: 'unix' | 'tcp' = 'unix'): Promise<{ ours: IoSocket; theirs: Socket }> {
  const path = join(await folder(), 's');
  const server = createServer({ allowHalfOpen: true });
  const accepted = new Promise<Socket>((resolve) => {
    server.once('connection', resolve);
  });
  await new Promise<void>((resolve) => {
    server.listen(kind === 'unix' ? { path } : { host: '127.0.0.1', port: 0 }, resolve);
  });
  const at = server.address();
  const port = typeof at === 'object' && at !== null ? at.port : 0;
  const ours = await nodeNet.connect(kind === 'unix' ? { kind, path } : { kind, host: '127.0.0.1', port }, 5000);
  const theirs = await accepted;
  theirs.on('error', () => undefined);
  server.close();
  return { ours, theirs };
}

class Log implements SocketHandler {
  readonly said: string[] = [];
  bytes = 0;
  closes: number[] = [];
  drains = 0;
  onData(b: Uint8Array): void {
    this.bytes += b.length;
    this.said.push(new TextDecoder().decode(b));
  }
  onClose(errno: number): void {
    this.closes.push(errno);
  }
  onDrain(): void {
    this.drains += 1;
  }
}

async function until(condition: () => boolean): Promise<void> {
  const end = nodeClock.now() + 5000;
  while (!condition()) {
    if (nodeClock.now() > end) throw new Error(`in vain: ${condition.toString()}`);
    await new Promise<void>((resolve) => {
      nodeClock.after(1, resolve);
    });
  }
}

describe('a socket', () => {
  it('delivers what came before it was started, and hands over to another handler', async () => {
    const { ours, theirs } = await connected();
    theirs.write('early ');
    await new Promise<void>((resolve) => {
      nodeClock.after(20, resolve);
    });
    const [one, two] = [new Log(), new Log()];
    ours.start(one);
    await until(() => one.said.join('') === 'early ');
    ours.pause();
    theirs.write('late');
    ours.start(two);
    ours.resume();
    await until(() => two.said.join('') === 'late');
    theirs.end();
    await until(() => two.closes.length === 1);
    expect(two.closes).toEqual([0]);
    expect(one.closes).toEqual([]);
    theirs.destroy();
  });

  it('sends in order, tells when it was sent, and drains', async () => {
    const { ours, theirs } = await connected();
    const log = new Log();
    ours.start(log);
    const order: number[] = [];
    let more = true;
    for (let i = 0; more || i < 3; i += 1) {
      more = ours.write(new Uint8Array(100_000).fill(i), () => order.push(i));
      if (i > 1000) throw new Error('it never pushed back');
    }
    expect(ours.unsentBytes()).toBeGreaterThan(0);
    expect(log.drains).toBe(0);
    const sent = new Promise<void>((resolve) => {
      ours.write(new Uint8Array([255]), resolve);
    });
    theirs.resume();
    await sent;
    await until(() => log.drains === 1);
    expect(order).toEqual([...order.keys()]);
    expect(ours.unsentBytes()).toBe(0);
    ours.destroy();
    theirs.destroy();
  });

  it('does not report as sent what was dropped by a close', async () => {
    const { ours, theirs } = await connected();
    const log = new Log();
    ours.start(log);
    let sent = 0;
    theirs.pause();
    for (let i = 0; i < 100; i += 1) ours.write(new Uint8Array(1_000_000), () => (sent += 1));
    ours.destroy();
    const sentBefore = sent;
    await until(() => log.closes.length === 1);
    expect(sent).toBe(sentBefore);
    expect(ours.write(new Uint8Array(1), () => (sent += 1))).toBe(false);
    expect(sent).toBe(sentBefore);
    ours.end();
    ours.destroy();
    await new Promise<void>((resolve) => {
      nodeClock.after(10, resolve);
    });
    expect(log.closes.length).toBe(1);
    theirs.destroy();
  });

  it('sends what is queued before it ends', async () => {
    const { ours, theirs } = await connected();
    let got = 0;
    let ended = false;
    theirs.on('data', (b) => {
      got += b.length;
    });
    theirs.on('end', () => {
      ended = true;
      theirs.end();
    });
    const log = new Log();
    ours.start(log);
    ours.write(new Uint8Array(3_000_000));
    ours.end();
    expect(ours.write(new Uint8Array(1))).toBe(false);
    await until(() => ended && log.closes.length === 1);
    expect(got).toBe(3_000_000);
    expect(log.closes).toEqual([0]);
  });

  it('reports a reset as such', async () => {
    const { ours, theirs } = await connected('tcp');
    const log = new Log();
    ours.start(log);
    theirs.resetAndDestroy();
    await until(() => log.closes.length === 1);
    expect(log.closes).toEqual([Errno.ECONNRESET]);
  });

  it('tells a handler that comes too late', async () => {
    const { ours } = await connected();
    ours.destroy();
    await new Promise<void>((resolve) => {
      nodeClock.after(10, resolve);
    });
    const log = new Log();
    ours.start(log);
    expect(log.closes).toEqual([]);
    await until(() => log.closes.length === 1);
  });

  it('reads nothing while paused', async () => {
    const { ours, theirs } = await connected();
    const log = new Log();
    ours.start(log);
    ours.pause();
    theirs.write(new Uint8Array(500_000));
    await new Promise<void>((resolve) => {
      nodeClock.after(20, resolve);
    });
    expect(log.bytes).toBe(0);
    ours.resume();
    await until(() => log.bytes === 500_000);
    ours.destroy();
    theirs.destroy();
  });
});
