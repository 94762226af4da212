/**
 * What an application makes durable reaches every leg: the kernel counts the flushes of our own legs, which are loop devices
 * here, and nbdkit's log filter those of a foreign target.
 *
 *   fsync -> /dev/loopN -> nbdfuse -> server1 -> /dev/loopA (own leg), server2 -> /dev/loopB, nbdkit --filter=log
 */
import { readFileSync } from 'node:fs';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { mountFilesystem, unmount } from '../../src/attach/filesystem.ts';
import { Cleanup } from '../support/cleanup.ts';
import { Daemons, storedBytes } from '../support/daemons.ts';
import { expectIdentical, lackingForDevices, LoopDevice } from '../support/machine.ts';
import { NbdkitServer } from '../support/nbdkit-server.ts';
import { findProgram, runOk } from '../support/programs.ts';

const MIB = 1024 * 1024;
const SIZE = 64 * MIB;
const TAG = 'data';
const FSYNCS = 200;
const PAUSE_MS = 25;
/** Blocks that a file system may need for its own notes. */
const SLACK = 256 * 1024;

const absent = ['nbdkit', 'qemu-img', 'blkdiscard', 'python3'].filter((p) => findProgram(p) === undefined);
const lacking = [lackingForDevices(), ...absent].filter((l) => l !== undefined).join(', ');
if (lacking !== '') process.stderr.write(`\nWARNING: SKIPPED test/interop/mirror-flushes.test.ts: not here: ${lacking}\n\n`);

describe.skipIf(lacking !== '')(`flushes and trims${lacking === '' ? '' : ` (lacks ${lacking})`}`, () => {
  let cleanup: Cleanup;
  let daemons: Daemons;
  let device = '';
  let ownLegs: LoopDevice[];
  const file = (name: string): string => daemons.path(name);

  beforeAll(async () => {
    cleanup = new Cleanup();
    daemons = await Daemons.start({ nodes: ['server1', 'server2'] });
    cleanup.add('the folder', () => {
      daemons.remove();
    });
    for (const name of ['leg1', 'leg2', 'leg3']) await runOk('truncate', ['-s', String(SIZE), file(name)]);
    const [leg1, leg2] = [await LoopDevice.make(file('leg1'), cleanup), await LoopDevice.make(file('leg2'), cleanup)];
    ownLegs = [leg1, leg2];
    const foreign = new NbdkitServer(file('foreign.sock'), ['--filter=log', 'file', file('leg3'), `logfile=${file('requests')}`]);
    cleanup.add('nbdkit', () => foreign.kill());
    await foreign.start();
    cleanup.add('the daemons', () => daemons.end());
    const legs = { server1: leg1.device, server2: leg2.device };
    await daemons.createMirror({ tag: TAG, sizeBytes: SIZE, regionBytes: 256 * 1024, legs, foreign: { elsewhere: foreign.uri } });
  });

  beforeEach(async () => {
    device = await daemons.node('server1').attach(TAG);
  });

  afterEach(async () => {
    await daemons.detachAll();
    await daemons.untilInSync('server1', TAG);
    for (const leg of ownLegs) await runOk('blockdev', ['--flushbufs', leg.device]);
    await expectIdentical([file('leg1'), file('leg2'), file('leg3')]);
    expect(daemons.node('server1').logged(/has left the mirror/)).toEqual([]);
  });

  afterAll(async () => {
    await cleanup.run();
  });

  /** Requests of one kind that the foreign target has answered with success. */
  const foreignCount = (name: string): number =>
    readFileSync(file('requests'), 'utf8')
      .split('\n')
      .filter((l) => new RegExp(`\\.\\.\\.${name} id=\\d+ return=0`).test(l)).length;

  const flushes = (): number[] => [...ownLegs.map((l) => l.counts().flushes), foreignCount('Flush')];

  /** Flushes that have reached each leg meanwhile. */
  async function flushesDuring(work: () => Promise<void>): Promise<number[]> {
    const before = flushes();
    await work();
    return flushes().map((n, i) => n - (before[i] ?? 0));
  }

  /**
   * Each block is written past the cache, stays unflushed for a moment, and is then fsynced; in all for longer than the daemon
   * waits before it syncs what nobody flushes: it must not add flushes of its own.
   */
  async function writeAndSync(path: string): Promise<void> {
    const script = `
import mmap, os, sys, time
block = mmap.mmap(-1, 4096)
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT | os.O_DIRECT)
for i in range(${String(FSYNCS)}):
    block[:] = bytes([i % 255 + 1]) * 4096
    assert os.pwritev(fd, [block], i * 8192) == 4096
    time.sleep(${String(PAUSE_MS / 1000)})
    os.fsync(fd)
`;
    await runOk('python3', ['-c', script, path], { env: { PATH: '/usr/bin:/bin' } });
  }

  it('200 fsyncs on the raw device reach each leg as exactly 200 flushes', async () => {
    expect(await flushesDuring(() => writeAndSync(device))).toEqual([FSYNCS, FSYNCS, FSYNCS]);
  });

  it('200 fsyncs of a file on ext4 reach each leg as at least 200 flushes', async () => {
    const dir = file('mnt');
    await mountFilesystem({ device, dir, mkfs: 'ext4' });
    for (const n of await flushesDuring(() => writeAndSync(`${dir}/file`))) expect(n).toBeGreaterThanOrEqual(FSYNCS);
    await unmount({ dir });
    await runOk('e2fsck', ['-fn', device]);
  });

  it('a trim of the raw device frees the space of each leg', async () => {
    await runOk('dd', ['if=/dev/urandom', `of=${device}`, 'bs=1M', 'count=16', 'oflag=direct', 'status=none']);
    const stored = (): number[] => [file('leg1'), file('leg2'), file('leg3')].map(storedBytes);
    for (const leg of ownLegs) await runOk('blockdev', ['--flushbufs', leg.device]);
    const before = stored();
    const trims = foreignCount('Trim');
    await runOk('blkdiscard', ['-o', String(4 * MIB), '-l', String(8 * MIB), device]);
    expect(foreignCount('Trim')).toBeGreaterThan(trims);
    for (const [i, bytes] of stored().entries()) expect((before[i] ?? 0) - bytes).toBeGreaterThan(8 * MIB - SLACK);
    const zeroes = await runOk('cmp', ['-n', String(8 * MIB), '-i', `${String(4 * MIB)}:0`, device, '/dev/zero']);
    expect(zeroes).toBe('');
  });
});
