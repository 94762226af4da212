/**
 * TLS by Node: certificates and keys out of a folder, read again when a connection comes and they have changed, so that a
 * renewal needs no restart. A new set that can not be used is said aloud, and the one before it stays. What Node makes of a set is
 * kept with it (tls-contexts.ts).
 *
 * Invariants
 * - TLS 1.2 or later; no session is taken up again, so that whoever has been revoked is refused the next time
 * - what PSK proves is known by the cipher suite alone: a user that was merely named has proved nothing
 */
import type { X509Certificate } from 'node:crypto';
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { connect, type ConnectionOptions, type TLSSocket } from 'node:tls';
import type { Log } from '../log.ts';
import type { SecureSocket, Tls, TlsPeer, TlsState } from '../tls.ts';
import { type Clock, Errno, type Files, IoError, type IoSocket, type Timer } from '../types.ts';
import { errnoOf } from './errors.ts';
import { type KernelTls, Lowering } from './kernel-tls.ts';
import { NodeSocket } from './socket.ts';
import { RecordWay } from './tls-records.ts';
import { TlsContexts } from './tls-contexts.ts';
import { mayServe, namesOf, readTlsFiles, sameFiles, type TlsFileBytes, type TlsMaterial, tlsMaterial } from './tls-files.ts';
import { refusalOf, tlsErrorText } from './tls-words.ts';

/** Files are not looked at more often. */
const RELOAD_MS = 1000;
/** No handshake waits longer for them. */
const LOOK_MAX_MS = 200;
const DAY_MS = 24 * 3_600_000;
const WARN_BEFORE_MS = 30 * DAY_MS;
export interface Verdict {
  peer: TlsPeer | null;
  refusal: string;
}

export class NodeSecureSocket extends NodeSocket implements SecureSocket {
  readonly peer: TlsPeer | null;
  readonly refusal: string;

  constructor(socket: TLSSocket, remote: string, v: Verdict, lowering?: Lowering) {
    super(socket, remote, { lowering });
    this.peer = v.peer;
    this.refusal = v.refusal;
  }
}

export interface NodeTlsOptions {
  files: Files;
  folder: string;
  node: string;
  clock: Clock;
  log: Log;
  /** What the native engine sends to other nodes is encrypted by the kernel. */
  kernel?: KernelTls | undefined;
}

export class NodeTls implements Tls {
  readonly #files: Files;
  readonly #folder: string;
  readonly #node: string;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #kernel: KernelTls | undefined;
  /** Why connections stayed with Node, each said once. */
  readonly #stayed = new Set<string>();
  #bytes: TlsFileBytes;
  #inUse: TlsContexts;
  #lookedAt: number;
  #looking: Promise<void> | undefined;

  private constructor(o: NodeTlsOptions, bytes: TlsFileBytes) {
    this.#files = o.files;
    this.#folder = o.folder;
    this.#node = o.node;
    this.#clock = o.clock;
    this.#log = o.log;
    this.#kernel = o.kernel;
    this.#bytes = bytes;
    this.#inUse = new TlsContexts(tlsMaterial(bytes, o.folder, o.node), this.#kernel !== undefined);
    this.#lookedAt = o.clock.now();
    this.#watchEnd();
  }

  /** Rejects with Error (one line: which file, and what) when there is nothing in the folder that can be used. */
  static async open(o: NodeTlsOptions): Promise<NodeTls> {
    return new NodeTls(o, await readTlsFiles(o.files, o.folder));
  }

