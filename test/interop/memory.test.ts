/** What a daemon costs a machine while nothing happens, and after a good deal has. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Daemons } from '../support/daemons.ts';
import { memoryAtRest } from '../support/memory-at-rest.ts';
import { findProgram, runOk } from '../support/programs.ts';

const MIB = 1024 * 1024;
const AT_REST_MAX_MIB = 90;
const TAG = 'data';
const NODES = ['server1', 'server2'];
const LOAD_SEC = 5;

const lacking = ['setpriv', 'fio'].filter((p) => findProgram(p) === undefined).join(', ');
if (lacking !== '') process.stderr.write(`\nWARNING: SKIPPED test/interop/memory.test.ts: not here: ${lacking}\n\n`);

describe.skipIf(lacking !== '')(`memory of daemons with one mirror and one target in sync${lacking === '' ? '' : ` (lacks ${lacking})`}`, () => {
  let daemons: Daemons;

  beforeAll(async () => {
    daemons = await Daemons.start({ nodes: NODES });
    const legs = { server1: daemons.path('leg1'), server2: daemons.path('leg2') };
    for (const leg of Object.values(legs)) await runOk('truncate', ['-s', String(256 * MIB), leg]);
    await daemons.createMirror({ tag: TAG, sizeBytes: 256 * MIB, legs });
  });

  afterAll(async () => {
    await daemons.close();
  });

  const atRestMib = (): Promise<number[]> => Promise.all(NODES.map(async (n) => (await memoryAtRest(daemons.node(n))) / MIB));

  it('at rest each keeps less than 90 MiB', async () => {
    expect(Math.max(...(await atRestMib()))).toBeLessThan(AT_REST_MAX_MIB);
  });

  it('a load of small writes leaves little behind', async () => {
    const before = await atRestMib();
    const job = [
      '--name=load',
      '--ioengine=nbd',
      `--uri=${daemons.node('server1').uri(TAG)}`,
      '--rw=randwrite',
      '--bs=4k',
      '--iodepth=32',
      '--size=256M',
    ];
    await runOk('fio', [...job, '--time_based', `--runtime=${String(LOAD_SEC)}`], { timeoutMs: 60_000 });
    const grown = (await atRestMib()).map((mib, i) => mib - (before[i] ?? 0));
    // Buffers of requests are kept for a while, and compiled code for good.
    expect(Math.max(...grown)).toBeLessThan(16);
  });
});
