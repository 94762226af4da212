/**
 * How an export becomes a block device, and how it stops being one.
 *
 *   attach   record (attaching) -> helper program -> device -> record (attached)
 *   detach   unmounted? -> device -> FUSE folder -> helper program -> folder, record
 *
 * Invariants:
 * - the record is there before the first step, and each part can be found without it: the folder by its name, loop devices
 *   by the folder, the helper by a mark in its environment. So detach works from another process, after any kill
 * - detach is idempotent, and never takes a device away below a mounted filesystem unless asked to unmount it
 * - nothing here touches the FUSE file system itself: everything is read from /proc and /sys, and what may hang is a
 *   command with a deadline
 */
import { realpath, stat } from 'node:fs/promises';
import path from 'node:path';
import { DEFAULT_SECTOR_BYTES, deviceNumberOf, loopsBelow, refuseWhenClaimed } from './block-devices.ts';
import type { Background } from './command.ts';
import { AttachError, isErrno, reasonOf } from './errors.ts';
import { dropLoop, makeLoop, mountFuse, removeMountDir, unmountFuse } from './fuse-loop.ts';
import { connectNbd, disconnectNbd, freeNbdDevice, heldBy, kernelNbdAvailable } from './kernel-nbd.ts';
import { unmount } from './filesystem.ts';
import { mountsOf, readMounts } from './mount-table.ts';
import { identityOf, markedProcesses, signal, usersOf } from './processes.ts';
import { type AttachPaths, type AttachState, pathsOf, readState, removeState, writeState } from './state-file.ts';
import { waitUntil } from './wait.ts';

export type AttachMethod = 'nbd' | 'fuse';
export const helperPrograms = ['nbdfuse', 'nbd-client'] as const;

export interface AttachOptions {
  /** The unix socket that the export is served on. */
  socketPath: string;
  exportName: string;
  /** An existing folder for records, logs and the FUSE folder. */
  runDir: string;
  tag: string;
  /** Undefined: the kernel's nbd where it exists, else FUSE. */
  method?: AttachMethod;
  /** Of the device, a power of two; undefined: 512. */
  sectorBytes?: number;
  /** For each step. */
  timeoutMs?: number;
  /** Told of what the helper program lacks, and works without. */
  onLack?: (what: string) => void;
}

export interface Attached {
  /** `/dev/nbdN` or `/dev/loopN`. */
  device: string;
  method: AttachMethod;
}

const stepTimeoutMs = 15_000;
const passingUseMs = 1_000;

/** The run folder as the kernel's tables show it, and the names below it. */
export async function resolvePaths(runDir: string, tag: string): Promise<AttachPaths> {
  try {
    return pathsOf(await realpath(runDir), tag);
  } catch (e: unknown) {
    if (isErrno(e, 'ENOENT', 'ENOTDIR')) throw new AttachError('invalid', `run folder ${runDir} does not exist`);
    throw e;
  }
}

/**
 * Makes a block device of an export. Refused while the tag is attached; what a crashed run left of the tag is cleaned up
 * first. On any error nothing is left behind.
 */
export async function attach(o: AttachOptions): Promise<Attached> {
  const timeoutMs = o.timeoutMs ?? stepTimeoutMs;
  const socketPath = path.resolve(o.socketPath);
  await requireSocket(socketPath, o.tag);
  requireRoot(process.getuid?.(), o.tag);
  const p = await resolvePaths(o.runDir, o.tag);
  const before = await partsOf(p);
  if (before.state !== 'none' || before.loops.length > 0 || before.helpers.length > 0 || before.mountedDir) {
    if (isWhole(before)) {
      const devices = before.devices.join(', ');
      throw new AttachError('refused', `${o.tag} is attached already as ${devices} (${p.statePath}); detach it first`);
    }
    await refuseWhenUnderWay(before, o.tag);
    await detach({ runDir: o.runDir, tag: o.tag, timeoutMs });
  }
  const method = await chooseMethod(o.method);
  const sectorBytes = o.sectorBytes ?? DEFAULT_SECTOR_BYTES;
  const common = { socketPath, exportName: o.exportName, mark: p.mountDir, logPath: p.logPath, timeoutMs };
  const state: AttachState = {
    version: 1,
    tag: o.tag,
    method,
    socketPath,
    exportName: o.exportName,
    mountDir: method === 'fuse' ? p.mountDir : null,
    device: method === 'nbd' ? await freeNbdDevice() : null,
    pid: null,
    phase: 'attaching',
    attacher: (await identityOf(process.pid)) ?? String(process.pid),
  };
  await writeState(p, state, { exclusive: true });
  try {
    let device = state.device;
    let helper: Background;
    if (device !== null) helper = await connectNbd({ ...common, device, sectorBytes });
    else helper = await mountFuse({ ...common, mountDir: p.mountDir });
    const { pid, unshielded } = helper;
    if (unshielded.length > 0) o.onLack?.(`it is not shielded against a lack of memory (${unshielded.join(', ')}): that takes CAP_SYS_RESOURCE`);
    if (device === null) {
      await writeState(p, { ...state, pid }, { exclusive: false });
      device = await makeLoop(p.mountDir, sectorBytes, timeoutMs);
    }
    await writeState(p, { ...state, pid, device, phase: 'attached' }, { exclusive: false });
    return { device, method };
  } catch (e: unknown) {
    await cleanUpAfter(e, o.runDir, o.tag, timeoutMs);
    throw e;
  }
}

