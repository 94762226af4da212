/**
 * The NBD server: sockets come in, handshakes run, connections are handed to the engine, and all of it can be ended.
 *
 *   listen / serve --> handshake (PullSocket) --> Engine.adopt + Transmission --> closed
 *
 * Invariants:
 * - connections are counted from accept to CLOSED; beyond `connectionsMax`, or what one address may have, one is ended before its
 *   greeting, and mostly before it is a socket (admission.ts)
 * - a handshake holds one of `handshakesMax` places: the oldest of the address that has most makes room for a new one
 * - a connection belongs to one device from the moment its client is told that it may use it, so that `closeExport` misses
 *   none, not even one between handshake and transmission
 */
import type { EngineHub } from '../io/hub.ts';
import { hostOf } from '../io/address-ranges.ts';
import { crowdedOut } from '../io/crowd.ts';
import { LimitedLog } from '../io/limited-log.ts';
import { type Log, nullLog } from '../io/log.ts';
import { PullSocket } from '../io/pull-socket.ts';
import { type Address, type ConnLimits, Errno, type Io, type IoSocket, type Listener } from '../io/types.ts';
import type { ExportAccess, ExportTls } from './access.ts';
import { Admission, type AdmissionLimits, isLocal, NOT_FOR_IT } from './admission.ts';
import { ClientWatch, type ClientWatchLimits, type WatchedClient } from './client-watch.ts';
import type { Device } from './device.ts';
import type { ExportDirectory } from './export-directory.ts';
import { DEFAULT_HANDSHAKE_LIMITS, endPolitely, type HandshakeLimits, type HandshakeOutcome, serveHandshake } from './handshake-server.ts';
import { Transmission } from './transmission.ts';
import { NBD_ESHUTDOWN } from './wire/constants.ts';

export type { ExportDirectory } from './export-directory.ts';

export interface NbdServerLimits extends AdmissionLimits {
  /** Handshakes under way, from outside. */
  handshakesMax: number;
  /** Of those from outside: a program of this machine may stand still as long as it likes. */
  clients: ClientWatchLimits;
  handshake: HandshakeLimits;
  /** Of each connection in transmission. */
  connection: ConnLimits;
  /** After NBD_CMD_DISC, until a connection is cut that does not drain. */
  disconnectTimeoutMs: number;
}

export const DEFAULT_NBD_SERVER_LIMITS: NbdServerLimits = {
  connectionsMax: 256,
  connectionsPerAddressMax: 64,
  handshakesMax: 1024,
  offenders: { misdeedsMax: 30, withinMs: 10_000 },
  clients: { stalledMs: 60_000, idleMs: 0 },
  handshake: DEFAULT_HANDSHAKE_LIMITS,
  connection: {
    requestsMax: 512,
    bytesMax: 64 * 1024 * 1024,
    shared: { ownBytes: 1024 * 1024, allBytesMax: 256 * 1024 * 1024 },
  },
  disconnectTimeoutMs: 30_000,
};

const ENDED = { stalled: 'it takes no replies, or does not end its request', idle: 'it asked for nothing' } as const;
/** Clients come and go: so many lines a minute of those from one address, then one that sums up. */
const COMINGS_LOGGED = { linesMax: 10 };

export interface NbdServerOptions {
  io: Io;
  hub: EngineHub;
  exports: ExportDirectory;
  limits?: Partial<NbdServerLimits>;
  /** Offered to clients. Default true; the simulator tries both. */
  extendedHeaders?: boolean;
  log?: Log;
}

/** One connection in transmission, for status displays. */
export interface NbdConnectionView {
  remote: string;
  exportName: string;
  requestsInFlight: number;
  requestsTotal: number;
}

interface Shaking {
  pull: PullSocket;
  /** The device whose use is being agreed on. */
  device: Device | undefined;
  cancelled: boolean;
  /** It has been refused something: counted once. */
  forbidden: boolean;
}

interface Serving {
  remote: string;
  exportName: string;
  transmission: Transmission;
  closed: Promise<void>;
}

export class NbdServer {
  readonly #io: Io;
  readonly #hub: EngineHub;
  readonly #exports: ExportDirectory;
  readonly #limits: NbdServerLimits;
  readonly #extendedHeaders: boolean;
  readonly #log: Log;
  readonly #listeners = new Set<Listener>();
  readonly #shaking = new Set<Shaking>();
  readonly #serving = new Set<Serving>();
  readonly #limitedLog: LimitedLog;
  readonly #watch: ClientWatch;
  readonly #admission: Admission;
  /** Apart, so that a crowd leaves the clients of this machine their lines. */
  readonly #comings: Record<'local' | 'outside', LimitedLog>;
  #closing = false;

