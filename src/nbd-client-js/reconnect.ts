/**
 * Keeps a client connected: tries, backs off, tries again, until stopped.
 *
 *            connect ok                   lost
 *   connecting --------> connected ------------------+
 *      ^   | failed                                  v
 *      |   +------------------------------------> waiting
 *      +----------------- backoff over ------------- +          stop(): from anywhere to stopped
 *
 * Why apart from NbdClient: a lost leg must be seen as lost, with every request of it ended. What is done again is the
 * connection, never a request: whoever uses the new client decides what to send.
 *
 * Invariants:
 * - one attempt or one timer or one client at a time
 * - failures count on until a connection has lasted `maxMs`, so that a server that accepts and drops is not hammered
 * - after `stop` no state but 'stopped' is reported, and a client that arrives late is closed
 */
import { type Chance, type Clock, Errno, IoError, type Timer } from '../io/types.ts';
import { backoffMs, type BackoffOptions, DEFAULT_BACKOFF } from './backoff.ts';
import type { NbdClient } from './client.ts';

/** What reconnecting needs of a client; NbdClient has it. */
export type Reconnectable = Pick<NbdClient, 'onClosed' | 'close'>;

export type ReconnectState<C extends Reconnectable = NbdClient> =
  /** `failures` in a row so far. */
  | { kind: 'connecting'; failures: number }
  | { kind: 'connected'; client: C }
  /** `error` is why: the attempt's, or the loss's. */
  | { kind: 'waiting'; failures: number; waitMs: number; error: Error }
  | { kind: 'stopped' };

export interface ReconnectOptions<C extends Reconnectable = NbdClient> {
  clock: Clock;
  chance: Chance;
  /** Must have a deadline of its own, as NbdClient.connect has. */
  connect: () => Promise<C>;
  /** Called at each change, never from within a call of ours but `stop`. */
  onState: (state: ReconnectState<C>) => void;
  backoff?: BackoffOptions;
}

export class ReconnectingClient<C extends Reconnectable = NbdClient> {
  readonly #o: ReconnectOptions<C>;
  readonly #backoff: BackoffOptions;
  #state: ReconnectState<C>;
  #failures = 0;
  #timer: Timer | undefined;

  /** The first attempt begins in a later turn. */
  constructor(o: ReconnectOptions<C>) {
    this.#o = o;
    this.#backoff = o.backoff ?? DEFAULT_BACKOFF;
    this.#state = { kind: 'connecting', failures: 0 };
    o.clock.soon(() => {
      this.#try();
    });
  }

  get state(): ReconnectState<C> {
    return this.#state;
  }

  /** Undefined unless connected. */
  get client(): C | undefined {
    return this.#state.kind === 'connected' ? this.#state.client : undefined;
  }

  /** Tries at once instead of waiting, for whoever knows that the server is back. */
  hurry(): void {
    if (this.#state.kind !== 'waiting') return;
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#state = { kind: 'connecting', failures: this.#failures };
    this.#o.clock.soon(() => {
      this.#try();
    });
  }

  /** For good. A connected client is closed with ESHUTDOWN. */
  stop(): void {
    if (this.#stopped()) return;
    const client = this.client;
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#enter({ kind: 'stopped' });
    client?.close(Errno.ESHUTDOWN, 'stopped');
  }

  #try(): void {
    if (this.#stopped()) return;
    this.#enter({ kind: 'connecting', failures: this.#failures });
    // `onState` may have stopped us.
    if (this.#stopped()) return;
    this.#o.connect().then(
      (client) => {
        this.#connected(client);
      },
      (e: unknown) => {
        this.#failed(e instanceof Error ? e : new IoError(Errno.EIO, String(e)));
      },
    );
  }

  #connected(client: C): void {
    if (this.#stopped()) {
      client.close(Errno.ESHUTDOWN, 'stopped');
      return;
    }
    const since = this.#o.clock.now();
    client.onClosed((errno, reason) => {
      if (this.#o.clock.now() - since >= this.#backoff.maxMs) this.#failures = 0;
      this.#failed(new IoError(errno, reason));
    });
    this.#enter({ kind: 'connected', client });
  }

  #failed(error: Error): void {
    if (this.#stopped()) return;
    this.#failures += 1;
    const waitMs = backoffMs(this.#failures, this.#o.chance.float(), this.#backoff);
    this.#timer = this.#o.clock.after(waitMs, () => {
      this.#timer = undefined;
      this.#try();
    });
    this.#enter({ kind: 'waiting', failures: this.#failures, waitMs, error });
  }

  #stopped(): boolean {
    return this.#state.kind === 'stopped';
  }

  #enter(state: ReconnectState<C>): void {
    this.#state = state;
    this.#o.onState(state);
  }
}
