/** Legs on disks with sectors of 4096 bytes, as the kernel gives them: what clients are told, what is refused, what can be mounted. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect } from 'vitest';
import { Cleanup } from '../support/cleanup.ts';
import { Daemons } from '../support/daemons.ts';
import { expectIdentical, kernelHas, lackingForDevices, LoopDevice } from '../support/machine.ts';
import { NbdkitServer } from '../support/nbdkit-server.ts';
import { nbdsh, runOk, testWith } from '../support/programs.ts';

const MIB = 1024 * 1024;
const SIZE = 64 * MIB;
const TAG = 'data';
const lack = lackingForDevices() ?? (kernelHas('ext4') ? undefined : 'ext4');
if (lack !== undefined) process.stderr.write(`\nWARNING: SKIPPED test/interop/mirror-sectors.test.ts: it needs ${lack}\n\n`);

describe.skipIf(lack !== undefined)('a disk with sectors of 4096 bytes', () => {
  let cleanup: Cleanup;
  let daemons: Daemons;
  let disk: string;
  const file = (name: string): string => daemons.path(name);

  beforeEach(async () => {
    cleanup = new Cleanup();
    daemons = await Daemons.start({ nodes: ['server1', 'server2'] });
    cleanup.add('the folder', () => {
      daemons.remove();
    });
    await runOk('truncate', ['-s', String(SIZE), file('disk')]);
    ({ device: disk } = await LoopDevice.make(file('disk'), cleanup, 4096));
    cleanup.add('the daemons', () => daemons.end());
  });

  afterEach(async () => {
    await cleanup.run();
  });

  const netraid = (node: string, ...args: string[]): ReturnType<ReturnType<Daemons['node']>['cli']> => daemons.node(node).cli('netraid', args);

  async function done(node: string, ...args: string[]): Promise<string> {
    const r = await netraid(node, ...args);
    expect([r.code, r.stderr]).toEqual([0, '']);
    return r.stdout;
  }

  testWith(['nbdinfo', 'nbdsh'], 'as the first leg makes clients write whole sectors of it', async () => {
    await done('server1', 'create', TAG, disk);
    await done('server1', 'in-service', TAG);
    expect(await done('server1', 'status', TAG)).toMatch(/sectors of 4096 bytes/);
    const uri = daemons.node('server1').uri(TAG);
    expect(JSON.parse(await runOk('nbdinfo', ['--json', uri]))).toMatchObject({ exports: [{ 'export-size': SIZE, block_size_minimum: 4096 }] });
    const script = `
import errno, nbd, os
h.set_strict_mode(0)
h.connect_uri(os.environ["URI"])
h.pwrite(b"x" * 4096, 8192)
for size, offset in ((512, 0), (4096, 512)):
    try:
        h.pwrite(b"y" * size, offset)
        print("taken")
    except nbd.Error as e:
        print(e.errnum == errno.EINVAL)
`;
    expect(await nbdsh(uri, script)).toBe('True\nTrue\n');
  });

  testWith(['nbdkit'], 'is refused as the target of a mirror of smaller sectors, and so is a foreign target', async () => {
    await daemons.createMirror({ tag: TAG, sizeBytes: SIZE, legs: { server1: file('leg1'), server2: file('leg2') } });
    const refused = /^netraid replace: server2: \/dev\/loop\d+ has sectors of 4096 bytes, and mirror data of 512: .*--sector-size 4096\n$/;
    const replaced = await netraid('server1', 'replace', TAG, 'server2', disk, '--yes');
    expect([replaced.code, replaced.stderr]).toEqual([1, expect.stringMatching(refused)]);
    await daemons.untilInSync('server1', TAG);
    await done('server1', 'unextend', TAG, 'server2', '--yes');
    const extended = await netraid('server1', 'extend', TAG, 'server2', disk, '--yes');
    expect([extended.code, extended.stderr]).toEqual([
      1,
      expect.stringMatching(/^netraid extend: server2: \/dev\/loop\d+ has sectors of 4096 bytes/),
    ]);
    const foreign = new NbdkitServer(file('foreign.sock'), ['--filter=blocksize-policy', 'memory', String(SIZE), 'blocksize-minimum=4096']);
    cleanup.add('nbdkit', () => foreign.kill());
    await foreign.start();
    const elsewhere = await netraid('server1', 'extend', TAG, 'elsewhere', '--foreign', foreign.uri, '--yes');
    expect([elsewhere.code, elsewhere.stderr]).toEqual([
      1,
      expect.stringMatching(/elsewhere can not be a target of data: .*only blocks of 4096 bytes/),
    ]);
    expect((await daemons.node('server1').control.call('status', { tag: TAG })).targets).toEqual([]);
  });

  testWith(['mkfs.ext4', 'findmnt', 'blockdev', 'qemu-img'], 'holds a filesystem that was made on another node with --sector-size 4096', async () => {
    mkdirSync(file('mnt'));
    await done('server1', 'create', TAG, file('leg1'), '--size', String(SIZE), '--sector-size', '4096');
    await done('server1', 'in-service', TAG);
    await done('server1', 'extend', TAG, 'server2', disk, '--yes', '--wait', '30s');
    await done('server1', 'mount', TAG, file('mnt'), '--mkfs', 'ext4', '--method', 'fuse');
    const [source] = (await runOk('findmnt', ['-n', '-o', 'SOURCE', file('mnt')])).split('\n');
    expect(await runOk('blockdev', ['--getss', source ?? ''])).toBe('4096\n');
    writeFileSync(`${file('mnt')}/letter`, 'dear reader');
    await done('server1', 'umount', TAG, '--detach');
    await done('server1', 'switchover', TAG, 'server2', '--yes');
    await daemons.untilInSync('server2', TAG);
    await done('server2', 'out-of-service', TAG);
    await expectIdentical([file('leg1'), disk]);
    await daemons.end();
    // The leg itself, without NetRAID.
    await runOk('mount', ['-t', 'ext4', '-o', 'ro', disk, file('mnt')]);
    cleanup.add('the mount', async () => {
      await runOk('umount', [file('mnt')]);
    });
    expect(readFileSync(`${file('mnt')}/letter`, 'utf8')).toBe('dear reader');
  });
});
