/**
 * The kernel's own NBD client, where there is one. `nbd-client` stays as the process that holds the connection (ioctl
 * interface, not forked): so the device's owner is a process that can be found by its mark, and its death is the
 * device's disconnection.
 */
import { stat } from 'node:fs/promises';
import path from 'node:path';
import { type BlockRoots, DEFAULT_SECTOR_BYTES, nbdDevices, systemRoots } from './block-devices.ts';
import { type Background, run, startBackground } from './command.ts';
import { AttachError, isErrno } from './errors.ts';
import { markName } from './processes.ts';
import { waitUntil } from './wait.ts';

const modprobeTimeoutMs = 10_000;

/** Whether the kernel has nbd, loading its module when it can; `why` says what it lacks. */
export async function kernelNbdAvailable(roots: BlockRoots = systemRoots): Promise<{ available: boolean; why: string }> {
  let why = '';
  if ((await nbdDevices(roots)).length === 0) {
    try {
      await run('modprobe', ['nbd'], { timeoutMs: modprobeTimeoutMs });
    } catch (e: unknown) {
      if (!(e instanceof AttachError)) throw e;
      why = `: ${e.message}`;
    }
  }
  const [first] = await nbdDevices(roots);
  if (first === undefined) return { available: false, why: `this kernel has no nbd${why}` };
  try {
    await stat(first.device);
  } catch (e: unknown) {
    if (isErrno(e, 'ENOENT')) return { available: false, why: `the kernel has nbd, but there is no ${first.device} here` };
    throw e;
  }
  return { available: true, why: 'the kernel has nbd' };
}

/** The first device that nobody holds; throws `refused` when there is none. */
export async function freeNbdDevice(roots: BlockRoots = systemRoots): Promise<string> {
  const all = await nbdDevices(roots);
  const free = all.find((d) => d.pid === undefined && d.sizeBytes === 0);
  if (free === undefined)
    throw new AttachError('refused', `all ${String(all.length)} nbd devices are in use; load the module with more: modprobe nbd nbds_max=N`);
  return free.device;
}

export interface NbdConnect {
  device: string;
  socketPath: string;
  exportName: string;
  sectorBytes: number;
  mark: string;
  logPath: string;
  timeoutMs: number;
}

/** Connects the device. Throws `failed` with what nbd-client said, or `timeout`; the client may then still run. */
export async function connectNbd(c: NbdConnect, roots: BlockRoots = systemRoots): Promise<Background> {
  const sectors = c.sectorBytes === DEFAULT_SECTOR_BYTES ? [] : ['-b', String(c.sectorBytes)];
  const args = ['-L', '-n', ...sectors, '-unix', c.socketPath, '-N', c.exportName, c.device];
  const client = await startBackground('nbd-client', args, c.logPath, { [markName]: c.mark });
  const ready = await waitUntil(c.timeoutMs, async () => {
    if (client.ended() !== undefined) return true;
    const d = (await nbdDevices(roots)).find((n) => n.device === c.device);
    return d?.pid === client.pid && d.sizeBytes > 0;
  });
  const end = client.ended();
  const said = await client.said();
  const where = `${c.device}: nbd-client for export '${c.exportName}' at ${c.socketPath}`;
  if (end !== undefined) throw new AttachError('failed', `${where} ended (${end}): ${said}`);
  if (!ready) throw new AttachError('timeout', `${where} did not connect within ${String(c.timeoutMs)} ms: ${said}`);
  return client;
}

/** True when the process holding the device is one of `owners`: the device may have been given to somebody else since. */
export async function heldBy(device: string, owners: readonly number[], roots: BlockRoots = systemRoots): Promise<boolean> {
  const d = (await nbdDevices(roots)).find((n) => n.device === path.join(roots.devDir, path.basename(device)));
  return d?.pid !== undefined && owners.includes(d.pid);
}

/** Flushes and disconnects. Throws `timeout` when the device is still held after it. */
export async function disconnectNbd(device: string, owners: readonly number[], timeoutMs: number, roots: BlockRoots = systemRoots): Promise<void> {
  await run('nbd-client', ['-L', '-d', device], { timeoutMs });
  if (!(await waitUntil(timeoutMs, async () => !(await heldBy(device, owners, roots))))) {
    throw new AttachError('timeout', `${device}: still connected ${String(timeoutMs)} ms after nbd-client -d`);
  }
}
