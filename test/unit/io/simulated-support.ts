/** What the tests of the simulated world share: sockets that remember what they heard, files written in one call. */
import type { SimWorld } from '../../../src/io/simulated/world.ts';
import type { Io, IoFile, IoSocket } from '../../../src/io/types.ts';

export const SEEDS = Array.from({ length: 60 }, (_, i) => i);

/** Remembers all that a socket delivers. */
export class Heard {
  readonly socket: IoSocket;
  readonly pieces: number[] = [];
  bytes = new Uint8Array(0);
  closes: number[] = [];
  drains = 0;
  #waiters: { when: () => boolean; go: () => void }[] = [];

  constructor(socket: IoSocket) {
    this.socket = socket;
    socket.start({
      onData: (b) => {
        const all = new Uint8Array(this.bytes.length + b.length);
        all.set(this.bytes);
        all.set(b, this.bytes.length);
        this.bytes = all;
        this.pieces.push(b.length);
        this.#look();
      },
      onClose: (errno) => {
        this.closes.push(errno);
        this.#look();
      },
      onDrain: () => {
        this.drains += 1;
        this.#look();
      },
    });
  }

  until(when: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      this.#waiters.push({ when, go: resolve });
      this.#look();
    });
  }

  length(n: number): Promise<void> {
    return this.until(() => this.bytes.length >= n);
  }

  closed(): Promise<void> {
    return this.until(() => this.closes.length > 0);
  }

  #look(): void {
    const ready = this.#waiters.filter((w) => w.when());
    this.#waiters = this.#waiters.filter((w) => !ready.includes(w));
    for (const w of ready) w.go();
  }
}

/** A connection from node `from` to a listener on node `to`; both ends remember. */
export async function connected(world: SimWorld, from: Io, to: Io, host: string, port = 7000): Promise<{ near: Heard; far: Heard }> {
  const accepted = new Promise<IoSocket>((resolve, reject) => {
    to.net.listen({ kind: 'tcp', host: '0.0.0.0', port }, resolve).catch(reject);
  });
  await world.run(world.sleep(1));
  const near = await world.run(from.net.connect({ kind: 'tcp', host, port }, 1000));
  return { near: new Heard(near), far: new Heard(await world.run(accepted)) };
}

export function patterned(length: number, start = 1): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (start + i) % 251);
}

export function filled(length: number, byte: number): Uint8Array {
  return new Uint8Array(length).fill(byte);
}

/** A new file with this content: created, written, and synced if asked. */
export async function writeNew(io: Io, path: string, bytes: Uint8Array, sync: boolean): Promise<IoFile> {
  const file = await io.files.open(path, { write: true, create: true });
  await file.write(bytes, 0);
  if (sync) await file.sync();
  return file;
}

/** The ways in which the seeds let something end, each once. */
export async function outcomes<T>(seeds: readonly number[], history: (seed: number) => Promise<T>): Promise<Set<T>> {
  const all = new Set<T>();
  for (const seed of seeds) all.add(await history(seed));
  return all;
}

/** Compared at once: element by element takes seconds for what a test sends. */
export function same(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && Buffer.compare(a, b) === 0;
}
