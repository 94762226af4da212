/**
 * What `compare` may answer, said a second time, from the promises and the table of the design, and not from the code.
 *
 *   two views -> expected(): the row that the design determines, and what it permits there
 *             -> complaints(): what is forbidden whatever the row
 *
 * Where the design leaves a choice, the expectation is a set; where it determines the answer, the set has one member.
 */
import type { CompareAnswer, CompareRule, Epoch, NodeName, NodeView, StateRecord } from '../../../src/failover/types.ts';

const same = (a: Epoch, b: Epoch): boolean => a.number === b.number && a.owner === b.owner && a.random === b.random;

/** The highest epoch that the node served or was in sync in: one that it was only told of proves nothing. */
function proven(r: StateRecord): Epoch | null {
  const [s, i] = [r.epochServed, r.epochInSync];
  if (s === null || i === null) return s ?? i;
  return i.number > s.number ? i : s;
}

/** `a` served a term that `b` neither served nor was in sync in. */
function servedUnknown(a: StateRecord, b: StateRecord): boolean {
  const served = a.epochServed;
  if (served === null) return false;
  const known = proven(b);
  return known === null || known.number < served.number || (known.number === served.number && !same(known, served));
}

/** The generation under which the data is: an offer counts once a write was answered under it. */
export function held(r: StateRecord): string {
  const served = r.offered.filter((o) => o.served).at(-1);
  return served?.generation ?? r.generation;
}

/** A generation is known that the record names: its own, past, offered, or that of the absent peer for which it keeps marks. */
function known(r: StateRecord, peer?: NodeName): Set<string> {
  const kept = peer === undefined ? undefined : r.absentPeers[peer];
  return new Set([r.generation, ...r.history, ...r.offered.map((o) => o.generation), ...(kept === undefined ? [] : [kept])]);
}

export const holdsUnknown = (a: StateRecord, b: StateRecord): boolean => !known(b, a.node).has(held(a)) && !equal(a, b);

/** Equal: one generation, or one's generation is the other's offer that nobody wrote under. */
export function equal(a: StateRecord, b: StateRecord): boolean {
  const [x, y] = [held(a), held(b)];
  const offers = (r: StateRecord): string[] => r.offered.map((o) => o.generation);
  return x === y || offers(a).includes(y) || offers(b).includes(x);
}

const number = (e: Epoch | null): number => e?.number ?? 0;

/** Row `split-brain`, symmetrical. */
export function isSplitBrain(a: StateRecord, b: StateRecord): boolean {
  const more = (x: StateRecord, y: StateRecord): boolean => servedUnknown(x, y) || holdsUnknown(x, y);
  if (more(a, b) && more(b, a)) return true;
  // Served a term that is not before any that the other was part of, and yet does not know what the other holds.
  const owns = (x: StateRecord, y: StateRecord): boolean => x.epochServed !== null && x.epochServed.number >= number(proven(y));
  if ((owns(a, b) && holdsUnknown(b, a)) || (owns(b, a) && holdsUnknown(a, b))) return true;
  // What both have left behind for a later term was decided then.
  const live = Math.min(number(proven(a)), number(proven(b)));
  const terms = (r: StateRecord): Epoch[] => [r.epochServed, r.epochInSync].filter((e) => e !== null).filter((e) => e.number >= live);
  return terms(a).some((x) => terms(b).some((y) => x.number === y.number && !same(x, y)));
}

/** `x` has data that would be lost if it were overwritten from `y`. */
export const holdsMore = (x: StateRecord, y: StateRecord): boolean => servedUnknown(x, y) || holdsUnknown(x, y);

/** The origin's marks for the target are a complete account by its own record, and both bitmap files can be read. */
function recordedAccount(from: NodeView, to: NodeView): boolean {
  const r = from.record;
  if (from.bitmapDamaged || to.bitmapDamaged) return false;
  if (r.mergePending.some((m) => m.for.includes(to.node))) return false;
  if (r.accountGivenTo !== null && r.accountGivenTo !== to.node) return false;
  return r.accountComplete.includes(to.node);
}

/** `to` was last a target in a term that `from`'s marks know nothing of. */
function foreignTerm(from: StateRecord, to: StateRecord): boolean {
  const last = to.sessionIn ?? null;
  return from.terms !== undefined && last !== null && !from.terms.some((t) => t === last.random);
}