async function refuseWhenUnderWay(parts: Parts, tag: string): Promise<void> {
  if (typeof parts.state !== 'object' || parts.state.phase !== 'attaching') return;
  const [pid] = parts.state.attacher.split('@');
  if ((await identityOf(Number(pid))) !== parts.state.attacher) return;
  throw new AttachError('refused', `${tag}: process ${String(pid)} is attaching it; wait for it, or detach it first`);
}

export function requireRoot(userId: number | undefined, tag: string): void {
  if (userId !== 0) throw new AttachError('refused', `${tag}: attaching makes a block device, which takes root; run it as root`);
}

async function requireSocket(socketPath: string, tag: string): Promise<void> {
  const found = await stat(socketPath).catch((e: unknown) => {
    if (isErrno(e, 'ENOENT', 'ENOTDIR')) return undefined;
    throw e;
  });
  if (found?.isSocket() !== true)
    throw new AttachError('invalid', `${tag}: no server at ${socketPath}: not a unix socket; is the mirror in service here?`);
}

async function chooseMethod(wish: AttachMethod | undefined): Promise<AttachMethod> {
  if (wish === 'fuse') return 'fuse';
  const kernel = await kernelNbdAvailable();
  if (kernel.available) return 'nbd';
  if (wish === 'nbd') throw new AttachError('refused', `${kernel.why}; method fuse needs no kernel module`);
  return 'fuse';
}

async function cleanUpAfter(cause: unknown, runDir: string, tag: string, timeoutMs: number): Promise<void> {
  try {
    await detach({ runDir, tag, timeoutMs });
  } catch (e: unknown) {
    throw new AttachError('failed', `${reasonOf(cause)}; and cleaning up after it failed: ${reasonOf(e)}`);
  }
}

// -------------------------------------------------------------------------------------------------------- parts

/** What is really there of an attachment, whatever its record says. */
export interface Parts {
  state: AttachState | 'none' | 'damaged';
  /** Loop devices on a file below the mount folder. */
  loops: string[];
  /** The record's nbd device, when a helper of this tag holds it. */
  nbd: string | undefined;
  /** Both. */
  devices: string[];
  helpers: number[];
  /** The FUSE folder is mounted. */
  mountedDir: boolean;
  /** Where filesystems on the devices are mounted, oldest first. */
  mountPoints: string[];
}

export async function partsOf(p: AttachPaths): Promise<Parts> {
  const state = await readState(p);
  const helpers = await markedProcesses(p.mountDir, helperPrograms);
  const loops = await loopsBelow(p.mountDir);
  const recorded = typeof state === 'object' && state.method === 'nbd' ? (state.device ?? undefined) : undefined;
  const nbd = recorded !== undefined && (await heldBy(recorded, helpers)) ? recorded : undefined;
  const devices = nbd === undefined ? loops : [...loops, nbd];
  const mounts = await readMounts();
  const mountPoints: string[] = [];
  for (const device of devices) {
    mountPoints.push(...mountsOf(mounts, device, await deviceNumberOf(device)).map((m) => m.mountPoint));
  }
  return { state, loops, nbd, devices, helpers, mountedDir: mounts.some((m) => m.mountPoint === p.mountDir), mountPoints };
}

/** Every part is there: the device, and the program that carries it. */
export function isWhole(parts: Parts): boolean {
  if (typeof parts.state !== 'object' || parts.state.phase !== 'attached' || parts.helpers.length === 0) return false;
  if (parts.state.method === 'nbd') return parts.nbd !== undefined;
  return parts.mountedDir && parts.state.device !== null && parts.loops.includes(parts.state.device);
}

