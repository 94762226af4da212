/** How long a bridge waits for whoever does not close. Time is the test's, sockets are real. */
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { bridge } from '../../../../src/io/node/bridge.ts';
import { loadShim } from '../../../../src/io/node/native-shim.ts';
import { Errno } from '../../../../src/io/types.ts';

/** As bridge.ts has it. */
const LINGER_MS = 10_000;

let listener: Server;
let outer: Socket;
let peer: Socket;
/** Says that the engine has done with its end. */
let ended: (errno: number) => void;

beforeEach(async () => {
  listener = createServer({ pauseOnConnect: true });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const accepted = once(listener, 'connection') as Promise<[Socket]>;
  peer = connect({ port: (listener.address() as { port: number }).port, host: '127.0.0.1', allowHalfOpen: true });
  [outer] = await accepted;
  peer.on('error', () => peer.destroy());
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
});

afterEach(() => {
  vi.useRealTimers();
  for (const s of [outer, peer]) s.destroy();
  listener.close();
});

/** Nobody keeps the engine's descriptor, so that its end comes at once. */
function bridged(): void {
  bridge(outer, {
    take: (_fd, _unread, told) => {
      ended = told ?? ((): never => expect.fail('a bridge is told of the end'));
    },
    gone: (errno) => expect.fail(`there was no pair: ${String(errno)}`),
  });
}

/** The other side has been told of the end, and the bridge waits. */
async function untilPeerIsTold(): Promise<void> {
  const told = once(peer, 'end');
  peer.resume();
  await told;
}

describe.skipIf(loadShim() === undefined)('the end of a bridge', () => {
  it('is told to a peer, which has its time to close and no more', async () => {
    bridged();
    await untilPeerIsTold();
    expect([outer.destroyed, vi.getTimerCount()]).toEqual([false, 1]);
    vi.advanceTimersByTime(LINGER_MS - 1);
    expect(outer.destroyed).toBe(false);
    const closed = once(outer, 'close');
    vi.advanceTimersByTime(1);
    expect(outer.destroyed).toBe(true);
    await closed;
    expect(vi.getTimerCount()).toBe(0);
  });

  it('is over with the end of the peer, and nothing is left to wait for', async () => {
    bridged();
    await untilPeerIsTold();
    const closed = once(outer, 'close');
    peer.end();
    await closed;
    expect([outer.destroyed, vi.getTimerCount()]).toEqual([true, 0]);
  });

  it('in order leaves a peer that takes nothing so long, and one with an error no time at all', async () => {
    bridged();
    await untilPeerIsTold();
    ended(0);
    vi.advanceTimersByTime(LINGER_MS - 1);
    expect(outer.destroyed).toBe(false);
    ended(Errno.ETIMEDOUT);
    expect(outer.destroyed).toBe(true);
  });

  it('in order does not wait for the engine’s descriptor: a peer that is not read is given up too', () => {
    bridged();
    // Before anything was read: no end has come to either side yet.
    outer.pause();
    ended(0);
    expect([outer.destroyed, vi.getTimerCount()]).toEqual([false, 1]);
    vi.advanceTimersByTime(LINGER_MS);
    expect(outer.destroyed).toBe(true);
  });
});
