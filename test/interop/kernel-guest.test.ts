/**
 * The Linux kernel as NBD client: its nbd.ko in a virtual machine, over four connections, with ext4 and xfs on it.
 *
 *   guest: files -> ext4 | xfs -> /dev/nbd0 -> 4 TCP connections -> server1 -> own leg, server2 (killed)
 */
import { mkdirSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Cleanup } from '../support/cleanup.ts';
import { Daemons, freePort, storedBytes } from '../support/daemons.ts';
import { BLOCK_MODULES, guestPackages, lackingForGuests, makeGuestImage } from '../support/guest-image.ts';
import { HOST, KernelGuest } from '../support/kernel-guest.ts';
import { expectIdentical } from '../support/machine.ts';
import { findProgram } from '../support/programs.ts';

const MIB = 1024 * 1024;
/** xfs wants 300 MiB at least. */
const SIZE = 320 * MIB;
const TAG = 'data';
const NODES = ['server1', 'server2'] as const;
type Node = (typeof NODES)[number];
const TRIMMED_MIB = 16;
const PREPARE_MAX_MS = 180_000;

const inGuest = ['nbd-client', 'mkfs.ext4', 'e2fsck', 'mkfs.xfs', 'xfs_repair', 'fstrim'];
const lacks = lackingForGuests(inGuest) ?? (findProgram('qemu-img') === undefined ? 'qemu-img' : undefined);
const packages = lacks === undefined ? await guestPackages() : [];
const lacking = lacks ?? (typeof packages === 'string' ? packages : '');
if (lacking !== '') process.stderr.write(`\nWARNING: SKIPPED test/interop/kernel-guest.test.ts: not here: ${lacking}\n\n`);

/** What a kernel says of a device that is not well, or of a filesystem on it. */
const TROUBLE = /error|failed|dead|timed out|shut down|corrupt|read-only|call trace|blocked for/i;

/**
 * Writes 64 files over and over, each synced before the next, until it is told to stop; its sums are of what it
 * meant to write, and none is there of a file that is being written.
 */
const WRITER = `
i=0
while [ ! -e /tmp/stop ]; do
  n=$((i % 64))
  dd if=/tmp/seed of=/tmp/piece bs=4k skip=$((i * 37 % 1900)) count=$((1 + i * 13 % 120)) 2>/dev/null
  rm -f /tmp/sums/k$n
  dd if=/tmp/piece of=/mnt/k$n bs=64k conv=fsync 2>/dev/null
  md5sum </tmp/piece >/tmp/sums/k$n
  i=$((i + 1))
  echo $i >/tmp/count.new
  mv /tmp/count.new /tmp/count
done`;

