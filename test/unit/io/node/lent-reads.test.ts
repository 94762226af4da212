/** Sockets that are handed on, as a server's are after the handshake, and read by lending from then on (src/io/node/lent-reads.ts). */
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { nodeClock } from '../../../../src/io/node/clock.ts';
import { createNodeNet } from '../../../../src/io/node/net.ts';
import { NodeSocket } from '../../../../src/io/node/socket.ts';
import { PullSocket } from '../../../../src/io/pull-socket.ts';
import { type Address, Errno, type IoSocket } from '../../../../src/io/types.ts';
import { Chance } from '../../../support/chance.ts';
import { temporaryFolders } from './temporary-folder.ts';

const folder = temporaryFolders();
const net = createNodeNet({ lends: true });
const WAIT_MS = 5000;
const HELLO = 10;
const LENT_BYTES = 256 * 1024;

async function addressOf(kind: 'unix' | 'tcp'): Promise<Address> {
  return kind === 'tcp' ? { kind, host: '127.0.0.1', port: 0 } : { kind, path: join(await folder(), 's') };
}

async function pair(kind: 'unix' | 'tcp'): Promise<{ near: IoSocket; far: IoSocket; close: () => Promise<void> }> {
  let come: (s: IoSocket) => void = () => undefined;
  const far = new Promise<IoSocket>((resolve) => {
    come = resolve;
  });
  const l = await net.listen(await addressOf(kind), (s) => {
    come(s);
  });
  const near = await net.connect(l.address, WAIT_MS);
  return { near, far: await far, close: () => l.close() };
}

const at = (i: number): number => (i * 31 + (i >> 8) * 7) & 0xff;

function stream(from: number, length: number): Uint8Array {
  const out = new Uint8Array(length);
  for (let i = 0; i < length; i += 1) out[i] = at(from + i);
  return out;
}

/** The second owner: checks what comes as it comes, with pauses. */
class Reader {
  got = HELLO;
  closed: number | undefined;
  closes = 0;
  wrong = -1;
  readonly memories = new Set<ArrayBufferLike>();
  readonly #socket: IoSocket;
  readonly #c: Chance;
  #paused = false;
  whilePaused = 0;

  constructor(socket: IoSocket, c: Chance) {
    this.#socket = socket;
    this.#c = c;
  }

  take(b: Uint8Array): void {
    for (const byte of b) {
      if (byte !== at(this.got) && this.wrong < 0) this.wrong = this.got;
      this.got += 1;
    }
  }

