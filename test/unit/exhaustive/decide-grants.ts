/** Facts of a change of source: grants of a switchover, and claims. */
import type { Epoch, Grant, NodeName, NodeView } from '../../../src/failover/types.ts';
import type { Fact, Value } from './crossing.ts';
import { claimOf, highestNumber, isHeard, type Peer, type Scene } from './scene.ts';
import { each, nameOf, PEERS, says, viewOfWho, type Who, WORD, withRecord, withView } from './scene-changes.ts';

type End = 'giver' | 'holder';

function grant(from: Who, to: Who, ends: readonly End[], of: 'the last term' | 'an earlier term'): Value<Scene> {
  return {
    name: `${WORD[from]} handed over to ${WORD[to]} in ${of}, by the record of the ${ends.join(' and the ')}`,
    in: (s) => {
      const [giver, holder] = [nameOf(s, from), nameOf(s, to)];
      if (giver === null || holder === null) return null;
      let changed: Scene = s;
      let first: Epoch | null = null;
      for (const end of ends) {
        const who = end === 'giver' ? from : to;
        const v = viewOfWho(s, who);
        if (v === null) return null;
        const last = end === 'giver' ? v.record.epochServed : v.record.epochInSync;
        if (last?.owner !== giver) return null;
        const epoch: Epoch = of === 'the last term' ? last : { ...last, number: last.number - 1, random: '00' };
        // Of two ends that do not know one term, each would hold a grant of its own: those are walked alone.
        if (first !== null && first.number !== epoch.number) return null;
        first = epoch;
        const g: Grant = { epoch, from: giver, to: holder, synced: [giver, holder], paused: [] };
        changed = withView(changed, who, withRecord(v, { grant: g }));
      }
      return changed;
    },
  };
}

/** Of a third node, where there is one: else of the giver, who wants the mirror back. */
function voided(from: Who, to: Who): Value<Scene> {
  const given = grant(from, to, ['holder'], 'the last term');
  return {
    name: `${given.name}, which has accepted another claim since`,
    in: (s) => {
      const at = given.in(s);
      const holder = at === null ? null : viewOfWho(at, to);
      if (at === null || holder === null) return null;
      const names = [s.self, ...s.peers.map((p) => p.view)].map((v) => v.node);
      const claimant = names.find((n) => n !== holder.node && n !== nameOf(s, from)) ?? nameOf(s, from);
      return claimant === null ? null : withView(at, to, withRecord(holder, { epochSeen: claimOf(claimant, highestNumber(s) + 1) }));
    },
  };
}

const handovers: readonly (readonly [Who, Who])[] = [
  ['self', 0],
  ['self', 1],
  [0, 'self'],
  [1, 'self'],
  [0, 1],
  [1, 0],
];

export const grants: Fact<Scene> = {
  name: 'grant',
  values: handovers.flatMap(([from, to]) => [
    grant(from, to, ['giver', 'holder'], 'the last term'),
    grant(from, to, ['giver'], 'the last term'),
    grant(from, to, ['holder'], 'the last term'),
    grant(from, to, ['giver'], 'an earlier term'),
    grant(from, to, ['holder'], 'an earlier term'),
    voided(from, to),
  ]),
};

// ------------------------------------------------------------------------------------------------ claims

const claimed = (v: NodeView, epoch: Epoch): NodeView => withRecord(v, { claim: epoch, epochSeen: epoch });

/** In the middle of a claim of this node; what the peers heard have written down of it. */
function midClaim(name: string, seen: (own: Epoch, peer: NodeName) => Epoch | null, held = true): Value<Scene> {
  return {
    name,
    in: (s) => {
      if (s.self.inService) return null;
      const own = claimOf(s.self.node, highestNumber(s) + 1);
      const accepted = (p: Peer): Peer => {
        const epochSeen = seen(own, p.view.node);
        return !isHeard(p) || epochSeen === null ? p : { ...p, view: withRecord(p.view, { epochSeen }) };
      };
      const self = held ? claimed(s.self, own) : withRecord(s.self, { epochSeen: own });
      return { ...s, self, peers: s.peers.map(accepted), over: { ...s.over, claiming: true } };
    },
  };
}

export const claims: Fact<Scene> = {
  name: 'claims',
  values: [
    says('self', 'left a claim unfinished', (v, s) => (v.inService ? null : claimed(v, claimOf(v.node, highestNumber(s) + 1)))),
    midClaim('in the middle of a claim that all have accepted', (own) => own),
    midClaim('in the middle of a claim that nobody has accepted', () => null),
    midClaim('in the middle of a claim, whose number was claimed by those heard', (own, peer) => claimOf(peer, own.number)),
    midClaim('in the middle of a claim that was given up', (own) => own, false),
    ...each(PEERS, (w) => [
      says(w, 'claims a higher epoch', (v, s) => (v.inService ? null : claimed(v, claimOf(v.node, highestNumber(s) + 1)))),
      says(w, 'claims the number that is served here', (v, s) => {
        const served = s.self.record.epochServed;
        return served === null || v.inService ? null : claimed(v, claimOf(v.node, served.number));
      }),
      says(w, 'has accepted a higher epoch of this node', (v, s) => withRecord(v, { epochSeen: claimOf(s.self.node, highestNumber(s) + 1) })),
      says(w, 'has accepted a higher epoch of another', (v, s) => {
        const other = s.peers.find((p) => p.view.node !== v.node)?.view.node;
        return other === undefined ? null : withRecord(v, { epochSeen: claimOf(other, highestNumber(s) + 1) });
      }),
    ]),
  ],
};
