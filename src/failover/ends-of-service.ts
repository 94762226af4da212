/**
 * What would end the service of a node that serves, for `netraid explain`: `decide` is asked what it, and each node that is heard,
 * would do then. Pure; nothing is said here that a decision does not say.
 *
 *   this node falls silent     what would each node heard decide?     takeover, or by which rule it stays out
 *   that node has served       what would this node decide then?      superseded
 *   most nodes fall silent     under an arbiter                       no-quorum
 *   the own leg fails          in service, and once it is out         leg-behind
 *   an operator                decideSwitchover, for each target
 */
import { majorityIf } from './arbiter.ts';
import { decide } from './decide.ts';
import { decideSwitchover, type SwitchoverFacts } from './decide-switchover.ts';
import { highestSeen, type Situation, situationOf, unheard } from './situation.ts';
import type { Decision, Epoch, Facts, NodeName, NodeView } from './types.ts';

/** One line each, empty for a node that does not serve. `source`: as in a switchover. */
export function endsOfService(facts: Facts, source: SwitchoverFacts['source']): string[] {
  if (!facts.self.inService) return [];
  const s = situationOf(facts);
  return [...ifSilent(s), ...ifServedElsewhere(s), ...ifMostAreLost(s), ...ifOwnLegFails(s), ...ifOperatorSays(facts, source)];
}

const seconds = (ms: number): string => `${String(ms / 1000)}s`;

function ruled(d: Decision): string {
  return `rule ${d.rule}`;
}

/** What `v` knows, were this node silent to everybody. */
function factsOf(v: NodeView, { facts, heard }: Situation): Facts {
  const lost = facts.self.node;
  const silentForMs = facts.failureTimeoutMs;
  const without = (w: NodeView): NodeView => ({ ...w, silentForMs: { ...w.silentForMs, [lost]: silentForMs } });
  const self = without(v);
  const peers: Facts['peers'] = { [lost]: { view: facts.self, silentForMs } };
  for (const w of heard) {
    const ms = v.silentForMs[w.node];
    if (w.node !== v.node && ms !== undefined) peers[w.node] = { view: without(w), silentForMs: ms };
  }
  const silence = (n: NodeName): number => (Object.hasOwn(self.silentForMs, n) ? (self.silentForMs[n] ?? Infinity) : Infinity);
  return {
    self,
    peers,
    failureTimeoutMs: facts.failureTimeoutMs,
    upForMs: facts.failureTimeoutMs,
    command: { kind: 'none' },
    majority: majorityIf(v.record, false, silence),
    claiming: false,
  };
}

function ifSilent(s: Situation): string[] {
  const after = `this node is silent for ${seconds(s.facts.failureTimeoutMs)}`;
  if (s.mates.length === 0) return [];
  const decided = s.heard.map((v) => ({ v, d: decide(factsOf(v, s)) }));
  const takes = decided.find(({ d }) => d.action === 'go-in-service');
  if (takes !== undefined) {
    const then = decideAfter(s, takes.v);
    return [`${after}: ${takes.v.node} takes over (${ruled(takes.d)}), and this node stops when it hears of it (${ruled(then)})`];
  }
  const asks = decided.find(({ d }) => d.asks !== undefined);
  if (asks !== undefined) return [`${after}: ${asks.v.node} asks an operator whether it shall take over (${ruled(asks.d)})`];
  const because = decided.map(({ v, d }) => `${v.node}: ${d.why} (${ruled(d)})`);
  const silent = unheard(s).map((n) => `${n} can not be heard`);
  return [`${after}: nobody is known to take over; ${[...because, ...silent].join('; ')}`];
}

/** What this node does when `v` has served an epoch later than all that are known. */
function decideAfter(s: Situation, v: NodeView): Decision {
  const epoch: Epoch = { number: (highestSeen(s)?.number ?? 0) + 1, owner: v.node, random: '0'.repeat(16) };
  const record = { ...v.record, epochSeen: epoch, epochServed: epoch, epochInSync: epoch, claim: null };
  const served: NodeView = { ...v, inService: true, record };
  return decide({ ...s.facts, peers: { ...s.facts.peers, [v.node]: { view: served, silentForMs: 0 } } });
}

function ifServedElsewhere(s: Situation): string[] {
  const lines: string[] = [];
  for (const n of unheard(s)) {
    const view = Object.hasOwn(s.facts.peers, n) ? s.facts.peers[n]?.view : undefined;
    const d = view === undefined ? undefined : decideAfter(s, view);
    const how = d === undefined ? 'this node stops' : `this node stops (${ruled(d)})`;
    if (d === undefined || d.action === 'demote') lines.push(`${n}, which is silent, is heard again and has served a later epoch: ${how}`);
  }
  return lines;
}

function ifMostAreLost(s: Situation): string[] {
  const names = s.heard.map((v) => v.node);
  for (let lost = 1; lost <= names.length; lost += 1) {
    const heard = names.slice(lost);
    const majority = majorityIf(s.record, true, (n) => (heard.includes(n) ? 0 : Infinity));
    if (majority !== false) continue;
    const d = decide({ ...s.facts, majority });
    const of = lost === names.length && lost === 1 ? names.join() : `${String(lost)} of ${names.join(', ')}`;
    return [`${of} can not be heard for ${seconds(s.facts.failureTimeoutMs)}: this node is suspended, and answers nothing (${ruled(d)})`];
  }
  return [];
}

function ifOwnLegFails(s: Situation): string[] {
  const { self, record } = s;
  const copies = s.heard.filter((v) => record.inSync.includes(v.node) && s.definition.nodes[v.node]?.mode === 'sync').map((v) => v.node);
  if (record.legBehind !== null) {
    const last = copies.length === 0 ? 'no target in sync is left' : `${copies.join(' and ')} ${copies.length === 1 ? 'is' : 'are'} lost`;
    return [`${last}: this node stops, since its own leg is behind ${record.legBehind.newest}`];
  }
  const [newest] = copies;
  if (newest === undefined) return ['its own leg fails: requests are answered with errors, since no sync target in sync is left to go on with'];
  if (record.epochServed === null) return [];
  const failed = { ...record, legBehind: { since: record.epochServed, newest } };
  const d = decide({
    ...s.facts,
    self: { ...self, inService: false, record: { ...failed, inSync: record.inSync.filter((n) => n !== self.node) } },
  });
  return [
    `its own leg fails: it goes on with ${copies.join(' and ')}, and once it is out of service it stays out until it is resynced (${ruled(d)})`,
  ];
}

function ifOperatorSays(facts: Facts, source: SwitchoverFacts['source']): string[] {
  const { tag } = facts.self.record.definition;
  const to = Object.keys(source?.targets ?? {}).filter((n) => decideSwitchover({ facts, to: n, source }).action === 'hand-over');
  const moves = to.length === 0 ? [] : [`an operator says netraid switchover ${tag} ${to.join(' or ')}`];
  return [...moves, `an operator says netraid out-of-service ${tag}`];
}
