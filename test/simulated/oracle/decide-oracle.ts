/**
 * What `decide` may answer, said a second time, from the promises and the table of the design.
 *
 *   facts -> expected(): what the documented scenarios determine, exactly
 *         -> complaints(): who must not go in service, must not stay, must not be thrown out without a reason
 */
import type { Decision, DecideRule, Epoch, Facts, NodeName, NodeView, StateRecord } from '../../../src/failover/types.ts';
import { holdsUnknown, isSplitBrain } from './compare-oracle.ts';

const number = (e: Epoch | null): number => e?.number ?? 0;
const same = (a: Epoch | null, b: Epoch | null): boolean =>
  a !== null && b !== null && a.number === b.number && a.owner === b.owner && a.random === b.random;

export function term(r: StateRecord): Epoch | null {
  return number(r.epochInSync) > number(r.epochServed) ? r.epochInSync : r.epochServed;
}

export const servedLast = (r: StateRecord): boolean => r.epochServed !== null && term(r) === r.epochServed;

export const heardBy = (f: Facts): NodeView[] =>
  Object.values(f.peers)
    .filter((p) => p.silentForMs < f.failureTimeoutMs)
    .map((p) => p.view);

/** Served for certain: by whoever says so, was in sync in it, or was told in it that it is out or ahead. */
const servedBy = (r: StateRecord): (Epoch | null | undefined)[] => [r.epochServed, r.epochInSync, r.toldOut?.epoch, r.legBehind?.since];

/** The last that served for certain, and whoever has claimed since: it may have served, and only it can say. */
function owners(views: readonly NodeView[]): NodeName[] {
  const served = views.flatMap((v) => servedBy(v.record)).flatMap((e) => (e === null || e === undefined ? [] : [e]));
  const top = Math.max(0, ...served.map((e) => e.number));
  const claims = views.flatMap((v) => [v.record.epochSeen, v.record.claim]).flatMap((e) => (e !== null && e.number > top ? [e] : []));
  // Of two owners of one number, none can be asked for: that is a split brain.
  const last = served.filter((e) => e.number === top);
  return [...(last.every((e) => same(e, last[0] ?? null)) ? last : []), ...claims].map((e) => e.owner);
}

/**
 * Whose word is asked for: in-sync sets and those dropped unconfirmed, of every record that can be read; the owner of the
 * last epoch, and of claims that may have been served since.
 */
function wanted(f: Facts): NodeName[] {
  const all = [f.self, ...heardBy(f)];
  return [...new Set([...all.flatMap((v) => [...v.record.inSync, ...v.record.droppedUnconfirmed]), ...owners(all)])].filter((n) => n !== f.self.node);
}

function missing(f: Facts): NodeName[] {
  const heard = heardBy(f);
  return wanted(f).filter((n) => !heard.some((v) => v.node === n));
}

/** Heard again, and what is known of it was said before. */
const unsaid = (f: Facts, n: NodeName): boolean => (f.peers[n]?.saidForMs ?? 0) >= f.failureTimeoutMs;

const isWitness = (v: NodeView): boolean => v.record.hadData && v.record.resyncingFrom === null;

function silence(f: Facts, node: NodeName): number | undefined {
  const known = [f.self.silentForMs[node], f.peers[node]?.silentForMs].filter((x) => x !== undefined);
  return known.length === 0 ? undefined : Math.min(...known);
}

/** Why a takeover would not be one; null: the source is lost, as far as this node can know. */
function sourceNotLost(f: Facts): string | null {
  const r = f.self.record;
  const source = term(r)?.owner;
  if (source === undefined || source === f.self.node) return 'no source to take over from';
  if (!f.self.contactWithSource) return 'no contact with the source since own start';
  const silent = silence(f, source);
  if (silent === undefined || silent < f.failureTimeoutMs) return 'the source is not silent for failureTimeout';
  const hears = heardBy(f).find((v) => (v.silentForMs[source] ?? Infinity) < f.failureTimeoutMs);
  return hears === undefined ? null : `${hears.node} hears the source`;
}

/** The clean stop that every other node wrote down. */
const stoppedCleanly = (r: StateRecord): boolean =>
  r.session.role === 'source' && r.session.clean && r.stoppedOnPurpose && r.droppedUnconfirmed.length === 0;

