/** What a destructive command would do: direction, evidence and bytes, for people to see before they are asked. Changes nothing. */
import { namedArbiter } from '../failover/arbiter.ts';
import { toConfirm } from '../failover/confirmed.ts';
import { decide } from '../failover/decide.ts';
import { findFullResync } from '../failover/decide-full-resync.ts';
import { evidenceOf } from '../failover/decide-resolve.ts';
import { epochText } from '../failover/epoch.ts';
import { heldGeneration } from '../failover/generation.ts';
import { NODES_MAX } from '../failover/limits.ts';
import type { MirrorNode } from '../failover/node.ts';
import { refusedLastCopy } from '../failover/retire.ts';
import { forcePreview } from './force-preview.ts';
import { heardView } from './full-resync.ts';
import { refusedChange } from './targets.ts';
import type { Actions } from './types.ts';

/** A full resync of an in-sync target begins by ending its session, too. */
const ENDS_SESSIONS: readonly string[] = ['unextend', 'replace', 'fullresync'];

type Params = Actions['preview']['params'];
type Result = Actions['preview']['result'];

export function preview(m: MirrorNode, p: Params): Result {
  const view = m.view();
  const { sizeBytes } = view.record.definition;
  const self = view.node;
  const lines: string[] = [];
  const overrules: string[] = [];
  let bytesOverwritten = 0;
  const flags = `flags here: last_owner ${view.flags.lastOwner ? 'set' : 'not set'}, source ${view.flags.source ?? 'none'}, data_corrupt ${view.flags.dataCorrupt ? 'set' : 'not set'}`;
  if (p.action === 'force' || p.action === 'in-service') {
    const command = { kind: p.action, withoutLastOwner: true } as const;
    const facts = m.facts(command, false);
    const d = decide(facts);
    lines.push(`${p.action} ${m.tag} on ${self}: ${d.action} (rule ${d.rule}): ${d.why}`, flags);
    lines.push(
      `here: generation ${heldGeneration(view.record)}, served epoch ${epochText(view.record.epochServed)}, last in sync in ${epochText(view.record.epochInSync)}`,
    );
    const confirms = toConfirm(d, namedArbiter(m).heard(m, true));
    if (confirms.includes('no-majority'))
      lines.push('no majority of the nodes is heard: those that can not be heard may be in service among themselves, and a split brain would follow');
    lines.push(...forcePreview(facts));
    const refused = m.switchovers.busy ?? (d.action === 'refuse' ? d.why : null);
    return { lines, bytesOverwritten, lastOwnerHere: view.flags.lastOwner, refused, confirms, by: self };
  }
  const targets = p.nodes.length > 0 ? p.nodes.filter((n) => n !== self) : Object.keys(view.record.definition.nodes).filter((n) => n !== self);
  if (p.action === 'fullresync') lines.push(evidenceOf(view));
  if (p.action === 'fullresync' || p.action === 'extend' || p.action === 'replace') {
    for (const n of targets) {
      lines.push(`${self} -> ${n}: all ${String(sizeBytes)} bytes on ${n} are overwritten with those of ${self}`);
      bytesOverwritten += sizeBytes;
      if (p.action !== 'fullresync' || !Object.hasOwn(view.record.definition.nodes, n)) continue;
      const found = findFullResync(view, n, heardView(m, n));
      lines.push(...found.lines);
      if (found.overrules !== null) overrules.push(found.overrules.word);
    }
  } else if (p.action === 'unextend') {
    lines.push(...targets.map((n) => `${n} leaves mirror ${m.tag}; its leg keeps its data and is no longer kept up to date`));
  } else if (p.action === 'delete') {
    const away = m.others().filter((n) => !m.env.cluster.connected(n));
    const told = [self, ...m.others().filter((n) => !away.includes(n))];
    lines.push(`mirror ${m.tag} is forgotten on ${told.join(', ')}: records, bitmaps and flags go, the legs keep their data`);
    if (away.length > 0) lines.push(`${away.join(', ')} can not be reached: the records there stay until netraid delete ${m.tag} is said there`);
  }
  const refused = refusedFor(m, p, targets);
  return {
    lines,
    bytesOverwritten,
    lastOwnerHere: view.flags.lastOwner,
    refused,
    confirms: [],
    by: self,
    ...(p.action === 'fullresync' ? { overrules } : {}),
  };
}

/** What the action would be refused for, as far as it is known before it is asked for; null: nothing. */
function refusedFor(m: MirrorNode, p: Params, targets: readonly string[]): string | null {
  const { nodes } = m.record().definition;
  const { self } = m.env;
  if (m.switchovers.busy !== null) return m.switchovers.busy;
  const source = m.views().find((v) => v.inService && m.silentForMs(v.node) < m.record().definition.failureTimeoutMs)?.node;
  if (p.action === 'delete')
    return source === undefined ? null : `${m.tag} is in service on ${source}: delete it there, or take it out of service first`;
  if (!m.inService) return `mirror ${m.tag} is not in service on ${self}${source === undefined ? '' : `; run this on ${source}`}`;
  if (p.action === 'extend' || p.action === 'unextend' || p.action === 'replace') {
    const change = refusedChange(m, p.action === 'extend' ? 'add' : 'remove', targets.join(', '));
    if (change !== null) return change;
  }
  const last = m.source === undefined || !ENDS_SESSIONS.includes(p.action) ? null : refusedLastCopy(m.source, targets);
  if (last !== null) return last;
  if (p.action === 'extend') {
    const twice = p.nodes.find((n) => Object.hasOwn(nodes, n));
    if (twice !== undefined) return `${twice} has a leg of ${m.tag} already; a node holds one`;
    return Object.keys(nodes).length >= NODES_MAX ? `${m.tag} has ${String(NODES_MAX - 1)} targets, which is the most a mirror can have` : null;
  }
  const unknown = targets.find((n) => !Object.hasOwn(nodes, n));
  return unknown === undefined ? null : `${unknown} is not a node of ${m.tag}`;
}
