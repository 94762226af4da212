/** What is said when the account of the previous source can't be merged: a damaged bitmap aloud (M13), anything else to the log alone. */
import { describe, expect, it } from 'vitest';
import { mergeAccount, type MergeOwner } from '../../../src/failover/merge-account.ts';
import type { NodeView, StateRecord } from '../../../src/failover/types.ts';
import { nullLog } from '../../../src/io/log.ts';
import { MIB, REGION, Sim } from '../control/sim.ts';
import { definition, epoch, tookOver, view, type ViewOver } from './build.ts';

const THREE = ['server1', 'server2', 'server3'];

interface Said {
  events: [kind: string, message: string][];
  warnings: [message: string, fields: unknown][];
  record: StateRecord;
}

/** server2 serves and has heard server1, of which only what it says of itself is needed when nothing is merged. */
async function merged(own: ViewOver, previous: ViewOver): Promise<Said> {
  const self: NodeView = view('server2', THREE, { inService: true, ...own, record: { ...tookOver(THREE), ...own.record } });
  const said: Said = { events: [], warnings: [], record: self.record };
  const owner = {
    ctx: {
      tag: 't',
      view: () => self,
      record: () => said.record,
      store: {
        update: (change: (r: StateRecord) => StateRecord) => {
          said.record = change(said.record);
          return Promise.resolve();
        },
      },
      env: {
        self: 'server2',
        emit: (_tag: string, kind: string, message: string) => {
          said.events.push([kind, message]);
        },
        log: { ...nullLog, warn: (message: string, fields: unknown) => said.warnings.push([message, fields]) },
      },
    },
    marks: { durable: () => Promise.resolve(true) },
    epoch: epoch(2, 'server2'),
    timeoutMs: 1000,
  };
  await mergeAccount(owner as unknown as MergeOwner, 'server1', view('server1', THREE, previous));
  return said;
}

const DAMAGED = { bitmapDamaged: true };

describe('a merge that a damaged bitmap prevents', () => {
  it.each<[string, ViewOver, ViewOver]>([
    ['server1', {}, DAMAGED],
    ['server2', DAMAGED, {}],
  ])('is an event, which names the bitmap of %s and who is resynced fully', async (node, own, previous) => {
    const said = await merged(own, previous);
    expect(said.events).toEqual([['bitmap-damaged', `nothing is merged: the bitmap file of ${node} is damaged: full resync of server1, server3`]]);
    expect(said.warnings).toEqual([]);
    expect(said.record).toMatchObject({ mergePending: [], accountComplete: [] });
  });

  it('is said on the new source when the previous one returns, and both the others are resynced fully', async () => {
    await Sim.run({ nodes: THREE }, async (sim) => {
      await sim.mirror();
      await sim.write('server1', 0, REGION, 1);
      sim.crash('server1');
      await sim.until('server2 serves', async () => (await sim.status('server2')).inService);
      await sim.write('server2', REGION, REGION, 2);
      const bitmap = await sim.world.client('server1').files.open('/var/bitmap_t', { write: true });
      await bitmap.write(new Uint8Array(64).fill(0xff), 0);
      await bitmap.close();
      await sim.start('server1');
      await sim.inSync('server2', 'server1', 'server3');
      const said = sim
        .daemon('server2')
        .recentEvents.filter((e) => e.kind === 'bitmap-damaged')
        .map((e) => e.message);
      expect(said).toContain('nothing is merged: the bitmap file of server1 is damaged: full resync of server1, server3');
      for (const t of (await sim.status('server2')).targets)
        expect([t.node, t.lastResync]).toEqual([t.node, expect.objectContaining({ kind: 'full', bytes: MIB })]);
      for (const n of ['server1', 'server3']) expect(sim.legsDiffer('server2', n)).toBe(-1);
    });
  });
});

describe('a merge into a bitmap that was damaged', () => {
  it('is no account of the others: both are resynced fully, and it is said why', async () => {
    await Sim.run({ nodes: THREE }, async (sim) => {
      await sim.mirror();
      await sim.write('server1', 0, REGION, 1);
      sim.crash('server1');
      await sim.until('server2 serves', async () => (await sim.status('server2')).inService);
      await sim.write('server2', REGION, REGION, 2);
      sim.crash('server2');
      const bitmap = await sim.world.client('server2').files.open('/var/bitmap_t', { write: true });
      await bitmap.write(new Uint8Array(64).fill(0xff), 0);
      await bitmap.close();
      for (const n of ['server1', 'server2']) await sim.start(n);
      await sim.until('server2 serves again', async () => (await sim.status('server2')).inService);
      await sim.inSync('server2', 'server1', 'server3');
      const started = sim.daemon('server2').recentEvents.filter((e) => e.kind === 'resync-started');
      const why = expect.stringContaining('in full, because the bitmap file of server2 is damaged') as unknown;
      expect(started.map((e) => e.fields)).toEqual(['server1', 'server3'].map((node) => ({ node, kind: 'full', rule: 'serving', why })));
      for (const t of (await sim.status('server2')).targets) expect(t.lastResync).toMatchObject({ kind: 'full', bytes: MIB });
      for (const n of ['server1', 'server3']) expect(sim.legsDiffer('server2', n)).toBe(-1);
      // Made good by then: another loss is followed by a partial resync.
      sim.world.cut('server2', 'server3');
      await sim.until('server3 is out', async () => (await sim.targetState('server2', 'server3')) !== 'Target');
      await sim.write('server2', 0, REGION, 3);
      sim.world.healAll();
      await sim.inSync('server2', 'server3');
      expect((await sim.status('server2')).targets.find((t) => t.node === 'server3')?.lastResync).toMatchObject({ kind: 'partial' });
    });
  });
});

describe('a merge that anything else prevents', () => {
  it.each<[string, ViewOver]>([
    ['server1 is of another mirror', { record: { definition: definition(THREE, { createId: 'cfffffffffffffff' }) } }],
    ['server1 is of another mirror', { ...DAMAGED, record: { definition: definition(THREE, { createId: 'cfffffffffffffff' }) } }],
    ['server1 has handed its marks over to server3, and may have forgotten them', { record: { accountGivenTo: 'server3' } }],
    ['the region sizes differ', { record: { definition: definition(THREE, { regionSizeBytes: 4096 }) } }],
    ['the mirror is smaller on server1', { record: { definition: definition(THREE, { sizeBytes: 65_536 }) } }],
    ['server1 has not kept marks for server2 since both were in sync', { record: { accountComplete: ['server3'] } }],
  ])('is no event but a warning: %s', async (why, previous) => {
    const said = await merged({}, previous);
    expect(said.events).toEqual([]);
    expect(said.warnings).toEqual([
      [
        'the bitmap of the previous source is of no use',
        { tag: 't', node: 'server1', why: `nothing is merged: ${why}: full resync of server1, server3` },
      ],
    ]);
    expect(said.record).toMatchObject({ mergePending: [], accountComplete: [] });
  });
});
