/** Targets with bad days, by programs that nobody here wrote: a full disk, errors, delays, silence, a server without FLUSH. */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect } from 'vitest';
import { Cleanup } from '../support/cleanup.ts';
import { Daemons } from '../support/daemons.ts';
import { expectIdentical, growFilesystem, smallFilesystem } from '../support/machine.ts';
import { NbdkitServer } from '../support/nbdkit-server.ts';
import { runOk, testWith } from '../support/programs.ts';

const MIB = 1024 * 1024;
const TAG = 'data';
const isRoot = process.getuid?.() === 0;
if (!isRoot) process.stderr.write('\nWARNING: SKIPPED "a target whose disk is full": mounting needs root\n\n');

let cleanup: Cleanup;
let daemons: Daemons;
const file = (name: string): string => daemons.path(name);

beforeEach(async () => {
  cleanup = new Cleanup();
  daemons = await Daemons.start({ nodes: ['server1', 'server2'], failureTimeoutMs: 1500, tunables: { LKDR_SPEED_LIMIT_MIN: 500_000 } });
  cleanup.add('the folder', () => {
    daemons.remove();
  });
});

afterEach(async () => {
  await cleanup.run();
});

/** An nbdkit that is the mirror's only target. */
async function mirrorWith(args: readonly string[], sizeBytes: number): Promise<NbdkitServer> {
  const foreign = new NbdkitServer(file('foreign.sock'), args);
  cleanup.add('nbdkit', () => foreign.kill());
  await foreign.start();
  cleanup.add('the daemons', () => daemons.end());
  await daemons.createMirror({ tag: TAG, sizeBytes, regionBytes: 64 * 1024, legs: { server1: file('leg1') }, foreign: { elsewhere: foreign.uri } });
  return foreign;
}

/** Writes as an application would, and waits for its answer: what fails or hangs there fails the test. */
async function qemuIo(...commands: string[]): Promise<void> {
  const out = await runOk('qemu-io', ['-f', 'raw', ...commands.flatMap((c) => ['-c', c]), daemons.node('server1').uri(TAG)], { timeoutMs: 20_000 });
  expect(out).not.toMatch(/failed/i);
}

const elsewhere = (what: string, is: (t: { state: string; detail: string }) => boolean): Promise<unknown> =>
  daemons.untilTarget('server1', TAG, 'elsewhere', what, is);

describe.skipIf(!isRoot)('a target whose disk is full', () => {
  testWith(
    ['mount', 'qemu-io', 'qemu-img'],
    'leaves, says why, and comes back by a partial resync when there is room; the application notices nothing',
    async () => {
      await smallFilesystem(file('small'), 8 * MIB, cleanup);
      cleanup.add('the daemons', () => daemons.end());
      const legs = { server1: file('leg1'), server2: file('small/leg') };
      await daemons.createMirror({ tag: TAG, sizeBytes: 32 * MIB, regionBytes: 64 * 1024, legs });
      await qemuIo('write -P 1 0 4M', 'flush');
      await qemuIo('write -P 2 8M 8M', 'flush', 'write -P 3 20M 4M', 'flush', 'read -P 2 8M 8M');
      expect(daemons.node('server1').logged(/server2 has left the mirror: .*ENOSPC/).length).toBeGreaterThanOrEqual(1);
      await daemons.untilTarget('server1', TAG, 'server2', 'is out of sync and says why', (t) => t.state !== 'Target' && /ENOSPC/.test(t.detail));
      await growFilesystem(file('small'), 64 * MIB);
      const { targets } = await daemons.untilInSync('server1', TAG);
      expect(targets[0]?.lastResync?.kind).toBe('partial');
      await expectIdentical(Object.values(legs));
    },
  );
});

testWith(['nbdkit', 'qemu-io', 'nbdinfo'], 'a foreign target without FLUSH is refused, with the reason, and nothing is written to it', async () => {
  const args = ['--filter=log', 'eval', `logfile=${file('requests')}`, `get_size=echo ${String(8 * MIB)}`, 'pread=dd if=/dev/zero bs=1 count=$3'];
  const foreign = new NbdkitServer(file('foreign.sock'), [...args, 'pwrite=cat >/dev/null', 'can_write=exit 0', 'can_flush=exit 3']);
  cleanup.add('nbdkit', () => foreign.kill());
  await foreign.start();
  expect(JSON.parse(await runOk('nbdinfo', ['--json', foreign.uri]))).toMatchObject({ exports: [{ can_flush: false, is_read_only: false }] });
  cleanup.add('the daemons', () => daemons.end());
  const { control } = daemons.node('server1');
  const made = { sizeBytes: 8 * MIB, regionBytes: null, priority: 1, failureTimeoutMs: null, failover: null, arbiter: null };
  await control.call('create', { tag: TAG, leg: file('leg1'), ...made, waitForPreviousSourceSec: null, zeroed: true });
  await control.call('in-service', { tag: TAG });
  const refused = await daemons.node('server1').cli('netraid', ['extend', TAG, 'elsewhere', '--foreign', foreign.uri, '--yes']);
  expect([refused.code, refused.stderr]).toEqual([
    1,
    expect.stringMatching(/^netraid extend: elsewhere can not be a target of data: .*has no FLUSH/),
  ]);
  expect((await control.call('status', { tag: TAG })).targets).toEqual([]);
  await qemuIo('write -P 1 0 1M', 'flush', 'read -P 1 0 1M');
  expect(readFileSync(file('requests'), 'utf8')).not.toMatch(/ (Write|Zero|Trim) id=/);
});

