/** What a force would give up, node by node, for people who are asked before it is done. Pure. */
import { compare } from '../failover/compare.ts';
import { epochText } from '../failover/epoch.ts';
import { heldGeneration } from '../failover/generation.ts';
import { lastKnown, type MayBeNewer, mayBeNewer } from '../failover/may-be-newer.ts';
import { isForeign, type Situation, silenceOf, situationOf } from '../failover/situation.ts';
import type { Facts, NodeName } from '../failover/types.ts';
import { formatAge } from './units.ts';

/** Two lines for each other node: what is known of it, and whether it may have newer data, with what would then be lost. */
export function forcePreview(facts: Facts): string[] {
  const s = situationOf(facts);
  const others = Object.keys(s.definition.nodes).filter((n) => n !== s.self.node);
  return others.flatMap((n) => [knownLine(s, n), verdictLine(s, mayBeNewer(s, n))]);
}

function knownLine(s: Situation, node: NodeName): string {
  const view = Object.hasOwn(s.facts.peers, node) ? s.facts.peers[node]?.view : undefined;
  if (isForeign(s.definition, node)) return `${node}: a foreign target, never a candidate`;
  if (view !== undefined && s.heard.includes(view)) {
    const answer = compare(s.self, view);
    const epochs = `served epoch ${epochText(view.record.epochServed)}, last in sync in ${epochText(view.record.epochInSync)}`;
    return `${node}: ${view.state}, generation ${heldGeneration(view.record)}, ${epochs}; compare says ${answer.rule} (${answer.kind})`;
  }
  const silent = silenceOf(s, node);
  const age = silent === undefined ? `not heard since this daemon started ${formatAge(s.facts.upForMs)} ago` : `silent for ${formatAge(silent)}`;
  const was = view === undefined ? '' : `; then ${view.inService ? `${view.state}, in service` : view.state}`;
  const known = lastKnown(s, node, view);
  return `${node}: can not be heard, ${age}${was}; last known: ${known.length === 0 ? 'nothing' : known.join('; ')}`;
}

const WORDS: Record<MayBeNewer['newer'], string> = { has: 'has', could: 'could have', 'can-not': 'can not have' };

function verdictLine(s: Situation, { node, newer, why }: MayBeNewer): string {
  const verdict = `${node} ${WORDS[newer]} newer data, because ${why}`;
  if (newer === 'can-not') return verdict;
  const since = s.servedLast ? `this node served epoch ${epochText(s.term)}` : `this node was last in sync, in epoch ${epochText(s.term)}`;
  return `${verdict}; ${newer === 'has' ? '' : 'if so, '}what ${node} has from after ${since}, would be lost`;
}
