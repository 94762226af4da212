/**
 * Who may go in service (M7, M8, M10, M11, M12): facts in, {action, rule, why} out. Pure and total.
 *
 *   in service?  ->  SERVING: demote, suspend, or stay
 *   force?       ->  forced: what only an operator's word can do, and the little that even that cannot
 *   else         ->  TABLE, from top to bottom; the first row that matches answers
 *
 * Every answer `go-in-service` passes `go`, which no rule can avoid: nobody heard is in service, nobody heard holds an
 * unfinished claim (or, in the middle of a claim, everybody heard has accepted exactly its epoch), and a majority has
 * voted where one is asked for. An operator's `in-service` is judged by the same rows; what would wait is then refused.
 */
import { provenEpochs } from './account.ts';
import { leaveToGo } from './decide-confirm.ts';
import { compareEpoch, epochText, isHigher } from './epoch.ts';
import { grantGiven } from './grant.ts';
import { decideServing } from './serving.ts';
import {
  brandNew,
  claimedByAnother,
  contradiction,
  equalAndPrior,
  highestProven,
  highestSeen,
  isHeard,
  isNewer,
  type Situation,
  silenceOf,
  situationOf,
  unfit,
  unheard,
  whoHears,
  whoSaysLegBehind,
  unseenService,
} from './situation.ts';
import type { Decision, DecideRule, Facts } from './types.ts';

type Row = (s: Situation) => Decision | null;
type SetFlags = NonNullable<Decision['setFlags']>;

const names = (list: readonly string[]): string => list.join(', ');
const ms = (n: number): string => `${String(Math.round(n))} ms`;

function stayOut(s: Situation, rule: DecideRule, why: string, changesIf: string[], setFlags?: SetFlags): Decision {
  return { action: s.asked ? 'refuse' : 'stay-out', rule, why, changesIf, ...(setFlags === undefined ? {} : { setFlags }) };
}

function wait(s: Situation, rule: DecideRule, why: string, changesIf: string[]): Decision {
  return { action: s.asked ? 'refuse' : 'wait', rule, why, changesIf };
}

/** The one gate to `go-in-service`. `setFlags` are to be carried out together with `last_owner`, before serving. */
function go(s: Situation, rule: DecideRule, why: string, setFlags?: SetFlags): Decision {
  const { facts, record, serving } = s;
  if (serving !== undefined)
    return stayOut(s, 'better-candidate', `${serving.node} is in service`, [`${serving.node} goes out of service, or is lost`]);
  if (facts.claiming) {
    if (record.claim === null) return wait(s, 'better-candidate', 'the claim has been given up', []);
    const claim = epochText(record.claim);
    // Whoever is heard first, that the claim is in vain comes before that it is not known everywhere yet.
    const past = s.heard.find((v) => !['lower', 'equal'].includes(compareEpoch(v.record.epochSeen, record.claim)));
    if (past !== undefined) {
      const why2 = `${past.node} has seen epoch ${epochText(past.record.epochSeen)}, so that epoch ${claim} must be given up`;
      return stayOut(s, 'better-candidate', why2, ['a new claim takes a higher epoch']);
    }
    const late = s.heard.find((v) => compareEpoch(v.record.epochSeen, record.claim) === 'lower');
    if (late !== undefined)
      return wait(s, 'better-candidate', `${late.node} has not accepted epoch ${claim} yet`, [`${late.node} is told, and accepts it`]);
  } else {
    const claimant = s.heard.find((v) => v.record.claim !== null);
    if (claimant !== undefined) {
      const claim = epochText(claimant.record.claim);
      return wait(s, 'better-candidate', `${claimant.node} holds an unfinished claim of epoch ${claim}`, [
        `${claimant.node} serves, or gives its claim up`,
      ]);
    }
  }
  if (s.definition.arbiter !== 'none' && rule !== 'forced' && (facts.majority === false || (facts.claiming && facts.majority === null))) {
    return stayOut(s, 'no-quorum', 'no majority of the nodes has voted for this node', ['a majority votes for it durably']);
  }
  return { action: 'go-in-service', rule, why, ...(setFlags === undefined ? {} : { setFlags }) };
}

