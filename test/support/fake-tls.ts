/**
 * TLS as the parts that use it see it, over any socket: one exchange in which both ends say who they are and believe it, then bytes
 * that can not be read in passing. What it begins with is what TLS begins with.
 */
import { PullSocket } from '../../src/io/pull-socket.ts';
import { type SecureSocket, type Tls, TLS_FIRST_BYTE, type TlsPeer, type TlsState } from '../../src/io/tls.ts';
import { type Clock, Errno, IoError, type IoSocket, type SocketHandler } from '../../src/io/types.ts';

export interface FakeIdentity {
  names: string[];
  mayServe?: boolean;
  /** What the server finds wrong with it. */
  refusal?: string;
}

const MASK = 0x5a;
const masked = (b: Uint8Array): Uint8Array => b.map((x) => x ^ MASK);

class MaskedSocket implements SecureSocket {
  readonly remote: string;
  readonly peer: TlsPeer | null;
  readonly refusal: string;
  readonly #inner: IoSocket;
  #early: Uint8Array;

  constructor(inner: IoSocket, said: FakeIdentity, early: Uint8Array) {
    this.#inner = inner;
    this.#early = early;
    this.remote = inner.remote;
    this.refusal = said.refusal ?? '';
    this.peer = this.refusal === '' ? { by: 'certificate', names: said.names, mayServe: said.mayServe ?? true } : null;
  }

  start(h: SocketHandler): void {
    const early = this.#early;
    this.#early = new Uint8Array(0);
    this.#inner.start({
      onData: (b) => {
        h.onData(masked(b));
      },
      onClose: (errno) => {
        h.onClose(errno);
      },
      onDrain: () => h.onDrain?.(),
    });
    if (early.length > 0) h.onData(masked(early));
    this.#inner.resume();
  }

  pause(): void {
    this.#inner.pause();
  }

  resume(): void {
    this.#inner.resume();
  }

  write(bytes: Uint8Array, sent?: () => void): boolean {
    return this.#inner.write(masked(bytes), sent);
  }

  unsentBytes(): number {
    return this.#inner.unsentBytes();
  }

  end(): void {
    this.#inner.end();
  }

  destroy(): void {
    this.#inner.destroy();
  }
}

export class FakeTls implements Tls {
  readonly state: TlsState = { by: ['certificate'], expires: null, kernel: false };
  readonly #self: FakeIdentity;
  readonly #clock: Clock;
  accepted = 0;

  constructor(self: FakeIdentity, clock: Clock) {
    this.#self = self;
    this.#clock = clock;
  }

  async accept(s: IoSocket, early: Uint8Array, timeoutMs: number): Promise<SecureSocket> {
    s.resume();
    const pull = new PullSocket(s, this.#clock, early);
    const said = await this.#heard(pull, timeoutMs);
    pull.write(this.#said());
    this.accepted += 1;
    return new MaskedSocket(s, said, pull.detach());
  }

  async connect(s: IoSocket, node: string, timeoutMs: number): Promise<SecureSocket> {
    const pull = new PullSocket(s, this.#clock);
    s.resume();
    pull.write(this.#said());
    try {
      const said = await this.#heard(pull, timeoutMs);
      if (!said.names.includes(node)) throw new IoError(Errno.EACCES, `TLS to ${node}: its certificate is that of ${said.names.join(', ')}`);
      return new MaskedSocket(s, { ...said, refusal: '' }, pull.detach());
    } catch (e: unknown) {
      s.destroy();
      throw e;
    }
  }

  #said(): Uint8Array {
    const text = new TextEncoder().encode(JSON.stringify(this.#self));
    return Uint8Array.of(TLS_FIRST_BYTE, text.length, ...text);
  }

  async #heard(pull: PullSocket, timeoutMs: number): Promise<FakeIdentity> {
    const head = await pull.read(2, timeoutMs);
    if (head[0] !== TLS_FIRST_BYTE) throw new IoError(Errno.EACCES, 'the other end does not speak TLS');
    return JSON.parse(new TextDecoder().decode(await pull.read(head[1] ?? 0, timeoutMs))) as FakeIdentity;
  }
}
