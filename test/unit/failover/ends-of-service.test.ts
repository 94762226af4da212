import { describe, expect, it } from 'vitest';
import type { SwitchoverFacts } from '../../../src/failover/decide-switchover.ts';
import { endsOfService } from '../../../src/failover/ends-of-service.ts';
import type { Facts, MirrorDefinition, NodeView } from '../../../src/failover/types.ts';
import { definition, epoch, facts, type FactsOver, view, type ViewOver } from './build.ts';
import { LOST, THREE, TWO } from './decide-support.ts';

const source = (nodes: readonly string[], over: ViewOver = {}): NodeView => view('server1', nodes, { inService: true, state: 'Source', ...over });
/** In sync, and in contact with its source. */
const target = (node: string, nodes: readonly string[], over: ViewOver = {}): NodeView =>
  view(node, nodes, { contactWithSource: true, silentForMs: Object.fromEntries(nodes.filter((n) => n !== node).map((n) => [n, 10])), ...over });
const inSync = { foreign: false, inSync: true, problem: '' };
const links = (...nodes: string[]): SwitchoverFacts['source'] => ({
  targets: Object.fromEntries(nodes.map((n) => [n, inSync])),
  localLeg: 'in',
  suspendedFor: [],
});

function ends(f: Facts, s: SwitchoverFacts['source'] = null): string {
  return endsOfService(f, s).join('\n');
}

const three = (over: FactsOver = {}, o: { server2?: ViewOver; server3?: ViewOver; definition?: Partial<MirrorDefinition> } = {}): Facts => {
  const d = { definition: definition(THREE, o.definition) };
  const of = (v: ViewOver = {}): ViewOver => ({ ...v, record: { ...d, ...v.record } });
  return facts(source(THREE, { record: d }), [target('server2', THREE, of(o.server2)), target('server3', THREE, of(o.server3))], over);
};

describe('what ends the service of a source', () => {
  it('its silence: the best candidate takes over, by the rule that it would name itself', () => {
    const s = 'this node is silent for 2s';
    const stops = 'and this node stops when it hears of it (rule superseded)';
    expect(ends(three())).toContain(`${s}: server2 takes over (rule takeover), ${stops}`);
    const told = { toldOut: { by: 'server1', epoch: epoch(1), why: 'paused by an operator' }, inSync: ['server1', 'server3'] };
    expect(ends(three({}, { server2: { record: told } }))).toContain(`${s}: server3 takes over (rule takeover), ${stops}`);
  });

  it('its silence without anybody to take over: why each stays out', () => {
    const told = { toldOut: { by: 'server1', epoch: epoch(1), why: 'paused by an operator' }, inSync: ['server1'] };
    expect(ends(facts(source(TWO), [target('server2', TWO, { record: told })]))).toContain(
      'this node is silent for 2s: nobody is known to take over; server2: server1 told this node in epoch 1 (server1) that it is out: paused by an operator (rule told-out)',
    );
    expect(ends(facts(source(TWO), [target('server2', TWO)], { silent: { server2: LOST } }))).toContain(
      'this node is silent for 2s: nobody is known to take over; server2 can not be heard',
    );
    expect(ends(facts(source(TWO), [target('server2', TWO, { contactWithSource: false })]))).toContain('(rule target-alone)');
  });

  it('its silence, where a failover asks or is off', () => {
    expect(ends(three({}, { definition: { failover: 'confirm' } }))).toContain('server2 asks an operator whether it shall take over (rule takeover)');
    expect(ends(three({}, { definition: { failover: 'off' } }))).toMatch(
      /nobody is known to take over; server2: .*failover is 'off' \(rule takeover\)/,
    );
  });

  it('a node that is silent now, and has served meanwhile', () => {
    const f = three({ silent: { server3: LOST } });
    expect(ends(f)).toContain('server3, which is silent, is heard again and has served a later epoch: this node stops (rule superseded)');
    expect(ends(three())).not.toContain('which is silent');
    // Never heard since start: what it would say is not known, and the rule not asked.
    expect(ends(facts(source(TWO), []))).toContain('server2, which is silent, is heard again and has served a later epoch: this node stops\n');
  });

  it('the loss of most nodes, under arbiter majority alone', () => {
    const line = '2 of server2, server3 can not be heard for 2s: this node is suspended, and answers nothing (rule no-quorum)';
    expect(ends(three({ majority: true }, { definition: { arbiter: 'majority' } }))).toContain(line);
    const one = three({ majority: true, silent: { server3: LOST } }, { definition: { arbiter: 'majority' } });
    expect(ends(one)).toContain('\nserver2 can not be heard for 2s: this node is suspended, and answers nothing (rule no-quorum)');
    expect(ends(three())).not.toContain('no-quorum');
  });

  it('its own leg: with whom it goes on, and what it decides once it is out', () => {
    expect(ends(three())).toContain('its own leg fails: it goes on with server2 and server3, and once it is out of service it stays out');
    expect(ends(three())).toContain('until it is resynced (rule leg-behind)');
    expect(ends(facts(source(TWO), [target('server2', TWO)], { silent: { server2: LOST } }))).toContain(
      'its own leg fails: requests are answered with errors, since no sync target in sync is left to go on with',
    );
    const behind = { legBehind: { since: epoch(1), newest: 'server2' }, inSync: ['server2'] };
    expect(ends(facts(source(TWO, { record: behind }), [target('server2', TWO)]))).toContain(
      'server2 is lost: this node stops, since its own leg is behind server2',
    );
  });

  it('an operator: a switchover to whoever may be handed the mirror now', () => {
    expect(ends(three(), links('server2', 'server3'))).toContain('an operator says netraid switchover datarep-ext3 server2 or server3');
    const f = three({ silent: { server2: LOST } });
    expect(ends(f, links('server2', 'server3'))).toContain('an operator says netraid switchover datarep-ext3 server3\n');
    const suspended = { targets: { server2: inSync }, localLeg: 'in' as const, suspendedFor: ['stalled'] };
    expect(ends(three(), suspended)).not.toContain('switchover');
    expect(ends(three())).toContain('an operator says netraid out-of-service datarep-ext3');
  });

  it('is nothing for a node that does not serve, and leaves the facts alone', () => {
    expect(endsOfService(facts(target('server2', TWO), [source(TWO)]), null)).toEqual([]);
    const f = three();
    const before = structuredClone(f);
    endsOfService(f, links('server2'));
    expect(f).toEqual(before);
  });
});