const splitBrainRow: Row = (s) => {
  const found = contradiction(s);
  if (found === null) return null;
  return { ...stayOut(s, 'split-brain', `split brain with ${found.peer.node}: ${found.why}`, endOfSplitBrain(s)), ...unseenService(s) };
};

/** Nothing is merged by itself (M10). */
function endOfSplitBrain({ definition: { tag } }: Situation): string[] {
  return [`an operator chooses whose data is kept: mirror_action ${tag} force there, unless it serves, then netraid resolve ${tag} --victim OTHER`];
}

const superseded: Row = (s) => {
  // Each that a record proves: of two owners of one number, which no record should name, none is passed over.
  const proven = s.heard.flatMap((v) => provenEpochs(v.record).map((e) => [v, e] as const));
  // Whoever is heard first, a contradiction comes before a later epoch.
  const rival = proven.find(([, e]) => compareEpoch(e, s.term) === 'conflict');
  if (rival !== undefined)
    return stayOut(
      s,
      'split-brain',
      `${rival[0].node} knows another owner of epoch ${epochText(s.term)}: ${epochText(rival[1])}`,
      endOfSplitBrain(s),
    );
  const later = proven.find(([, e]) => compareEpoch(e, s.term) === 'higher');
  if (later === undefined) return null;
  const why = `${later[0].node} knows that epoch ${epochText(later[1])} was served, later than ${epochText(s.term)}, the last this node was part of`;
  const setFlags = s.self.flags.lastOwner ? { lastOwner: false } : undefined;
  return { ...stayOut(s, 'superseded', why, [`this node is resynced by the owner of that epoch`], setFlags), ...unseenService(s) };
};

const cutShort: Row = (s) => {
  const cut = s.record.resyncingFrom;
  if (cut === null) return null;
  return stayOut(s, 'cut-short', `the ${cut.kind} resync from ${cut.node} was not finished: the data here is inconsistent`, [
    `the resync is finished by ${cut.node}`,
  ]);
};

const toldOut: Row = (s) => {
  if (!Object.hasOwn(s.definition.nodes, s.self.node))
    return stayOut(s, 'told-out', `${s.self.node} is no longer part of the mirror`, ['it is added again']);
  const told = s.record.toldOut;
  if (told === null) return null;
  if (told.by === s.self.node)
    return stayOut(s, 'told-out', `this node found in epoch ${epochText(told.epoch)} that it is out: ${told.why}`, ['a source resyncs it']);
  return stayOut(s, 'told-out', `${told.by} told this node in epoch ${epochText(told.epoch)} that it is out: ${told.why}`, [`${told.by} resyncs it`]);
};

const legBehind: Row = (s) => {
  const behind = s.record.legBehind;
  const newest = behind?.newest ?? (s.servedLast ? whoSaysLegBehind(s)?.node : undefined);
  if (newest === undefined) return null;
  return stayOut(s, 'leg-behind', `the leg of this node failed while ${newest} went on: ${newest} has newer data`, [`this node is resynced`]);
};

/** TAG_data_corrupt on a node that did not get it as last owner: nothing but force removes it. */
const markedCorrupt: Row = (s) => {
  if (!s.self.flags.dataCorrupt || s.lastOwner) return null;
  return stayOut(s, 'source-alone', 'the data_corrupt flag is set: the data must not be used', ['an operator forces it online', 'it is resynced']);
};

const stoppedOnPurpose: Row = (s) => {
  if (s.record.keepOut && !s.asked && !s.facts.claiming) {
    return stayOut(s, 'stopped-on-purpose', 'an operator took the mirror out of service here', ['an operator says in-service']);
  }
  const silent = unheard(s);
  if (!s.record.stoppedOnPurpose || s.servedLast || s.definition.takeoverAfterCleanStop || silent.length === 0) return null;
  return stayOut(s, 'stopped-on-purpose', `${s.source ?? 'the source'} was stopped on purpose, and ${names(silent)} cannot be heard`, [
    `${names(silent)} can be heard`,
    'the mirror is set to take over after a clean stop',
    'an operator forces it online',
  ]);
};

