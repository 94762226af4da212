/** The mirror device as an NBD export: what the server calls becomes requests of the device. */
import { type ConnId, Errno, type EngineValue, type Handle, type RequestId } from '../io/types.ts';
import type { Device, DeviceInfo, MetaContext, Replier } from '../nbd/device.ts';
import type { MirrorDevice } from './device.ts';
import { DirtyContexts } from './dirty-contexts.ts';
import { RequestKind } from './request.ts';

export class MirrorExport implements Device {
  readonly contexts: DirtyContexts;
  readonly #d: MirrorDevice;
  readonly #description: string;
  #info: DeviceInfo | undefined;

  constructor(device: MirrorDevice, description: string) {
    this.#d = device;
    this.contexts = new DirtyContexts(device);
    this.#description = description;
  }

  enter(): Promise<void> {
    return this.#d.served.enter();
  }

  leave(): void {
    this.#d.served.leave();
  }

  opened(conn: ConnId): void {
    this.#d.served.opened(conn);
  }

  closed(conn: ConnId): void {
    this.#d.served.closed(conn);
  }

  servedOn(conn: ConnId): number {
    return this.#d.served.answeredOn(conn);
  }

  isBusy(conn: ConnId): boolean {
    return this.#d.served.isBusy(conn);
  }

  metaContexts(): readonly MetaContext[] {
    return this.contexts.all();
  }

  /** Made anew only when something of it has changed: each request asks. */
  info(): DeviceInfo {
    const { sparse } = this.#d.local.info;
    const known = this.#info;
    if (known?.sizeBytes === this.#d.sizeBytes && known.canFastZero === sparse) return known;
    this.#info = {
      sizeBytes: this.#d.sizeBytes,
      readOnly: false,
      blockSizeMinBytes: this.#d.sectorBytes,
      blockSizePreferredBytes: Math.max(4096, this.#d.sectorBytes),
      payloadMaxBytes: this.#d.settings.payloadMaxBytes,
      canTrim: true,
      canWriteZeroes: true,
      canFastZero: sparse,
      canFua: true,
      multiConn: true,
      description: this.#description,
    };
    return this.#info;
  }

  read(r: Replier, id: RequestId, offset: number, length: number): void {
    this.#d.submit(RequestKind.READ, r, id, offset, length, 0, false, false);
  }

  write(r: Replier, id: RequestId, offset: number, length: number, h: Handle, fua: boolean): void {
    this.#d.submit(RequestKind.WRITE, r, id, offset, length, h, fua, false);
  }

  flush(r: Replier, id: RequestId): void {
    this.#d.submit(RequestKind.FLUSH, r, id, 0, 0, 0, false, false);
  }

  trim(r: Replier, id: RequestId, offset: number, length: number, fua: boolean): void {
    this.#d.submit(RequestKind.TRIM, r, id, offset, length, 0, fua, true);
  }

  writeZeroes(r: Replier, id: RequestId, offset: number, length: number, fua: boolean, mayPunch: boolean, fastOnly: boolean): void {
    // Only making a hole is known to be faster than writing the zeroes out.
    if (fastOnly && !(mayPunch && this.#d.local.info.sparse)) r.error(id, Errno.ENOTSUP);
    else this.#d.submit(RequestKind.ZERO, r, id, offset, length, 0, fua, mayPunch);
  }

  blockStatus(r: Replier, id: RequestId, offset: number, length: number): void {
    if (this.#d.stopped) {
      r.error(id, Errno.ESHUTDOWN);
      return;
    }
    const { hub, local } = this.#d;
    // Allocated and not known to be zero is always a correct answer.
    const unknown = (): void => {
      r.extents(id, [{ offset, length, hole: false, zero: false }]);
    };
    if (local.state === 'out' || !this.#d.mayTell()) {
      unknown();
      return;
    }
    const answer = {
      onDone: (_tag: number, errno: number, _length: number, _h: Handle, value: EngineValue | undefined): void => {
        if (this.#d.stopped) r.error(id, Errno.ESHUTDOWN);
        else if (!this.#d.mayTell()) unknown();
        else if (errno !== 0 || value?.kind !== 'extents') r.error(id, errno === 0 ? Errno.EIO : errno);
        else r.extents(id, value.extents);
      },
    };
    hub.engine.extents(hub.start(answer, 0), local.info.leg, offset, length);
  }

  cache(r: Replier, id: RequestId): void {
    if (this.#d.stopped) r.error(id, Errno.ESHUTDOWN);
    else r.ok(id);
  }
}