  get state(): TlsState {
    const { x509, psk } = this.#inUse.material;
    const by: TlsPeer['by'][] = [];
    if (x509 !== null) by.push('certificate');
    if (psk !== null) by.push('psk');
    return { by, expires: x509 === null ? null : new Date(x509.expires).toISOString(), kernel: this.#kernel?.willing === true && psk === null };
  }

  accept(s: IoSocket, early: Uint8Array, timeoutMs: number, of: 'node' | 'client'): Promise<SecureSocket> {
    return inTime(this.#clock, s, timeoutMs, () => this.#accept(s, early, of));
  }

  connect(s: IoSocket, node: string, timeoutMs: number): Promise<SecureSocket> {
    return inTime(this.#clock, s, timeoutMs, () => this.#connect(s, node));
  }

  async #accept(s: IoSocket, early: Uint8Array, of: 'node' | 'client'): Promise<SecureSocket> {
    const contexts = await this.#current();
    const raw = await released(s, early);
    const lowering = of === 'node' ? this.#lowering(raw, true, contexts.material) : undefined;
    const way = lowering?.way ?? raw;
    let user = '';
    const secure = await shaken(raw, s.remote, way, (done, failed) => {
      contexts.accept(way, {
        done: (t, named) => {
          user = named;
          done(t);
        },
        failed,
        secret: (line) => lowering?.secret(line),
      });
    });
    return new NodeSecureSocket(secure, s.remote, clientVerdict(secure, user), lowering);
  }

  async #connect(s: IoSocket, node: string): Promise<SecureSocket> {
    const contexts = await this.#current();
    const { x509, psk } = contexts.material;
    const key = psk?.get(this.#node);
    if (x509 === null && key === undefined) {
      s.destroy();
      throw new IoError(Errno.EACCES, `TLS to ${node}: the file psk has no key of ${this.#node}, which is this node's name`);
    }
    const raw = await released(s, new Uint8Array(0));
    const lowering = this.#lowering(raw, false, contexts.material);
    const way = lowering?.way ?? raw;
    const proof: ConnectionOptions =
      x509 !== null ? {} : { minDHSize: 1024, pskCallback: () => (key === undefined ? null : { psk: key, identity: this.#node }) };
    const secure = await shaken(raw, s.remote, way, (done, failed) => {
      // Names are compared below: a node's is no host's.
      const t = connect({
        socket: way,
        secureContext: contexts.client(),
        ...proof,
        rejectUnauthorized: false,
        checkServerIdentity: () => undefined,
      });
      if (lowering !== undefined)
        t.on('keylog', (line: Buffer) => {
          lowering.secret(line);
        });
      t.on('secureConnect', () => {
        done(t);
      });
      t.on('error', failed);
    });
    const v = serverVerdict(secure, node);
    if (v.refusal === '') return new NodeSecureSocket(secure, s.remote, v, lowering);
    secure.destroy();
    throw new IoError(Errno.EACCES, `TLS to ${node}: ${v.refusal}`);
  }

  /** Undefined: this one stays with Node. The kernel secures TCP alone. */
  #lowering(raw: Socket, isServer: boolean, { x509, psk }: TlsMaterial): Lowering | undefined {
    if (this.#kernel?.willing !== true || raw.remoteAddress === undefined) return undefined;
    // Keys of users are of TLS 1.2, which is then all that is spoken.
    if (isServer ? psk !== null : x509 === null) return undefined;
    return new Lowering(this.#kernel, new RecordWay(raw), isServer, (why) => {
      if (this.#stayed.has(why)) return;
      this.#stayed.add(why);
      this.#log.info('TLS with another node stays with Node, although this kernel has it', { remote: raw.remoteAddress, why });
    });
  }

  /** What is in the folder now, when it can be used, and as far as the disk answers: nodes hear each other also while it does not. */
  async #current(): Promise<TlsContexts> {
    if (this.#clock.now() - this.#lookedAt < RELOAD_MS) return this.#inUse;
    this.#looking ??= this.#look().finally(() => {
      this.#looking = undefined;
      this.#lookedAt = this.#clock.now();
    });
    let timer: Timer | undefined;
    const enough = new Promise<void>((resolve) => {
      timer = this.#clock.after(LOOK_MAX_MS, resolve);
    });
    await Promise.race([this.#looking, enough]);
    timer?.cancel();
    return this.#inUse;
  }

  /** Also of a daemon that runs for years, and to whom nobody new connects. */
  #watchEnd(): void {
    this.#warnOfEnd();
    this.#clock.after(DAY_MS, () => {
      this.#watchEnd();
    });
  }

  #warnOfEnd(): void {
    const { x509 } = this.#inUse.material;
    if (x509 === null || x509.expires - this.#clock.wallNow() > WARN_BEFORE_MS) return;
    this.#log.warn("this node's certificate ends soon, or has ended: netraid pki renew", { ends: this.state.expires });
  }

  async #look(): Promise<void> {
    try {
      const bytes = await readTlsFiles(this.#files, this.#folder);
      if (sameFiles(bytes, this.#bytes)) return;
      this.#bytes = bytes;
      // A list that is away while it is being replaced would let in whom it is there to keep out.
      const gone = bytes.crl === null && (this.#inUse.material.x509?.crl.length ?? 0) > 0;
      if (gone) throw new Error(`ca-crl.pem is gone from ${this.#folder}; to do without it, start the daemon anew`);
      this.#inUse = new TlsContexts(tlsMaterial(bytes, this.#folder, this.#node), this.#kernel !== undefined);
      this.#log.info('new certificates or keys are in use', { folder: this.#folder });
      this.#warnOfEnd();
    } catch (e: unknown) {
      const why = e instanceof Error ? e.message : String(e);
      this.#log.error('new certificates or keys can not be used; the ones before them stay', { why });
    }
  }
}

/** All steps have one time: at its end the socket is destroyed, and so whatever waits for it ends. */
export async function inTime(clock: Clock, s: IoSocket, timeoutMs: number, f: () => Promise<SecureSocket>): Promise<SecureSocket> {
  const time = { out: false };
  const timer = clock.after(timeoutMs, () => {
    time.out = true;
    s.destroy();
  });
  try {
    return await f();
  } catch (e: unknown) {
    if (!time.out) throw e;
    throw new IoError(Errno.ETIMEDOUT, `TLS with ${s.remote}: no agreement within ${String(Math.round(timeoutMs))} ms`);
  } finally {
    timer.cancel();
  }
}

/** Rejects with IoError. */
export function shaken(
  raw: Socket,
  remote: string,
  way: Duplex,
  begin: (done: (t: TLSSocket) => void, failed: (e: unknown) => void) => void,
): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const end = (e: unknown): void => {
      raw.destroy();
      reject(e instanceof IoError ? e : new IoError(errnoOf(e) ?? Errno.EACCES, `TLS with ${remote}: ${tlsErrorText(e)}`));
    };
    raw.once('close', () => {
      end(new IoError(Errno.ECONNRESET, `TLS with ${remote}: it closed the connection during the handshake`));
    });
    begin((t) => {
      // Whether the peer's end is answered by ours is the TLS socket's to say from here on.
      raw.allowHalfOpen = true;
      way.allowHalfOpen = true;
      resolve(t);
    }, end);
  });
}

export async function released(s: IoSocket, early: Uint8Array): Promise<Socket> {
  if (!(s instanceof NodeSocket)) throw new Error('TLS takes sockets of the node world alone');
  return await s.release(early);
}

export const isPsk = (t: TLSSocket): boolean => t.getCipher().name.includes('PSK');

function clientVerdict(t: TLSSocket, user: string): Verdict {
  if (isPsk(t)) return { peer: { by: 'psk', names: [user], mayServe: true }, refusal: '' };
  return certificateVerdict(t, t.getPeerX509Certificate(), 'it showed no certificate');
}

function serverVerdict(t: TLSSocket, node: string): Verdict {
  if (isPsk(t)) return { peer: { by: 'psk', names: [node], mayServe: true }, refusal: '' };
  const v = certificateVerdict(t, t.getPeerX509Certificate(), 'it showed no certificate');
  if (v.peer === null || v.peer.names.includes(node)) return v;
  return { peer: null, refusal: `its certificate is that of ${v.peer.names.join(', ')}` };
}

export function certificateVerdict(t: TLSSocket, c: X509Certificate | undefined, none: string): Verdict {
  if (c === undefined) return { peer: null, refusal: none };
  if (!t.authorized) return { peer: null, refusal: refusalOf(t.authorizationError, c) };
  if (t.isSessionReused()) return { peer: null, refusal: 'it took up an earlier session' };
  return { peer: { by: 'certificate', names: namesOf(c), mayServe: mayServe(c) }, refusal: '' };
}
