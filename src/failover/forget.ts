/** May a node forget a mirror when another node asks for it? Not while it may be the only one that can go on with it. Pure. */
import { epochText } from './epoch.ts';
import { grantGiven, grantHeld } from './grant.ts';
import type { NodeName, StateRecord } from './types.ts';

/** Why it does not; null: it may. `by`: who asks. */
export function forgetRefusal(r: StateRecord, by: NodeName): string | null {
  if (r.claim !== null) return `${r.node} is on its way in service, in epoch ${epochText(r.claim)}`;
  const held = grantHeld(r);
  if (held !== null) return `${held.from} has handed the mirror over to ${r.node}, which has not gone in service yet`;
  const given = grantGiven(r);
  // Whom it was handed over to says by itself that it is the source now.
  if (given !== null && given.to !== by) return `${r.node} has handed the mirror over to ${given.to}, and has not heard it since`;
  return null;
}