/** In sync with a source that is lost now: what `takeover` asks of a target, its rivals left aside. */
function lostSource(s: Situation): string | null {
  const { record, self, facts, source } = s;
  if (s.servedLast || source === null || source === self.node || isHeard(s, source)) return null;
  const silence = silenceOf(s, source);
  if (silence === undefined || silence < facts.failureTimeoutMs) return null;
  if (!self.contactWithSource || unfit(self) !== null || s.term === null) return null;
  // An epoch of another owner, later than the one it was in sync in: somebody else may be serving.
  const seen = record.epochSeen;
  if (seen !== null && seen.owner !== self.node && !['lower', 'equal'].includes(compareEpoch(seen, s.term))) return null;
  return source;
}

const takeover: Row = (s) => {
  const source = lostSource(s);
  // Whoever was granted the mirror need not wait for silence: see `evidence`.
  if (source === null || s.granted !== null || s.serving !== undefined || s.heard.some((v) => isNewer(v, s))) return null;
  const witness = whoHears(s, source);
  if (witness !== undefined) {
    return wait(s, 'takeover', `${witness.node} still hears ${source}: it is not lost`, [`${source} is silent for every node`]);
  }
  const choosing = !s.asked && !s.facts.claiming;
  if (choosing && s.heard.some((v) => v.contactWithSource && equalAndPrior(v, s) !== null)) return null;
  const why = `in sync, and ${source} has been silent on every path for ${ms(silenceOf(s, source) ?? 0)}`;
  const leave = leaveToGo(s, 'takeover', why, source);
  return leave.held ?? go(s, 'takeover', leave.why);
};

const PRIOR = { granted: 'the mirror was handed over to it', 'last source': 'was the last source', priority: 'comes first' } as const;

const betterCandidate: Row = (s) => {
  const { serving } = s;
  if (serving !== undefined) {
    const why = s.asked ? `${serving.node} is in service: take it out of service there first` : `${serving.node} is in service`;
    return stayOut(s, 'better-candidate', why, [`${serving.node} goes out of service, or is lost`]);
  }
  const newer = s.heard.find((v) => isNewer(v, s));
  if (newer !== undefined) {
    const not = unfit(newer);
    return stayOut(s, 'better-candidate', `${newer.node} knows of newer data${not === null ? '' : `, though ${not}`}`, [
      `${newer.node}, or whoever has that data, goes in service`,
    ]);
  }
  if (s.asked) return asksPastTheSource(s);
  if (unfit(s.self) !== null || (lostSource(s) === null && s.missing.length > 0)) return null;
  for (const v of s.heard) {
    const because = equalAndPrior(v, s);
    if (because === null || (because === 'priority' && s.facts.claiming)) continue;
    if (because !== 'granted' && lostSource(s) !== null && !v.contactWithSource) continue;
    return wait(s, 'better-candidate', `${v.node} is as new, and ${PRIOR[because]}`, [
      `${v.node} goes in service, or cannot`,
      'an operator says in-service here',
    ]);
  }
  return null;
};

/** An operator may prefer one of equals; but an async target lacks what a crashed source still held in its queue. */
function asksPastTheSource(s: Situation): Decision | null {
  const last = s.heard.find((v) => equalAndPrior(v, s) === 'last source');
  if (last === undefined || last.record.session.clean || s.definition.nodes[s.self.node]?.mode !== 'async') return null;
  return stayOut(s, 'better-candidate', `${last.node} crashed with writes that may not have reached this async target`, [
    `${last.node} goes in service`,
  ]);
}

const targetAlone: Row = (s) => {
  if (s.servedLast || s.missing.length === 0) return null;
  const since = s.self.contactWithSource ? '' : ', and its source has not been heard, or could not be understood, since this node started or stalled';
  return stayOut(s, 'target-alone', `${names(s.missing)} cannot be heard and may have newer data${since}`, [
    `${names(s.missing)} can be heard`,
    'an operator forces it online',
  ]);
};

