/**
 * One target, as the source works on it: found, compared, marked, copied to, joined; lost, and found again.
 *
 *   reachable -> view -> compare -> marks merged (durable) -> session.open -> [resync] -> join -> ... -> lost -> again
 *
 * Invariant: what `compare` answers is carried out in an order that a crash at any point survives: the marks are durable
 * here before the session is opened, the target's record says "being resynced" before a byte flows.
 */
import { Errno } from '../io/types.ts';
import { Resync, type ResyncEnd } from '../mirror/resync.ts';
import type { MirrorDevice } from '../mirror/device.ts';
import type { TargetLeg } from '../mirror/legs.ts';
import type { Marks } from '../mirror/marks.ts';
import { sameMirror, termOf } from './account.ts';
import { compare } from './compare.ts';
import { isSame } from './epoch.ts';
import { Damage } from './damage.ts';
import { Damping } from './damping.ts';
import { fetchMarks } from './fetch-marks.ts';
import { fullyMarked, isSeeded } from './membership.ts';
import { remoteDigest } from './remote-digest.ts';
import { Rest } from './rest.ts';
import { writesEnd, type Serving } from './serving-nothing.ts';
import { asTarget, type Dialer, dialForeign, dialNode, requireLeg, TargetRefused } from './target-dial.ts';
import type { Changes } from './context.ts';
import type { CompareAnswer, MirrorDefinition, NodeName, NodeView } from './types.ts';

export interface FinishedResync {
  kind: 'partial' | 'full';
  bytes: number;
  sent: number;
  seconds: number;
}

/** What a link needs of the source that it belongs to. */
export interface LinkOwner extends Dialer, Serving {
  readonly device: MirrorDevice;
  readonly marks: Marks;
  readonly changes: Changes;
  readonly damagedFor: Set<NodeName>;
  readonly stopped: boolean;
  readonly retryMs: number;
  /** Links whose resync runs now. */
  readonly resyncs: Set<TargetLink>;
  mayResync(link: TargetLink): boolean;
  waitToResync(node: NodeName): boolean;
  /** The wait for the previous source is over for this target. */
  waitEnded(node: NodeName): boolean;
  zeroedAlike(view: NodeView): boolean;
  isPreviousSource(node: NodeName): boolean;
  mergeFrom(node: NodeName, view: NodeView): Promise<void>;
  /** See `Members`. */
  outrank(theirs: MirrorDefinition): Promise<void>;
  confirmedOut(node: NodeName, foreign: boolean): Promise<void>;
  join(link: TargetLink, session: string, kind: 'none' | 'partial' | 'full'): Promise<void>;
}

export class TargetLink {
  readonly node: NodeName;
  readonly leg: TargetLeg;
  readonly #s: LinkOwner;
  /** The last answer of compare, and what went wrong last. */
  answer: CompareAnswer | undefined;
  problem = '';
  resync: Resync | undefined;
  lastResync: FinishedResync | undefined;
  /** In its present session it is written down, here and there, that it is in sync; until then it would not take over (M6). */
  joined = false;
  /** Waits for a free place among the resyncs. */
  queued = false;
  /** Of one that is lost again and again. */
  readonly damping: Damping;
  readonly damage: Damage;
  #refusal = '';
  #ended = false;
  readonly #rest: Rest;
  #running: Promise<void> | undefined;

  constructor(s: LinkOwner, node: NodeName, leg: TargetLeg) {
    this.#s = s;
    this.node = node;
    this.leg = leg;
    this.damping = new Damping(s.timeoutMs);
    this.damage = new Damage(s.ctx, node);
    this.#rest = new Rest(s.ctx.env.io.clock);
  }

  get foreign(): boolean {
    return this.leg.foreign;
  }

  /** A foreign target that answers, and can not be one: `problem` says why. */
  get refused(): boolean {
    return this.#refusal !== '' && this.#refusal === this.problem;
  }

  /** An operator's word: the next resync is a full one. */
  get fullWanted(): boolean {
    return this.#s.ctx.record().fullOrdered?.includes(this.node) === true;
  }

  start(): void {
    this.#running ??= this.#run();
  }

  /** The link ends for good; resolves when its loop has. */
  async end(): Promise<void> {
    this.#ended = true;
    this.resync?.cancel('the source is stopping');
    this.#s.changes.notify();
    this.#rest.end();
    await this.#running;
  }

