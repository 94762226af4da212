/** Answers what other nodes ask about mirrors: each method judged by its schema, sent to the node's part that does it. */
import { encodeRuns } from '../bitmap/run-codec.ts';
import type { Cluster } from '../cluster/cluster.ts';
import { ClusterError } from '../cluster/errors.ts';
import type { IoSocket } from '../io/types.ts';
import type { NbdServer } from '../nbd/server.ts';
import { isHigher, isSame } from './epoch.ts';
import type { MirrorNode } from './node.ts';
import { definitionSchema, methods, nbdParamsSchema } from './protocol.ts';
import { answerResolve } from './resolve.ts';
import { answerSwitchover } from './switchover-preview.ts';
import type { Epoch, MirrorDefinition, NodeName } from './types.ts';

/** Of a map sent in one answer. */
const PIECE_BYTES = 192 * 1024;
const PIECES_MAX = 3;

export interface Mirrors {
  get(tag: string): MirrorNode | undefined;
  /** It can not be used until this daemon is started again, and may be in sync by a record that is sound. */
  unusable(tag: string): boolean;
  /** Makes the mirror known here as a target of `peer`. */
  adopt(peer: NodeName, definition: MirrorDefinition, zeroed: boolean): Promise<void>;
  /** Rejects when that leg of this node can not become one of the mirror. */
  checkLeg(leg: string, definition: MirrorDefinition): Promise<void>;
  /** On the word of `by`, another node. */
  forget(tag: string, createId: string, by: NodeName): Promise<void>;
}

function definitionOf(x: unknown): MirrorDefinition {
  const parsed = definitionSchema.safeParse(x);
  if (!parsed.success) throw new ClusterError('bad-definition', parsed.error.issues[0]?.message ?? 'not a definition of a mirror');
  return parsed.data;
}

/** A session that is not the current source's, or not of this mirror. */
const NOT_OURS: ReadonlySet<string> = new Set(['superseded', 'split-brain', 'unrelated', 'refused']);

/** Whether a source asks whose time is over, of a node that may serve itself by now: that answers the same to a source of its own time. */
function isNotOurs(e: ClusterError, epoch: Epoch, seen: Epoch | null | undefined): boolean {
  return NOT_OURS.has(e.code) || (e.code === 'in-service' && isHigher(seen ?? null, epoch));
}

