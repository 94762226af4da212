/**
 * What `decide` may answer where more is unusual than the oracle of the scenarios looks at, from the promises and the tables of the
 * design, and not from the code:
 *
 *   complaints of ../../simulated/oracle/decide-oracle.ts   what is forbidden whatever the row, without a word about grants
 *     + grants       who may go without whose word, and who must not
 *     + documented() what the rows `forced`, `no-quorum`, `stopped-on-purpose`, `source-alone-agreed` and the switchover determine
 *
 * Of grants the design says: "grant durable on the old source, served durable on the new". So from the grant on, only the new one
 * may write (M10), and it has all that was acknowledged (M12). The rest is deduced, and said where it is used.
 */
import type { Decision, DecideRule, Epoch, Facts, Grant, NodeName, NodeView, StateRecord } from '../../../src/failover/types.ts';
import { holdsUnknown, isSplitBrain } from '../../simulated/oracle/compare-oracle.ts';
import { complaints as scenarioComplaints, expected, type Expected, heardBy, servedLast, term } from '../../simulated/oracle/decide-oracle.ts';

const number = (e: Epoch | null | undefined): number => e?.number ?? 0;
const same = (a: Epoch | null, b: Epoch | null): boolean =>
  a !== null && b !== null && a.number === b.number && a.owner === b.owner && a.random === b.random;
const sameGrant = (a: Grant | null, b: Grant | null): boolean =>
  a !== null && b !== null && a.from === b.from && a.to === b.to && same(a.epoch, b.epoch);

const mates = (f: Facts): NodeName[] => Object.keys(f.self.record.definition.nodes).filter((n) => n !== f.self.node);
const everybodyHeard = (f: Facts): boolean => mates(f).every((n) => heardBy(f).some((v) => v.node === n));

// ------------------------------------------------------------------------------------------------ grants

/** What this record gave away in the last term that it knows of: its owner has ended it, and whoever got it may have served since. */
function gave(r: StateRecord): Grant | null {
  const g = r.grant;
  return g !== null && g.from === r.node && servedLast(r) && same(g.epoch, term(r)) ? g : null;
}

/**
 * What this record may still act on. The giver serves again only in an epoch that the holder has accepted: so a later epoch of anybody
 * else that it has written down ends the grant, and so does a term that it was part of since; a claim of its own does not.
 */
function holds(r: StateRecord): Grant | null {
  const g = r.grant;
  if (g?.to !== r.node || !same(g.epoch, term(r))) return null;
  const seen = r.epochSeen;
  return seen !== null && seen.owner !== r.node && !same(seen, g.epoch) && seen.number >= g.epoch.number ? null : g;
}

/** And the giver, if it is heard, says the same: it may have taken the grant back. */
function inForce(v: NodeView, all: readonly NodeView[]): Grant | null {
  const g = holds(v.record);
  const giver = all.find((x) => x.node === g?.from);
  return g === null || (giver !== undefined && !sameGrant(gave(giver.record), g)) ? null : g;
}

/** Terms that somebody served for certain, by this record. */
const proven = (r: StateRecord): Epoch[] => [r.epochServed, r.epochInSync, r.toldOut?.epoch, r.legBehind?.since].flatMap((e) => (e ? [e] : []));

/**
 * Whose word is missing. As without grants, but: who has been granted the mirror does without the word of the giver, which the grant
 * is, and in contact with it until then without that of members, as in a takeover: the giver drained, so that none has more. Whoever
 * was granted it by a record heard may have served since, and only it can say. So may the newest that a leg fell behind (M2).
 */