  async #run(): Promise<void> {
    while (this.#alive()) {
      this.#rest.tries();
      try {
        await this.#once();
      } catch (e: unknown) {
        if (!(e instanceof Error)) throw e;
        const problem = e.message;
        if (problem !== this.problem) this.#s.ctx.env.log.warn('target not connected', { tag: this.#s.ctx.tag, node: this.node, why: problem });
        this.problem = problem;
        this.#refusal = e instanceof TargetRefused ? problem : '';
      }
      if (this.leg.inSession) this.#s.device.targetFailed(this.leg, this.problem === '' ? 'the session was given up' : this.problem, false);
      if (!this.#alive()) return;
      await this.#s.changes.until(() => this.leg.phase === 'out' || !this.#alive(), this.#now, Infinity);
      // Whoever fails is not woken by what others change, or links would wake each other without end.
      if (this.#alive()) await (this.problem === '' ? this.#s.changes.next(this.#s.retryMs) : this.#rest.take(this.#s.retryMs));
    }
  }

  /** An operator has said that this target is to be connected: nothing that went wrong before keeps it waiting. */
  connectNow(): void {
    this.damping.reset();
    this.#rest.end();
  }

  readonly #now = (): number => this.#s.ctx.env.io.clock.now();

  #alive(): boolean {
    // Of a device that has stopped no session begins any more: a target that was told of a clean stop would take it back.
    return !this.#ended && !this.#s.stopped && !this.#s.device.stopped;
  }

