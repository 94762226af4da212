/**
 * An application on a mirror: it writes, zeroes, trims, flushes and reads without a pause, knows what must be there, and how long
 * each answer took.
 *
 *   workers, each in blocks of its own -> NbdClient -> the mirror's socket
 *
 * What is answered wrongly, with an error or with other bytes than were written, fails `end`.
 */
import { randomBytes } from 'node:crypto';
import { EngineHub } from '../../src/io/hub.ts';
import { createNodeIo } from '../../src/io/node/node-io.ts';
import { Errno, errnoName } from '../../src/io/types.ts';
import { NbdClient } from '../../src/nbd-client-js/client.ts';
import { parseNbdUri } from '../../src/nbd-client-js/uri.ts';
import { Chance } from './chance.ts';

const BLOCK = 4096;
const WORKERS = 4;
/** Longest request. */
const REQUEST_BLOCKS = 24;
/** Of the application itself: the mirror has answered long before, or never will. */
const PATIENCE_MS = 60_000;

export class Application {
  readonly #client: NbdClient;
  readonly #shutdown: () => Promise<void>;
  readonly #expected: Buffer;
  readonly #blockBytes: number;
  /** What workers write to now, in blocks from the start of the device. */
  #blocks: number;
  readonly #chance = new Chance(1);
  #ended = false;
  #working: Promise<void>[] = [];
  #problem: Error | undefined;
  /** Since the last `measure`: the longest that an answer has taken, and how many there were. */
  #longestMs = 0;
  #answers = 0;
  readonly #since = new Set<number>();

  private constructor(client: NbdClient, shutdown: () => Promise<void>, blockBytes: number) {
    this.#client = client;
    this.#shutdown = shutdown;
    this.#blockBytes = blockBytes;
    this.#expected = Buffer.alloc(client.info.sizeBytes);
    this.#blocks = client.info.sizeBytes / blockBytes;
  }

  /** The device must hold zeroes. `blockBytes`: of which offsets and lengths are multiples. */
  static async start(uri: string, blockBytes = BLOCK): Promise<Application> {
    const io = createNodeIo();
    const engine = io.createEngine();
    const client = await NbdClient.connect({ io, hub: new EngineHub(engine), ...parseNbdUri(uri), replyTimeoutMs: PATIENCE_MS });
    const a = new Application(client, () => engine.shutdown(), blockBytes);
    a.#working = Array.from({ length: WORKERS }, (_, i) =>
      a.#work(i).catch((e: unknown) => {
        a.#problem ??= e instanceof Error ? e : new Error(String(e));
      }),
    );
    return a;
  }

  /** From now on only the first so many bytes are written to. */
  within(bytes: number): void {
    this.#blocks = Math.floor(bytes / this.#blockBytes);
  }

  /** Begins to measure anew. Gives the longest answer so far, what is still waited for included, and their number. */
  measure(): { longestMs: number; answers: number } {
    const now = performance.now();
    const m = { longestMs: Math.max(this.#longestMs, ...[...this.#since].map((at) => now - at)), answers: this.#answers };
    this.#longestMs = 0;
    this.#answers = 0;
    return m;
  }

  /** Answers since `measure`. */
  get answers(): number {
    return this.#answers;
  }

  /** Writes no more, looks at every byte, and leaves what it has written durable. */
  async end(): Promise<void> {
    this.#ended = true;
    try {
      await Promise.all(this.#working);
      if (this.#problem !== undefined) throw this.#problem;
      await this.#client.flushNow();
      const all = await this.#client.readBytes(0, this.#expected.length);
      if (Buffer.compare(all, this.#expected) !== 0) throw new Error('the device does not hold what was written');
      await this.#client.disconnect();
    } finally {
      this.close();
    }
  }

  close(): void {
    this.#ended = true;
    if (this.#client.lost === undefined) this.#client.close(Errno.ESHUTDOWN);
    void this.#shutdown();
  }

  /** Every WORKERS-th stretch of blocks is this worker's alone, so that no two write to one place at a time. */
  async #work(worker: number): Promise<void> {
    for (let n = 0; !this.#ended; n += 1) {
      const stretches = Math.max(1, Math.floor(this.#blocks / REQUEST_BLOCKS / WORKERS));
      const first = (this.#chance.below(stretches) * WORKERS + worker) * REQUEST_BLOCKS;
      const from = this.#chance.below(REQUEST_BLOCKS);
      const count = 1 + this.#chance.below(REQUEST_BLOCKS - from);
      const offset = (first + from) * this.#blockBytes;
      const length = Math.min(count * this.#blockBytes, this.#expected.length - offset);
      if (length > 0) await this.#timed(() => this.#request(n, offset, length));
    }
  }

  async #request(n: number, offset: number, length: number): Promise<void> {
    const here = this.#expected.subarray(offset, offset + length);
    const kind = this.#chance.below(16);
    if (kind === 0) await this.#client.flushNow();
    else if (kind <= 2) {
      const read = await this.#client.readBytes(offset, length);
      if (Buffer.compare(read, here) !== 0) throw new Error(`${String(length)} bytes at ${String(offset)} are not what was written`);
    } else if (kind <= 4) {
      const errno = await new Promise<number>((resolve) => {
        const owner = {
          onDone: (_tag: number, e: number): void => {
            resolve(e);
          },
        };
        if (kind === 3) this.#client.trim(owner, 0, offset, length);
        else this.#client.writeZeroes(owner, 0, offset, length, { fua: n % 2 === 0, mayPunch: n % 3 === 0 });
      });
      if (errno !== 0) throw new Error(`${kind === 3 ? 'trim' : 'zeroing'} of ${String(length)} bytes at ${String(offset)}: ${errnoName(errno)}`);
      here.fill(0);
    } else {
      const bytes = randomBytes(length);
      await this.#client.writeBytes(offset, bytes, kind === 5);
      bytes.copy(here);
    }
  }

  async #timed(f: () => Promise<void>): Promise<void> {
    const began = performance.now();
    this.#since.add(began);
    try {
      await f();
    } finally {
      this.#since.delete(began);
      this.#longestMs = Math.max(this.#longestMs, performance.now() - began);
      this.#answers += 1;
    }
  }
}