function missing(f: Facts): NodeName[] {
  const all = [f.self, ...heardBy(f)];
  const records = all.map((v) => v.record);
  const granted = inForce(f.self, all);
  const top = Math.max(0, ...records.flatMap(proven).map((e) => e.number));
  const last = records.flatMap(proven).filter((e) => e.number === top);
  const one = last.every((e) => same(e, last[0] ?? null));
  const members = granted !== null && f.self.contactWithSource ? [] : records.flatMap((r) => [...r.inSync, ...r.droppedUnconfirmed]);
  const owners = one ? last.map((e) => e.owner) : [];
  const claimants = records.flatMap((r) => [r.epochSeen, r.claim]).flatMap((e) => (e !== null && e.number > top ? [e.owner] : []));
  const takers = records.flatMap((r) => gave(r)?.to ?? []);
  const newest = records.flatMap((r) => (r.legBehind !== null && one && same(r.legBehind.since, last[0] ?? null) ? [r.legBehind.newest] : []));
  const given = [...members, ...owners].filter((n) => n !== granted?.from);
  const wanted = new Set([...given, ...claimants, ...takers, ...newest]);
  return mates(f).filter((n) => wanted.has(n) && !all.some((v) => v.node === n));
}

/** Says nothing of itself that keeps it out. */
function isAble({ record: r, flags }: NodeView): boolean {
  return r.hadData && r.resyncingFrom === null && r.toldOut === null && r.legBehind === null && !flags.dataCorrupt && r.inSync.includes(r.node);
}

const isEqual = (a: StateRecord, b: StateRecord): boolean => !holdsUnknown(a, b) && !holdsUnknown(b, a) && same(term(a), term(b));

/**
 * The giver is lost, and the holder has started since. Of the order of the two the design says nothing, and both have all that was
 * acknowledged: whoever claims first, the other accepts that claim, and its grant or its takeover is over.
 */
export function isAnewAfterLoss(f: Facts, d: Decision, holder: NodeView): boolean {
  return d.rule === 'takeover' && !holder.contactWithSource && !f.self.flags.lastOwner;
}

function goesAgainstGrants(f: Facts, d: Decision): string[] {
  const found: string[] = [];
  const { self, command } = f;
  const heard = heardBy(f);
  const all = [self, ...heard];
  const given = gave(self.record);
  // M10: it may be serving. Its owner has ended this epoch, whatever else speaks for going on.
  if (given !== null && !heard.some((v) => v.node === given.to) && mates(f).includes(given.to))
    found.push('M10: it handed over to one that is silent');
  // Both hear each other, and both would go (M10). In a claim, the holder has accepted an epoch by then, or the claim fails.
  const holder = heard.find((v) => inForce(v, all) !== null && isAble(v) && isEqual(v.record, self.record));
  if (holder !== undefined && !isAnewAfterLoss(f, d, holder) && inForce(self, all) === null && command.kind === 'none' && !f.claiming)
    found.push('the mirror was handed over to another that is heard');
  const away = missing(f);
  if (d.rule === 'evidence' && away.length > 0) found.push(`evidence: without the word of ${String(away.length)} that is required`);
  const takesOver = self.record.definition.takeoverAfterCleanStop;
  // The clean stop keeps nobody from taking over then, so that it proves nothing (M12).
  if (d.rule === 'source-alone-agreed' && takesOver && away.length > 0) found.push('source-alone-agreed: the setting lets a target take over');
  const asked = self.record.definition.arbiter === 'majority';
  if (asked && f.claiming && f.majority !== true) found.push('no majority has voted for the claim');
  return found;
}

// ------------------------------------------------------------------------------------------------ rows

const WITHOUT_GRANTS = /^evidence: \d+ required missing/;

/** Nothing but what `allowed` names is unusual with this node, and nobody heard says anything against it. */
function isQuiet(f: Facts, allowed: { stop?: true; grant?: true; corrupt?: true } = {}): boolean {
  const { self } = f;
  const r = self.record;
  const own =
    !f.claiming &&
    r.claim === null &&
    r.hadData &&
    r.resyncingFrom === null &&
    r.toldOut === null &&
    r.legBehind === null &&
    !r.keepOut &&
    !self.flags.dataCorrupt &&
    (allowed.corrupt === true || r.dataCorruptSet !== true) &&
    (allowed.stop === true || !r.stoppedOnPurpose) &&
    (allowed.grant === true || r.grant === null) &&
    term(r) !== null &&
    number(r.epochSeen) <= number(term(r)) &&
    !(r.epochSeen !== null && r.epochSeen.number === number(term(r)) && !same(r.epochSeen, term(r)));
  return own && heardBy(f).every((v) => saysNothing(v, r, allowed));
}

