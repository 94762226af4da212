/**
 * Whose definition of a mirror holds where two nodes have different ones. Who serves changes it, durably first, and then says so: a source
 * that crashes in between has a revision that nobody else knows, while whoever takes over goes on with the one before.
 *
 *   S serves, epoch 1   revision 5 --> 6 (durable), crash . . . . . . returns: its 6 means nothing to whom T has given 5 since
 *   T takes over, epoch 2        5 ---------------------------------> meets 6: makes its own 7, tells all, opens the session with it
 *
 * Invariant: what a later source has said holds, whatever its revision (M12); of what one source has said, the highest revision.
 */
import { termOf } from './account.ts';
import { compareEpoch, highestEpoch } from './epoch.ts';
import { withOwnSectors } from './sectors.ts';
import type { Epoch, MirrorDefinition, NodeView, StateRecord } from './types.ts';

/** The last epoch whose source gave this record its definition: the node itself, or who has opened a session on it. */
function definedIn(r: StateRecord): Epoch | null {
  return highestEpoch(termOf(r), r.sessionIn ?? null);
}

/** The definition of `theirs` holds against that of `ours`. */
export function definesOver(theirs: StateRecord, ours: StateRecord): boolean {
  const order = compareEpoch(definedIn(theirs), definedIn(ours));
  return order === 'higher' || (order === 'equal' && theirs.definition.revision > ours.definition.revision);
}

/**
 * What a node out of service writes down of what another says of itself; null: nothing. Never an earlier revision: it may hear two nodes that
 * have different ones. A size is taken with a session only.
 */
export function definitionHeard(r: StateRecord, view: NodeView): MirrorDefinition | null {
  const theirs = view.record.definition;
  const ours = r.definition;
  // Nobody in service need tell a node that it was removed.
  const removed = !Object.hasOwn(theirs.nodes, r.node);
  if (!(view.inService || removed) || theirs.tag !== ours.tag) return null;
  // A mirror may get another size once it has lost a node: that one is to know that it is removed all the same.
  const said = removed ? { ...theirs, sizeBytes: ours.sizeBytes } : theirs;
  if (said.sizeBytes !== ours.sizeBytes || said.revision < ours.revision || isSaid(said, ours) || !definesOver(view.record, r)) return null;
  return withOwnSectors(said, ours);
}

/**
 * What a target takes from the source of its session, also at its own revision: of two changes that bear one number the source's holds.
 * The size stays: it changes together with the leg and the marks.
 */
export function definitionTold(ours: MirrorDefinition, theirs: MirrorDefinition): MirrorDefinition {
  return theirs.revision >= ours.revision ? { ...withOwnSectors(theirs, ours), sizeBytes: ours.sizeBytes } : ours;
}

/** What a source says in place of `ours` where a node that is to become its target has `theirs`, which it would keep; null: nothing. */
export function outranking(ours: MirrorDefinition, theirs: MirrorDefinition): MirrorDefinition | null {
  if (theirs.sizeBytes !== ours.sizeBytes || theirs.revision < ours.revision || isSaid(theirs, ours)) return null;
  return { ...ours, revision: theirs.revision + 1 };
}

/** `ours` says the same already. */
function isSaid(theirs: MirrorDefinition, ours: MirrorDefinition): boolean {
  return inOrder(withOwnSectors(theirs, ours)) === inOrder(withOwnSectors(ours, theirs));
}

/** As text, whatever the order of the keys. */
function inOrder(d: MirrorDefinition): string {
  return JSON.stringify(d, (_key, value: unknown) =>
    typeof value === 'object' && value !== null ? Object.fromEntries(Object.entries(value).sort(([x], [y]) => (x < y ? -1 : 1))) : value,
  );
}
