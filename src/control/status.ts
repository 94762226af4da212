/** What a node can say to people about itself and its mirrors. Reads, never changes. */
import type { PeerStatus } from '../cluster/peer.ts';
import { isOverruled } from '../failover/arbiter.ts';
import type { MirrorNode } from '../failover/node.ts';
import type { Decision } from '../failover/types.ts';
import { sectorSizeOf } from '../failover/sectors.ts';
import type { SourceRole } from '../failover/source.ts';
import type { TargetLink } from '../failover/target-link.ts';
import { peerState } from '../failover/views.ts';
import { checkpointContext } from '../mirror/dirty-contexts.ts';
import type { ResyncProgress } from '../mirror/legs.ts';
import type { Daemon } from './daemon.ts';
import type { Actions, CheckpointStatus, LinkInfo, MirrorStatus, Progress, ResyncRecord, TargetStatus } from './types.ts';

export function nodeInfo(d: Daemon, version: string): Actions['info']['result'] {
  const { env, mirrors, broken } = d;
  const { node, cluster } = d.options;
  const peers = Object.fromEntries(env.cluster.status().map((p) => [p.peer, { reachable: p.connected, links: linksOf(d, p) }]));
  return { node, cluster, version, peers, mirrors: [...mirrors.keys()], broken: [...broken.values()], refused: d.refused(), tls: tlsInfo(d) };
}

function linksOf(d: Daemon, { peer, paths, inbound }: PeerStatus): LinkInfo[] {
  const links = paths.flatMap((p): LinkInfo[] => (p.secured === undefined ? [] : [{ path: p.path, tls: p.secured }]));
  links.push(...inbound.map((l) => ({ path: l.path, tls: l.secured })));
  for (const [tag, { source }] of d.mirrors) {
    const link = source?.links.get(peer);
    if (link?.foreign === false && link.leg.inSession) links.push({ path: `replication of ${tag}`, tls: link.damage.secured });
  }
  return links;
}

const NODES_SECURED = { auto: 'beyond-loopback', required: 'all', allowed: 'allowed' } as const;

function tlsInfo({ options }: Daemon): Actions['info']['result']['tls'] {
  const { linkTls, exportTls } = options;
  const state = (linkTls ?? exportTls)?.tls.state;
  if (state === undefined) return null;
  const nodes = linkTls === null || linkTls === undefined ? 'off' : NODES_SECURED[linkTls.mode];
  return { nodes, clients: exportTls?.mode ?? 'off', by: state.by, expires: state.expires, kernel: state.kernel };
}

export function mirrorStatus(node: MirrorNode, o: { socketPath: string; verify: Progress | null }): MirrorStatus {
  const view = node.view();
  const r = view.record;
  const d = r.definition;
  const { source } = node;
  const now = node.env.io.clock.now();
  const nodes: MirrorStatus['nodes'] = {};
  for (const [n, def] of Object.entries(d.nodes)) {
    const reachable =
      n === node.env.self || (def.foreignUri === undefined ? node.env.cluster.connected(n) : source?.links.get(n)?.leg.inSession === true);
    nodes[n] = { priority: def.priority, mode: def.mode, foreign: def.foreignUri !== undefined, reachable };
  }
  const decision = node.decision;
  const epoch = r.epochServed !== null && view.inService ? r.epochServed : (r.epochInSync ?? r.epochSeen);
  return {
    tag: node.tag,
    node: node.env.self,
    state: view.state,
    // Not before clients can connect.
    inService: source?.serving === true,
    source: view.inService ? node.env.self : (node.replica.session?.from ?? view.flags.source),
    sizeBytes: d.sizeBytes,
    sectorBytes: sectorSizeOf(d),
    regionBytes: d.regionSizeBytes,
    regions: Math.ceil(d.sizeBytes / d.regionSizeBytes),
    leg: d.nodes[node.env.self]?.leg ?? '',
    flags: view.flags,
    generation: r.generation,
    epoch: epoch === null ? null : { number: epoch.number, owner: epoch.owner },
    decision: decision === undefined ? null : shownDecision(decision),
    intentBytes: view.intentBytes,
    localLeg: source?.device.local.state ?? (node.replica.leg === undefined ? 'closed' : 'in'),
    mismatchesReceived: node.replica.mismatches,
    nodes,
    targets: source === undefined ? [] : [...source.links.values()].map((l) => targetStatus(node, source, l, now)),
    verify: o.verify,
    snapshots: source === undefined ? [] : source.snapshots.views(),
    export: source?.serving === true ? { socketPath: o.socketPath, name: node.tag } : null,
    failureTimeoutMs: d.failureTimeoutMs,
    failover: d.failover,
    confirm: d.failover === 'confirm' ? { timeoutSec: d.confirmTimeoutSec, default: d.confirmDefault } : null,
    takeoverAfterCleanStop: d.takeoverAfterCleanStop,
    arbiter: d.arbiter,
    arbiterOverruled: source !== undefined && isOverruled(r),
    waitForPreviousSourceSec: d.waitForPreviousSourceSec,
    checkpoints: checkpointsStatus(node),
    suspended: source === undefined ? null : suspendedNow(source, now),
  };
}

