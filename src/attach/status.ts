/**
 * What is attached really, and the broom for what a crashed run left.
 */
import { realpath } from 'node:fs/promises';
import { detach, isWhole, type Parts, partsOf } from './attach.ts';
import { run } from './command.ts';
import { AttachError, isErrno, reasonOf } from './errors.ts';
import { markedProcesses, markName } from './processes.ts';
import { type AttachPaths, knownTags, pathsOf } from './state-file.ts';

export interface AttachStatus {
  tag: string;
  /**
   * `attached`: whole, and a read was answered. `silent`: whole, but a read was not answered in time, which a server that
   * waits may do. `broken`: the server or the helper is gone, reads fail. `leftover`: parts of an attach that never ended.
   */
  condition: 'attached' | 'silent' | 'broken' | 'leftover';
  method: 'nbd' | 'fuse' | 'unknown';
  devices: string[];
  mountPoints: string[];
  /** Helper programs that run. */
  helpers: number[];
  why: string;
}

const probeTimeoutMs = 3_000;

/** One entry for each tag, or that one alone, that has a record or a folder in the run folder, sorted by tag. Reads one sector of each device. */
export async function status(o: { runDir: string; tag?: string; probeTimeoutMs?: number }): Promise<AttachStatus[]> {
  let runDir: string;
  try {
    runDir = await realpath(o.runDir);
  } catch (e: unknown) {
    if (isErrno(e, 'ENOENT')) return [];
    throw e;
  }
  const found: AttachStatus[] = [];
  for (const tag of await knownTags(runDir)) {
    if (o.tag !== undefined && tag !== o.tag) continue;
    const p = pathsOf(runDir, tag);
    const parts = await partsOf(p);
    const method = typeof parts.state === 'object' ? parts.state.method : 'unknown';
    const { condition, why } = await conditionOf(p, parts, o.probeTimeoutMs ?? probeTimeoutMs);
    found.push({ tag, condition, method, devices: parts.devices, mountPoints: parts.mountPoints, helpers: parts.helpers, why });
  }
  return found;
}

async function conditionOf(p: AttachPaths, parts: Parts, timeoutMs: number): Promise<Pick<AttachStatus, 'condition' | 'why'>> {
  if (!isWhole(parts)) {
    if (parts.devices.length > 0 && parts.helpers.length === 0) return { condition: 'broken', why: 'the helper program has ended' };
    if (parts.state === 'damaged') return { condition: 'leftover', why: 'the record is damaged' };
    return { condition: 'leftover', why: 'parts are missing: an attach or detach that did not end' };
  }
  const [device] = parts.devices;
  if (device === undefined) return { condition: 'leftover', why: 'no device' };
  // A probe that hangs in the kernel can not be killed; it answers for those after it.
  if ((await markedProcesses(p.mountDir, ['dd'])).length > 0) return { condition: 'silent', why: 'an earlier read was not answered yet' };
  try {
    await run('dd', [`if=${device}`, 'of=/dev/null', 'bs=4096', 'count=1', 'iflag=direct', 'status=none'], {
      timeoutMs,
      environment: { [markName]: p.mountDir },
    });
    return { condition: 'attached', why: 'answers' };
  } catch (e: unknown) {
    if (!(e instanceof AttachError)) throw e;
    return { condition: e.kind === 'timeout' ? 'silent' : 'broken', why: e.message };
  }
}

export interface Swept {
  /** Tags of which nothing is left. */
  cleaned: string[];
  /** Tags of which something is left. */
  left: { tag: string; why: string }[];
}

/**
 * Takes away what is broken or left over, filesystems mounted on it included. What works or only waits stays, unless `all`.
 */
export async function sweep(o: { runDir: string; all?: boolean; timeoutMs?: number }): Promise<Swept> {
  const swept: Swept = { cleaned: [], left: [] };
  for (const s of await status({ runDir: o.runDir })) {
    if (o.all !== true && (s.condition === 'attached' || s.condition === 'silent')) continue;
    try {
      await detach({ runDir: o.runDir, tag: s.tag, unmount: true, ...(o.timeoutMs === undefined ? {} : { timeoutMs: o.timeoutMs }) });
      swept.cleaned.push(s.tag);
    } catch (e: unknown) {
      swept.left.push({ tag: s.tag, why: reasonOf(e) });
    }
  }
  return swept;
}
