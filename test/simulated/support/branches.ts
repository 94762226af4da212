/**
 * Which data history each term of a source continues, and what it must have brought along (M7, M12).
 *
 *   epoch 1 --- its source lost ---> epoch 2 --- ... one lineage, as long as no network is cut
 *      `------- and still answering: two branches side by side, which must be detected as a split brain (M10)
 */
import type { Epoch, StateRecord } from '../../../src/failover/types.ts';
import type { Cluster, Machine } from './cluster.ts';
import { epochKey } from './cluster.ts';
import { Model, Moments, readSectors, SECTOR_BYTES, type Value } from './model.ts';

export interface Branch {
  readonly key: string;
  readonly node: string;
  /** Of its epoch. */
  readonly number: number;
  /** An operator forced it: it need not have heard of others, nor a last source that goes on alone of it. */
  readonly forced: boolean;
  /** By an operator's word it may not know the one before it, and its epoch need not be a later one. */
  readonly mayNotKnow: boolean;
  readonly model: Model;
  /** It has answered writes with success that its successor does not have. */
  diverged: boolean;
  /** Its node stood still for long while it served: once awake it may have found everybody silent, and gone on. */
  stalled: boolean;
  /** An async target went on from it while it was still answering: it lacks what was answered without it, and nobody can tell. */
  leftToAsync: boolean;
  /** The moment at which another branch first went on from it. */
  forkedAt: number;
  /** How many writes it had answered when another branch went on from it. */
  answeredAtFork: number;
}

/** It has answered writes that its successor does not know. */
export function wroteApart(b: Branch): boolean {
  return b.diverged || b.model.acknowledged > b.answeredAtFork;
}

/** The last epoch that it was part of before the one that it serves. */
function lastTerm(m: Machine): Epoch | undefined {
  const r = m.beforeTerm;
  return [r?.epochServed, r?.epochInSync].filter((x) => x !== null && x !== undefined).sort((x, y) => y.number - x.number)[0];
}

export class Branches {
  readonly moments = new Moments();
  readonly #c: Cluster;
  readonly #all: Branch[] = [];
  #tip: Branch | undefined;
  /** Of all that there have been. */
  readonly #begun = new Set<string>();
  /** Those that no node has gone on from since power was lost somewhere. */
  readonly #powerLost = new Set<Branch>();

  constructor(c: Cluster) {
    this.#c = c;
  }

  get tip(): Branch | undefined {
    return this.#tip;
  }

  /** Branches whose answers must survive, or be shown as a split brain. */
  get open(): Branch[] {
    return this.#all;
  }

