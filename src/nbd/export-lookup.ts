/** Finds an export for a peer, and judges whether it is for that peer. */
import type { Clock, Timer } from '../io/types.ts';
import type { Access } from './access.ts';
import type { Device, DeviceInfo } from './device.ts';
import type { ExportDirectory } from './export-directory.ts';

export interface Found {
  /** The export's own: not the one asked for where that was the default. */
  name: string;
  device: Device;
  /** For this peer. */
  readOnly: boolean;
}

export interface Lookup {
  exports: ExportDirectory;
  clock: Clock;
  /** What this peer may do with the export of that name, and with what it has proved by TLS; absent: all. */
  access?: (name: string, proved: readonly string[] | null) => Access;
  /** Told of each export that this peer asked for and may not use. */
  onForbidden?: (name: string) => void;
}

/** What this peer is told. */
export function infoOf({ device, readOnly }: Found): DeviceInfo {
  return readOnly ? { ...device.info(), readOnly } : device.info();
}

/**
 * Judged under the name that the export has now: another may be the default before it is used. The directory may ask others;
 * rejects when it has not answered within `timeoutMs` (M14).
 */
export async function findExport(
  o: Lookup,
  asked: string,
  proved: readonly string[] | null,
  timeoutMs: number,
): Promise<Found | 'forbidden' | 'needs-tls' | undefined> {
  const { exports, access, onForbidden } = o;
  const name = asked === '' && exports.defaultName !== undefined ? exports.defaultName() : asked;
  if (name === undefined) return undefined;
  const may = access?.(name, proved) ?? 'full';
  if (may === 'needs-tls') return may;
  if (may === 'none') {
    onForbidden?.(name);
    return 'forbidden';
  }
  const answer = exports.find(name);
  const device = answer instanceof Promise ? await inTime(answer, o.clock, timeoutMs) : answer;
  return device === undefined ? undefined : { name, device, readOnly: may !== 'full' };
}

async function inTime<T>(answer: Promise<T>, clock: Clock, timeoutMs: number): Promise<T> {
  let timer: Timer | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = clock.after(timeoutMs, () => {
      reject(new Error('the export was not found in time'));
    });
  });
  try {
    return await Promise.race([answer, late]);
  } finally {
    timer?.cancel();
  }
}
