/**
 * May the mirror be handed over to that node? Pure: facts of the source in, {action, rule, why} out, rows from top to bottom
 * as in `decide`. What is refused here is refused before anything has changed.
 */
import { epochText, isHigher } from './epoch.ts';
import { NO_QUORUM } from './quorum-keeper.ts';
import { situationOf } from './situation.ts';
import type { DecideRule, Facts, NodeName } from './types.ts';

/** What the running source knows of a target. */
export interface TargetFacts {
  foreign: boolean;
  /** In sync and joined, in a session that runs now: known better than by its last heartbeat, which may be of before. */
  inSync: boolean;
  /** Why not, as it is shown to people. */
  problem: string;
}

export interface SwitchoverFacts {
  /** Of the node that is asked, without a command. */
  facts: Facts;
  to: NodeName;
  /** Undefined: this node is not the source. */
  source: {
    targets: Record<NodeName, TargetFacts>;
    localLeg: 'in' | 'out';
    suspendedFor: readonly string[];
  } | null;
}

export interface SwitchoverDecision {
  action: 'hand-over' | 'refuse';
  rule: DecideRule;
  why: string;
  changesIf: string[];
}

export function decideSwitchover(f: SwitchoverFacts): SwitchoverDecision {
  const s = situationOf(f.facts);
  const { to, source } = f;
  const self = s.self.node;
  const refuse = (rule: DecideRule, why: string, ...changesIf: string[]): SwitchoverDecision => ({ action: 'refuse', rule, why, changesIf });
  if (source === null || !s.self.inService) return refuse('better-candidate', `${self} is not in service`, `${self} goes in service`);
  if (to === self) return refuse('better-candidate', `${self} is in service already`);
  const target = Object.hasOwn(source.targets, to) ? source.targets[to] : undefined;
  if (target === undefined) {
    const known = Object.keys(source.targets).join(', ') || 'none';
    return refuse('better-candidate', `${to} is not a target of ${s.definition.tag}; targets: ${known}`);
  }
  if (target.foreign) return refuse('better-candidate', `${to} is a foreign target, which never goes in service`);
  if (source.suspendedFor.includes(NO_QUORUM))
    return refuse('no-quorum', `${self} answers nothing: it hears no majority of the nodes`, 'a majority is heard');
  if (source.suspendedFor.length > 0)
    return refuse('superseded', `${self} answers nothing now (${source.suspendedFor.join(', ')})`, 'it is known whether it may go on');
  if (source.localLeg !== 'in')
    return refuse('leg-behind', `the local leg of ${self} has failed, and what it holds is not proven`, `${self} is resynced`);
  const ordered = s.record.fullOrdered ?? [];
  if (ordered.length > 0) return refuse('told-out', `a full resync of ${ordered.join(', ')} was ordered here and is not done`, 'it is done');
  const view = s.heard.find((v) => v.node === to);
  if (view === undefined) return refuse('target-alone', `${to} cannot be heard`, `${to} can be heard`);
  if (!target.inSync) {
    if (view.record.resyncingFrom !== null) return refuse('cut-short', `${to} is not in sync: its resync is not finished`, 'the resync is finished');
    const why = view.record.toldOut?.why ?? target.problem;
    return refuse('told-out', `${to} is not in sync${why === '' ? '' : `: ${why}`}`, `${to} is in sync`);
  }
  const claimant = s.heard.find((v) => v.record.claim !== null);
  if (claimant !== undefined)
    return refuse(
      'better-candidate',
      `${claimant.node} holds an unfinished claim of epoch ${epochText(claimant.record.claim)}`,
      'it gives its claim up',
    );
  const later = s.heard.find((v) => isHigher(v.record.epochSeen, s.record.epochServed));
  if (later !== undefined)
    return refuse('superseded', `${later.node} has seen epoch ${epochText(later.record.epochSeen)}, later than ${epochText(s.record.epochServed)}`);
  return { action: 'hand-over', rule: 'evidence', why: `${to} is in sync with ${self} in epoch ${epochText(s.record.epochServed)}`, changesIf: [] };
}
