/** What the tests of `decide` share: two or three nodes, and a target whose source fell silent. */
import { decide } from '../../../src/failover/decide.ts';
import type { Decision, NodeView } from '../../../src/failover/types.ts';
import { facts, type FactsOver, TIMEOUT_MS, view, type ViewOver } from './build.ts';

export const TWO = ['server1', 'server2'];
export const THREE = ['server1', 'server2', 'server3'];
export const LOST = 2 * TIMEOUT_MS;
export const COMMAND: FactsOver = { command: { kind: 'in-service' } };

export const s1 = (over: ViewOver = {}): NodeView => view('server1', TWO, over);
export const s2 = (over: ViewOver = {}): NodeView => view('server2', TWO, over);
/** A target whose source fell silent. */
export const orphan = (node = 'server2', nodes = TWO, over: ViewOver = {}): NodeView =>
  view(node, nodes, { contactWithSource: true, silentForMs: { server1: LOST }, ...over });
export const lastSeen = (nodes = TWO): NodeView => view('server1', nodes, { inService: true });

export const decided = (self: NodeView, peers: NodeView[] = [], over: FactsOver = {}): Decision => decide(facts(self, peers, over));
/** server1, last heard before it fell silent, and others that can be heard. */
export const afterLoss = (self: NodeView, others: NodeView[] = [], over: FactsOver = {}): Decision =>
  decided(self, [lastSeen(Object.keys(self.record.definition.nodes)), ...others], { silent: { server1: LOST }, ...over });