/** A clean stop that every target wrote down, after which none takes over on silence, and no epoch seen since; nor was the mirror handed over. */
function stoppedInAgreement(s: Situation): boolean {
  if (s.definition.takeoverAfterCleanStop || grantGiven(s.record) !== null) return false;
  const { session, stoppedOnPurpose: agreed, droppedUnconfirmed } = s.record;
  return (
    session.role === 'source' &&
    session.clean &&
    agreed &&
    droppedUnconfirmed.length === 0 &&
    !claimedByAnother(s) &&
    !isHigher(highestProven(s), s.term)
  );
}

const sourceAlone: Row = (s) => {
  if (!s.servedLast || s.missing.length === 0) return null;
  const { flags } = s.self;
  if (s.lastOwner && stoppedInAgreement(s) && !flags.dataCorrupt) return null;
  const to = grantGiven(s.record)?.to;
  const given = to === undefined ? '' : ` and handed the mirror over to ${to}`;
  const why = `this node was the last source${given}, and ${names(s.missing)}, who may have taken over, cannot be heard`;
  const changesIf = [`${names(s.missing)} can be heard`, 'an operator forces it online'];
  if (s.record.dataCorruptSet === true && !flags.dataCorrupt) {
    if (s.facts.command.kind === 'in-service')
      return forced(s, 'data_corrupt was deleted by hand, and an operator said in-service, which equals force');
    return stayOut(s, 'source-alone', `${why}; data_corrupt was deleted by hand, so that in-service now equals force`, changesIf);
  }
  if (s.facts.upForMs < s.facts.failureTimeoutMs) return { action: 'wait', rule: 'source-alone', why: `${why} yet`, changesIf };
  if (s.record.session.clean && !flags.dataCorrupt) return stayOut(s, 'source-alone', why, changesIf);
  return stayOut(s, 'source-alone', why, changesIf, { dataCorrupt: true });
};

/** Somebody who was forced elsewhere would be heard within failureTimeout. */
function stillListening(s: Situation): boolean {
  return unheard(s).length > 0 && s.facts.upForMs < s.facts.failureTimeoutMs;
}

const sourceAloneAgreed: Row = (s) => {
  const { record, self } = s;
  if (!s.lastOwner || self.flags.dataCorrupt || claimedByAnother(s)) return null;
  const alone = s.missing.length === 0 && record.droppedUnconfirmed.length === 0 && record.inSync.every((n) => n === self.node);
  if (!alone && !stoppedInAgreement(s)) return null;
  if (stillListening(s)) {
    return {
      action: 'wait',
      rule: 'source-alone-agreed',
      why: `listening for ${names(unheard(s))} first`,
      changesIf: ['failureTimeout has passed since start'],
    };
  }
  const why = alone
    ? 'this node was the last source, and every other node had confirmed that it is out'
    : 'this node was the last source, and every target wrote its clean stop down';
  return go(s, 'source-alone-agreed', why);
};

const evidence: Row = (s) => {
  const { record, self } = s;
  if (s.missing.length > 0) return null;
  if (s.term === null) return neverServed(s);
  if (unfit(self) !== null) return null;
  if (self.flags.dataCorrupt && s.heard.length === 0) return null;
  if (stillListening(s)) {
    return {
      action: 'wait',
      rule: 'evidence',
      why: `listening for ${names(unheard(s))} first`,
      changesIf: ['failureTimeout has passed since start'],
    };
  }
  const unsaid = s.unsaid.filter((n) => s.required.has(n));
  if (unsaid.length > 0) {
    const why = `${names(unsaid)} can be heard again, and what is known of its records is of before: it may have served since`;
    return wait(s, 'evidence', why, [`${names(unsaid)} says how it sees the mirror`, 'an operator forces it online']);
  }
  const unserved = isHigher(highestSeen(s), highestProven(s)) ? `; epoch ${epochText(highestSeen(s))} was claimed and never served` : '';
  const heard = s.heard.length === 0 ? 'nobody else is required' : `${names(s.heard.map((v) => v.node))} can be heard`;
  const given = s.granted === null ? '' : `${s.granted.from} has handed the mirror over to this node in epoch ${epochText(s.granted.epoch)}; `;
  const why = `${given}${heard}, and by their records nobody has newer data than ${record.node}${unserved}`;
  // The last source goes on without a change of source, and an operator has asked for a switchover.
  const leave = s.servedLast || s.granted !== null ? { held: null, why } : leaveToGo(s, 'evidence', why, null);
  return leave.held ?? go(s, 'evidence', leave.why, self.flags.dataCorrupt ? { dataCorrupt: false } : undefined);
};