// ------------------------------------------------------------------------------------------------------- detach

export interface DetachOptions {
  runDir: string;
  tag: string;
  /** Unmount what is mounted from the device; without it detach is refused while mounted. */
  unmount?: boolean;
  /** For each step. */
  timeoutMs?: number;
}

export interface Detached {
  /** False: there was nothing to do. */
  wasAttached: boolean;
  /** What did not go by itself and was forced; unwritten data may have been lost with it. One sentence each. */
  forced: string[];
}

/**
 * Takes the device away, and every part below it. `refused` while mounted or claimed. When a part does not answer within
 * `timeoutMs` its helper is killed, and the step tried again: a server that is gone can not hold the node's device for ever.
 */
export async function detach(o: DetachOptions): Promise<Detached> {
  const timeoutMs = o.timeoutMs ?? stepTimeoutMs;
  const p = await resolvePaths(o.runDir, o.tag);
  const parts = await partsOf(p);
  const forced: string[] = [];
  if (parts.mountPoints.length > 0) {
    if (o.unmount !== true) {
      throw new AttachError('refused', `${o.tag}: ${parts.devices.join(', ')} is mounted on ${parts.mountPoints.join(', ')}; unmount it first`);
    }
    for (const dir of parts.mountPoints.toReversed()) await unmount({ dir, timeoutMs });
  }
  for (const device of parts.devices) await refuseWhenInUse(device, parts.helpers);
  for (const device of parts.loops) {
    await orKill(p, forced, `${device} did not let go`, () => dropLoop(device, p.mountDir, timeoutMs));
  }
  const { nbd } = parts;
  if (nbd !== undefined) await orKill(p, forced, `${nbd} did not disconnect`, () => disconnectNbd(nbd, parts.helpers, timeoutMs));
  if (parts.mountedDir) {
    await orKill(
      p,
      forced,
      `${p.mountDir} did not unmount`,
      () => unmountFuse(p.mountDir, timeoutMs, false),
      () => unmountFuse(p.mountDir, timeoutMs, true),
    );
  }
  // A helper that never got to show anything has no reason to end by itself.
  await endHelpers(p, forced, timeoutMs, parts.mountedDir || nbd !== undefined);
  await removeMountDir(p.mountDir);
  await removeState(p);
  return { wasAttached: parts.state !== 'none' || parts.devices.length > 0 || parts.mountedDir || parts.helpers.length > 0, forced };
}

/** A program that looks at every new device, as udev does, is waited for; anybody else is named. */
async function refuseWhenInUse(device: string, helpers: readonly number[]): Promise<void> {
  await refuseWhenClaimed(device);
  let users: string[] = [];
  const free = await waitUntil(passingUseMs, async () => {
    users = await usersOf(device, helpers);
    return users.length === 0;
  });
  if (!free) throw new AttachError('refused', `${device} is open in ${users.join(', ')}; close it there first`);
}

/** Tries; when it fails or takes too long, kills the helpers, so that what waits for them gets an error, and tries once more. */
async function orKill(p: AttachPaths, forced: string[], what: string, step: () => Promise<void>, again: () => Promise<void> = step): Promise<void> {
  try {
    await step();
  } catch (e: unknown) {
    if (!(e instanceof AttachError) || (e.kind !== 'failed' && e.kind !== 'timeout')) throw e;
    const helpers = await markedProcesses(p.mountDir, helperPrograms);
    for (const pid of helpers) signal(pid, 'SIGKILL');
    forced.push(`${what} (${e.message}); killed ${helpers.length === 0 ? 'nothing' : helpers.map(String).join(', ')}`);
    await again();
  }
}

/** The helper ends by itself when its folder or device is gone; one that does not is asked, then killed. */
async function endHelpers(p: AttachPaths, forced: string[], timeoutMs: number, byThemselves: boolean): Promise<void> {
  const gone = async (): Promise<boolean> => (await markedProcesses(p.mountDir, helperPrograms)).length === 0;
  if (await waitUntil(byThemselves ? timeoutMs : 0, gone)) return;
  for (const name of ['SIGTERM', 'SIGKILL'] as const) {
    for (const pid of await markedProcesses(p.mountDir, helperPrograms)) {
      signal(pid, name);
      forced.push(`helper ${String(pid)} did not end by itself: ${name}`);
    }
    if (await waitUntil(timeoutMs, gone)) return;
  }
  const left = await markedProcesses(p.mountDir, helperPrograms);
  throw new AttachError('timeout', `${p.tag}: helper ${left.map(String).join(', ')} did not end even when killed`);
}