export function checkpointsStatus(node: MirrorNode): CheckpointStatus[] {
  const source = node.inService ? node.source : undefined;
  return (node.record().checkpoints ?? []).map((c) => {
    const map = c.void === null ? source?.marks.checkpoint(c.name) : undefined;
    return {
      name: c.name,
      madeAt: c.madeAt,
      state: c.void !== null ? 'void' : map === undefined ? 'kept' : 'valid',
      void: c.void,
      dirtyRegions: map?.count ?? null,
      dirtyBytes: map === undefined || source === undefined ? null : source.marks.bytes(map),
      context: map === undefined ? null : checkpointContext(c.name),
    };
  });
}

function suspendedNow({ device }: SourceRole, now: number): MirrorStatus['suspended'] {
  const s = device.suspension;
  if (s === null) return null;
  const errorsInMs = s.errno !== 0 ? 0 : s.errorsAt === null ? null : Math.max(0, Math.ceil(s.errorsAt - now));
  return { for: s.reasons, sinceMs: Math.round(now - s.since), errorsInMs };
}

function shownDecision({ action, rule, why, asks }: Decision): NonNullable<MirrorStatus['decision']> {
  return { action, rule, why, ...(asks === undefined ? {} : { asks }) };
}

function targetStatus(node: MirrorNode, source: SourceRole, link: TargetLink, now: number): TargetStatus {
  const { leg } = link;
  const r = node.record();
  const map = source.marks.outOfSync(link.node);
  // Of a foreign target that is paused nobody knows whether it can be heard.
  const silent = link.foreign ? !leg.inSession && !link.refused && !r.paused.includes(link.node) : !node.env.cluster.connected(link.node);
  const view = node.peerView(link.node);
  const ordered = view !== undefined && link.orderedAgainst(view);
  const state = peerState(r, node.flags.flags, link.node, {
    silent,
    refused: link.refused,
    // An operator who ordered a full resync has ended it, although the last comparison still says so.
    splitBrain: link.answer?.rule === 'split-brain' && !leg.inSession && !ordered,
    session: leg.phase === 'in-sync' && link.joined ? 'in-sync' : leg.inSession ? 'resyncing' : 'none',
    outOfSyncBytes: map.count,
  });
  return {
    node: link.node,
    state,
    detail: link.problem,
    mode: leg.mode,
    foreign: link.foreign,
    priority: r.definition.nodes[link.node]?.priority ?? 0,
    progress: leg.progress === undefined ? null : progress(leg.progress, now),
    dirtyBytes: source.marks.bytes(map),
    dirtyRegions: map.count,
    queuedWrites: leg.queue?.outstandingWrites ?? 0,
    queuedBytes: leg.queue?.outstandingBytes ?? 0,
    rule: link.answer?.rule ?? null,
    lastResync: resyncRecord(link),
    checksums: { on: link.damage.checked ?? null, mismatches: link.damage.mismatches },
  };
}

export function resyncRecord(link: TargetLink): ResyncRecord | null {
  return link.lastResync === undefined ? null : { target: link.node, ...link.lastResync };
}

function progress(p: ResyncProgress, now: number): Progress {
  const seconds = (now - p.startedAt) / 1000;
  const rate = p.bytesPerSec > 0 ? p.bytesPerSec : seconds > 0 ? p.doneBytes / seconds : 0;
  return {
    kind: p.kind,
    totalBytes: p.totalBytes,
    doneBytes: p.doneBytes,
    bytesPerSec: rate,
    secondsLeft: rate > 0 ? (p.totalBytes - p.doneBytes) / rate : null,
  };
}