function saysNothing(v: NodeView, self: StateRecord, allowed: { stop?: true; grant?: true }): boolean {
  const r = v.record;
  return (
    !v.inService &&
    !v.flags.dataCorrupt &&
    r.claim === null &&
    r.hadData &&
    r.resyncingFrom === null &&
    r.toldOut === null &&
    r.legBehind === null &&
    (allowed.stop === true || !r.stoppedOnPurpose) &&
    (allowed.grant === true || r.grant === null) &&
    !isSplitBrain(self, r) &&
    !holdsUnknown(r, self) &&
    number(term(r)) <= number(term(self)) &&
    number(r.epochSeen) <= number(term(self)) &&
    !(r.epochSeen !== null && r.epochSeen.number === number(self.epochServed) && !same(r.epochSeen, self.epochServed) && servedLast(self))
  );
}

const withSettings = (f: Facts, settings: Partial<StateRecord['definition']>): Facts => ({
  ...f,
  self: { ...f.self, record: { ...f.self.record, definition: { ...f.self.record.definition, ...settings } } },
});

const answer = (scenario: string, action: Decision['action'], rules: readonly DecideRule[], dataCorrupt?: boolean): Expected => ({
  scenario,
  action,
  rules,
  ...(dataCorrupt === undefined ? {} : { dataCorrupt }),
});

/** `forced`: whatever speaks against it, but another in service, an epoch that not all heard have accepted, and data that never was. */
function byForce(f: Facts): Expected | null {
  const { self, command } = f;
  const heard = heardBy(f);
  const r = self.record;
  const deleted = command.kind === 'in-service' && r.dataCorruptSet === true && servedLast(r) && missing(f).length > 0;
  if (command.kind !== 'force' && !(deleted && isQuiet(f, { corrupt: true }) && r.inSync.includes(self.node))) return null;
  if (self.inService || heard.some((v) => v.inService) || !r.hadData) return null;
  if (!self.flags.lastOwner && command.withoutLastOwner !== true) return answer('forced without last_owner', 'refuse', ['forced']);
  if (heard.some((v) => v.record.claim !== null) || f.claiming) return null;
  return answer(command.kind === 'force' ? 'forced' : 'data_corrupt deleted, then in-service', 'go-in-service', ['forced'], false);
}

/** In service, and nothing is known of anybody later. */
function goesOn(f: Facts): Expected | null {
  const r = f.self.record;
  if (!f.self.inService || !isQuiet(f, { grant: true, corrupt: true }) || !servedLast(r) || !same(r.epochSeen, r.epochServed)) return null;
  if (r.definition.arbiter === 'majority' && f.majority === false) return answer('in service without a majority', 'suspend', ['no-quorum']);
  return answer('in service', 'stay-in-service', ['evidence']);
}

function afterStop(f: Facts): Expected | null {
  const r = f.self.record;
  const { takeoverAfterCleanStop: takesOver, arbiter, failover } = r.definition;
  if (!r.stoppedOnPurpose || !isQuiet(f, { stop: true }) || f.command.kind !== 'none') return null;
  if (!servedLast(r)) return takesOver || everybodyHeard(f) ? null : answer('a target after a clean stop', 'stay-out', ['stopped-on-purpose']);
  const agreed = r.session.role === 'source' && r.session.clean && r.droppedUnconfirmed.length === 0 && f.self.flags.lastOwner;
  if (!agreed || failover !== 'auto' || arbiter !== 'none' || f.upForMs < f.failureTimeoutMs || heardBy(f).length > 0) return null;
  if (missing(f).length === 0) return null;
  if (takesOver) return answer('a clean stop after which others may take over', 'stay-out', ['source-alone']);
  return answer('the source alone after a clean stop', 'go-in-service', ['source-alone-agreed']);
}

