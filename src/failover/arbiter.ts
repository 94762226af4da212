/**
 * Whose word a source needs besides its own (M10). What `decide` sees of it is `Facts.majority`; everything else that has to
 * be known before a source goes on is asked here, so that another kind of arbiter is one more entry of `ARBITERS`.
 *
 *   heard          at every decision, out of what is known          may this node be in service, or claim to be?
 *   grants         in the middle of a claim, after all were told    is exactly this epoch allowed?
 *   standsBy       a source that was cut off, or leaves a target    has nobody been allowed a higher epoch since?
 *   heardUsSince   before a new generation counts                   is what we said then known there?
 *   allowsNobody   the same, after a member left in silence         can nobody be allowed who asks those that do not know of it?
 *
 * An outside program would be asked over the network: `grants` and `standsBy` may take their time, at most failureTimeout
 * (M14), and answer no when it is silent. `heard`, `heardUsSince` and `allowsNobody` answer at once, out of what it has said by
 * itself; they never wait. A word once given for an epoch is durable with whoever gave it: it never grants another one of that number.
 */
import type { NodeContext } from './context.ts';
import { isSame } from './epoch.ts';
import { hearsMajority, majorityHeardUsSince, majorityStandsBy, noMajorityWithout, votersOf } from './quorum.ts';
import type { ArbiterKind, Epoch, MirrorDefinition, NodeName, StateRecord } from './types.ts';

/** A claim when everybody who can be reached has been told of it. */
export interface ClaimTold {
  epoch: Epoch;
  /** Nodes that have written it down durably, this one among them. */
  accepted: readonly NodeName[];
  /** Nodes that may, this one among them; foreign targets left out. */
  voters: number;
}

export interface Arbiter {
  /** `Facts.majority` between claims. In service: whether we may go on; else false when a claim would be in vain. Null: nobody is asked, or not yet. */
  heard(ctx: NodeContext, inService: boolean): boolean | null;
  /** `Facts.majority` within a claim; null: nobody is asked. */
  grants(ctx: NodeContext, claim: ClaimTold): Promise<boolean | null>;
  /** Asked afresh. */
  standsBy(ctx: NodeContext, epoch: Epoch): Promise<boolean>;
  /** `since`: of our own clock, ms. */
  heardUsSince(ctx: NodeContext, since: number): boolean;
  /** `knowing`: this node, and those that have written it down or can allow nobody. */
  allowsNobody(ctx: NodeContext, knowing: ReadonlySet<NodeName>): boolean;
}

const none: Arbiter = {
  heard: () => null,
  grants: () => Promise.resolve(null),
  standsBy: () => Promise.resolve(true),
  heardUsSince: () => true,
  allowsNobody: () => true,
};

/** `Arbiter.heard` of `majority`. Pure. */
function majorityHeard(d: MirrorDefinition, self: NodeName, inService: boolean, silentForMs: (node: NodeName) => number): boolean | null {
  const hears = hearsMajority(d, self, silentForMs);
  return inService || !hears ? hears : null;
}

const majority: Arbiter = {
  heard: (ctx, inService) => majorityHeard(ctx.record().definition, ctx.env.self, inService, (n) => ctx.silentForMs(n)),
  grants: (_ctx, { accepted, voters }) => Promise.resolve(accepted.length * 2 > voters),
  standsBy: majorityStandsBy,
  heardUsSince: majorityHeardUsSince,
  allowsNobody: (ctx, knowing) => noMajorityWithout(ctx.record().definition, knowing),
};

const ARBITERS: Record<ArbiterKind, Arbiter> = { none, majority };

/** By the operator's word nobody is asked in this term; before another one, as ever. */
function overruled(arbiter: Arbiter): Arbiter {
  return {
    ...none,
    heard: (ctx, inService) => (inService ? null : arbiter.heard(ctx, inService)),
    grants: (ctx, claim) => arbiter.grants(ctx, claim),
  };
}

/** The term that this node serves, or served last, was forced without the arbiter's word. */
export function isOverruled(r: StateRecord): boolean {
  return r.definition.arbiter !== 'none' && r.overruled !== undefined && r.overruled !== null && isSame(r.overruled, r.epochServed);
}

/** `Facts.majority` between claims, were the silences these: for questions. Pure. */
export function majorityIf(r: StateRecord, inService: boolean, silentForMs: (node: NodeName) => number): boolean | null {
  if (r.definition.arbiter === 'none' || (inService && isOverruled(r))) return null;
  return majorityHeard(r.definition, r.node, inService, silentForMs);
}

/** Who has a vote, and who of them is heard, this node among them. */
export interface Votes {
  kind: ArbiterKind;
  /** Empty: nobody is asked. */
  voters: NodeName[];
  heard: NodeName[];
  /** How many make a majority. */
  needed: number;
  /** By an operator's force, until most nodes are heard again. */
  overruled: boolean;
}

/** Pure. `silentForMs`: Infinity for a node that was never heard. */
export function votesHeard(r: StateRecord, silentForMs: (node: NodeName) => number): Votes {
  const { arbiter, failureTimeoutMs } = r.definition;
  const voters = arbiter === 'none' ? [] : votersOf(r.definition);
  const heard = voters.filter((n) => n === r.node || silentForMs(n) < failureTimeoutMs);
  return { kind: arbiter, voters, heard, needed: voters.length === 0 ? 0 : Math.floor(voters.length / 2) + 1, overruled: isOverruled(r) };
}

/** The one that the mirror's definition names now, whatever an operator has said. */
export function namedArbiter(ctx: NodeContext): Arbiter {
  return ARBITERS[ctx.record().definition.arbiter];
}

/** Whoever is to be asked now. */
export function arbiterOf(ctx: NodeContext): Arbiter {
  const arbiter = namedArbiter(ctx);
  return isOverruled(ctx.record()) ? overruled(arbiter) : arbiter;
}