  async #once(): Promise<void> {
    if (this.#s.ctx.record().paused.includes(this.node)) return;
    if (this.leg.phase !== 'out') return;
    // Before anything is said of what the target lacks.
    if (this.#s.device.served.underWay) await writesEnd(this.#s);
    const damped = this.damping.waits(this.#now());
    if (damped !== null) throw new Error(damped.why);
    const kind = this.foreign ? await this.#prepareForeign() : await this.#prepare();
    if (kind === undefined || !this.#alive()) return;
    if (kind !== 'none') {
      if (this.#s.waitToResync(this.node)) {
        this.problem = 'waits for a command before resyncing (LKDR_WAIT_TO_RESYNC)';
        return;
      }
      if (!(await this.#place())) return;
    }
    try {
      await this.#session(kind);
    } finally {
      this.#s.resyncs.delete(this);
      this.#s.changes.notify();
    }
  }

  /** Resyncs run a few at a time; the previous source goes first, because others wait for its marks. */
  async #place(): Promise<boolean> {
    this.queued = true;
    this.#s.ctx.changed();
    try {
      await this.#s.changes.until(() => !this.#alive() || this.#s.mayResync(this), this.#now, Infinity);
      if (!this.#alive()) return false;
      this.#s.resyncs.add(this);
      return true;
    } finally {
      this.queued = false;
    }
  }

  /** Compares with one of our own nodes and puts marks down; the kind of the session, or undefined: not now. */
  async #prepare(): Promise<'none' | 'partial' | 'full' | undefined> {
    const { ctx } = this.#s;
    if (!ctx.env.cluster.connected(this.node)) {
      this.problem = 'not reachable';
      return undefined;
    }
    const view = await ctx.askView(this.node, this.#s.timeoutMs);
    if (view === null) {
      this.problem = `${this.node} does not know this mirror: extend or replace it`;
      return undefined;
    }
    if (view.legDoubtful) this.leg.rewriteAll = true;
    let answer = this.#judge(view);
    if (answer === undefined) return undefined;
    if (answer.direction !== null && answer.direction.from !== ctx.env.self) {
      this.problem = `rule ${answer.rule}: the copy would have to go from ${answer.direction.from}; a node in service is never overwritten`;
      return undefined;
    }
    if (this.#s.isPreviousSource(this.node)) {
      await this.#s.mergeFrom(this.node, view);
      answer = this.#judge(view); // What could not be merged is missing from the account.
      if (answer === undefined) return undefined;
    }
    const full = this.fullWanted || (answer.kind === 'full' && !this.#takenAsIdentical(answer, view));
    await this.#s.outrank(view.record.definition);
    await this.#mark(full, answer, view);
    return this.#kindOf(full);
  }

  /** undefined: nothing is done to that node, for now or for good. */
  #judge(view: NodeView): CompareAnswer | undefined {
    // Made good by now, with everything marked: it is said all the same (M13).
    const damaged = this.#s.damagedFor.has(this.node) ? { bitmapDamaged: true } : {};
    const answer = compare({ ...this.#s.ctx.view(), ...damaged }, view, { ended: this.#s.waitEnded(this.node) });
    this.#heard(answer);
    return answer.kind === 'wait' || (answer.kind === 'refuse' && !this.orderedAgainst(view)) ? undefined : answer;
  }

  /** What a rule refuses, a split brain above all, an operator may order: all of that node's data is given up for ours. */
  orderedAgainst(view: NodeView): boolean {
    const r = this.#s.ctx.record(); // What the target has served, or been given, since the word was given, nobody has given up.
    const over = r.orderedOver?.[this.node];
    return this.fullWanted && !view.inService && sameMirror(r, view.record) && over !== undefined && isSame(termOf(view.record), over);
  }

  #takenAsIdentical(answer: CompareAnswer, view: NodeView): boolean {
    // Whoever compared the legs has read a page cache that may hold what the disk does not (M3).
    if (view.legDoubtful) return false;
    if (isSeeded(this.#s.ctx.record(), view.record)) return true;
    return answer.rule === 'blank' && this.#s.zeroedAlike(view);
  }

  #heard(answer: CompareAnswer): void {
    const before = this.answer;
    this.answer = answer;
    this.problem = answer.kind === 'refuse' || answer.kind === 'wait' ? answer.why : '';
    if (before?.rule === answer.rule && before.kind === answer.kind) return;
    this.#s.ctx.env.log.info('compared with a target', {
      tag: this.#s.ctx.tag,
      node: this.node,
      rule: answer.rule,
      kind: answer.kind,
      why: answer.why,
    });
    if (answer.rule === 'split-brain') {
      this.#s.ctx.env.emit(this.#s.ctx.tag, 'split-brain', answer.why, { node: this.node, rule: answer.rule });
    }
    this.#s.ctx.changed();
  }

  async #prepareForeign(): Promise<'none' | 'partial' | 'full'> {
    // Nobody else has kept an account of a foreign target: without our own, since it was last in sync with us, all is copied.
    const full = this.fullWanted || !this.#s.ctx.record().accountComplete.includes(this.node) || this.#s.damagedFor.has(this.node);
    if (full) await this.#markAll();
    else await this.#durable();
    return this.#kindOf(full);
  }

  #kindOf(full: boolean): 'none' | 'partial' | 'full' {
    return full ? 'full' : this.#s.marks.outOfSync(this.node).count === 0 ? 'none' : 'partial';
  }

  async #mark(full: boolean, answer: CompareAnswer, view: NodeView): Promise<void> {
    const { marks } = this.#s;
    if (full) {
      await this.#markAll();
    } else {
      for (const m of answer.marks ?? []) {
        if (m.of === this.#s.ctx.env.self) {
          if (m.map === 'intent') marks.addOutOfSync(this.node, marks.intent.snapshot());
        } else {
          marks.addOutOfSync(this.node, await fetchMarks(this.#s, view, m.map === 'intent' ? 'intent' : `oos:${m.for}`));
        }
      }
      await this.#durable();
    }
    if (view.bitmapDamaged) {
      this.#s.ctx.env.emit(this.#s.ctx.tag, 'bitmap-damaged', `the bitmap of ${this.node} is damaged: a full resync follows`, { node: this.node });
    }
  }

  /** Every region, durably; then these marks are a complete account, so that a full resync that is cut short goes on where it was (M14). */
  async #markAll(): Promise<void> {
    this.#s.marks.markAllOutOfSync(this.node);
    await this.#durable();
    await this.#s.ctx.store.update((r) => fullyMarked(r, this.node));
  }

  async #durable(): Promise<void> {
    if (!(await this.#s.marks.durable())) throw new Error('the bitmap file can not be written');
  }

  // ------------------------------------------------------------------------------------------------- a session

  async #session(kind: 'none' | 'partial' | 'full'): Promise<void> {
    const { ctx, device } = this.#s;
    const id = ctx.env.io.chance.hex64();
    const client = this.foreign
      ? await dialForeign(this.#s, this.node)
      : await dialNode(this.#s, this.node, { id, kind, rewrites: this.leg.rewriteAll, damage: this.damage });
    try {
      requireLeg(`the leg of ${this.node}`, client, ctx.record().definition);
      if (!this.#alive()) throw new Error('the source is stopping');
      this.#checkStill(kind);
    } catch (e: unknown) {
      client.close(Errno.ESHUTDOWN);
      throw e;
    }
    this.joined = false;
    device.sessions.open(this.leg, asTarget(this.#s.ctx.env.hub.engine, client, this.foreign));
    this.problem = '';
    ctx.changed();
    if (kind !== 'none') {
      await this.#s.confirmedOut(this.node, this.foreign);
      // Written to while the session was being opened: it is copied only once its mark is durable (M1).
      await this.#durable();
    }
    const { mismatches } = this.damage;
    const done = await this.#copy(kind, id);
    // The next resync may begin; this session goes on.
    this.#s.resyncs.delete(this);
    this.#s.changes.notify();
    if (!done) {
      // A way that damages what passes would have it resynced again and again.
      if (this.#alive() && this.damage.mismatches > mismatches) this.damping.lost(this.#now());
      return;
    }
    const { session } = this.leg;
    await this.#s.join(this, id, kind);
    this.joined = true;
    await this.#s.changes.until(() => this.leg.session !== session || !this.#alive(), this.#now, Infinity);
    this.problem = this.leg.whyOut;
    const ordered = this.fullWanted || this.leg.leftOnPurpose || this.#s.ctx.record().paused.includes(this.node);
    if (this.#alive() && !ordered) this.damping.lost(this.#now());
  }

  /** Much may have been written or ordered since the kind of the session was chosen: what the target wrote down must hold (M7). */
  #checkStill(kind: 'none' | 'partial' | 'full'): void {
    if (this.#s.ctx.record().paused.includes(this.node)) throw new Error('paused by an operator');
    if (this.fullWanted && kind !== 'full') throw new Error('a full resync was ordered');
    if (kind === 'none' && this.#s.marks.outOfSync(this.node).count > 0) throw new Error('written to while the target was being connected');
  }

  /** True: nothing is left to copy. */
  async #copy(kind: 'none' | 'partial' | 'full', id: string): Promise<boolean> {
    const { ctx, device } = this.#s;
    const started = this.#now();
    const resync = new Resync(device, this.leg, {
      kind: kind === 'full' ? 'full' : 'partial',
      onProgress: () => {
        ctx.changed();
      },
      // Of a leg without a past here nobody knows which syncs have failed on it: what looks equal there need not be durable (M3).
      ...(this.foreign || this.answer?.rule === 'blank'
        ? {}
        : { remoteDigest: (offset: number, length: number) => remoteDigest(this.#s, this.node, id, offset, length) }),
    });
    this.resync = resync;
    const { session } = this.leg;
    const watch = this.#s.changes
      .until(() => this.leg.session !== session || !this.#alive(), this.#now, Infinity)
      .then(() => {
        resync.sessionEnded();
      });
    void watch;
    const facts = { node: this.node, kind, rule: this.answer?.rule ?? null, why: this.answer?.why ?? null };
    if (kind !== 'none') {
      this.#s.damagedFor.delete(this.node);
      ctx.env.emit(ctx.tag, 'resync-started', `${kind} resync of ${this.node}: ${String(resync.progress.totalBytes)} bytes`, facts);
    }
    let end: ResyncEnd;
    try {
      end = await resync.run();
    } finally {
      this.resync = undefined;
      this.leg.progress = undefined;
    }
    if (end.result === 'ended') {
      if (this.leg.session === session && this.leg.inSession) device.targetFailed(this.leg, end.why, false);
      this.problem = end.why;
      return false;
    }
    if (kind !== 'none') {
      this.lastResync = { kind, bytes: end.progress.totalBytes, sent: end.progress.sentBytes, seconds: (this.#now() - started) / 1000 };
      const done = `${kind} resync of ${this.node} done: ${String(end.progress.totalBytes)} bytes`;
      ctx.env.emit(ctx.tag, 'resync-done', done, { ...facts, ...this.lastResync });
    }
    return true;
  }
}