  constructor(o: NbdServerOptions) {
    this.#io = o.io;
    this.#hub = o.hub;
    this.#exports = o.exports;
    this.#limits = { ...DEFAULT_NBD_SERVER_LIMITS, ...o.limits };
    this.#extendedHeaders = o.extendedHeaders ?? true;
    this.#log = o.log ?? nullLog;
    this.#limitedLog = new LimitedLog(this.#log, o.io.clock);
    this.#watch = new ClientWatch(o.io.clock, this.#limits.clients);
    this.#admission = new Admission(this.#limits, o.io.clock, this.#limitedLog);
    const comings = (): LimitedLog => new LimitedLog(this.#log, o.io.clock, COMINGS_LOGGED);
    this.#comings = { local: comings(), outside: comings() };
  }

  /** May be called for several addresses. `access`: judges who connects there; absent: all may do all. `tls`: absent, it is not offered. Rejects with IoError when the address cannot be had. */
  async listen(address: Address, access?: ExportAccess, tls?: ExportTls): Promise<Listener> {
    const listener = await this.#io.net.listen(
      address,
      (s) => {
        void this.serve(s, new Uint8Array(0), access, tls);
      },
      (remote) => this.#admission.mayEnter(remote, access) && this.#admission.hasPlace(remote),
    );
    if (this.#closing) await listener.close();
    else this.#listeners.add(listener);
    return listener;
  }

  /**
   * Serves a socket that was accepted here or elsewhere; `early` are bytes received and not used. Resolves, and never
   * rejects, when the handshake has ended: true when the connection is in transmission.
   */
  async serve(socket: IoSocket, early: Uint8Array = new Uint8Array(0), access?: ExportAccess, tls?: ExportTls): Promise<boolean> {
    const { remote } = socket;
    const admission = this.#admission;
    if (!admission.mayEnter(remote, access)) {
      socket.destroy();
      return false;
    }
    const pull = new PullSocket(socket, this.#io.clock, early);
    if (this.#closing) admission.turnedAway(remote, 'shutting down');
    if (this.#closing || !admission.hasPlace(remote)) {
      endPolitely(pull, this.#io.clock, this.#limits.handshake.lingerMs);
      return false;
    }
    this.#makePlace(remote);
    socket.resume();
    const shaking: Shaking = { pull, device: undefined, cancelled: false, forbidden: false };
    this.#shaking.add(shaking);
    const forbid = (name: string, why: string): void => {
      if (!shaking.forbidden) admission.forbid(remote, name, why);
      shaking.forbidden = true;
    };
    const outcome = await serveHandshake(pull, {
      exports: this.#exports,
      clock: this.#io.clock,
      limits: this.#limits.handshake,
      extendedHeaders: this.#extendedHeaders,
      onExport: (device) => {
        shaking.device = device;
      },
      ...(access === undefined
        ? {}
        : {
            access: (name: string, proved: readonly string[] | null) => access.to(name, remote, proved),
            onForbidden: (name: string) => {
              forbid(name, NOT_FOR_IT);
            },
          }),
      ...(tls === undefined
        ? {}
        : {
            tls,
            onSecured: (secured: PullSocket) => {
              shaking.pull = secured;
              if (shaking.cancelled) secured.destroy();
            },
            onUnproved: (why: string) => {
              forbid('', why.startsWith('TLS') ? why : `TLS: ${why}`);
            },
          }),
    });
    if (outcome.kind === 'transmission') await outcome.device.enter?.();
    this.#shaking.delete(shaking);
    if (outcome.kind === 'closed') {
      if (!outcome.orderly && !shaking.forbidden) {
        this.#limitedLog.warn(`handshake ${hostOf(remote)}`, 'nbd handshake failed', { remote, why: outcome.why });
        admission.misdeed(remote);
      }
      return false;
    }
    // Others may have been quicker.
    if (shaking.cancelled || !admission.hasPlace(remote)) {
      (shaking.cancelled ? shaking.pull : outcome.socket).destroy();
      outcome.device.leave?.();
      return false;
    }
    this.#adopt(outcome);
    return true;
  }

  #makePlace(remote: string): void {
    if (isLocal(remote)) return;
    if (this.#shaking.size < this.#limits.handshakesMax) return;
    const outside = [...this.#shaking].filter((s) => !isLocal(s.pull.socket.remote));
    if (outside.length < this.#limits.handshakesMax) return;
    const out = crowdedOut(outside, (s) => hostOf(s.pull.socket.remote));
    if (out === undefined) return;
    const { remote: crowded } = out.pull.socket;
    const from = hostOf(crowded);
    this.#limitedLog.warn(`crowd ${from}`, 'too many handshakes at a time: the oldest is ended', { from, handshakes: outside.length });
    this.#admission.misdeed(crowded);
    this.#shaking.delete(out);
    cancel(out);
  }

  /** Connections that were refused something for where they come from, or for what they have not proved. */
  get forbidden(): number {
    return this.#admission.forbidden;
  }

  get connectionCount(): number {
    return this.#shaking.size + this.#serving.size;
  }

  connections(): NbdConnectionView[] {
    return [...this.#serving].map((c) => ({
      remote: c.remote,
      exportName: c.exportName,
      requestsInFlight: c.transmission.requestsInFlight,
      requestsTotal: c.transmission.requestsTotal,
    }));
  }

  /** Connections in transmission to this device. */
  connectionsTo(device: Device): number {
    return [...this.#serving].filter((c) => c.transmission.device === device).length;
  }

  /**
   * Ends all connections of a device: requests not answered yet get `errno`, then the connection closes, after `graceMs` at
   * the latest (0: at once, without answers). Resolves when CLOSED came for all; what still runs in the device is the
   * device's to drain. The device should refuse new requests by then, and the directory not offer it any more.
   */
  async closeExport(device: Device, errno: number = NBD_ESHUTDOWN, graceMs = 200): Promise<void> {
    for (const s of this.#shaking) {
      if (s.device === device) cancel(s);
    }
    const ours = [...this.#serving].filter((c) => c.transmission.device === device);
    for (const c of ours) {
      if (graceMs > 0) c.transmission.abandon(errno, graceMs);
      else c.transmission.close(errno);
    }
    await Promise.all(ours.map((c) => c.closed));
  }

  /**
   * Clean shutdown: no new connections, new requests answered ESHUTDOWN, those in flight completed within `drainMs`, then
   * every connection closed. Resolves when all have closed.
   */
  async close(o: { drainMs: number }): Promise<void> {
    this.#closing = true;
    const listeners = [...this.#listeners];
    this.#listeners.clear();
    for (const s of this.#shaking) cancel(s);
    const all = [...this.#serving];
    for (const c of all) c.transmission.drain(NBD_ESHUTDOWN, o.drainMs);
    await Promise.all([...listeners.map((l) => l.close()), ...all.map((c) => c.closed)]);
  }

  #adopt(agreed: Extract<HandshakeOutcome, { kind: 'transmission' }>): void {
    const { device, exportName, structuredReplies, extendedHeaders, readOnly, socket } = agreed;
    const { remote } = socket;
    const comings = this.#comings[isLocal(remote) ? 'local' : 'outside'];
    let hasClosed: () => void;
    const closed = new Promise<void>((resolve) => {
      hasClosed = resolve;
    });
    const transmission = new Transmission({
      hub: this.#hub,
      device,
      structuredReplies,
      extendedHeaders,
      readOnly,
      contexts: agreed.metaContexts,
      clock: this.#io.clock,
      disconnectTimeoutMs: this.#limits.disconnectTimeoutMs,
      onClosed: (errno) => {
        this.#serving.delete(serving);
        device.leave?.();
        this.#admission.count(remote, -1);
        this.#watch.remove(watched);
        comings.info(`disconnected ${hostOf(remote)}`, 'nbd client disconnected', {
          remote,
          exportName,
          errno,
          requests: transmission.requestsTotal,
        });
        hasClosed();
      },
    });
    const serving: Serving = { remote, exportName, transmission, closed };
    this.#serving.add(serving);
    this.#admission.count(remote, 1);
    const watched: WatchedClient = {
      awaited: () => transmission.awaited(),
      get requestsTotal() {
        return transmission.requestsTotal;
      },
      get requestsInFlight() {
        return transmission.requestsInFlight;
      },
      end: (why) => {
        this.#limitedLog.warn(`${why} ${hostOf(remote)}`, 'nbd client ended', { remote, exportName, why: ENDED[why] });
        transmission.close(Errno.ETIMEDOUT);
      },
    };
    if (!isLocal(remote)) this.#watch.add(watched);
    const { payloadMaxBytes, checksums = false } = device.info();
    const wire = { structuredReplies, extendedHeaders, payloadMaxBytes, checksums };
    transmission.attach(this.#hub.engine.adopt(socket, 'server', wire, this.#limits.connection, agreed.early));
    const contexts = agreed.metaContexts.map((c) => c.name);
    comings.info(`connected ${hostOf(remote)}`, 'nbd client connected', { remote, exportName, structuredReplies, extendedHeaders, contexts });
  }
}

function cancel(s: Shaking): void {
  s.cancelled = true;
  s.pull.destroy();
}
