/** Stories of README.md's "Planned work": on block devices and mounted filesystems, as an operator has them. */
import { copyFileSync, existsSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect } from 'vitest';
import { freePort } from '../../support/daemons.ts';
import { run, runOk, start } from '../../support/programs.ts';
import { command, MIB, SIZE, type Stage, type Story, TAG } from './stage.ts';

const FAILURE_TIMEOUT_MS = 5000;
const TWO = ['server1', 'server2'];
const LARGER = 2 * SIZE;

async function mounted(s: Stage, ...options: readonly string[]): Promise<void> {
  await s.carryOut(command(`server1# netraid mount data /srv/data ${options.join(' ')}`.trim()));
}

const note = (s: Stage, node: string): string => path.join(s.dir(node), 'note');

const switchover: Story = {
  title: 'the source moves, with what is mounted',
  section: 'Planned work',
  nodes: TWO,
  failureTimeoutMs: FAILURE_TIMEOUT_MS,
  devices: true,
  steps: [
    async (s) => {
      await s.mirror(...TWO);
      await mounted(s, '--mkfs', 'ext4');
      await writeFile(note(s, 'server1'), 'kept');
      const r = await s.typed('netraid switchover data server2 --yes', 'server1');
      expect([r.code, r.stderr]).toEqual([1, expect.stringContaining('--detach')]);
    },
    command('server1# netraid switchover data server2 --detach', { asks: true, prints: /server2/ }),
    command('server2# netraid mount data /srv/data', { prints: /data is mounted/ }),
    async (s) => {
      expect(await readFile(note(s, 'server2'), 'utf8')).toBe('kept');
      expect(existsSync(note(s, 'server1'))).toBe(false);
      await s.shows('server2', /-> server1\n {4}Status: Target[^]*State: Source, in service/);
      expect((await s.daemons.target('server2', TAG, 'server1')).lastResync?.bytes ?? 0).toBe(0);
    },
    command('netraid umount data --detach', { on: 'server2', prints: /data is detached/ }),
    async (s) => {
      await s.node('server2').stop();
      await s.shows('server1', /State: Waiting, out of service[^]*rule stopped-on-purpose/);
      await s.node('server2').start();
      await s.shows('server2', /State: Source, in service/);
      await s.inSync('server2');
    },
  ],
};

