/** What a switchover would do, for people who are asked before it begins; and the same, or the deed, for another node that asks. */
import type { SourceRole } from './source.ts';
import type { Switchovers } from './switchover.ts';
import type { NodeContext } from './context.ts';
import { epochText } from './epoch.ts';
import type { FlagFiles } from './flags.ts';
import { lookAfresh } from './fresh-views.ts';
import type { OperatorAnswer } from './resolve.ts';
import type { NodeName } from './types.ts';

interface Asked extends NodeContext {
  readonly source: SourceRole | undefined;
  readonly switchovers: Switchovers;
  readonly flags: FlagFiles;
  others(): NodeName[];
}

export async function answerSwitchover(n: Asked, p: { to: NodeName; preview: boolean }): Promise<OperatorAnswer> {
  await lookAfresh(n);
  if (p.preview) return await previewSwitchover(n, p.to);
  await n.switchovers.handOver(p.to);
  return { lines: [], refused: null, bytesOverwritten: 0 };
}

async function previewSwitchover(n: Asked, to: NodeName): Promise<OperatorAnswer> {
  const d = n.switchovers.decide(to);
  const { source, tag } = n;
  const { self } = n.env;
  const leaving = n.env.hooks.leaving(tag) ? `${tag} is going out of service on ${self} just now` : null;
  const refused = n.switchovers.busy ?? leaving ?? (d.action === 'refuse' ? `${d.why} (rule ${d.rule})` : null);
  if (source === undefined || refused !== null) return { lines: [], refused, bytesOverwritten: 0 };
  const clients = n.env.exports.clients(source.export);
  const lines = [
    `${self} -> ${to}: ${to} becomes the source of ${tag}, in an epoch after ${epochText(source.epoch)}; ${self} becomes a target, without a resync (rule ${d.rule}: ${d.why})`,
    `${String(source.device.pool.busy)} requests in hand are answered first, and every leg is flushed; no acknowledged write is lost`,
    clients === 0 ? `no NBD client is connected on ${self}` : `NBD clients connected on ${self}, which are cut off: ${String(clients)}`,
  ];
  if (n.switchovers.waits) lines.push(`another change of ${tag} is under way on ${self}: the switchover waits for its end`);
  if (await n.switchovers.attached())
    lines.push(`a block device is attached on ${self}: it must be taken away there first, which --detach does there`);
  for (const l of source.links.values()) {
    if (l.node === to) continue;
    if (l.foreign) lines.push(`${l.node}: a foreign target, is resynced fully from ${to}`);
    else if (l.leg.phase === 'in-sync' && l.joined) lines.push(`${l.node}: stays a target, without a resync`);
    else lines.push(`${l.node}: not in sync; ${to} resyncs it when ${self} has given it the marks for ${l.node}`);
  }
  return { lines, refused: null, bytesOverwritten: 0 };
}