/** And nobody served since whose marks it would lack. */
function accountComplete(from: NodeView, to: NodeView): boolean {
  return recordedAccount(from, to) && !foreignTerm(from.record, to.record) && number(proven(to.record)) <= number(proven(from.record));
}

/** Of the two, the one that served the highest term that either was part of; null: a third did. */
function lastServer(a: NodeView, b: NodeView): NodeView | null {
  const [pa, pb] = [proven(a.record), proven(b.record)];
  const top = number(pa) >= number(pb) ? pa : pb;
  if (top === null) return null;
  const served = (v: NodeView): boolean => v.record.epochServed !== null && same(v.record.epochServed, top);
  if (served(a)) return a;
  return served(b) ? b : null;
}

export interface Expected {
  /** Any of them; null: the design does not say which. */
  rules: readonly CompareRule[] | null;
  /** `kind`, or `kind<from`, or `wait@node`. */
  answers: readonly string[];
}

const REFUSE: readonly string[] = ['refuse', 'wait'];

function copy(from: NodeView, to: NodeView): string[] {
  // Own leg behind: never the origin.
  if (from.record.legBehind !== null) return ['refuse'];
  if (!accountComplete(from, to)) return [`full<${from.node}`];
  const partial = `partial<${from.node}`;
  // Marks handed over to the target itself, or a term that it was only told of: to take the account as incomplete is the safer reading.
  const told =
    to.record.epochSeen !== null &&
    number(to.record.epochSeen) >= number(from.record.epochServed) &&
    (from.record.epochServed === null || !same(to.record.epochSeen, from.record.epochServed));
  return from.record.accountGivenTo !== null || told ? [partial, `full<${from.node}`] : [partial];
}

function inconsistent(a: NodeView, b: NodeView, waitEnded: boolean): Expected {
  const rules: CompareRule[] = ['inconsistent'];
  const [cut, other] = a.record.resyncingFrom === null ? [b, a] : [a, b];
  const from = cut.record.resyncingFrom;
  if (other.record.resyncingFrom !== null || from === null) return { rules, answers: ['refuse'] };
  if (cut.inService) return { rules, answers: REFUSE };
  const mayBePartial = accountComplete(other, cut);
  const full = `full<${other.node}`;
  if (other.record.legBehind !== null) return { rules, answers: REFUSE };
  if (from.node === other.node) return { rules, answers: mayBePartial ? [`partial<${other.node}`, full] : [full] };
  // Merged that node's marks: the account says so. A node in service waits for nobody but the previous source.
  const answers = [full];
  if (mayBePartial) answers.push(`partial<${other.node}`);
  if (!waitEnded) answers.push(`wait@${from.node}`);
  return { rules, answers };
}

/** Neither in service, data equal. */
function equalRows(a: NodeView, b: NodeView, waitEnded: boolean, oosMarks: boolean): Expected {
  const clean = (v: NodeView): boolean => v.record.session.clean;
  const last = lastServer(a, b);
  // Of two targets each may have been stopped for itself, with other writes of a lost source: only the source's own end makes them alike.
  const other = last === a ? b : a;
  const damaged = a.bitmapDamaged || b.bitmapDamaged;
  const strangers = foreignTerm(a.record, b.record) || foreignTerm(b.record, a.record);
  const pending = last?.record.mergePending.some((m) => m.for.includes(other.node)) === true;
  const kept = last?.record.accountComplete.includes(other.node) === true && !pending && !foreignTerm(last.record, other.record);
  const met = last === null ? !strangers : damaged || kept;
  const endedByOne = met && (last !== null || (a.record.stoppedOnPurpose && b.record.stoppedOnPurpose));
  const marks = oosMarks || a.intentBytes > 0 || b.intentBytes > 0 || a.bitmapDamaged || b.bitmapDamaged;
  if (clean(a) && clean(b) && endedByOne && !marks) return { rules: ['clean'], answers: ['none'] };
  if (last === null) {
    const rules: CompareRule[] = clean(a) && clean(b) && endedByOne ? ['both-targets', 'clean'] : ['both-targets'];
    const whole = [a, b].filter((v) => v.record.legBehind === null).map((v) => `full<${v.node}`);
    if (waitEnded) return { rules, answers: whole.length === 2 ? whole : [...whole, 'refuse'] };
    return { rules, answers: whole.length === 2 ? ['wait'] : REFUSE };
  }
  const rules: CompareRule[] = servedUnknown(last.record, other.record)
    ? ['served-later']
    : last.record.session.clean
      ? ['crashed-target']
      : ['crashed-source'];
  if (!clean(a) || !clean(b) || !met) return { rules, answers: copy(last, other) };
  // Clean on both, and marks or damage nevertheless: resynced, never dropped; a damaged file is not called equal.
  return { rules: null, answers: oosMarks ? copy(last, other) : ['none', ...copy(last, other)] };
}