/** Before anybody ever served: only on command, and only where the data is. */
function neverServed(s: Situation): Decision | null {
  if (!s.record.inSync.includes(s.self.node) && !brandNew(s)) return null;
  if (!s.asked && !s.facts.claiming) return wait(s, 'evidence', 'the mirror has never been in service', ['an operator says in-service']);
  if (s.self.flags.dataCorrupt || s.self.flags.lastOwner) return null;
  const rival = s.heard.find((v) => v.record.hadData && !s.record.hadData);
  if (rival !== undefined) return null;
  return go(s, 'evidence', brandNew(s) ? 'a new mirror, with no other node' : 'nobody has ever served, and the data is here');
}

const TABLE: readonly (readonly [DecideRule, Row])[] = [
  ['split-brain', splitBrainRow],
  ['superseded', superseded],
  ['cut-short', cutShort],
  ['told-out', toldOut],
  ['leg-behind', legBehind],
  ['source-alone', markedCorrupt],
  ['stopped-on-purpose', stoppedOnPurpose],
  ['takeover', takeover],
  ['better-candidate', betterCandidate],
  ['target-alone', targetAlone],
  ['source-alone', sourceAlone],
  ['source-alone-agreed', sourceAloneAgreed],
  ['evidence', evidence],
];

/** An operator's last word, and what it says against it. */
function forced(s: Situation, byWhom: string): Decision {
  const { self, record, facts, serving } = s;
  const refuse = (why: string, changesIf: string[]): Decision => ({ action: 'refuse', rule: 'forced', why, changesIf });
  if (serving !== undefined) return refuse(`${serving.node} is in service`, [`take ${serving.node} out of service first`]);
  if (!Object.hasOwn(s.definition.nodes, self.node)) return refuse(`${self.node} is no longer part of the mirror`, []);
  const withoutLastOwner = facts.command.kind !== 'none' && facts.command.withoutLastOwner === true;
  if (!self.flags.lastOwner && !withoutLastOwner) {
    return refuse(`last_owner is not set on ${self.node}: another node was the source after it`, ['--without-last-owner is given']);
  }
  if (!record.hadData && s.mates.length > 0 && !record.inSync.includes(self.node))
    return refuse(`${self.node} never had the data of this mirror`, []);
  const against = [splitBrainRow, superseded, cutShort, toldOut, legBehind].map((row) => row(s)?.why).filter((w) => w !== undefined);
  return go(s, 'forced', [byWhom, ...against.map((w) => `although ${w}`)].join('; '), { dataCorrupt: false });
}

/** Total: never throws, and always names a row of design.md "Who may go in service". */
export function decide(facts: Facts): Decision {
  const s = situationOf(facts);
  if (s.self.inService) return decideServing(s);
  if (facts.command.kind === 'force') return forced(s, 'forced online by an operator');
  for (const [, row] of TABLE) {
    const decision = row(s);
    if (decision !== null) return decision;
  }
  const not = unfit(s.self) ?? (s.self.flags.dataCorrupt ? 'its data_corrupt flag is set' : 'nothing proves that its data is the newest');
  return stayOut(s, s.servedLast ? 'source-alone' : 'target-alone', `${s.self.node} cannot go in service: ${not}`, [
    'a source resyncs it',
    'an operator forces it online',
  ]);
}
