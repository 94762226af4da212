/** A mirror of 1 TiB, sparse: a partial resync is as long as what is dirty, and the daemon stays small. */
import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { afterEach, beforeEach, expect } from 'vitest';
import { Chance } from '../support/chance.ts';
import { Cleanup } from '../support/cleanup.ts';
import { Daemons, storedBytes } from '../support/daemons.ts';
import { expectIdentical } from '../support/machine.ts';
import { nbdsh, runOk, testWith } from '../support/programs.ts';

const MIB = 1024 * 1024;
const SIZE = MIB * MIB;
const REGION = 256 * 1024;
const REGIONS = SIZE / REGION;
const DIRTY = 1000;
const PLANTED = 200;
const MEMORY_MAX = 150 * MIB;
const TAG = 'data';

let cleanup: Cleanup;

beforeEach(() => {
  cleanup = new Cleanup();
});

afterEach(async () => {
  await cleanup.run();
});

testWith(
  ['nbdsh', 'qemu-img', 'fallocate'],
  'the partial resync of 1,000 scattered regions in 1 TiB covers those and nothing else, in less than 150 MiB of memory',
  async () => {
    const daemons = await Daemons.start({ nodes: ['server1', 'server2'] });
    cleanup.add('the daemons', () => daemons.close());
    const source = daemons.node('server1');
    const legs = { server1: daemons.path('leg1'), server2: daemons.path('leg2') };
    await daemons.createMirror({ tag: TAG, sizeBytes: SIZE, regionBytes: REGION, legs });
    await nbdsh(source.uri(TAG), `import os; h.connect_uri(os.environ["URI"]); h.pwrite(b"first" + bytes(507), 0); h.flush(); h.shutdown()`);
    await daemons.node('server2').kill();
    await daemons.untilTarget('server1', TAG, 'server2', 'is out', (t) => t.state !== 'Target');

    const chance = new Chance(20261120);
    const chosen = chance.distinct(DIRTY + PLANTED, REGIONS);
    // Every sixth is left clean.
    const clean = chosen.filter((_, i) => i % 6 === 5);
    const dirty = chosen.filter((_, i) => i % 6 !== 5);
    expect([dirty.length, clean.length]).toEqual([DIRTY, PLANTED]);
    const places = dirty.map((r) => r * REGION + chance.below(REGION / 4096) * 4096);
    const script = `
import os
h.connect_uri(os.environ["URI"])
failed = []
def wait(limit):
    while h.aio_in_flight() >= limit: h.poll(-1)
for at in [${places.join(',')}]:
    wait(64)
    h.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(at.to_bytes(8, "little") * 512)), at, completion=lambda e: (e and failed.append(e), 1)[1])
wait(1)
assert not failed
h.flush()
h.shutdown()
`;
    await nbdsh(source.uri(TAG), script);
    const waiting = await daemons.target('server1', TAG, 'server2');
    expect([waiting.dirtyRegions, waiting.dirtyBytes]).toEqual([DIRTY, DIRTY * REGION]);

    // What the target has in clean regions must not be touched, so that it tells what the resync wrote.
    const planted = Buffer.alloc(4096, 'planted ');
    const fd = openSync(legs.server2, 'r+');
    cleanup.add('the leg', () => {
      closeSync(fd);
    });
    for (const r of clean) writeSync(fd, planted, 0, planted.length, r * REGION);

    await daemons.node('server2').start();
    let highestResident = 0;
    const done = await daemons.untilTarget(
      'server1',
      TAG,
      'server2',
      'is in sync',
      (t) => {
        highestResident = Math.max(highestResident, source.memory().residentBytes);
        return t.state === 'Target';
      },
      60_000,
    );
    expect(done.lastResync).toMatchObject({ target: 'server2', kind: 'partial', bytes: DIRTY * REGION, sent: DIRTY * REGION });
    for (const r of clean) {
      const found = Buffer.alloc(planted.length);
      readSync(fd, found, 0, found.length, r * REGION);
      expect(found.equals(planted), `region ${String(r)}, which was clean, was written to`).toBe(true);
      await runOk('fallocate', ['--punch-hole', '-o', String(r * REGION), '-l', String(REGION), legs.server2]);
    }
    expect(storedBytes(legs.server2)).toBeLessThan((DIRTY + 40) * REGION);
    await expectIdentical([legs.server1, legs.server2]);

    const { highestBytes } = source.memory();
    const shown = [highestResident, highestBytes].map((n) => (n / MIB).toFixed(1));
    process.stderr.write(
      `mirror-large: the source's daemon, 1 TiB: ${shown.join(' MiB resident during the resync, at most ')} MiB since it started\n`,
    );
    expect(highestBytes).toBeLessThan(MEMORY_MAX);
  },
  120_000,
);