/** M7, M10, M12 and the table, for every answer that begins or goes on with a claim. */
function mustNotGo(f: Facts, d: Decision): string[] {
  const found: string[] = [];
  const { self, command } = f;
  const r = self.record;
  const heard = heardBy(f);
  const forced = d.rule === 'forced';
  if (heard.some((v) => v.inService)) found.push('M10: a reachable node is in service');
  if (!f.claiming && heard.some((v) => v.record.claim !== null)) found.push('a reachable node holds an unfinished claim');
  if (f.claiming && heard.some((v) => !same(v.record.epochSeen, r.claim))) found.push('a reachable node has not accepted exactly this epoch');
  const byHand = command.kind === 'in-service' && r.dataCorruptSet === true && !self.flags.dataCorrupt;
  if (forced && command.kind !== 'force' && !byHand) found.push('forced without an operator');
  if (forced && command.kind === 'force' && !self.flags.lastOwner && !command.withoutLastOwner) found.push('forced without last_owner');
  if (forced) return found;
  if (r.resyncingFrom !== null) found.push('M7: inconsistent');
  if (r.toldOut !== null) found.push('told out');
  if (r.legBehind !== null) found.push('own leg behind');
  if (heard.some((v) => number(v.record.epochServed) > number(term(r)))) found.push('M9: a reachable node served a higher epoch');
  if (heard.some((v) => isWitness(v) && r.hadData && holdsUnknown(v.record, r))) found.push('M12: a reachable node has newer data');
  if (heard.some((v) => isWitness(v) && !r.hadData)) found.push('M12: blank, while a reachable node has data');
  // What a target has taken in its owner's own term, an older heartbeat of that owner does not show.
  const old = (v: NodeView): boolean => same(r.epochInSync, v.record.epochServed) || same(v.record.epochInSync, r.epochServed);
  if (heard.some((v) => isWitness(v) && r.hadData && !old(v) && isSplitBrain(r, v.record))) found.push('M10: split brain');
  if (r.keepOut && command.kind === 'none' && !f.claiming) found.push('an operator keeps it out');
  if (self.flags.dataCorrupt && d.setFlags?.dataCorrupt !== false) found.push('data_corrupt is set');
  if (self.flags.dataCorrupt && d.rule !== 'evidence') found.push('data_corrupt without evidence');
  const settings = r.definition;
  const mates = Object.keys(settings.nodes).filter((n) => n !== self.node);
  const allHeard = mates.every((n) => heard.some((v) => v.node === n));
  if (r.stoppedOnPurpose && !servedLast(r) && !settings.takeoverAfterCleanStop && !allHeard) found.push('the source stopped on purpose');
  if (settings.arbiter === 'majority' && f.majority === false) found.push('no majority');
  const listening = f.upForMs < f.failureTimeoutMs && !allHeard && term(r) !== null;
  if (listening && d.rule !== 'takeover') found.push('whoever can not be heard yet was not waited for');
  const away = missing(f);
  if (d.rule === 'takeover') {
    const why = sourceNotLost(f);
    if (why !== null) found.push(`takeover: ${why}`);
    if (number(r.epochSeen) > number(term(r)) && r.epochSeen?.owner !== self.node) found.push('takeover: another node has claimed a later epoch');
    if (!r.inSync.includes(self.node)) found.push('M12: takeover by a node that is not in sync');
    if (!operatorLets(f) && command.kind === 'none' && !f.claiming) found.push('takeover by itself against the setting');
    const rival = heard.find((v) => isAble(v) && isEqualTo(v, self) && priority(v) < priority(self) && v.contactWithSource && !v.record.keepOut);
    if (rival !== undefined && command.kind === 'none' && !f.claiming) found.push('a better candidate is reachable');
  } else if (d.rule === 'source-alone-agreed') {
    if (!servedLast(r) || !self.flags.lastOwner) found.push('source-alone-agreed: not the last owner');
    if (away.length > 0 && !stoppedCleanly(r)) found.push(`source-alone-agreed: ${String(away.length)} did not confirm`);
  } else if (d.rule !== 'evidence') found.push(`goes in service by ${d.rule}`);
  else if (away.length > 0) found.push(`evidence: ${String(away.length)} required missing`);
  else if (wanted(f).some((n) => unsaid(f, n)) && term(r) !== null) found.push('evidence: a required node has not spoken since it was silent');
  else if (!servedLast(r) && !r.inSync.includes(self.node) && mates.length > 0) found.push('evidence: neither the last source nor in sync');
  return found;
}

