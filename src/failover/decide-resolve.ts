/**
 * May the data of that node be given up to end a split brain? Pure: the node in service and what the other says of itself in,
 * {action, rule, why} and both sides' evidence out. Whatever is no split brain is refused: there the rules choose better.
 */
import { sameMirror, splitBrain } from './account.ts';
import { epochText } from './epoch.ts';
import { heldGeneration } from './generation.ts';
import type { CompareRule, NodeName, NodeView } from './types.ts';

export interface ResolveDecision {
  action: 'overwrite' | 'refuse';
  rule: CompareRule;
  why: string;
  /** What each side has, for people. */
  evidence: string[];
}

export function evidenceOf(v: NodeView): string {
  const r = v.record;
  const served = `served epoch ${epochText(r.epochServed)}, last in sync in ${epochText(r.epochInSync)}`;
  return `${v.node}: ${v.inService ? 'in service' : `out of service, ${v.state}`}; generation ${heldGeneration(r)}; ${served}; last_owner ${v.flags.lastOwner ? 'set' : 'not set'}`;
}

/** `other`: a fresh view of the victim; undefined: it cannot be heard. */
export function decideResolve(self: NodeView, victim: NodeName, other: NodeView | undefined): ResolveDecision {
  const { tag, nodes } = self.record.definition;
  const evidence = other === undefined || other.node === self.node ? [evidenceOf(self)] : [evidenceOf(self), evidenceOf(other)];
  const refuse = (why: string): ResolveDecision => ({ action: 'refuse', rule: 'split-brain', why, evidence });
  const definition = Object.hasOwn(nodes, victim) ? nodes[victim] : undefined;
  if (definition === undefined) return refuse(`${victim} is not a node of ${tag}; nodes: ${Object.keys(nodes).join(', ')}`);
  if (definition.foreignUri !== undefined) return refuse(`${victim} is a foreign target, and never part of a split brain`);
  if (victim === self.node ? self.inService : other?.inService === true) {
    return refuse(`${victim} is in service: take it out of service there first (netraid out-of-service ${tag})`);
  }
  if (!self.inService) return refuse(`${self.node} is not in service: the node whose data is kept must be`);
  if (other === undefined) return refuse(`${victim} cannot be heard`);
  const found = sameMirror(self.record, other.record) ? splitBrain(self.record, other.record) : null;
  if (found === null) return refuse(`there is no split brain between ${self.node} and ${victim}`);
  return { action: 'overwrite', rule: 'split-brain', why: found, evidence };
}