export function registerHandlers(
  cluster: Cluster,
  mirrors: Mirrors,
  replicaServer: NbdServer,
  refused: (tag: string, peer: NodeName, e: ClusterError) => void,
): void {
  const mirror = (tag: string): MirrorNode => {
    const node = mirrors.get(tag);
    if (node === undefined && mirrors.unusable(tag)) throw new ClusterError('unusable', `${cluster.self} can not use its mirror ${tag} now`);
    if (node === undefined) throw new ClusterError('no-mirror', `${cluster.self} does not know a mirror ${tag}`);
    return node;
  };
  cluster.handle('view', methods.view, (_peer, p) => Promise.resolve(mirrors.get(p.tag)?.view() ?? null));
  cluster.handle('adopt', methods.adopt, async (peer, p) => {
    await mirrors.adopt(peer, definitionOf(p.definition), p.zeroed);
    return true;
  });
  cluster.handle('leg.check', methods['leg.check'], async (_peer, p) => {
    await mirrors.checkLeg(p.leg, definitionOf(p.definition));
    return true;
  });
  cluster.handle('forget', methods.forget, async (peer, p) => {
    await mirrors.forget(p.tag, p.createId, peer);
    return true;
  });
  cluster.handle('claim', methods.claim, (peer, p) => mirror(p.tag).claimed(peer, p.epoch));
  cluster.handle('session.open', methods['session.open'], async (peer, p) => {
    try {
      const definition = definitionOf(p.definition);
      const node = mirror(p.tag);
      const own = node.record().definition;
      if (own.createId !== definition.createId) throw new ClusterError('unrelated', `mirror ${p.tag} here was created apart`);
      if (own.regionSizeBytes !== definition.regionSizeBytes) throw new ClusterError('region-size', `mirror ${p.tag} here has another region size`);
      return await node.asTarget(p.epoch, (t) => t.open(peer, { ...p, definition }));
    } catch (e: unknown) {
      if (e instanceof ClusterError && isNotOurs(e, p.epoch, mirrors.get(p.tag)?.record().epochSeen)) refused(p.tag, peer, e);
      throw e;
    }
  });
  cluster.handle('session.join', methods['session.join'], async (_peer, p) => {
    const node = mirror(p.tag);
    await node.asTarget(p.epoch, (t) => node.toldOut.during(p.epoch, p.words, () => t.join(p)));
    return true;
  });
  cluster.handle('session.members', methods['session.members'], async (_peer, p) => {
    await mirror(p.tag).asTarget(p.epoch, (t) => t.members(p));
    return true;
  });
  cluster.handle('session.out', methods['session.out'], async (_peer, p) => {
    await mirror(p.tag).asTarget(p.epoch, (t) => t.out(p));
    return true;
  });
  cluster.handle('session.damaged', methods['session.damaged'], (peer, p) => {
    const { source } = mirror(p.tag);
    if (source !== undefined && isSame(source.epoch, p.epoch)) source.links.get(peer)?.damage.met();
    return Promise.resolve(true);
  });
  cluster.handle('witness', methods.witness, async (peer, p) => {
    const node = mirror(p.tag);
    if (p.epoch.owner !== peer) throw new ClusterError('refused', `${peer} speaks for ${p.epoch.owner}`);
    if (p.createId !== node.record().definition.createId) throw new ClusterError('unrelated', `mirror ${p.tag} here was created apart`);
    await node.asTarget(p.epoch, (t) => t.witness(p), false);
    return true;
  });
  cluster.handle('session.stop', methods['session.stop'], async (_peer, p) => {
    await mirror(p.tag).asTarget(p.epoch, (t) => t.stop(p));
    return true;
  });
  cluster.handle('source-leg-behind', methods['source-leg-behind'], async (peer, p) => {
    await mirror(p.tag).asTarget(p.epoch, (t) => t.sourceLegBehind(peer, p));
    return true;
  });
  cluster.handle('marks.get', methods['marks.get'], (_peer, p) => Promise.resolve(marksOf(mirror(p.tag), p.map, p.cursor)));
  cluster.handle('marks.given', methods['marks.given'], async (peer, p) => {
    const node = mirror(p.tag);
    node.target.checkEpoch(p.epoch);
    if (p.to !== peer) throw new ClusterError('refused', `${peer} speaks for ${p.to}`);
    await node.store.update((r) => ({ ...r, accountGivenTo: p.to }));
    return true;
  });
  cluster.handle('switchover.take', methods['switchover.take'], (peer, p) => mirror(p.tag).switchovers.take(peer, p.grant));
  cluster.handle('switchover', methods.switchover, (_peer, p) => answerSwitchover(mirror(p.tag), p));
  cluster.handle('resolve', methods.resolve, (_peer, p) => answerResolve(mirror(p.tag), p));
  cluster.handle('digest', methods.digest, async (_peer, p) => {
    const node = mirror(p.tag);
    node.replica.require(p.session);
    return await node.replica.digest(p.offset, p.length);
  });
  cluster.handle('grow', methods.grow, async (_peer, p) => {
    await mirror(p.tag).asTarget(p.epoch, (t) => t.grow({ ...p, definition: definitionOf(p.definition) }));
    return true;
  });
  cluster.onNbd(nbdParamsSchema, (peer, p) => {
    const session = mirror(p.tag).replica.session;
    if (session?.token !== p.token || session.from !== peer) throw new ClusterError('no-session', 'that session has ended');
    return (socket: IoSocket, early: Uint8Array) => {
      void replicaServer.serve(socket, early);
    };
  });
}

/** A piece of a map; `cursor` counts pieces. A damaged bitmap has no maps that mean anything. */
function marksOf(node: MirrorNode, map: string, cursor: number): { pieces: string[]; next: number | null } {
  const file = node.bitmap;
  if (file === undefined) throw new ClusterError('damaged', `the bitmap file of ${node.env.self} is damaged`);
  if (!file.mapNames.includes(map)) return { pieces: [], next: null };
  const pieces: string[] = [];
  let at = 0;
  for (const piece of encodeRuns(file.map(map), PIECE_BYTES)) {
    if (at >= cursor + PIECES_MAX) return { pieces, next: at };
    if (at >= cursor) pieces.push(Buffer.from(piece).toString('base64'));
    at += 1;
  }
  return { pieces, next: null };
}