  start(early: Uint8Array): void {
    this.take(early);
    this.#socket.start({
      onData: (b) => {
        if (this.#paused) this.whilePaused += 1;
        if (b.buffer.byteLength === LENT_BYTES) this.memories.add(b.buffer);
        this.take(b);
        if (this.#c.below(5) > 0) return;
        this.#paused = true;
        this.#socket.pause();
        setTimeout(() => {
          this.#paused = false;
          this.#socket.resume();
        }, this.#c.below(3));
      },
      onClose: (errno) => {
        this.closed = errno;
        this.closes += 1;
      },
    });
    this.#socket.resume();
  }
}

async function until(holds: () => boolean): Promise<void> {
  const end = nodeClock.now() + 20_000;
  while (!holds()) {
    if (nodeClock.now() > end) throw new Error('never');
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** What was written is there, and read where somebody reads. */
async function arrived(): Promise<void> {
  for (let i = 0; i < 10; i += 1) await new Promise((resolve) => setImmediate(resolve));
}

interface Handed {
  near: IoSocket;
  far: NodeSocket;
  got: string[];
  /** Begins as the second owner; not reading. */
  start: () => void;
  close: () => Promise<void>;
}

/** One whose first owner has let go of it; `unread` came after that, and the first owner's last word leaves at the end of the turn. */
async function handed(kind: 'unix' | 'tcp', o: { unread?: string; lastWord?: boolean } = {}): Promise<Handed> {
  const { near, far, close } = await pair(kind);
  if (!(far instanceof NodeSocket)) throw new Error('no socket of Node');
  near.start({ onData: () => undefined, onClose: () => undefined });
  const first = new PullSocket(far, nodeClock);
  near.write(stream(0, HELLO));
  await first.read(HELLO, WAIT_MS);
  first.detach();
  if (o.unread !== undefined) near.write(Buffer.from(o.unread));
  await arrived();
  if (o.lastWord === true) far.write(new Uint8Array(10));
  const got: string[] = [];
  const start = (): void => {
    far.start({
      onData: (b) => got.push(Buffer.from(b).toString()),
      onDrain: () => got.push('drain'),
      onClose: (errno) => got.push(`closed ${String(errno)}`),
    });
  };
  return { near, far, got, start, close };
}

describe.each([
  ['unix', false],
  ['unix', true],
  ['tcp', false],
  ['tcp', true],
] as const)('a socket that is handed on (%s, the last word of its first owner has yet to leave: %s)', (kind, lastWord) => {
  it('gets nothing while it is paused, also where it was resumed in the same turn', async () => {
    const h = await handed(kind, { lastWord });
    h.start();
    h.far.resume();
    h.far.pause();
    await arrived();
    h.near.write(Buffer.from('abc'));
    await arrived();
    expect(h.got).toEqual([]);
    h.far.resume();
    await until(() => h.got.length > 0);
    expect(h.got).toEqual(['abc']);
    h.far.destroy();
    await h.close();
  });

  it('hears that what it wrote in that turn has left', async () => {
    const h = await handed(kind, { lastWord });
    h.start();
    h.far.resume();
    expect(h.far.write(new Uint8Array(40_000), () => h.got.push('sent'))).toBe(false);
    await until(() => h.got.length === 2);
    expect(h.got.toSorted((a, b) => a.localeCompare(b))).toEqual(['drain', 'sent']);
    h.far.destroy();
    await h.close();
  });

  it('goes on to a third, with what nobody has read', async () => {
    const released = await handed(kind, { lastWord, unread: 'abc' });
    released.start();
    const raw = await released.far.release(Buffer.from('early '));
    expect([raw.destroyed, String(raw.read())]).toEqual([false, 'early abc']);
    raw.destroy();
    await released.close();

    const taken = await handed(kind, { lastWord, unread: 'abc' });
    taken.start();
    const told: string[] = [];
    taken.far.handOver({
      take: (fd, unread) => told.push(`${String(fd >= 0)} ${Buffer.from(unread).toString()}`),
      gone: (errno) => told.push(`gone ${String(errno)}`),
    });
    await until(() => told.length > 0);
    expect(told).toEqual(['true abc']);
    await taken.close();
  });

  it('gets what nobody has read first, also when it is ended, and nothing once it is given up', async () => {
    const ended = await handed(kind, { lastWord, unread: 'abc' });
    ended.start();
    ended.far.end();
    ended.near.write(Buffer.from('def'));
    ended.near.end();
    await until(() => ended.got.at(-1) === 'closed 0');
    expect(ended.got.join(' ')).toBe('abc def closed 0');
    await ended.close();

    const givenUp = await handed(kind, { lastWord, unread: 'abc' });
    givenUp.start();
    givenUp.far.destroy();
    givenUp.far.resume();
    await until(() => givenUp.got.length > 0);
    expect(givenUp.got).toEqual(['closed 0']);
    await givenUp.close();
  });
});

describe.each(['unix', 'tcp'] as const)('a socket that is handed on (%s)', (kind) => {
  it.each([1, 2, 3, 4, 5, 6, 7, 8])('gets all that was sent, once and in order, from one memory, whoever reads it (seed %i)', async (seed) => {
    const c = new Chance(seed);
    const p = await pair(kind);
    const total = HELLO + 3_000_000 + c.below(1000);
    const first = new PullSocket(p.far, nodeClock);
    let sent = c.below(2) === 0 ? HELLO : HELLO + c.below(100_000);
    p.near.write(stream(0, sent));
    await first.read(HELLO, WAIT_MS);
    // What is answered last leaves at the end of the turn in which it is handed on.
    const answers = c.below(3);
    if (answers > 0) first.write(new Uint8Array(answers === 1 ? 20 : 2_000_000).fill(7));
    const reader = new Reader(p.far, c);
    reader.start(first.detach());
    let answered = 0;
    const ended = new Promise<number>((resolve) => {
      p.near.start({
        onData: (b) => {
          answered += b.length;
        },
        onClose: resolve,
      });
    });
    while (sent < total) {
      const length = Math.min(1 + c.below(300_000), total - sent);
      p.near.write(stream(sent, length));
      sent += length;
      if (c.below(3) === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    await until(() => reader.got === total);
    let left = false;
    p.far.write(new Uint8Array([1, 2, 3]), () => {
      left = true;
    });
    await until(() => left && answered === 3 + [0, 20, 2_000_000].reduce((n, bytes, i) => (i === answers ? bytes : n), 0));
    p.near.end();
    await until(() => reader.closed !== undefined);
    expect(await ended).toBe(0);
    expect([reader.wrong, reader.got, reader.closed, reader.closes, reader.whilePaused]).toEqual([-1, total, 0, 1, 0]);
    // With much of the first owner's under way, not before that has left.
    if (answers < 2) expect(reader.memories.size).toBe(1);
    await p.close();
  });

  it('is closed once, also where its peer is gone, or it is itself given up', async () => {
    for (const how of ['peer', 'end', 'destroy'] as const) {
      const p = await pair(kind);
      const first = new PullSocket(p.far, nodeClock);
      p.near.write(stream(0, HELLO));
      await first.read(HELLO, WAIT_MS);
      const reader = new Reader(p.far, new Chance(1));
      reader.start(first.detach());
      let nearClosed: number | undefined;
      p.near.start({
        onData: () => undefined,
        onClose: (errno) => {
          nearClosed = errno;
        },
      });
      if (how === 'peer') p.near.destroy();
      else if (how === 'end') p.far.end();
      else p.far.destroy();
      await until(() => reader.closed !== undefined && nearClosed !== undefined);
      expect([how, reader.closes, [0, Errno.ECONNRESET].includes(reader.closed ?? -1), nearClosed]).toEqual([how, 1, true, 0]);
      await p.close();
    }
  });
});
