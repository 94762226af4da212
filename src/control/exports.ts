/** The mirrors in service here and their snapshots, as NBD exports: by the unix socket below the root for this machine, and over TCP for whom the rules let. */
import type { DeviceExports } from '../failover/env.ts';
import { tagOfExport } from '../failover/paths.ts';
import type { EngineHub } from '../io/hub.ts';
import type { Log } from '../io/log.ts';
import { type Address, Errno, type Io, IoError } from '../io/types.ts';
import type { ExportTls } from '../nbd/access.ts';
import type { Device } from '../nbd/device.ts';
import { DEFAULT_NBD_SERVER_LIMITS, NbdServer } from '../nbd/server.ts';
import { exportAccess, type ExportRules } from './export-access.ts';

const CLOSE_MAX_MS = 1000;

/** Of NBD clients over TCP, of all mirrors together. */
export interface ClientLimits {
  connectionsMax: number;
  connectionsPerAddressMax: number;
  /** How long one may ask for nothing; 0: as long as it likes. */
  idleMs: number;
}

export const DEFAULT_CLIENT_LIMITS: ClientLimits = {
  connectionsMax: DEFAULT_NBD_SERVER_LIMITS.connectionsMax,
  connectionsPerAddressMax: DEFAULT_NBD_SERVER_LIMITS.connectionsPerAddressMax,
  idleMs: DEFAULT_NBD_SERVER_LIMITS.clients.idleMs,
};

export class Exports implements DeviceExports {
  readonly #io: Io;
  readonly #devices = new Map<string, Device>();
  readonly #server: NbdServer;

  constructor(o: { io: Io; hub: EngineHub; log: Log; limits?: ClientLimits | undefined; extendedHeaders?: boolean }) {
    const { io, hub, log, extendedHeaders = true } = o;
    const { connectionsMax, connectionsPerAddressMax, idleMs } = o.limits ?? DEFAULT_CLIENT_LIMITS;
    this.#io = io;
    this.#server = new NbdServer({
      io,
      hub,
      log,
      extendedHeaders,
      limits: { connectionsMax, connectionsPerAddressMax, clients: { ...DEFAULT_NBD_SERVER_LIMITS.clients, idleMs } },
      exports: {
        list: () => [...this.#devices].map(([name, d]) => ({ name, description: d.info().description })),
        find: (name) => this.#devices.get(name === '' ? (this.#default() ?? '') : name),
        defaultName: () => this.#default(),
      },
    });
  }

  /** Rejects with IoError when an address can't be bound, and with RangeError for rules that are none. */
  async listen(unixPath: string, addresses: readonly Address[], rules: ExportRules, tls?: ExportTls): Promise<void> {
    try {
      await this.#io.files.unlink(unixPath);
    } catch (e: unknown) {
      if (!(e instanceof IoError && e.errno === Errno.ENOENT)) throw e;
    }
    await this.#server.listen({ kind: 'unix', path: unixPath });
    const access = exportAccess(rules);
    for (const a of addresses) await this.#server.listen(a, access, tls);
  }

  add(name: string, device: Device): void {
    this.#devices.set(name, device);
  }

  async remove(name: string, device: Device, graceMs: number): Promise<void> {
    if (this.#devices.get(name) === device) this.#devices.delete(name);
    await this.#server.closeExport(device, Errno.ESHUTDOWN, graceMs);
  }

  clients(device: Device): number {
    return this.#server.connectionsTo(device);
  }

  /** How many clients were refused for their address, or for what they have not proved. */
  get forbidden(): number {
    return this.#server.forbidden;
  }

  close(): Promise<void> {
    return this.#server.close({ drainMs: CLOSE_MAX_MS });
  }

  /** Of several mirrors none is meant; their snapshots are never. */
  #default(): string | undefined {
    const mirrors = [...this.#devices.keys()].filter((name) => tagOfExport(name) === name);
    return mirrors.length === 1 ? mirrors[0] : undefined;
  }
}
