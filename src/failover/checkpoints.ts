/**
 * Is a checkpoint still what it says: all that was written to the device since it was made? Its map knows what this node has written,
 * in terms of its own, one after the other. Once another node has served, or may have, or anything but this device has written to the
 * leg, it is void, and stays so: a backup by it would take too little. Pure; where in doubt: void.
 *
 *   made in epoch e --- in service again, in e' ---> judged: kept, from now on of e'  |  void, with rule and why
 */
import { provenEpochs } from './account.ts';
import { compareEpoch, epochText } from './epoch.ts';
import { boundedWhy } from './record.ts';
import type { Checkpoint, CheckpointRule, Epoch, NodeName, NodeView, StateRecord } from './types.ts';

export interface CheckpointFacts {
  /** As it was before this node went in service. */
  record: StateRecord;
  /** What others said of themselves last. */
  heard: readonly NodeView[];
  /** Epochs that anybody had seen or claimed before. */
  seen: readonly Epoch[];
  /** Nodes that have accepted the epoch in which this node goes in service: what they had claimed before they will not serve any more. */
  confirmed: readonly NodeName[];
  /** Nodes that by the records may have served since, were not heard, and were passed over by an operator's word. */
  passedOver: readonly NodeName[];
  /** Checkpoints of which the bitmap file has a map. */
  maps: readonly string[];
}

type Row = (c: Checkpoint, f: CheckpointFacts) => string | null;

const later = (e: Epoch, c: Checkpoint): boolean => !['lower', 'equal'].includes(compareEpoch(e, c.epoch));

const mapMissing: Row = (c, f) => (f.maps.includes(c.name) ? null : 'the bitmap file, which was made anew, has no map of it');

const legBehind: Row = (_c, { record }) =>
  record.legBehind === null
    ? null
    : `the local leg failed in epoch ${epochText(record.legBehind.since)}, and what was written since is on ${record.legBehind.newest}`;

const wasTarget: Row = (c, { record }) => {
  const session = record.sessionIn ?? null;
  return compareEpoch(session, c.epoch) === 'equal'
    ? null
    : `it is of epoch ${epochText(c.epoch)}, and the last session on this leg was of epoch ${epochText(session)}`;
};

const termMissing: Row = (c, { record }) =>
  compareEpoch(record.epochServed, c.epoch) === 'equal'
    ? null
    : `it is of epoch ${epochText(c.epoch)}, and the last one that this node served is ${epochText(record.epochServed)}`;

const anotherServed: Row = (c, f) => {
  for (const r of [f.record, ...f.heard.map((v) => v.record)]) {
    const e = provenEpochs(r).find((x) => later(x, c));
    if (e !== undefined) return `epoch ${epochText(e)} was served since epoch ${epochText(c.epoch)}, as ${r.node} knows`;
  }
  return null;
};

/** An epoch that was seen may have been served, unless its owner, heard now, has left it behind: had it served, its record would prove it. */
const anotherMayHave: Row = (c, f) => {
  const silent = f.passedOver.find((n) => !f.confirmed.includes(n));
  if (silent !== undefined) return `${silent}, which was not heard, may have served since`;
  const { grant } = f.record;
  if (grant !== null && grant.to !== f.record.node && !f.confirmed.includes(grant.to))
    return `the mirror was handed over to ${grant.to}, which may have served since`;
  const heard = f.heard.flatMap((v) => [v.record.epochSeen, v.record.claim]).filter((x) => x !== null);
  const e = [...f.seen, ...heard].find((x) => later(x, c) && x.owner !== f.record.node && !f.confirmed.includes(x.owner));
  return e === undefined ? null : `epoch ${epochText(e)} was claimed since epoch ${epochText(c.epoch)}, and may have been served`;
};

const ROWS: Readonly<Record<Exclude<CheckpointRule, 'bitmap-damaged'>, Row>> = {
  'map-missing': mapMissing,
  'leg-behind': legBehind,
  'was-target': wasTarget,
  'term-missing': termMissing,
  'another-served': anotherServed,
  'another-may-have-served': anotherMayHave,
};

/** Why it is void; null: this node alone has served since it was made. */
export function judgeCheckpoint(c: Checkpoint, f: CheckpointFacts): Checkpoint['void'] {
  if (c.void !== null) return c.void;
  for (const [rule, row] of Object.entries(ROWS) as [CheckpointRule, Row][]) {
    const why = row(c, f);
    if (why !== null) return { rule, why };
  }
  return null;
}

/** The record's checkpoints in a term of this node that begins now, each judged. */
export function checkpointsCarried(epoch: Epoch, f: CheckpointFacts): Pick<StateRecord, 'checkpoints'> {
  const { checkpoints } = f.record;
  if (checkpoints === undefined) return {};
  return {
    checkpoints: checkpoints.map((c) => {
      const found = judgeCheckpoint(c, f);
      return found === null ? { ...c, epoch } : { ...c, void: found };
    }),
  };
}

/** All that were not void before are so now. */
export function checkpointsVoid(r: StateRecord, rule: CheckpointRule, why: string): Pick<StateRecord, 'checkpoints'> {
  if (r.checkpoints === undefined) return {};
  return { checkpoints: r.checkpoints.map((c) => (c.void === null ? { ...c, void: { rule, why: boundedWhy(why) } } : c)) };
}

/** The marks are lost, and the checkpoints with them. */
export function bitmapDamaged(r: StateRecord, why: string): StateRecord {
  return { ...r, accountComplete: [], ...checkpointsVoid(r, 'bitmap-damaged', `the bitmap file is damaged: ${why}`) };
}

export function withCheckpoint(r: StateRecord, c: Checkpoint): StateRecord {
  return { ...r, checkpoints: [...(r.checkpoints ?? []), c] };
}

/** An earlier version, which knows of none, can read a record without any. */
export function withoutCheckpoint(r: StateRecord, name: string): StateRecord {
  const { checkpoints, ...rest } = r;
  const left = (checkpoints ?? []).filter((c) => c.name !== name);
  return left.length === 0 ? rest : { ...rest, checkpoints: left };
}

/** Names of those that are not void. */
export function validCheckpoints(r: StateRecord): string[] {
  return (r.checkpoints ?? []).filter((c) => c.void === null).map((c) => c.name);
}

/** Which have become void since it looked last. */
export class VoidWatch {
  #known: readonly string[];

  constructor(r: StateRecord) {
    this.#known = voidOf(r).map((c) => c.name);
  }

  look(r: StateRecord): VoidCheckpoint[] {
    const now = voidOf(r);
    const fresh = now.filter((c) => !this.#known.includes(c.name));
    if (fresh.length > 0 || now.length < this.#known.length) this.#known = now.map((c) => c.name);
    return fresh;
  }
}

interface VoidCheckpoint {
  name: string;
  found: { rule: CheckpointRule; why: string };
}

function voidOf(r: StateRecord): VoidCheckpoint[] {
  return (r.checkpoints ?? []).flatMap(({ name, void: found }) => (found === null ? [] : [{ name, found }]));
}
