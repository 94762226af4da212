/**
 * A filesystem on a mirror whose daemons, and all that carries the device, have little memory: dirty pages pile up, and are
 * written only by those who need memory to write them.
 *
 *   cat -> page cache, dirty -> ext4 -> /dev/loopN -> nbdfuse -> server1 -> own leg, server2
 *   `-- 192 MiB ----------------------'               `-- 192 MiB, or the same ones ---'
 *
 * With the same ones, daemons that are no I/O flushers wait for themselves: for ever in control groups of the first version,
 * and in those of the second for most of the time, as whoever has dirtied too much. In those of the first, flushers find no
 * memory that could come free, and somebody is killed. All three were seen; none is asked of this test.
 */
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { mountFilesystem, unmount } from '../../src/attach/filesystem.ts';
import { Cleanup } from '../support/cleanup.ts';
import { Daemons } from '../support/daemons.ts';
import { expectIdentical, lackingForDevices } from '../support/machine.ts';
import { lackingForMemoryGroups, MemoryGroup, memoryGroupKind } from '../support/memory-group.ts';
import { findProgram, run, runOk } from '../support/programs.ts';

const MIB = 1024 * 1024;
const TAG = 'data';
const SIZE = 640 * MIB;
const LIMIT = 192 * MIB;
/** Two and a half times the limit, a pattern again and again. */
const PATTERN = 16 * MIB;
const TIMES = 30;
/** A daemon that waits for itself waits for ever; on a busy machine this takes some seconds. */
const WRITE_MAX_MS = 90_000;
const TEST_MAX_MS = 240_000;

const programs = ['qemu-img', 'e2fsck', 'mkfs.ext4', 'cmp'];
const lacks = [lackingForDevices(), lackingForMemoryGroups(), ...programs.filter((p) => findProgram(p) === undefined)];
const lacking = lacks.filter((l) => l !== undefined).join(', ');
if (lacking !== '') process.stderr.write(`\nWARNING: SKIPPED test/interop/memory-pressure.test.ts: not here: ${lacking}\n\n`);

/** CAP_SYS_RESOURCE is the 24th capability. */
function maySetIoFlusher(): boolean {
  const held = /^CapEff:\s+(\w+)$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1];
  return ((BigInt(`0x${held ?? '0'}`) >> 24n) & 1n) === 1n;
}

function lackingForOneGroup(): string | undefined {
  if (memoryGroupKind() !== 'v2') return 'control groups of the second version';
  return maySetIoFlusher() ? undefined : 'CAP_SYS_RESOURCE';
}

/**
 * What waits for the device ends with an error, and waits no more for itself. The kernel numbers FUSE connections by their
 * mounts; to kill nbdfuse is not enough, since it may wait as well.
 */
async function abortFuse(mountDir: string): Promise<void> {
  const line = readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .find((l) => l.split(' ')[4] === mountDir);
  const number = line?.split(' ')[2]?.split(':')[1];
  if (number === undefined) throw new Error(`nothing is mounted on ${mountDir}`);
  const connections = '/sys/fs/fuse/connections';
  if (!existsSync(path.join(connections, number))) await runOk('mount', ['-t', 'fusectl', 'none', connections]);
  writeFileSync(path.join(connections, number, 'abort'), '1');
}

describe.skipIf(lacking !== '')(`a mirror short of memory${lacking === '' ? '' : ` (lacks ${lacking})`}`, () => {
  let cleanup: Cleanup;

  beforeEach(() => {
    cleanup = new Cleanup();
  });

  afterEach(async () => {
    await cleanup.run();
  });

  async function writesOut(serving: MemoryGroup, writing: MemoryGroup): Promise<void> {
    const groups = [...new Set([serving, writing])];
    const { daemons, device } = await serving.within(async () => {
      const daemons = await Daemons.start({ nodes: ['server1', 'server2'], failureTimeoutMs: 10_000 });
      cleanup.add('the daemons', () => daemons.close());
      const legs = { server1: daemons.path('leg1'), server2: daemons.path('leg2') };
      await daemons.createMirror({ tag: TAG, sizeBytes: SIZE, legs });
      return { daemons, device: await daemons.node('server1').attach(TAG) };
    });
    const [dir, pattern, file] = [daemons.path('mnt'), daemons.path('pattern'), daemons.path('mnt/file')];
    await mountFilesystem({ device, dir, mkfs: 'ext4' });
    writeFileSync(pattern, randomBytes(PATTERN));
    const pids = daemons.nodes().map((n) => n.pid);
    for (const g of groups) g.limit(LIMIT);

    const again = `for n in $(seq ${String(TIMES)}); do cat ${pattern}; done`;
    const late = { problem: '' };
    const deadline = setTimeout(() => {
      late.problem = `not written within ${String(WRITE_MAX_MS)} ms`;
      abortFuse(path.join(daemons.node('server1').root, 'run', `${TAG}.attach`)).catch((e: unknown) => {
        late.problem += `, and the device can not be cut off: ${String(e)}`;
      });
    }, WRITE_MAX_MS);
    const script = `echo $$ >${writing.door} && { ${again}; } >${file} && sync ${file}`;
    const written = await run('sh', ['-c', script], { timeoutMs: 2 * WRITE_MAX_MS });
    clearTimeout(deadline);
    expect({ ...late, ...written }).toEqual({ problem: '', code: 0, stdout: '', stderr: '', timedOut: false });
    for (const g of groups) {
      const { waited, killed } = g.counts();
      expect(waited).toBeGreaterThan(0);
      expect(killed).toBe(0);
      g.limit(4 * LIMIT);
    }

    await unmount({ dir });
    await daemons.node('server1').detach(TAG);
    // The target never left, and nobody was killed and started anew.
    expect(daemons.node('server1').logged(/server2 has left the mirror/)).toEqual([]);
    expect(daemons.nodes().map((n) => n.pid)).toEqual(pids);
    await daemons.untilInSync('server1', TAG);
    await expectIdentical([daemons.path('leg1'), daemons.path('leg2')]);
    await runOk('e2fsck', ['-fn', daemons.path('leg2')]);
    await runOk('mount', ['-o', 'loop,ro,noload', daemons.path('leg2'), dir]);
    try {
      await runOk('sh', ['-c', `{ ${again}; } | cmp - ${file}`]);
    } finally {
      await runOk('umount', [dir]);
    }
  }

  it('writes out dirty pages, more than twice the memory that the writer has, and the daemons have', { timeout: TEST_MAX_MS }, async () => {
    await writesOut(MemoryGroup.make('serving', cleanup), MemoryGroup.make('writing', cleanup));
  });

  it('writes out dirty pages of a writer that it shares all its memory with', { timeout: TEST_MAX_MS }, async ({ skip }) => {
    const lack = lackingForOneGroup();
    if (lack !== undefined) {
      process.stderr.write(`\nWARNING: SKIPPED a mirror that shares its memory with the writer: not here: ${lack}\n\n`);
      skip(`it takes ${lack}`);
    }
    const group = MemoryGroup.make('both', cleanup);
    await writesOut(group, group);
  });
});