/** By the mirror's setting it may take over without a further word: always, or because of what was answered, or was not. */
function operatorLets(f: Facts): boolean {
  const { failover, confirmTimeoutSec, confirmDefault } = f.self.record.definition;
  if (failover !== 'confirm') return failover === 'auto';
  const { confirm } = f;
  const t = term(f.self.record);
  if (confirm === undefined || t === null || confirm.about !== `takeover, epoch ${String(t.number)} (${t.owner})`) return false;
  if (confirm.word !== null) return confirm.word === 'yes';
  return confirmDefault === 'go' && confirm.askedForMs >= confirmTimeoutSec * 1000;
}

const priority = (v: NodeView): number => v.record.definition.nodes[v.node]?.priority ?? 0;

/** Says nothing of itself that keeps it out. */
function isAble(v: NodeView): boolean {
  const r = v.record;
  const clear = r.resyncingFrom === null && r.toldOut === null && r.legBehind === null && !v.flags.dataCorrupt;
  return clear && r.hadData && r.inSync.includes(v.node);
}

function isEqualTo(v: NodeView, self: NodeView): boolean {
  const [x, y] = [v.record, self.record];
  return !holdsUnknown(x, y) && !holdsUnknown(y, x) && same(term(x), term(y)) && !servedLast(x) && !servedLast(y);
}

function whileServing(f: Facts, d: Decision): string[] {
  const r = f.self.record;
  const heard = heardBy(f);
  if (d.action === 'go-in-service') return ['goes in service twice'];
  const stays = d.action === 'stay-in-service';
  const found: string[] = [];
  if (stays && r.resyncingFrom !== null) found.push('M7: serves inconsistent data');
  if (stays && heard.some((v) => number(v.record.epochServed) > number(r.epochServed))) found.push('M9: goes on although a higher epoch was served');
  if (stays && r.definition.arbiter === 'majority' && f.majority === false) found.push('goes on without a majority');
  const rival = (e: Epoch | null | undefined): boolean =>
    e !== null && e !== undefined && e.number === number(r.epochServed) && !same(e, r.epochServed);
  if (heard.some((v) => servedBy(v.record).some(rival)) && d.rule !== 'split-brain')
    found.push('M10: its epoch has another owner, and that is not said');
  const claims = heard.flatMap((v) => [v.record.claim, v.record.epochSeen]);
  if (stays && claims.some(rival)) found.push('M10: goes on although another node has claimed the same number');
  const higher = [r.epochSeen, ...claims].some((e) => number(e) > number(r.epochServed));
  if (stays && higher) found.push('M9: goes on although a higher epoch was claimed');
  const quiet =
    r.resyncingFrom === null &&
    r.legBehind === null &&
    r.toldOut === null &&
    servedLast(r) &&
    same(r.epochSeen, r.epochServed) &&
    r.definition.arbiter === 'none';
  const mine = r.claim === null;
  const nobodySays = heard.every(
    (v) =>
      v.record.claim === null &&
      v.record.legBehind === null &&
      v.record.toldOut === null &&
      (number(v.record.epochSeen) < number(r.epochServed) || same(v.record.epochSeen, r.epochServed)) &&
      !v.inService &&
      !isSplitBrain(r, v.record),
  );
  if (!stays && d.action !== 'refuse' && quiet && mine && nobodySays) found.push(`M12: leaves service without a reason (${d.action})`);
  return found;
}

/** The flag files: only a later epoch takes last_owner off, and then it does (scenario 1). */
function flagsKept(f: Facts, d: Decision): string[] {
  const { self } = f;
  const off = d.setFlags?.lastOwner === false;
  if (off && d.rule !== 'superseded') return ['last_owner is taken off without a later epoch'];
  const later = heardBy(f).some((v) => number(v.record.epochServed) > number(term(self.record)));
  const told = d.rule === 'superseded' && (d.action === 'stay-out' || d.action === 'demote') && later;
  return told && self.flags.lastOwner && !off ? ['superseded, and last_owner stays'] : [];
}

