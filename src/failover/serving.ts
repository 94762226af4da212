/**
 * May a node in service go on? (M9, M10) It stops at once when somebody served a higher epoch. It answers nothing while a
 * claim of a higher one is undecided; a claim that came to nothing has still fenced it off from its targets, so that it
 * goes out and comes back in an epoch higher still. It answers nothing while a majority is missing. Staying is the last row.
 */
import { provenEpochs } from './account.ts';
import { compareEpoch, epochText } from './epoch.ts';
import { contradiction, highestSeen, type Situation, unseenService } from './situation.ts';
import type { Decision } from './types.ts';

type Row = (s: Situation) => Decision | null;

const supersededServing: Row = (s) => {
  const own = s.record.epochServed;
  // Each that a record proves: of two owners of one number, which no record should name, none is passed over.
  const proven = s.heard.flatMap((v) => provenEpochs(v.record).map((e) => [v, e, compareEpoch(e, own)] as const));
  // Two owners of one number: neither is the higher, so neither may go on. Whoever is heard first, that comes before a later epoch.
  const over = proven.find(([, , order]) => order === 'conflict') ?? proven.find(([, , order]) => order === 'higher');
  if (over !== undefined) {
    const [v, epoch, order] = over;
    const split = contradiction(s);
    const higher = `${v.node} knows that epoch ${epochText(epoch)} was served, and this node serves ${epochText(own)}`;
    const seen = unseenService(s);
    if (order === 'conflict') return { action: 'demote', rule: 'split-brain', why: higher, ...seen };
    if (split !== null) return { action: 'demote', rule: 'split-brain', why: `${higher}; ${split.why}`, ...seen };
    return { action: 'demote', rule: 'superseded', why: higher, setFlags: { lastOwner: false }, ...seen };
  }
  const claimant = s.heard.find((v) => !['lower', 'equal'].includes(compareEpoch(v.record.claim, own)));
  if (claimant !== undefined) {
    const claim = epochText(claimant.record.claim);
    return {
      action: 'suspend',
      rule: 'superseded',
      why: `${claimant.node} claims epoch ${claim}, and this node serves ${epochText(own)}`,
      changesIf: [`${claimant.node} gives its claim up`],
    };
  }
  // A claim of the same number, given up or cut off: its owner, and whoever accepted it, refuses our sessions as another owner's.
  const rival = s.heard.find((v) => compareEpoch(v.record.epochSeen, own) === 'conflict');
  if (rival !== undefined) {
    const theirs = epochText(rival.record.epochSeen);
    return {
      action: 'demote',
      rule: 'superseded',
      why: `epoch ${theirs} was claimed, and ${rival.node} has accepted it; this node serves ${epochText(own)}`,
      changesIf: ['nobody has served that epoch: then this node may go in service again, in a higher one'],
    };
  }
  const seen = highestSeen(s);
  const order = compareEpoch(seen, own);
  if (order === 'lower' || order === 'equal') return null;
  return {
    action: 'demote',
    rule: 'superseded',
    why: `epoch ${epochText(seen)} was claimed, and this node serves ${epochText(own)}`,
    changesIf: ['nobody has served that epoch: then this node may go in service again, in a higher one'],
  };
};

const cutShortServing: Row = (s) => {
  const cut = s.record.resyncingFrom;
  if (cut === null) return null;
  return { action: 'demote', rule: 'cut-short', why: `the resync from ${cut.node} was not finished: the data here is inconsistent` };
};

const noQuorum: Row = (s) => {
  if (s.definition.arbiter === 'none' || s.facts.majority !== false) return null;
  return {
    action: 'suspend',
    rule: 'no-quorum',
    why: 'no majority of the nodes votes for this node',
    changesIf: [
      'a majority votes for it durably',
      `most nodes are lost for good, and an operator says netraid out-of-service ${s.definition.tag}, then mirror_action ${s.definition.tag} force ${s.self.node}`,
    ],
  };
};

const splitBrainServing: Row = (s) => {
  const found = contradiction(s);
  if (found === null) return null;
  return {
    action: 'stay-in-service',
    rule: 'split-brain',
    why: `split brain with ${found.peer.node}, which knows of no higher epoch and stays out: ${found.why}`,
    changesIf: [
      `an operator gives up the data of ${found.peer.node}: netraid resolve ${s.definition.tag} --victim ${found.peer.node}`,
      'an operator takes this node out of service',
    ],
  };
};

const SERVING: readonly Row[] = [supersededServing, cutShortServing, noQuorum, splitBrainServing];

export function decideServing(s: Situation): Decision {
  for (const row of SERVING) {
    const decision = row(s);
    if (decision !== null) return decision;
  }
  return {
    action: 'stay-in-service',
    rule: 'evidence',
    why: `in service in epoch ${epochText(s.record.epochServed)}, and nobody heard knows of a later one`,
  };
}
