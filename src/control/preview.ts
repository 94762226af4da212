/** What a destructive command would do: direction, evidence and bytes, for people to see before they are asked. Changes nothing. */
import { compare } from '../failover/compare.ts';
import { decide } from '../failover/decide.ts';
import type { MirrorNode } from '../failover/node.ts';
import type { Actions } from './types.ts';

type Params = Actions['preview']['params'];
type Result = Actions['preview']['result'];

export function preview(m: MirrorNode, p: Params): Result {
  const view = m.view();
  const { sizeBytes } = view.record.definition;
  const self = view.node;
  const lines: string[] = [];
  let bytesOverwritten = 0;
  let refused: string | null = null;
  const flags = `flags here: last_owner ${view.flags.lastOwner ? 'set' : 'not set'}, source ${view.flags.source ?? 'none'}, data_corrupt ${view.flags.dataCorrupt ? 'set' : 'not set'}`;
  if (p.action === 'force' || p.action === 'in-service') {
    const command = p.action === 'force' ? ({ kind: 'force', withoutLastOwner: true } as const) : ({ kind: 'in-service' } as const);
    const facts = m.facts(command, false);
    const d = decide(facts);
    lines.push(`${p.action} ${m.tag} on ${self}: ${d.action} (rule ${d.rule}): ${d.why}`, flags);
    lines.push(`generation here: ${view.record.generation}`);
    for (const n of Object.keys(view.record.definition.nodes).filter((x) => x !== self)) {
      const peer = m.peerView(n);
      if (peer === undefined || m.silentForMs(n) >= facts.failureTimeoutMs) {
        lines.push(`${n}: can not be heard; whatever it wrote after this node was last in sync would be lost`);
        continue;
      }
      const answer = compare(view, peer);
      lines.push(`${n}: ${peer.state}, generation ${peer.record.generation}; compare says ${answer.rule} (${answer.kind}): ${answer.why}`);
      if (answer.direction?.from === n) lines.push(`${n} has data that this node lacks: it would be lost`);
    }
    if (d.action === 'refuse') refused = d.why;
    return { lines, bytesOverwritten, lastOwnerHere: view.flags.lastOwner, refused };
  }
  const targets = p.nodes.length > 0 ? p.nodes.filter((n) => n !== self) : Object.keys(view.record.definition.nodes).filter((n) => n !== self);
  if (p.action === 'fullresync' || p.action === 'extend' || p.action === 'replace') {
    for (const n of targets) {
      lines.push(`${self} -> ${n}: all ${String(sizeBytes)} bytes on ${n} are overwritten with those of ${self}`);
      bytesOverwritten += sizeBytes;
    }
  } else if (p.action === 'unextend') {
    lines.push(...targets.map((n) => `${n} leaves mirror ${m.tag}; its leg keeps its data and is no longer kept up to date`));
  } else if (p.action === 'delete') {
    lines.push(`mirror ${m.tag} is forgotten on ${[self, ...targets].join(', ')}: records, bitmaps and flags go, the legs keep their data`);
  } else {
    lines.push(`${m.tag} has ${String(sizeBytes)} bytes now; whatever lies behind a smaller size is cut off`);
  }
  const unknown = targets.find((n) => !Object.hasOwn(view.record.definition.nodes, n));
  if (unknown !== undefined && p.action !== 'extend') refused = `${unknown} is not a node of ${m.tag}`;
  if ((p.action === 'fullresync' || p.action === 'unextend') && !m.inService) refused = `${m.tag} is not in service on ${self}`;
  return { lines, bytesOverwritten, lastOwnerHere: view.flags.lastOwner, refused };
}
