/** A mirror with as many targets as it can have, each killed and revived at random while an application writes. */
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect } from 'vitest';
import { Chance } from '../support/chance.ts';
import { Cleanup } from '../support/cleanup.ts';
import { Daemons } from '../support/daemons.ts';
import { expectIdentical } from '../support/machine.ts';
import { runOk, testWith } from '../support/programs.ts';

const MIB = 1024 * 1024;
const SIZE = 24 * MIB;
const TAG = 'data';
const TARGETS = 7;
const ROUNDS = Number(process.env['NETRAID_SOAK_ROUNDS'] ?? '1');

let cleanup: Cleanup;

beforeEach(() => {
  cleanup = new Cleanup();
});

afterEach(async () => {
  await cleanup.run();
});

testWith(
  ['fio', 'timeout', 'qemu-img'],
  'seven targets that are killed and revived at random under writes are the same at the end, and an eighth is refused',
  async () => {
    const chance = new Chance();
    process.stderr.write(`mirror-seven-targets: NETRAID_SEED=${String(chance.seed)}\n`);
    const names = Array.from({ length: TARGETS + 1 }, (_, i) => `server${String(i + 1)}`);
    const daemons = await Daemons.start({ nodes: names, tunables: { LKDR_SPEED_LIMIT_MIN: 500_000 } });
    cleanup.add('the daemons', () => daemons.close());
    const source = daemons.node('server1');
    const legs = Object.fromEntries(names.map((n) => [n, daemons.path(`${n}.leg`)]));
    const status = await daemons.createMirror({ tag: TAG, sizeBytes: SIZE, regionBytes: 64 * 1024, legs });
    expect(status.targets).toHaveLength(TARGETS);

    const eighth = await source.cli('netraid', ['extend', TAG, 'server9', daemons.path('server9.leg'), '--yes']);
    expect(eighth.code).toBe(1);
    expect(eighth.stderr).toMatch(/has 7 targets, which is the most a mirror can have/);

    const progress = { killing: true };
    const write = async (): Promise<void> => {
      while (progress.killing) {
        const options = [
          '--rw=randwrite',
          '--bsrange=512-128k',
          `--size=${String(SIZE)}`,
          '--io_size=64m',
          '--iodepth=16',
          '--fsync=50',
          '--randrepeat=0',
        ];
        const args = ['fio', '--name=writes', '--ioengine=nbd', `--uri=${source.uri(TAG)}`, ...options, '--time_based', '--runtime=3'];
        expect(await runOk('timeout', ['-k', '5', '60', ...args], { cwd: daemons.folder })).toMatch(/err= 0/);
      }
    };
    const killAndRevive = async (name: string): Promise<void> => {
      for (let round = 0; round < ROUNDS; round += 1) {
        await sleep(chance.below(5000));
        await daemons.node(name).kill();
        await sleep(100 + chance.below(2500));
        await daemons.node(name).start();
      }
    };
    const kills = Promise.all(names.slice(1).map(killAndRevive)).finally(() => {
      progress.killing = false;
    });
    await Promise.all([write(), kills]);

    const end = await daemons.untilInSync('server1', TAG, 60_000 + 30_000 * ROUNDS);
    expect(end.targets.map((t) => [t.state, t.dirtyBytes])).toEqual(Array.from({ length: TARGETS }, () => ['Target', 0]));
    for (const name of names.slice(1)) expect(source.logged(new RegExp(`${name} has left the mirror`)).length).toBeGreaterThanOrEqual(1);
    await expectIdentical(Object.values(legs));
    for (const n of daemons.nodes()) await n.stop();
    await expectIdentical(Object.values(legs));
  },
  120_000 + 60_000 * ROUNDS,
);