/** What may not be, whatever the row; and what must be, where a scenario is documented. */
export function complaints(f: Facts, d: Decision, e = expected(f)): string[] {
  const found: string[] = [];
  if (d.why.trim() === '') found.push('M11: a decision without a reason');
  if (f.self.inService) found.push(...whileServing(f, d));
  else if (d.action === 'go-in-service') found.push(...mustNotGo(f, d).map((c) => `${c} [${d.rule}]`));
  else if (d.action === 'stay-in-service' || d.action === 'demote' || d.action === 'suspend') found.push(`${d.action} while out of service`);
  found.push(...flagsKept(f, d));
  if (e !== null && (e.action !== d.action || !e.rules.includes(d.rule)))
    found.push(`${e.scenario}: ${d.action}/${d.rule}, documented ${e.action}/${e.rules.join('|')}`);
  if (e?.dataCorrupt !== undefined && e.action === d.action && (d.setFlags?.dataCorrupt ?? f.self.flags.dataCorrupt) !== e.dataCorrupt)
    found.push(`${e.scenario}: data_corrupt is not ${e.dataCorrupt ? 'set' : 'removed'}`);
  return found;
}

export interface Expected {
  scenario: string;
  action: Decision['action'];
  rules: readonly DecideRule[];
  dataCorrupt?: boolean;
}

/** The numbered scenarios and named rows of the design, where nothing else is going on. */
export function expected(f: Facts): Expected | null {
  const { self } = f;
  const r = self.record;
  const settings = r.definition;
  const usual = f.command.kind === 'none' && !f.claiming && settings.failover === 'auto' && settings.arbiter === 'none' && !r.keepOut;
  if (!usual || self.inService || !r.hadData || term(r) === null || r.claim !== null || r.stoppedOnPurpose || r.dataCorruptSet === true) return null;
  const heard = heardBy(f);
  if (heard.some((v) => v.inService || v.record.claim !== null || v.record.stoppedOnPurpose)) return null;
  // Somebody contradicts, knows more, or was only told of a term: other rows come first.
  const knowsMore = (v: NodeView): boolean =>
    isSplitBrain(r, v.record) ||
    holdsUnknown(v.record, r) ||
    number(term(v.record)) > number(term(r)) ||
    number(v.record.epochSeen) > number(term(r));
  const listening = f.upForMs < f.failureTimeoutMs;
  if (number(r.epochSeen) > number(term(r)) || heard.some((v) => knowsMore(v) || !isWitness(v) || v.record.legBehind !== null)) return null;
  if (heard.some((v) => v.record.toldOut !== null)) return null;
  if (r.resyncingFrom !== null) return { scenario: 'scenario 2', action: 'stay-out', rules: ['cut-short'] };
  if (r.toldOut !== null) return { scenario: 'told out', action: 'stay-out', rules: ['told-out'] };
  if (r.legBehind !== null) return { scenario: 'own leg behind', action: 'stay-out', rules: ['leg-behind'] };
  const away = missing(f);
  const ownsFlag = self.flags.lastOwner;
  if (servedLast(r)) {
    // A target of this very term that no longer counts this node: its leg was behind.
    if (!ownsFlag || !r.inSync.includes(self.node) || heard.some((v) => !v.record.inSync.includes(self.node))) return null;
    if (away.length === 0 && heard.length > 0) {
      const all = Object.keys(settings.nodes).every((n) => n === self.node || heard.some((v) => v.node === n));
      if (all && !heard.some((v) => unsaid(f, v.node)))
        return {
          scenario: 'scenario 4, the source returns',
          action: 'go-in-service',
          rules: ['evidence', 'source-alone-agreed'],
          dataCorrupt: false,
        };
    }
    if (away.length > 0 && !r.session.clean && !listening)
      return { scenario: 'scenario 3', action: 'stay-out', rules: ['source-alone'], dataCorrupt: true };
    return null;
  }
  if (self.flags.dataCorrupt || ownsFlag || !r.inSync.includes(self.node)) return null;
  const source = term(r)?.owner;
  if (source !== undefined && away.includes(source)) {
    if (!self.contactWithSource) return { scenario: 'scenario 4', action: 'stay-out', rules: ['target-alone', 'better-candidate'] };
    if (sourceNotLost(f) !== null) return null;
    // One that answers "I cannot" is skipped.
    const rivals = heard.filter((v) => priority(v) < priority(self) && v.record.inSync.includes(v.node) && !v.flags.dataCorrupt);
    if (rivals.length === 0) return { scenario: 'scenario 1', action: 'go-in-service', rules: ['takeover'] };
  }
  return null;
}
