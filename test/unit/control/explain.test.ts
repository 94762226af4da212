import { describe, expect, it } from 'vitest';
import { explain, type Explained } from '../../../src/control/explain.ts';
import { whatIf } from '../../../src/control/what-if.ts';
import type { Facts } from '../../../src/failover/types.ts';
import { definition, epoch, facts, type FactsOver, tookOver, view } from '../failover/build.ts';
import { LOST, s1, s2, THREE, TWO } from '../failover/decide-support.ts';
import { Sim } from './sim.ts';

const explained = (f: Facts, reachable: string[] = []): Explained => explain(f, { source: null, reachable: new Set(reachable) });

describe('explain', () => {
  it('names every node of the mirror, with how long each has been silent, and those that were never heard', () => {
    const d = definition(['server1', 'server2', 'server3', 'server4']);
    const nodes = { ...d.nodes, copy: { priority: 90, leg: '', mode: 'sync' as const, foreignUri: 'nbd://h/x' } };
    const self = view('server1', THREE, { record: { definition: { ...d, nodes } } });
    const e = explained(facts(self, [view('server2', THREE), view('server3', THREE)], { silent: { server2: 300, server3: LOST } }));
    expect(e.heard).toEqual({
      server1: { how: 'here', silentForMs: null },
      server2: { how: 'heard', silentForMs: 300 },
      server3: { how: 'silent', silentForMs: LOST },
      server4: { how: 'never', silentForMs: null },
      copy: { how: 'foreign', silentForMs: null },
    });
  });

  it('tells a daemon that says nothing of the mirror from one that is silent', () => {
    const e = explained(facts(view('server1', THREE, { silentForMs: { server2: LOST } }), []), ['server2']);
    expect(e.heard['server2']).toEqual({ how: 'mute', silentForMs: LOST });
    expect(e.heard['server3']).toEqual({ how: 'never', silentForMs: null });
  });

  it('counts votes only under an arbiter, this node among them', () => {
    const votes = (arbiter: 'none' | 'majority', over: FactsOver = {}): Explained['arbiter'] => {
      const self = view('server1', THREE, { record: { definition: definition(THREE, { arbiter }) } });
      return explained(facts(self, [view('server2', THREE), view('server3', THREE)], over)).arbiter;
    };
    expect(votes('none')).toEqual({ kind: 'none', voters: [], heard: [], needed: 0, overruled: false });
    expect(votes('majority')).toEqual({ kind: 'majority', voters: THREE, heard: THREE, needed: 2, overruled: false });
    expect(votes('majority', { silent: { server2: LOST } }).heard).toEqual(['server1', 'server3']);
    const definitionOfIt = definition(THREE, { arbiter: 'majority' });
    const forced = view('server1', THREE, { record: { definition: definitionOfIt, overruled: epoch(1) } });
    expect(explained(facts(forced, [])).arbiter.overruled).toBe(true);
    // Its daemon could vote, though its record is lost.
    expect(explained(facts(forced, []), ['server3']).arbiter.heard).toEqual(['server1', 'server3']);
  });

  it('compares with a silent node by the last that it said, and never as though it served now', () => {
    const after = s2({ inService: true, record: tookOver(TWO), flags: { lastOwner: true } });
    const last = s1({ inService: true, state: 'Source' });
    const [live] = explained(facts(after, [last])).compares;
    expect(live).toMatchObject({ with: 'server1', heard: { how: 'heard' } });
    const [dead] = explained(facts(after, [last], { silent: { server1: LOST } })).compares;
    expect(dead).toMatchObject({
      with: 'server1',
      heard: { how: 'silent', silentForMs: LOST },
      rule: 'serving',
      direction: { from: 'server2', to: 'server1' },
    });
    const [out] = explained(facts(s2(), [last], { silent: { server1: LOST } })).compares;
    expect(out?.why).not.toMatch(/server1 is in service/);
    expect(out).toMatchObject({ rule: 'crashed-source' });
    const [lost] = explained(whatIf(facts(s2(), [last]), 'server1 lost')).compares;
    expect(lost).toMatchObject({ rule: 'crashed-source', heard: { how: 'silent' } });
  });

  it('of a node that serves says what would end that', () => {
    const e = explained(facts(s1({ inService: true }), [s2({ contactWithSource: true })]));
    expect(e.decision).toMatchObject({ action: 'stay-in-service', rule: 'evidence' });
    expect(e.decision.changesIf?.[0]).toMatch(/^this node is silent for 2s: server2 takes over \(rule takeover\)/);
    const waits = explained(facts(s2(), []));
    expect(waits.decision.changesIf).toEqual(['server1 can be heard', 'an operator forces it online']);
  });
});

it('explain of a daemon: a dead source is no source, its silence is told, and what is left says what would end its service', async () => {
  await Sim.run({ nodes: [...THREE] }, async (sim) => {
    await sim.mirror({ arbiter: 'majority' });
    await sim.write('server1', 0, 4096, 1);
    const of = (node: string, question: string | null = null): Promise<Explained> => sim.call(node, 'explain', { tag: 't', whatIf: question });
    const before = await of('server1');
    expect(before.decision.changesIf).toContain('an operator says netraid switchover t server2 or server3');
    expect(before.decision.changesIf?.join('\n')).toMatch(/2 of server2, server3 can not be heard for 2s: .* \(rule no-quorum\)/);
    expect((await of('server2', 'server1 lost')).heard['server1']?.how).toBe('silent');
    sim.crash('server1');
    await sim.until('server2 took over', async () => (await sim.status('server2')).inService);
    await sim.world.sleep(3000);
    const e = await of('server2');
    expect(e.heard['server1']?.how).toBe('silent');
    expect(e.heard['server1']?.silentForMs).toBeGreaterThan(5000);
    expect(e.peers['server1']?.inService).toBe(true);
    expect(e.arbiter).toMatchObject({ voters: THREE, heard: ['server2', 'server3'], needed: 2 });
    const dead = e.compares.find((c) => c.with === 'server1');
    expect(dead).toMatchObject({ rule: 'serving', direction: { from: 'server2', to: 'server1' } });
    expect(dead?.why).not.toMatch(/both in service|server1 is in service/);
    expect(JSON.parse(JSON.stringify(e))).toEqual(e);
  });
});
