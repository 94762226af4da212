/** What a node knows of another is from before a cut between them, until the other has spoken again. */
import { describe, expect, it } from 'vitest';
import { ClusterError } from '../../../src/cluster/errors.ts';
import { askBeforeClaim } from '../../../src/failover/fresh-views.ts';
import type { DecideRule, NodeName } from '../../../src/failover/types.ts';
import { REGION, Sim } from '../control/sim.ts';
import { facts, TIMEOUT_MS, view } from './build.ts';

/** More than a hello has, and less than a heartbeat: what is longer is damaged on its way. */
const HELLO_MAX_BYTES = 600;

const THREE = ['server1', 'server2', 'server3'];

/**
 * server2 has taken over from server1, and is cut off from server3, which is forced: of that server2 knows only from server1, which has
 * accepted the claim. What server2 last heard of server3 itself is of long before.
 */
async function forcedApart(sim: Sim): Promise<void> {
  await sim.mirror();
  await sim.until('server2 knows how server3 sees the mirror', () => sim.daemon('server2').mirrors.get('t')?.peerView('server3') !== undefined);
  await sim.write('server1', 0, REGION, 1);
  sim.crash('server1');
  sim.crash('server3');
  await sim.until('server2 serves', async () => (await sim.status('server2')).inService);
  await sim.write('server2', 0, REGION, 2);
  sim.world.cut('server2', 'server3');
  await sim.start('server1');
  await sim.inSync('server2', 'server1');
  await sim.start('server3');
  await sim.until('server3 hears server1', () => sim.daemon('server3').env.cluster.connected('server1'));
  await sim.call('server3', 'force', { tag: 't', withoutLastOwner: true, confirmed: ['force'] });
  await sim.until('server2 is out of service', async () => !(await sim.status('server2')).inService);
}

const epochServed = (sim: Sim): number | undefined => sim.daemon('server3').mirrors.get('t')?.source?.epoch.number;

describe('a node that was forced while this one did not hear it', () => {
  it('is not fenced off by a claim on what it said before, while it is heard and can not make itself understood', async () => {
    await Sim.run({ nodes: THREE }, async (sim) => {
      await forcedApart(sim);
      const epoch = epochServed(sim);
      expect(epoch).toBeDefined();
      sim.world.flipBits('server2', 'server3', 1, HELLO_MAX_BYTES);
      sim.world.heal('server2', 'server3');
      await sim.until('server2 waits for its word', async () => (await sim.status('server2')).decision?.why.includes('can be heard again') === true);
      await sim.world.sleep(10_000);
      expect(await sim.status('server2')).toMatchObject({ inService: false, decision: { action: 'wait', rule: 'evidence' } });
      expect(epochServed(sim)).toBe(epoch);

      sim.world.flipBits('server2', 'server3', 0);
      await sim.until('server2 says split brain', async () => (await sim.status('server2')).decision?.rule === 'split-brain');
      expect(epochServed(sim)).toBe(epoch);
      expect(await sim.status('server3')).toMatchObject({ inService: true });
    });
  });
});

describe('before a claim that it makes by itself', () => {
  it('a node asks all who are heard how they see the mirror, when their records are its evidence', async () => {
    await Sim.run({ nodes: THREE }, async (sim) => {
      await sim.mirror();
      for (const n of THREE) sim.crash(n);
      for (const n of ['server2', 'server3']) await sim.start(n);
      const { cluster } = (await sim.start('server1')).env;
      const asked: string[] = [];
      const request = cluster.request.bind(cluster);
      cluster.request = async (peer, method, params, timeoutMs) => {
        asked.push(`${method} ${peer}`);
        return await request(peer, method, params, timeoutMs);
      };
      await sim.until('server1 serves', async () => (await sim.status('server1')).inService);
      const claims = asked.indexOf('claim server2');
      expect((await sim.status('server1')).decision?.rule).toBe('evidence');
      expect(asked.slice(0, claims)).toEqual(['view server2', 'view server3']);
    });
  });

  /** server1 may claim. server2 has spoken just now, server3 not since a silence, server4 never, and server5 can't be heard. */
  const asksWhom = async (rule: DecideRule): Promise<{ asked: NodeName[]; waitedMs: number[] }> => {
    const nodes = [...THREE, 'server4', 'server5'];
    const self = view('server1', nodes);
    const asked: NodeName[] = [];
    const waitedMs: number[] = [];
    await askBeforeClaim(
      {
        env: {
          cluster: { connected: () => true, connectedWithin: () => Promise.resolve(true) },
          io: { clock: { now: () => 0 } },
          log: { info: () => undefined },
        },
        tag: 't',
        record: () => self.record,
        others: () => nodes.slice(1),
        silentForMs: (n: NodeName) => (n === 'server5' ? TIMEOUT_MS : 10),
        facts: () =>
          facts(self, [view('server2', nodes), view('server3', nodes), view('server5', nodes)], {
            said: { server3: TIMEOUT_MS, server5: TIMEOUT_MS },
            silent: { server5: TIMEOUT_MS },
          }),
        askView: (node: NodeName, timeoutMs: number) => {
          asked.push(node);
          waitedMs.push(timeoutMs);
          return Promise.reject(new ClusterError('timeout', `${node} did not answer`));
        },
      } as unknown as Parameters<typeof askBeforeClaim>[0],
      rule,
    );
    return { asked, waitedMs };
  };

  it('by any other rule it asks only those who have said nothing since they were silent, and waits for failureTimeout at most', async () => {
    expect((await asksWhom('evidence')).asked).toEqual(['server2', 'server3', 'server4']);
    const { asked, waitedMs } = await asksWhom('takeover');
    expect(asked).toEqual(['server3', 'server4']);
    expect(Math.max(...waitedMs)).toBe(TIMEOUT_MS);
  });
});
