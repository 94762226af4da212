/**
 * TLS by the kernel (native-shims/ktls.c) for connections between nodes: after the handshake, which is Node's, the kernel gets the
 * keys, and the native engine reads and writes the socket as one without TLS.
 *
 *   handshake, negotiation   engine <-- TLSSocket <-- RecordWay <-- Socket
 *   from then on             engine <-- descriptor, secured by the kernel
 *
 * Between nodes alone: GnuTLS, which clients of NBD have, changes its keys after 2^24 records, and kernels before 6.14 can not follow.
 * Whatever does not fit stays with Node (bridge.ts), which can do all of it.
 */
import type { TLSSocket } from 'node:tls';
import { loadNativeEngine } from './native-shim.ts';
import { Errno } from '../types.ts';
import type { RecordWay } from './tls-records.ts';
import { noteSecret, type Secrets, type TrafficKeys, trafficKeys } from './traffic-keys.ts';

export interface KernelTls {
  /** False: it has refused keys, as one does that lacks the cipher, and would again. */
  readonly willing: boolean;
  /** 0; an errno: nothing has changed; below 0, an errno: the socket serves for nothing any more. */
  secure(fd: number, keys: TrafficKeys): number;
}

interface Shim {
  tlsOfKernel(): number;
  secure(fd: number, cipher: number, receiving: Uint8Array, sending: Uint8Array): number;
}

function isShim(shim: object | undefined): shim is Shim {
  return (
    shim !== undefined && 'tlsOfKernel' in shim && typeof shim.tlsOfKernel === 'function' && 'secure' in shim && typeof shim.secure === 'function'
  );
}

/**
 * Undefined: this kernel has none, there is no native engine to read such a socket, or it is not wanted. `asked`: NETRAID_KERNEL_TLS, `on` (also
 * when unset or empty) or `off`. Throws for any other, naming those.
 */
export function kernelTlsChoice(asked: string | undefined, engine: 'native' | 'portable'): KernelTls | undefined {
  if (asked !== undefined && asked !== '' && asked !== 'on' && asked !== 'off')
    throw new Error(`NETRAID_KERNEL_TLS=${asked}: allowed are on and off`);
  const shim = asked === 'off' || engine === 'portable' ? undefined : loadNativeEngine();
  if (!isShim(shim) || shim.tlsOfKernel() !== 0) return undefined;
  let willing = true;
  return {
    get willing() {
      return willing;
    },
    secure: (fd, k) => {
      const errno = shim.secure(fd, k.cipher, k.receiving, k.sending);
      // Of one whose peer is gone it says nothing of others.
      if (errno > 0 && errno !== Errno.ENOTCONN) willing = false;
      return errno;
    },
  };
}

/** One connection's way from Node to the kernel. */
export class Lowering {
  readonly way: RecordWay;
  readonly #kernel: KernelTls;
  readonly #isServer: boolean;
  readonly #stays: (why: string) => void;
  readonly #secrets: Secrets = {};

  /** `stays`: told why the connection stays with Node. */
  constructor(kernel: KernelTls, way: RecordWay, isServer: boolean, stays: (why: string) => void) {
    this.#kernel = kernel;
    this.way = way;
    this.#isServer = isServer;
    this.#stays = stays;
  }

  /** A line of Node's key log. */
  secret(line: Buffer): void {
    noteSecret(line, this.#secrets);
  }

  /**
   * Once, when all that was written has left. `kernel`: the descriptor is the kernel's to secure. Below 0, an errno: the connection is lost.
   */
  lower(t: TLSSocket, fd: number): 'kernel' | 'Node' | number {
    const lowered = this.#lower(t, fd);
    this.way.forget();
    this.#secrets.client?.fill(0);
    this.#secrets.server?.fill(0);
    if (typeof lowered === 'number') return lowered === 0 ? 'kernel' : lowered;
    this.#stays(lowered);
    return 'Node';
  }

  #lower(t: TLSSocket, fd: number): number | string {
    const { way } = this;
    if (way.readableLength + way.writableLength + way.raw.readableLength + way.raw.writableLength > 0) return 'not all has passed';
    const suite = t.getProtocol() === 'TLSv1.3' ? t.getCipher().standardName : `TLS before 1.3 (${String(t.getProtocol())})`;
    const keys = trafficKeys({ isServer: this.#isServer, suite, secrets: this.#secrets, received: way.received, sent: way.sent });
    if (typeof keys === 'string') return keys;
    const errno = this.#kernel.secure(fd, keys);
    keys.receiving.fill(0);
    keys.sending.fill(0);
    if (errno > 0) return `the kernel took no keys (errno ${String(errno)})`;
    return errno;
  }
}