/** The first row that matches. `wait.ended`: the wait for the previous source. */
export function expected(a: NodeView, b: NodeView, waitEnded: boolean): Expected {
  const [ra, rb] = [a.record, b.record];
  if (ra.definition.createId !== rb.definition.createId) return { rules: ['unrelated'], answers: ['refuse'] };
  if (ra.hadData !== rb.hadData) {
    const [from, to] = ra.hadData ? [a, b] : [b, a];
    if (from.record.resyncingFrom !== null || to.inService) return { rules: null, answers: REFUSE };
    return { rules: ['blank'], answers: from.record.legBehind === null ? [`full<${from.node}`] : ['refuse'] };
  }
  if (!ra.hadData) return { rules: null, answers: ['none', 'full', 'partial', ...REFUSE] };
  if (![...known(ra, rb.node)].some((g) => known(rb, ra.node).has(g))) return { rules: ['unrelated'], answers: ['refuse'] };
  if (ra.resyncingFrom !== null || rb.resyncingFrom !== null) return inconsistent(a, b, waitEnded);
  if (isSplitBrain(ra, rb)) return { rules: ['split-brain'], answers: ['refuse'] };
  if (a.inService && b.inService) return { rules: null, answers: REFUSE };
  if (a.inService || b.inService) {
    const [s, x] = a.inService ? [a, b] : [b, a];
    if (holdsMore(x.record, s.record)) return { rules: null, answers: REFUSE };
    const pending = s.record.mergePending.filter((m) => m.for.includes(x.node) && m.from !== x.node);
    if (pending.length > 0) {
      const full = [`full<${s.node}`];
      if (s.record.legBehind !== null) return { rules: ['merge-pending'], answers: REFUSE };
      return { rules: ['merge-pending'], answers: waitEnded ? full : pending.map((m) => `wait@${m.from}`) };
    }
    return { rules: ['serving'], answers: copy(s, x) };
  }
  const oosMarks = (a.outOfSyncBytes[b.node] ?? 0) > 0 || (b.outOfSyncBytes[a.node] ?? 0) > 0;
  if (equal(ra, rb)) return equalRows(a, b, waitEnded, oosMarks);
  const [newer, older] = holdsUnknown(ra, rb) ? [a, b] : [b, a];
  // The older one served a term that the newer does not know of, without a write: overwriting it loses nothing but evidence.
  if (servedUnknown(older.record, newer.record)) return { rules: null, answers: [...REFUSE, ...copy(newer, older), `full<${newer.node}`] };
  const kept = newer.record.absentPeers[older.node];
  if (kept !== undefined && kept === held(older.record)) return { rules: ['kept-bitmap'], answers: copy(newer, older) };
  return { rules: ['history'], answers: newer.record.legBehind === null ? [`full<${newer.node}`] : ['refuse'] };
}

const isCopy = (c: CompareAnswer): boolean => c.kind === 'partial' || c.kind === 'full';

function names(c: CompareAnswer): string[] {
  const all: string[] = [c.kind];
  if (c.direction !== null && isCopy(c)) all.push(`${c.kind}<${c.direction.from}`);
  if (c.kind === 'wait' && c.waitFor !== undefined) all.push(`wait@${c.waitFor}`);
  return all;
}

const has = (c: CompareAnswer, of: NodeName, map: 'intent' | 'out-of-sync', target?: NodeName): boolean =>
  (c.marks ?? []).some((m) => m.of === of && m.map === map && (m.map === 'intent' || m.for === target));

/** M5: marks that a partial resync must not leave out. */
function missingMarks(from: NodeView, to: NodeView, c: CompareAnswer): string[] {
  const missing: string[] = [];
  if ((from.outOfSyncBytes[to.node] ?? 0) > 0 && !has(c, from.node, 'out-of-sync', to.node)) missing.push("the origin's marks for the target");
  if (to.intentBytes > 0 && !has(c, to.node, 'intent')) missing.push("the target's intent marks");
  if (from.intentBytes > 0 && !from.inService && !has(c, from.node, 'intent')) missing.push("the origin's intent marks");
  const marked = (to.outOfSyncBytes[from.node] ?? 0) > 0 && equal(from.record, to.record);
  if (marked && !has(c, to.node, 'out-of-sync', from.node)) missing.push("the target's marks for the origin");
  return missing;
}