testWith(
  ['nbdkit', 'qemu-io', 'qemu-img'],
  'a target that answers with errors leaves, and is the same again when the errors have ended',
  async () => {
    const trigger = file('trigger');
    await runOk('truncate', ['-s', String(16 * MIB), file('leg2')]);
    await mirrorWith(['--filter=error', 'file', file('leg2'), 'error=EIO', 'error-rate=100%', `error-file=${trigger}`], 16 * MIB);
    await qemuIo('write -P 1 0 2M', 'flush');
    for (const [round, command] of ['write -P 2 1M 2M', 'discard 1M 1M', 'write -z 512k 256k'].entries()) {
      writeFileSync(trigger, '');
      await qemuIo(command, 'flush');
      await elsewhere('is out', (t) => t.state !== 'Target');
      expect(daemons.node('server1').logged(/elsewhere has left the mirror: .*EIO/).length).toBeGreaterThan(round);
      await qemuIo('write -P 3 4M 1M', 'flush', 'read -P 3 4M 1M');
      rmSync(trigger);
      await daemons.untilInSync('server1', TAG);
      await expectIdentical([file('leg1'), file('leg2')]);
    }
  },
);

testWith(['nbdkit', 'qemu-io', 'qemu-img', 'dd'], 'a target whose flush fails leaves, and is written to again before it is trusted', async () => {
  const trigger = file('trigger');
  await runOk('truncate', ['-s', String(4 * MIB), file('leg2')]);
  const plugin = [
    'eval',
    `get_size=echo ${String(4 * MIB)}`,
    `pread=dd if=${file('leg2')} iflag=skip_bytes,count_bytes,fullblock skip=$4 count=$3 status=none`,
    `pwrite=echo "$3 $4" >> ${file('writes')}; dd of=${file('leg2')} oflag=seek_bytes seek=$4 conv=notrunc bs=1M iflag=fullblock status=none`,
    'can_write=exit 0',
    'can_flush=exit 0',
    `flush=if test -e ${trigger}; then echo EIO no disk >&2; exit 1; fi`,
  ];
  await mirrorWith(plugin, 4 * MIB);
  await qemuIo('write -P 1 0 256k', 'flush');
  writeFileSync(trigger, '');
  await qemuIo('write -P 2 1M 64k', 'flush');
  await elsewhere('is out', (t) => t.state !== 'Target');
  expect(daemons.node('server1').logged(/elsewhere has left the mirror: flush.*EIO/).length).toBeGreaterThanOrEqual(1);
  rmSync(trigger);
  await daemons.untilInSync('server1', TAG);
  // What was written before the flush that failed is written once more, although the target may have it.
  expect(readFileSync(file('writes'), 'utf8').split(`65536 ${String(MIB)}\n`).length - 1).toBeGreaterThanOrEqual(2);
  await expectIdentical([file('leg1'), file('leg2')]);
});

testWith(['nbdkit', 'fio', 'timeout', 'qemu-img'], 'a target that takes its time holds writers back and loses nothing', async () => {
  await runOk('truncate', ['-s', String(16 * MIB), file('leg2')]);
  await mirrorWith(['--filter=delay', 'file', file('leg2'), 'delay-read=20ms', 'delay-write=20ms', 'delay-zero=20ms', 'delay-trim=20ms'], 16 * MIB);
  const options = [
    '--rw=randwrite',
    '--bsrange=4k-64k',
    '--size=12m',
    '--iodepth=16',
    '--fsync=50',
    '--verify=crc32c',
    '--verify_fatal=1',
    '--verify_state_save=0',
  ];
  const args = ['-k', '5', '60', 'fio', '--name=verify', '--ioengine=nbd', `--uri=${daemons.node('server1').uri(TAG)}`, ...options];
  expect(await runOk('timeout', args, { cwd: daemons.folder })).toMatch(/err= 0/);
  await daemons.untilInSync('server1', TAG);
  expect(daemons.node('server1').logged(/has left the mirror/)).toEqual([]);
  await expectIdentical([file('leg1'), file('leg2')]);
});

testWith(
  ['nbdkit', 'qemu-io', 'qemu-img'],
  'a target that falls silent is given up after failureTimeout, and is the same again when it speaks',
  async () => {
    await runOk('truncate', ['-s', String(16 * MIB), file('leg2')]);
    const foreign = await mirrorWith(['file', file('leg2')], 16 * MIB);
    await qemuIo('write -P 1 0 2M', 'flush');
    foreign.signal('SIGSTOP');
    cleanup.add('nbdkit goes on', () => {
      foreign.signal('SIGCONT');
    });
    const began = performance.now();
    await qemuIo('write -P 2 1M 2M', 'flush', 'read -P 2 1M 2M');
    const seconds = (performance.now() - began) / 1000;
    // Before failureTimeout has passed nobody may be told that the write is safe.
    expect(seconds).toBeGreaterThan(1.4);
    expect(seconds).toBeLessThan(10);
    await elsewhere('is out', (t) => t.state !== 'Target');
    foreign.signal('SIGCONT');
    await daemons.untilInSync('server1', TAG);
    await expectIdentical([file('leg1'), file('leg2')]);
  },
);

testWith(['nbdkit', 'qemu-io'], 'a target slower than failureTimeout is out, says so, and can be removed', async () => {
  await runOk('truncate', ['-s', String(16 * MIB), file('leg2')]);
  await mirrorWith(['--filter=delay', 'file', file('leg2'), 'delay-write=4'], 16 * MIB);
  await qemuIo('write -P 1 0 64k', 'flush', 'read -P 1 0 64k');
  await elsewhere('is out and says why', (t) => t.state !== 'Target' && t.detail !== '');
  await qemuIo('write -P 2 64k 64k', 'flush');
  const { control } = daemons.node('server1');
  expect((await control.call('unextend', { tag: TAG, node: 'elsewhere' })).targets).toEqual([]);
  await qemuIo('write -P 3 128k 64k', 'flush', 'read -P 2 64k 64k');
});