  /** Somewhere: what was not flushed may be gone, of each of them. */
  powerFails(): void {
    for (const b of this.#all) this.#powerLost.add(b);
    if (this.#tip !== undefined) this.#powerLost.add(this.#tip);
  }

  hasLostPower(b: Branch): boolean {
    return this.#powerLost.has(b);
  }

  /** A source stands still for long, or is about to. */
  sourceStalls(): void {
    for (const m of this.#c.all) {
      const b = m.inService ? this.of(m) : undefined;
      if (b !== undefined) b.stalled = true;
    }
  }

  /** The last epoch that the record names was to be served by its node, which was lost before it answered anything. */
  servedInVain(r: StateRecord | undefined): boolean {
    if (r === undefined) return false;
    const { epochServed, epochInSync } = r;
    if (epochServed === null || (epochInSync !== null && epochInSync.number > epochServed.number)) return false;
    return !this.#begun.has(epochKey(epochServed));
  }

  /** The branch that this node serves now. */
  of(m: Machine): Branch | undefined {
    const epoch = m.mirror?.source?.epoch;
    if (epoch === undefined) return undefined;
    return this.#all.find((b) => b.key === epochKey(epoch));
  }

  wentInService(m: Machine): void {
    const epoch = m.mirror?.source?.epoch;
    if (epoch === undefined) throw new Error('in service without an epoch');
    const key = epochKey(epoch);
    const leg = readSectors(this.#c.legOf(m), 0);
    const parent = this.#parentOf(m);
    if (parent === undefined) {
      this.#begin({
        key,
        node: m.name,
        number: epoch.number,
        forced: m.forced,
        mayNotKnow: m.forced,
        model: new Model(this.#c.plan.sizeBytes / SECTOR_BYTES, this.moments, this.#c.plan.kinds.has('short')),
        diverged: false,
        stalled: false,
        leftToAsync: false,
        forkedAt: Infinity,
        answeredAtFork: Infinity,
      });
      return;
    }
    const stillServed = this.#c.all.some((x) => x !== m && x.inService && this.of(x) === parent);
    const model = stillServed ? parent.model.fork() : parent.model;
    model.epochOver();
    if (this.#powerLost.delete(parent)) model.powerWasLost();
    const branch = {
      key,
      node: m.name,
      number: epoch.number,
      forced: m.forced,
      mayNotKnow: m.forced || (parent.forced && (epoch.number <= parent.number || this.#awayFrom(m, parent))),
      model,
      diverged: false,
      stalled: false,
      leftToAsync: false,
      forkedAt: Infinity,
      answeredAtFork: Infinity,
    };
    if (!m.forced && epoch.number < parent.number) {
      // Held up on its way, while another was served: it lacks what that one has answered. That it answers nothing itself, M9 says.
      this.#c.say(`${m.name} comes late: epoch ${parent.key} has been served`);
      const late = { ...branch, model: parent.model.fork() };
      late.model.rebase(leg);
      this.#begin(late);
      return;
    }
    parent.forkedAt = Math.min(parent.forkedAt, this.moments.next());
    if (stillServed && this.#isAsync(m)) parent.leftToAsync = true;
    parent.answeredAtFork = Math.min(parent.answeredAtFork, parent.model.acknowledged);
    const lacks = leg.some((v, at) => !model.mayHold(at, v, Infinity));
    if (lacks && (m.forced || this.#mayBeOlder(m))) {
      this.#c.say(`${m.name} goes in service with what it has`);
      model.rebase(leg);
      this.#drop(parent);
      // Of its own earlier branch, too, it goes on with what it has.
      for (const own of m.forced ? this.#all.filter((b) => b.node === m.name) : []) this.#all.splice(this.#all.indexOf(own), 1);
    } else {
      this.#judge(m, branch, parent, leg);
      if (!stillServed) this.#drop(parent);
    }
    this.#begin(branch);
  }

  /** An operator has chosen: nothing but this branch is promised any more. */
  only(b: Branch): void {
    this.#all.splice(0, this.#all.length, b);
    this.#tip = b;
  }

  /** An operator has given up what this one answered. */
  giveUp(b: Branch, how: string): void {
    this.#c.count(how);
    const at = this.#all.indexOf(b);
    if (at >= 0) this.#all.splice(at, 1);
  }

  /**
   * `next` may lack what this one answered: a network is cut, its source stood still, or an operator forced it while a node that may go on
   * alone was away. That one has heard nothing of it: its own epoch is not a later one.
   */
  #mayPart(b: Branch, next: Branch): boolean {
    return this.#c.cut || b.stalled || next.mayNotKnow;
  }

  #begin(b: Branch): void {
    this.#all.push(b);
    this.#begun.add(b.key);
    // One that was held up on its way in service, until a later epoch was served, is not gone on from.
    if (this.#tip === undefined || b.forced || b.number >= this.#tip.number) this.#tip = b;
    else Object.assign(b, { forkedAt: this.moments.next(), answeredAtFork: b.model.acknowledged });
  }

  #drop(b: Branch): void {
    const at = this.#all.indexOf(b);
    if (at >= 0 && !b.diverged) this.#all.splice(at, 1);
  }

  /** With a cut network a node may continue a branch that is not the newest. */
  #parentOf(m: Machine): Branch | undefined {
    if (!this.#c.apart) return this.#tip;
    // What came before its last one, others may have gone on from since.
    const last = lastTerm(m);
    return (last === undefined ? undefined : this.#all.find((b) => b.key === epochKey(last))) ?? this.#tip;
  }

  /** It was away when that one was forced, and its own last term is no later one. */
  #awayFrom(m: Machine, b: Branch): boolean {
    const last = lastTerm(m);
    return last !== undefined && last.number <= b.number && epochKey(last) !== b.key;
  }

  /** An async target lacks what its source still held. */
  #mayBeOlder(m: Machine): boolean {
    return this.#isAsync(m) && m.name !== this.#tip?.node;
  }

  #isAsync(m: Machine): boolean {
    return this.#c.plan.modes[this.#c.plan.nodes.indexOf(m.name)] === 'async';
  }

  /** M12: everything that was answered, or at least flushed, is on the leg of whoever goes in service. */
  #judge(m: Machine, b: Branch, parent: Branch, leg: readonly Value[]): void {
    this.#c.checked('M12');
    const bad = leg.findIndex((v, s) => !b.model.mayHold(s, v, Infinity));
    if (bad < 0) return;
    const what = `${m.name} goes in service in epoch ${b.key}; its sector ${String(bad)} holds #${String(leg[bad])}, and the promises allow ${b.model.describe(bad)}`;
    if (!this.#mayPart(parent, b)) {
      this.#c.violated('M12', what);
      return;
    }
    // A write that was never answered well, and that a read has shown on one side of a cut: nothing was promised of it.
    const onlyRead = leg.every((v, at) => b.model.mayHold(at, v, Infinity, { shown: false }));
    this.#c.say(`${onlyRead ? 'lacks what only a read has shown' : 'diverged'}: ${what}`);
    parent.diverged ||= !onlyRead;
    if (b.model === parent.model) Object.assign(b, { model: parent.model.fork() });
    b.model.rebase(leg);
  }
}