function switchover(f: Facts): Expected | null {
  const { self } = f;
  const heard = heardBy(f);
  const all = [self, ...heard];
  const r = self.record;
  const listening = f.upForMs < f.failureTimeoutMs;
  if (!isQuiet(f, { grant: true }) || listening || f.command.kind !== 'none') return null;
  // A target of this very term that no longer counts this node: its leg was behind (M2).
  if (heard.some((v) => (!isEqual(v.record, r) && v.record.grant !== null) || !v.record.inSync.includes(self.node))) return null;
  // An operator has asked for it, so that nobody is asked again, whatever the setting; of an arbiter, an operator's word says nothing.
  if (inForce(self, all) !== null && r.inSync.includes(self.node) && missing(f).length === 0) {
    if (r.definition.arbiter === 'majority' && f.majority === false) return answer('switchover without a majority', 'stay-out', ['no-quorum']);
    return answer('switchover, the new source', 'go-in-service', ['evidence']);
  }
  const given = gave(r);
  if (given === null || !self.flags.lastOwner || !mates(f).includes(given.to)) return null;
  const taker = heard.find((v) => v.node === given.to);
  if (taker === undefined)
    return r.session.clean
      ? answer('switchover, the old source alone', 'stay-out', ['source-alone'], false)
      : answer('switchover, the old source alone after a crash', 'stay-out', ['source-alone'], true);
  const turn = inForce(taker, all) !== null && isAble(taker) && isEqual(taker.record, r) && missing(f).length === 0;
  return turn && r.inSync.includes(self.node) ? answer('switchover, the old source hears the new one', 'wait', ['better-candidate']) : null;
}

/** A scenario of another setting, as this one changes it. */
function asSet(f: Facts): Expected | null {
  const { failover, arbiter, confirmDefault, confirmTimeoutSec } = f.self.record.definition;
  if (failover === 'auto' && arbiter === 'none') return null;
  const usual = expected(withSettings(f, { failover: 'auto', arbiter: 'none' }));
  if (usual?.action !== 'go-in-service') return usual;
  if (failover !== 'auto' && usual.scenario !== 'scenario 4, the source returns') {
    const t = term(f.self.record);
    const said = f.confirm?.about === `takeover, epoch ${String(number(t))} (${t?.owner ?? ''})` ? f.confirm : undefined;
    const over = (said?.askedForMs ?? 0) >= confirmTimeoutSec * 1000;
    if (failover === 'off') return answer('failover off', 'wait', ['takeover', 'evidence']);
    if (said?.word === 'no') return answer('an operator says no', 'stay-out', ['takeover', 'evidence']);
    const goes = said?.word === 'yes' || (over && confirmDefault === 'go');
    if (!goes) return answer('an operator is asked', over ? 'stay-out' : 'wait', ['takeover', 'evidence']);
  }
  if (arbiter === 'majority' && f.majority === false) return answer('no majority', 'stay-out', ['no-quorum']);
  return { ...usual, scenario: `${usual.scenario}, as set` };
}

const anyGrant = (f: Facts): boolean => [f.self, ...heardBy(f)].some((v) => v.record.grant !== null);

export function documented(f: Facts): Expected | null {
  const found = byForce(f) ?? goesOn(f) ?? afterStop(f) ?? switchover(f);
  // The scenarios know nothing of grants.
  return found !== null || anyGrant(f) ? found : (asSet(f) ?? expected(f));
}

/**
 * The arbiter's word between claims. Most of the nodes are heard, or not; out of service that alone is no vote yet. An operator who forces a node
 * without a majority has lost the others for good: in that term nobody is asked, or the node would go on answering errors (README, `no-quorum`),
 * and in any other the promise holds again.
 */
export function wordOfVotes(f: Facts): boolean | null {
  const { record: r, inService, silentForMs } = f.self;
  if (inService && same(r.overruled ?? null, r.epochServed)) return null;
  const heard = mates(f).filter((n) => (silentForMs[n] ?? Infinity) < f.failureTimeoutMs).length + 1;
  const most = heard * 2 > mates(f).length + 1;
  return inService || !most ? most : null;
}

/** Everything that speaks against an answer; none when it is permitted. */
export function complaints(f: Facts, d: Decision, e: Expected | null): string[] {
  const found = scenarioComplaints(f, d, e).filter((c) => !WITHOUT_GRANTS.test(c));
  if (!f.self.inService && d.action === 'go-in-service' && d.rule !== 'forced') found.push(...goesAgainstGrants(f, d).map((c) => `${c} [${d.rule}]`));
  return found;
}
