/** The table of design.md for three nodes, as the new source shows it while it resyncs one node after the other: the previous source first. */
import { describe, expect, it } from 'vitest';
import { mirrorStatus } from '../../../src/control/status.ts';
import { DEFAULT_SETTINGS } from '../../../src/mirror/settings.ts';
import { MIB, REGION, Sim } from '../control/sim.ts';

const NODES = ['server1', 'server2', 'server3'];
const FLAGS = '/var/subsys/scsi/resources/netraid';

interface Moment {
  /** How server2 sees the others. */
  server1: string;
  server3: string;
  /** What TAG_source holds on each node. */
  source: string[];
  /** Nodes whose TAG_last_owner is there. */
  lastOwner: string[];
}

function momentOf(sim: Sim): Moment | undefined {
  const mirror = sim.daemon('server2').mirrors.get('t');
  if (mirror === undefined) return undefined;
  const { targets } = mirrorStatus(mirror, { socketPath: '', verify: null });
  const seen = (node: string): string => targets.find((t) => t.node === node)?.state ?? 'not there';
  const held = (node: string, flag: string): string | undefined => {
    const bytes = sim.world.node(node).peek(`${FLAGS}/t_${flag}`);
    return bytes === undefined ? undefined : new TextDecoder().decode(bytes).trim();
  };
  return {
    server1: seen('server1'),
    server3: seen('server3'),
    source: NODES.map((n) => held(n, 'source') ?? 'none'),
    lastOwner: NODES.filter((n) => held(n, 'last_owner') !== undefined),
  };
}

/** Every change, in order, from the takeover on until all are in sync again. */
async function takeover(priority: number, seed: number): Promise<{ moments: Moment[]; resyncs: unknown[] }> {
  const resync = { ...DEFAULT_SETTINGS.resync, rateMaxBytesPerSec: MIB, rateMinBytesPerSec: MIB };
  const moments: Moment[] = [];
  let resyncs: unknown[] = [];
  await Sim.run({ nodes: NODES, settings: { resync }, seed }, async (sim) => {
    await sim.mirror({ priority });
    await sim.write('server1', 0, 4 * REGION, 1);
    sim.crash('server1');
    await sim.until('server2 serves', async () => (await sim.status('server2')).inService);
    await sim.write('server2', 2 * REGION, 8 * REGION, 2);
    // The third node would be there long before it, if it were not held back.
    sim.world.slow('server2', 'server1', { delayMs: 40 });
    sim.world.betweenEvents(() => {
      const now = momentOf(sim);
      if (now !== undefined && JSON.stringify(now) !== JSON.stringify(moments.at(-1))) moments.push(now);
    });
    await sim.start('server1');
    await sim.until('server1 is being resynced', async () => (await sim.targetState('server2', 'server1')) === 'Resyncing');
    // Copied whole, it joins while the next one is being connected: that takes longer.
    sim.world.slow('server2', 'server1', {});
    sim.world.slow('server2', 'server3', { delayMs: 40 });
    await sim.inSync('server2', 'server1', 'server3');
    await sim.until('server3 says so too', async () => (await sim.status('server3')).state === 'Target');
    resyncs = sim
      .daemon('server2')
      .recentEvents.filter((e) => e.kind === 'resync-started' || e.kind === 'resync-done')
      .map((e) => [e.kind, e.fields['node'], e.fields['kind']]);
    for (const n of ['server1', 'server3']) expect(sim.legsDiffer('server2', n)).toBe(-1);
  });
  return { moments, resyncs };
}

describe.each([
  ['prior to the third node', 1],
  ['of worse priority than the third node', 30],
])('the previous source, %s,', (_what, priority) => {
  it.each([1, 2, 3])('is merged and resynced first, the third node after it (seed %i)', async (seed) => {
    const { moments, resyncs } = await takeover(priority, seed);
    const states = moments.map((m) => `${m.server1} | ${m.server3}`);
    expect(states.filter((s, i) => s !== states[i - 1])).toEqual([
      // server1 dead
      'Unknown | Out of Sync (Wait for Previous Source)',
      // server1 connects
      'Out of Sync (Previous Source) | Out of Sync (Wait for Previous Source)',
      // merged
      'Out of Sync (Previous Source) | Out of Sync',
      'Resyncing | Out of Sync',
      // done
      'Target | Out of Sync',
      'Target | Resyncing',
      // done
      'Target | Target',
    ]);
    expect(resyncs).toEqual([
      ['resync-started', 'server1', 'partial'],
      ['resync-done', 'server1', 'partial'],
      ['resync-started', 'server3', 'partial'],
      ['resync-done', 'server3', 'partial'],
    ]);
  });

  it('gives up its flags on the way', async () => {
    const { moments } = await takeover(priority, 1);
    expect(moments[0]).toMatchObject({ server1: 'Unknown', source: ['server1', 'server1', 'server1'], lastOwner: ['server1', 'server2'] });
    // server2 names the previous source for as long as that is not in sync.
    for (const m of moments) if (m.source[1] === 'server2') expect(m.server1).toMatch(/^(Resyncing|Target)$/);
    const resyncing = moments.filter((m) => m.server1 === 'Resyncing');
    expect(resyncing[0]).toMatchObject({ source: ['server2', 'server1', 'server1'], lastOwner: ['server2'] });
    for (const m of moments.filter((x) => x.server1 === 'Target')) expect([m.source[0], m.lastOwner]).toEqual(['server2', ['server2']]);
    expect(moments.at(-1)).toEqual({ server1: 'Target', server3: 'Target', source: ['server2', 'server2', 'server2'], lastOwner: ['server2'] });
  });
});
