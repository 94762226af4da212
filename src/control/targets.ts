/**
 * Which targets a mirror has, changed by people: one is added, removed, or put on another leg. Each change runs while the role of
 * this node stays: whoever hands the mirror over, from whatever node that was asked for, does so before it or after it.
 */
import { arbiterOf } from '../failover/arbiter.ts';
import { NODES_MAX } from '../failover/limits.ts';
import { seededByWord, withoutNode } from '../failover/membership.ts';
import type { MirrorNode } from '../failover/node.ts';
import { validateNodeName } from '../failover/paths.ts';
import { NO_QUORUM } from '../failover/quorum-keeper.ts';
import { refusedLastCopy, retire } from '../failover/retire.ts';
import type { SourceRole } from '../failover/source.ts';
import type { TargetLink } from '../failover/target-link.ts';
import type { MirrorDefinition, NodeName } from '../failover/types.ts';
import { checkForeign } from './action-errors.ts';
import { checkNewLeg } from './new-leg.ts';
import { type Actions, ControlError } from './types.ts';

type Extension = Actions['extend']['params'];

/** Throws ControlError when the mirror is not in service here. */
export function sourceOf(m: MirrorNode): SourceRole {
  const s = m.source;
  if (s !== undefined && !s.stopped) return s;
  const where = m.replica.session?.from;
  throw new ControlError('refused', `mirror ${m.tag} is not in service on ${m.env.self}${where === undefined ? '' : `; run this on ${where}`}`);
}

/** Throws ControlError when there is no such target. */
export function linkOf(s: SourceRole, node: NodeName): TargetLink {
  const link = s.links.get(node);
  if (link === undefined)
    throw new ControlError('not-found', `${node} is not a target of ${s.ctx.tag}; targets: ${[...s.links.keys()].join(', ') || 'none'}`);
  return link;
}

/** Runs `f` with the source of now, which stays the source until `f` is done, unless it is superseded (M9). */
export function asSource<T>(m: MirrorNode, f: (s: SourceRole) => Promise<T>): Promise<T> {
  return m.whileRoleStays(async () => await f(sourceOf(m)));
}

export async function addTarget(m: MirrorNode, p: Extension): Promise<void> {
  refuseExtension(m, p);
  // It may be slow, and changes nothing.
  if (p.foreignUri !== null) await checkForeign(sourceOf(m), p.node, p.foreignUri);
  await asSource(m, (s) => add(m, s, p));
}

export async function removeTarget(m: MirrorNode, node: NodeName): Promise<void> {
  await asSource(m, (s) => drop(m, s, linkOf(s, node)));
  m.env.emit(m.tag, 'config', `${node} was removed`, { node });
}

export async function replaceLeg(m: MirrorNode, p: Actions['replace']['params']): Promise<void> {
  const before = replaceable(m, sourceOf(m), p.node);
  if (!m.env.cluster.connected(p.node)) throw new ControlError('unreachable', `${p.node} can not be reached`);
  await checkNewLeg(m, p.node, p.leg);
  await asSource(m, async (s) => {
    replaceable(m, s, p.node);
    await drop(m, s, linkOf(s, p.node));
    await add(m, s, { tag: p.tag, node: p.node, leg: p.leg, foreignUri: null, mode: before.mode, priority: before.priority, zeroed: false });
  });
}

function replaceable(m: MirrorNode, s: SourceRole, node: NodeName): MirrorDefinition['nodes'][NodeName] {
  if (linkOf(s, node).foreign) throw new ControlError('refused', `${node} is a foreign target: unextend it and extend to the new one`);
  const before = m.record().definition.nodes[node];
  if (before === undefined) throw new ControlError('not-found', `${node} is not a node of ${m.tag}`);
  return before;
}

function refuseExtension(m: MirrorNode, p: Extension): void {
  validateNodeName(p.node);
  const { nodes } = m.record().definition;
  if (nodes[p.node] !== undefined) throw new ControlError('conflict', `${p.node} has a leg of ${p.tag} already; a node holds one`);
  if (Object.keys(nodes).length >= NODES_MAX)
    throw new ControlError('refused', `${p.tag} has ${String(NODES_MAX - 1)} targets, which is the most a mirror can have`);
  if (Object.values(nodes).some((n) => n.priority === p.priority))
    throw new ControlError('conflict', `priority ${String(p.priority)} is taken; each node of a mirror has its own`);
  if ((p.foreignUri === null) === (p.leg === null))
    throw new ControlError('bad-request', 'give either a leg on the node or the URI of a foreign target');
}

