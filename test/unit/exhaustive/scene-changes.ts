/** How one value is put into a scene: what one node says, what all nodes know, or a circumstance of the one who decides. */
import type { Facts, MirrorDefinition, NodeName, NodeView, StateRecord } from '../../../src/failover/types.ts';
import type { Value } from './crossing.ts';
import { isHeard, type Peer, type Scene } from './scene.ts';

/** This node, or a peer by its place. */
export type Who = 'self' | 0 | 1;
export const WORD = { self: 'self', 0: 'P', 1: 'Q' } as const;

/** null: there is no such node, or it is not heard. */
export function viewOfWho(s: Scene, who: Who): NodeView | null {
  if (who === 'self') return s.self;
  const peer = s.peers[who];
  return peer !== undefined && isHeard(peer) ? peer.view : null;
}

export const nameOf = (s: Scene, who: Who): NodeName | null => (who === 'self' ? s.self.node : (s.peers[who]?.view.node ?? null));

export function withView(s: Scene, who: Who, view: NodeView): Scene {
  if (who === 'self') return { ...s, self: view };
  return { ...s, peers: s.peers.map((p, i): Peer => (i === who ? { ...p, view } : p)) };
}

export const withRecord = (v: NodeView, r: Partial<StateRecord>): NodeView => ({ ...v, record: { ...v.record, ...r } });

/** What one node says. */
export function says(who: Who, name: string, change: (v: NodeView, s: Scene) => NodeView | null): Value<Scene> {
  return {
    name: `${WORD[who]} ${name}`,
    in: (s) => {
      const v = viewOfWho(s, who);
      const changed = v === null ? null : change(v, s);
      return changed === null ? null : withView(s, who, changed);
    },
  };
}

export function records(who: Who, name: string, change: (r: StateRecord, s: Scene) => Partial<StateRecord> | null): Value<Scene> {
  return says(who, name, (v, s) => {
    const r = change(v.record, s);
    return r === null ? null : withRecord(v, r);
  });
}

export const ALL: readonly Who[] = ['self', 0, 1];
export const PEERS: readonly Who[] = [0, 1];

/** The same of each of these nodes. */
export const each = (who: readonly Who[], make: (w: Who) => Value<Scene>[]): Value<Scene>[] => who.flatMap((w) => make(w));

/** A setting of the mirror, which all nodes know. */
export function set(name: string, settings: Partial<MirrorDefinition>, over: Partial<Facts> = {}, byVotes = false): Value<Scene> {
  const known = (v: NodeView): NodeView => withRecord(v, { definition: { ...v.record.definition, ...settings } });
  return {
    name,
    in: (s) => ({ self: known(s.self), peers: s.peers.map((p) => ({ ...p, view: known(p.view) })), over: { ...s.over, ...over }, byVotes }),
  };
}

/** A circumstance of the one who decides. */
export const given = (name: string, over: (s: Scene) => Partial<Facts>): Value<Scene> => ({
  name,
  in: (s) => ({ ...s, over: { ...s.over, ...over(s) } }),
});

export const firstPeer = (s: Scene, v: NodeView): NodeName => (v === s.self ? (nameOf(s, 0) ?? v.node) : s.self.node);
