import { describe, expect, it } from 'vitest';
import { SECTOR_MAX_BYTES } from '../../../src/failover/limits.ts';
import { decodeRecord, encodeRecord } from '../../../src/failover/record.ts';
import { definitionSchema } from '../../../src/failover/protocol.ts';
import { isSectorSize, requireBlocks, sectorRefusal, sectorSizeOf, sectorsSaid, withOwnSectors } from '../../../src/failover/sectors.ts';
import { MIB, Sim } from '../control/sim.ts';
import { definition, record } from './build.ts';

const TWO = ['server1', 'server2'];

describe('sector sizes', () => {
  it('are the powers of two from 512 to 4096', () => {
    expect([512, 1024, 2048, 4096].every(isSectorSize)).toBe(true);
    expect([0, -512, 1, 256, 513, 1536, 8192, 0.5, NaN, Infinity].some(isSectorSize)).toBe(false);
  });

  it('are 512 where nobody says, and are written down otherwise', () => {
    expect(sectorSizeOf(definition(TWO))).toBe(512);
    expect(sectorsSaid(512)).toEqual({});
    expect(sectorSizeOf(definition(TWO, sectorsSaid(4096)))).toBe(4096);
  });

  it('survive the disk, and the way to another node; what is none is refused by both', () => {
    const d = definition(TWO, { sectorSizeBytes: 4096 });
    expect(decodeRecord(encodeRecord(record('server1', TWO, { definition: d })))).toMatchObject({ kind: 'ok', record: { definition: d } });
    expect(definitionSchema.parse(d)).toEqual(d);
    for (const sectorSizeBytes of [0, 1000, 8192]) {
      expect(definitionSchema.safeParse({ ...d, sectorSizeBytes }).success).toBe(false);
      expect(() => encodeRecord(record('server1', TWO, { definition: { ...d, sectorSizeBytes } }))).toThrow();
    }
  });

  it('stay when a node that knows of none sends a newer definition', () => {
    const ours = definition(TWO, { sectorSizeBytes: 4096 });
    const theirs = definition(TWO, { revision: 9 });
    expect(withOwnSectors(theirs, ours)).toEqual({ ...theirs, sectorSizeBytes: 4096 });
    expect(withOwnSectors(ours, theirs)).toEqual(ours);
    expect(withOwnSectors(theirs, theirs)).toEqual(theirs);
  });
});

describe('a refusal', () => {
  it('is given for larger sectors alone', () => {
    expect(sectorRefusal('/dev/sdb has sectors', 512, 't', 512)).toBeUndefined();
    expect(sectorRefusal('/dev/sdb has sectors', 512, 't', 4096)).toBeUndefined();
    expect(sectorRefusal('/dev/sdb has sectors', 4096, 't', 512)).toMatch(/--sector-size 4096$/);
    expect(sectorRefusal('/dev/sdb has sectors', 16_384, 't', SECTOR_MAX_BYTES)).toMatch(/no mirror takes more than 4096$/);
    expect(() => {
      requireBlocks('elsewhere', 4096, definition(TWO));
    }).toThrow(/^elsewhere takes only blocks of 4096 bytes/);
  });
});

it('a session on a leg whose sectors have become larger is refused, and the source shows why', async () => {
  await Sim.run({}, async (sim) => {
    sim.world.node('server2').createFile('/disk', MIB, 'block');
    await sim.call('server1', 'create', sim.createParams({ failover: 'off' }));
    await sim.call('server1', 'in-service', { tag: 't' });
    await sim.call('server1', 'extend', sim.extendParams('server2', 10, { leg: '/disk' }));
    await sim.inSync('server1', 'server2');
    await sim.stop('server2');
    // Another disk under the same name.
    sim.world.node('server2').createFile('/disk', MIB, 'block', 4096);
    await sim.start('server2');
    const detail = async (): Promise<string> => (await sim.status('server1')).targets[0]?.detail ?? '';
    await sim.until('it is refused', async () => /^\/disk has sectors of 4096 bytes, and mirror t of 512/.test(await detail()));
    expect(await sim.targetState('server1', 'server2')).toBe('Out of Sync');
    await sim.write('server1', 0, 512, 9);
  });
});