async function add(m: MirrorNode, s: SourceRole, p: Extension): Promise<void> {
  refuseExtension(m, p);
  await refuseMinority(m, s, 'add', p.node);
  const d = m.record().definition;
  const own = { priority: p.priority, leg: p.leg ?? '', mode: p.mode, ...(p.foreignUri === null ? {} : { foreignUri: p.foreignUri }) };
  const definition: MirrorDefinition = { ...d, revision: d.revision + 1, nodes: { ...d.nodes, [p.node]: own } };
  if (p.foreignUri === null) await adoptOn(m, p.node, definition, p.zeroed);
  refuseStopped(s);
  // From now on marks are kept for it: what is in hand, and what is written while the others hear of it, must not be missing on a seeded target.
  const link = s.addLink(p.node, p.mode, p.foreignUri !== null);
  try {
    // A word of this source alone: another one has no marks of what is written from now on.
    const seeded = m.env.tunables.noFullSync && p.foreignUri === null;
    await m.store.update((r) => ({
      ...(seeded ? seededByWord(r, p.node) : r),
      definition: { ...r.definition, revision: r.definition.revision + 1, nodes: { ...r.definition.nodes, [p.node]: own } },
    }));
  } catch (e: unknown) {
    await retire(s, link, () => Promise.resolve());
    throw e;
  }
  await s.members.announce();
  link.start();
  m.env.emit(p.tag, 'config', `${p.node} was added`, { node: p.node });
}

async function adoptOn(m: MirrorNode, node: NodeName, definition: MirrorDefinition, zeroed: boolean): Promise<void> {
  const { cluster } = m.env;
  if (!cluster.peers().includes(node))
    throw new ControlError('not-found', `${node} is not in this node's configuration; peers: ${cluster.peers().join(', ') || 'none'}`);
  await cluster.request(node, 'adopt', { tag: m.tag, definition, zeroed }, m.record().definition.failureTimeoutMs * 2);
}

async function drop(m: MirrorNode, s: SourceRole, link: TargetLink): Promise<void> {
  const { node } = link;
  await refuseMinority(m, s, 'remove', node);
  refuseLastCopy(s, [node]);
  // Marks are kept for it until it is durable that it is no target: while the record names it, its account must be complete (M5).
  await retire(s, link, async () => {
    await m.store.update((r) => {
      refuseStopped(s);
      return withoutNode(r, node);
    });
  });
  await s.members.announce();
  if (!link.foreign && m.env.cluster.connected(node)) {
    const { createId, failureTimeoutMs } = m.record().definition;
    await m.env.cluster.request(node, 'forget', { tag: m.tag, createId }, failureTimeoutMs * 2);
  }
  s.marks.file.dropMap(`oos:${node}`);
  if (!(await s.marks.durable())) throw new ControlError('io', 'the bitmap file can not be written');
}

/** Who belongs to a mirror is changed with most of its nodes only: a minority could make itself a majority by it (M10). */
async function refuseMinority(m: MirrorNode, s: SourceRole, what: Change, node: NodeName): Promise<void> {
  const over = (): boolean => s.stopped || s.device.suspension?.reasons.every((r) => r === PASSING) !== true;
  await s.changes.until(over, () => m.env.io.clock.now(), s.timeoutMs * PASSING_MAX);
  const refused = refusedChange(m, what, node) ?? (over() ? null : suspendedText(m, what));
  if (refused !== null) throw new ControlError('refused', refused);
  // Whom it heard a moment ago may stand by another by now.
  if (!(await arbiterOf(m).standsBy(m, s.epoch))) throw new ControlError('refused', withoutMajority(m, what, node));
}

type Change = 'add' | 'remove';

/** A process that stood still asks at once whether it may go on: that is waited for, so many failure timeouts. */
const PASSING = 'stalled';
const PASSING_MAX = 3;

/** Why a source that is suspended does not change who belongs to the mirror; null: it answers, or will in a moment. */
export function refusedChange(m: MirrorNode, what: Change, node: NodeName): string | null {
  const reasons = m.source?.device.suspension?.reasons ?? [];
  if (reasons.every((r) => r === PASSING)) return null;
  return reasons.includes(NO_QUORUM) ? withoutMajority(m, what, node) : suspendedText(m, what);
}

function suspendedText(m: MirrorNode, what: Change): string {
  const reasons = m.source?.device.suspension?.reasons ?? [];
  return `${m.env.self} is suspended (${reasons.join(', ')}): nobody is ${DONE[what]} before it is known whether it may go on`;
}

const DONE: Record<Change, string> = { add: 'added', remove: 'removed' };

function withoutMajority({ env, tag }: MirrorNode, what: Change, node: NodeName): string {
  const force = `where they are lost for good, netraid out-of-service ${tag} and mirror_action ${tag} force ${env.self} first`;
  return `${node} can not be ${DONE[what]}: ${env.self} hears no majority of the nodes of ${tag} (rule no-quorum), and a minority could make itself one by it; bring nodes back; ${force}`;
}

/** Before anything is done that ends the sessions of these nodes. */
export function refuseLastCopy(s: SourceRole, nodes: readonly NodeName[]): void {
  const refused = refusedLastCopy(s, nodes);
  if (refused !== null) throw new ControlError('refused', refused);
}

/** Superseded meanwhile: another node says from now on who is part of the mirror (M9). */
function refuseStopped(s: SourceRole): void {
  // A device that has stopped is about to: its own leg failed, and the target that was the last copy must stay one.
  if (s.stopped || s.device.stopped) throw new ControlError('refused', `mirror ${s.ctx.tag} has gone out of service on ${s.ctx.env.self} meanwhile`);
}