/** What may never be answered, whatever the row. */
export function forbidden(a: NodeView, b: NodeView, c: CompareAnswer): string[] {
  const found: string[] = [];
  const d = c.direction;
  if (c.why.trim() === '') found.push('M11: an answer without a reason');
  if (isCopy(c) && d === null) return [...found, 'M11: a copy without a direction'];
  if (d === null || !isCopy(c)) return found;
  const [from, to] = d.from === a.node ? [a, b] : [b, a];
  if (from.node !== d.from || to.node !== d.to) return [...found, 'M11: a direction between others'];
  if (to.inService) found.push('a node in service is overwritten');
  if (from.record.resyncingFrom !== null) found.push('M7: copied from inconsistent data');
  if (!from.record.hadData && to.record.hadData) found.push('data is overwritten from a blank leg');
  if (from.record.legBehind !== null) found.push('copied from a node whose own leg is behind');
  const worth = to.record.hadData && to.record.resyncingFrom === null;
  if (worth && holdsUnknown(to.record, from.record)) found.push('M12: a generation that the origin does not know is overwritten');
  if (worth && isPossible(a, b) && isSplitBrain(from.record, to.record)) found.push('M10: a split brain resolves itself');
  if (c.kind === 'partial') {
    if (!(isPossible(a, b) ? accountComplete : recordedAccount)(from, to)) found.push('partial without a complete account');
    found.push(...missingMarks(from, to, c).map((m) => `M5: partial without ${m}`));
  }
  return found;
}

/**
 * Records that some history can leave: nobody is in sync in a term that its owner did not serve, a source has served, who is in
 * service serves its latest term, and a later generation was made in a term that is not earlier.
 */
export function isPossible(a: NodeView, b: NodeView): boolean {
  const alone = (v: NodeView): boolean => {
    const { epochServed, epochInSync, session } = v.record;
    if (session.role === 'source' && epochServed === null) return false;
    if (session.role === 'target' && epochInSync === null) return false;
    const top = proven(v.record);
    if (session.role === 'source' && !session.clean && top !== epochServed) return false;
    return !v.inService || (session.role === 'source' && !session.clean && top !== null && top === epochServed);
  };
  const vouched = (x: NodeView, y: NodeView): boolean => {
    const e = proven(x.record);
    if (e?.owner !== y.node) return true;
    const served = y.record.epochServed;
    return served !== null && (served.number > e.number || same(served, e));
  };
  const ordered = (x: NodeView, y: NodeView): boolean =>
    !holdsUnknown(x.record, y.record) || holdsUnknown(y.record, x.record) || number(proven(x.record)) >= number(proven(y.record));
  const keepsOwn = (x: NodeView, y: NodeView): boolean => {
    const kept = x.record.absentPeers[y.node];
    return kept === undefined || known(x.record).has(kept);
  };
  if (!keepsOwn(a, b) || !keepsOwn(b, a)) return false;
  return alone(a) && alone(b) && vouched(a, b) && vouched(b, a) && ordered(a, b) && ordered(b, a);
}

/** All complaints about one answer; none when it is permitted. */
export function complaints(a: NodeView, b: NodeView, waitEnded: boolean, c: CompareAnswer): string[] {
  const e = expected(a, b, waitEnded);
  const found = forbidden(a, b, c);
  // What no history leaves may be refused, or answered in any way that is not forbidden.
  if (!isPossible(a, b)) return found;
  if (e.rules !== null && !e.rules.includes(c.rule)) found.push(`rule ${c.rule}, expected ${e.rules.join(' or ')}`);
  if (!names(c).some((n) => e.answers.includes(n))) found.push(`${c.rule} answers ${names(c).at(-1) ?? ''}, permitted: ${e.answers.join(', ')}`);
  return found;
}

/** Comparable text of an answer, in which the order of marks and the wording do not matter. */
export function essence(c: CompareAnswer): string {
  const marks = (c.marks ?? []).map((m) => JSON.stringify(m)).sort();
  return JSON.stringify([c.rule, c.kind, c.direction?.from, c.direction?.to, c.waitFor, marks]);
}