const targets: Story = {
  title: 'a target is paused, compared, and gets a new disk; the mirror becomes larger, and smaller',
  section: 'Planned work',
  nodes: TWO,
  failureTimeoutMs: FAILURE_TIMEOUT_MS,
  devices: true,
  steps: [
    async (s) => {
      await s.mirror(...TWO);
      await mounted(s, '--mkfs', 'ext4');
      await writeFile(note(s, 'server1'), 'kept', { flush: true });
    },
    command('server1# mirror_action data pause server1 server2', { prints: /server1 -> server2: Paused/ }),
    async (s) => {
      expect((await s.typed('netraid verify data', 'server1')).code).toBe(1);
    },
    command('server1# mirror_action data resume'),
    (s) => s.inSync('server1'),
    command('server1# netraid verify data'),
    (s) => writeFile(s.leg('server2', 'sdc1'), Buffer.alloc(SIZE)),
    command('server1# netraid replace data server2 /dev/sdc1 --wait 10h', { asks: true, prints: /data has a new leg on server2: Target/ }),
    (s) => {
      for (const leg of [s.leg('server1'), s.leg('server2', 'sdc1')]) truncateSync(leg, LARGER);
      return Promise.resolve();
    },
    command('server1# mirror_resize data 2TiB', { prints: /data has 128 MiB/ }),
    async (s) => {
      await s.inSync('server1');
      expect(await readFile(note(s, 'server1'), 'utf8')).toBe('kept');
    },
    command('server1# netraid umount data --detach', { prints: /data is detached/ }),
    command('server1# netraid attach data', { prints: /data is \/dev\// }),
    command('server1# e2fsck -fp /dev/nbd0'),
    command('server1# resize2fs /dev/nbd0', { prints: /is now 131072 \(1k\)|is now 32768 \(4k\)/ }),
    command('server1# netraid mount data /srv/data', { prints: /data is mounted/ }),
    command('server1# netraid umount data'),
    command('server1# e2fsck -fp /dev/nbd0'),
    command('server1# resize2fs /dev/nbd0 1000G', { prints: /is now 61440 \(1k\)|is now 15360 \(4k\)/ }),
    command('server1# netraid detach data', { prints: /data is detached/ }),
    command('server1# netraid out-of-service data'),
    command('server1# mirror_resize data 1TiB', { asks: true, prints: /data has 64 MiB/ }),
    command('server1# netraid in-service data'),
    async (s) => {
      await s.inSync('server1');
      await s.shows('server1', /Size: 64 MiB/);
      await mounted(s, '--check');
      expect(await readFile(note(s, 'server1'), 'utf8')).toBe('kept');
    },
  ],
};

const farAway: Story = {
  title: 'a target far away is seeded by a disk',
  section: 'Planned work',
  nodes: ['server1', 'server2', 'server3'],
  failureTimeoutMs: FAILURE_TIMEOUT_MS,
  links: true,
  devices: true,
  steps: [
    async (s) => {
      await s.mirror('server1', 'server2');
      await mounted(s, '--mkfs', 'ext4');
      await writeFile(note(s, 'server1'), 'kept');
      writeFileSync(s.leg('server3'), Buffer.alloc(SIZE));
      s.relays.slow('server1', 'server3', { rateBytesPerSec: MIB, delayMs: 1 });
    },
    command('server1# netraid extend data server3 /dev/sdb1 --async --yes'),
    command('server1# mirror_action data pause server1 server3', { prints: /server1 -> server3: Paused/ }),
    command('server1# netraid umount data'),
    command('server1# dd if=/dev/sdb1 of=/dev/sdx1 bs=1M conv=fsync'),
    command('server1# bitmap -c /var/lib/netraid/bitmap_data --node server3', { asks: true, prints: /marks for .* on server3 are cleared/ }),
    command('server1# netraid mount data /srv/data'),
    async (s) => {
      await writeFile(note(s, 'server1'), 'written meanwhile', { flush: true });
      copyFileSync(s.leg('server1', 'sdx1'), s.leg('server3'));
      s.relays.heal('server1', 'server3');
    },
    command('server1# mirror_action data resume'),
    async (s) => {
      await s.inSync('server1');
      const { lastResync } = await s.daemons.target('server1', TAG, 'server3');
      expect([lastResync?.kind, (lastResync?.bytes ?? 0) > 0, (lastResync?.bytes ?? SIZE) < SIZE / 2]).toEqual(['partial', true, true]);
      expect(await s.daemons.verify('server1', TAG)).toMatchObject({ differingBytes: 0, notCompared: [] });
    },
  ],
};

const foreign: Story = {
  title: 'an NBD server of others is a target',
  section: 'Planned work',
  nodes: ['server1'],
  failureTimeoutMs: FAILURE_TIMEOUT_MS,
  programs: ['nbdkit'],
  steps: [
    async (s) => {
      writeFileSync(s.leg('server1'), Buffer.alloc(MIB, 9));
      const file = s.daemons.path('foreign');
      writeFileSync(file, Buffer.alloc(MIB));
      const port = String(await freePort());
      const server = start('setpriv', ['--pdeathsig', 'KILL', 'nbdkit', '-f', '-i', '127.0.0.1', '-p', port, '-e', 'disk', 'file', file]);
      s.cleanup.add('nbdkit', () => {
        server.kill();
      });
      s.foreign = `127.0.0.1:${port}`;
      await s.daemons.until('nbdkit listens', async () => (await run('nbdinfo', [`nbd://127.0.0.1:${port}/disk`])).code === 0);
      const r = await s.typed('netraid create data /dev/sdb1 && netraid in-service data', 'server1');
      expect([r.code, r.stderr]).toEqual([0, '']);
    },
    command('server1# netraid extend data copy --foreign nbd://10.0.0.9:10809/disk', { asks: true }),
    async (s) => {
      await s.inSync('server1');
      expect(statSync(s.daemons.path('foreign')).size).toBe(MIB);
      await runOk('cmp', [s.leg('server1'), s.daemons.path('foreign')]);
    },
  ],
};

export const plannedWork: readonly Story[] = [switchover, targets, farAway, foreign];
