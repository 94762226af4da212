/** What a node says of itself about one mirror, put together from its record, its flags and what its daemon knows now. */
import type { BitmapFile } from '../bitmap/bitmap-file.ts';
import type { NodeEnv } from './env.ts';
import type { Decision, Flags, NodeName, NodeView, StateRecord } from './types.ts';
import { ownState } from './views.ts';

export interface OwnFacts {
  env: NodeEnv;
  record: StateRecord;
  flags: Flags;
  /** Nodes of the mirror but this one, foreign targets left out. */
  others: NodeName[];
  /** Of another node, ms; undefined: never heard since start. */
  silentForMs: (node: NodeName) => number | undefined;
  file: BitmapFile | undefined;
  bitmapDamaged: boolean;
  legDoubtful: boolean;
  inService: boolean;
  contact: boolean;
  decision: Decision | undefined;
  session: { joined: boolean } | undefined;
}

export function ownView(o: OwnFacts): NodeView {
  const { record, file, env } = o;
  const { sizeBytes, regionSizeBytes, nodes } = record.definition;
  const bytes = (map: string): number => (file?.mapNames.includes(map) === true ? Math.min(file.map(map).count * regionSizeBytes, sizeBytes) : 0);
  const outOfSyncBytes: Record<NodeName, number> = {};
  if (file !== undefined) for (const n of Object.keys(nodes)) if (n !== env.self) outOfSyncBytes[n] = bytes(`oos:${n}`);
  const silentForMs: Record<NodeName, number> = {};
  for (const n of o.others) {
    const ms = o.silentForMs(n);
    if (ms !== undefined) silentForMs[n] = ms;
  }
  const live = {
    node: env.self,
    record,
    flags: o.flags,
    inService: o.inService,
    bitmapDamaged: o.bitmapDamaged,
    legDoubtful: o.legDoubtful,
    intentBytes: bytes('intent'),
    outOfSyncBytes,
    daemonStart: env.daemonStart,
    saidAtMs: env.io.clock.now(),
    contactWithSource: o.contact,
    silentForMs,
  };
  return { ...live, state: ownState(live, o.decision, o.session) };
}