describe.skipIf(lacking !== '')(`the Linux kernel's NBD client${lacking === '' ? '' : ` (lacks ${lacking})`}`, () => {
  const cleanup = new Cleanup();
  const ports: Record<Node, number> = { server1: 0, server2: 0 };
  let daemons: Daemons;
  let guest: KernelGuest;

  const times: string[] = [];
  const began = performance.now();
  const timed = async <T>(what: string, work: () => Promise<T>): Promise<T> => {
    const start = performance.now();
    const result = await work();
    times.push(`${what} ${((performance.now() - start) / 1000).toFixed(1)} s`);
    return result;
  };

  const prepare = async (): Promise<void> => {
    for (const n of NODES) ports[n] = await freePort();
    const exportsOf = (n: Node) => ({ exports: { listen: `127.0.0.1:${String(ports[n])}` } });
    daemons = await Daemons.start({
      nodes: NODES,
      failureTimeoutMs: 1500,
      config: { server1: exportsOf('server1'), server2: exportsOf('server2') },
      // Under load a resync may take its full speed here.
      tunables: { LKDR_SPEED_LIMIT_MIN: 500_000 },
    });
    cleanup.add('the daemons', () => daemons.close());
    await daemons.createMirror({ tag: TAG, sizeBytes: SIZE, legs: { server1: daemons.path('leg1'), server2: daemons.path('leg2') } });
    const folder = daemons.path('guest');
    mkdirSync(folder);
    const image = await makeGuestImage(folder, packages as readonly string[], { programs: inGuest, modules: BLOCK_MODULES });
    guest = await timed('boot', () => KernelGuest.boot(image, folder));
    cleanup.add('the guest', () => guest.kill());
    // What files are made of; and nothing that is said from here on should be trouble.
    await guest.run('dd if=/dev/urandom of=/tmp/seed bs=1M count=8 2>/dev/null; mkdir /tmp/sums; dmesg -c >/dev/null');
  };

  beforeAll(() => timed('all before', prepare), PREPARE_MAX_MS);

  afterAll(async () => {
    process.stderr.write(`kernel guest: ${times.join(', ')}; ${((performance.now() - began) / 1000).toFixed(1)} s in all\n`);
    await cleanup.run();
  });

  const connect = (to: Node): Promise<string> => guest.run(`nbd-client ${HOST} ${String(ports[to])} -N ${TAG} -C 4 /dev/nbd0`);
  const disconnected = (): Promise<string> => guest.run('while nbd-client -c /dev/nbd0; do sleep 0.05; done');
  const disconnect = async (): Promise<void> => {
    await guest.run('nbd-client -d /dev/nbd0');
    await disconnected();
  };
  const expectNoTrouble = async (): Promise<void> => {
    expect((await guest.kernelSaid()).filter((l) => TROUBLE.test(l))).toEqual([]);
  };
  const legs = (): string[] => [daemons.path('leg1'), daemons.path('leg2')];

  const startWriter = (): Promise<string> =>
    guest.run(`rm -f /tmp/stop /tmp/ended /tmp/sums/*; echo 0 >/tmp/count; cat >/tmp/writer <<'END'\n${WRITER}\nEND
      (status=0; sh -eu /tmp/writer >/tmp/said 2>&1 || status=$?; echo $status >/tmp/ended) &`);
  /** Until so many more have been written and synced. */
  const written = (more: number): Promise<string> =>
    guest.run(`to=$(($(cat /tmp/count) + ${String(more)})); until [ $(cat /tmp/count) -ge $to ]; do [ ! -e /tmp/ended ]; sleep 0.05; done`);
  const writerEnded = (): Promise<string> => guest.run('until [ -e /tmp/ended ]; do sleep 0.05; done; cat /tmp/said /tmp/ended');
  const expectWritten = (): Promise<string> =>
    guest.run('for s in /tmp/sums/*; do [ "$(md5sum </mnt/${s##*/})" = "$(cat $s)" ] || { echo "$s differs"; exit 1; }; done');

  describe.each([
    { fs: 'ext4', mkfs: 'mkfs.ext4 -q', check: 'e2fsck -fn' },
    { fs: 'xfs', mkfs: 'mkfs.xfs -qf', check: 'xfs_repair -n' },
  ])('with $fs', ({ fs, mkfs, check }) => {
    it('what is written is there after a remount, trims reach both legs, and the filesystem is clean', async () => {
      await timed(fs, async () => {
        await connect('server1');
        await guest.run(`${mkfs} /dev/nbd0; mount -t ${fs} /dev/nbd0 /mnt`);
        await guest.run(`cd /mnt; for i in $(seq 40); do dd if=/tmp/seed of=f$i bs=4k skip=$((i * 40)) count=$((20 + i * 2)) 2>/dev/null; done
          md5sum f* >/tmp/md5; dd if=/tmp/seed of=big bs=1M count=8; cat /tmp/seed >>big; sync`);
        const full = legs().map(storedBytes);
        await guest.run('rm /mnt/big');
        // XFS frees what a file had had in the background: what is not free yet is not trimmed.
        await daemons.until('the legs are smaller', async () => {
          await guest.run('sync; fstrim /mnt');
          return legs().every((leg, i) => storedBytes(leg) < (full[i] ?? 0) - TRIMMED_MIB * MIB * 0.8);
        });
        await guest.run(`umount /mnt; mount -t ${fs} /dev/nbd0 /mnt; cd /mnt; md5sum -c /tmp/md5`);
        await guest.run(`umount /mnt; ${check} /dev/nbd0`);
        await disconnect();
        await expectNoTrouble();
        await expectIdentical(legs());
      });
    });

    it('a target is killed in the middle of the writing: no error, a partial resync, and legs that are the same', async () => {
      await timed(`${fs} with a target killed`, async () => {
        const left = (): number => daemons.node('server1').logged(/server2 has left the mirror/).length;
        const before = left();
        await connect('server1');
        await guest.run(`mount -t ${fs} /dev/nbd0 /mnt`);
        await startWriter();
        await written(5);
        await daemons.node('server2').kill();
        await daemons.untilTarget('server1', TAG, 'server2', 'is out', (t) => t.state !== 'Target');
        await written(10);
        await daemons.node('server2').start();
        const { targets } = await daemons.untilInSync('server1', TAG);
        expect([targets[0]?.lastResync?.kind, left()]).toEqual(['partial', before + 1]);
        await written(5);
        await guest.run('touch /tmp/stop');
        expect(await writerEnded()).toBe('0\n');
        await guest.run(`umount /mnt; mount -t ${fs} /dev/nbd0 /mnt`);
        await expectWritten();
        await guest.run(`umount /mnt; ${check} /dev/nbd0`);
        await disconnect();
        await expectNoTrouble();
        await daemons.untilInSync('server1', TAG);
        await expectIdentical(legs());
      });
    });
  });

  it('the source is killed in the middle of the writing: on the other node all that was synced is there', async () => {
    await timed('failover', async () => {
      await connect('server1');
      await guest.run('mkfs.ext4 -qF /dev/nbd0; mount /dev/nbd0 /mnt');
      await startWriter();
      await written(10);
      await daemons.node('server1').kill();
      await daemons.until('server2 is in service', async () => (await daemons.node('server2').control.call('status', { tag: TAG })).inService);
      // What was sent and not answered the kernel would wait for half a minute more.
      await guest.run('nbd-client -d /dev/nbd0');
      expect(await writerEnded()).not.toBe('0\n');
      await guest.run('umount /mnt');
      await disconnected();
      await guest.kernelSaid();
      await connect('server2');
      await guest.run('mount /dev/nbd0 /mnt');
      await expectWritten();
      await startWriter();
      await written(3);
      await daemons.node('server1').start();
      await daemons.untilInSync('server2', TAG);
      await guest.run('touch /tmp/stop');
      expect(await writerEnded()).toBe('0\n');
      await expectWritten();
      await guest.run('umount /mnt; e2fsck -fn /dev/nbd0');
      await disconnect();
      await expectNoTrouble();
      await expectIdentical(legs());
    });
  });
});
