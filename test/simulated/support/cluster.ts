/**
 * The nodes of one history: daemons of the code that ships, started and stopped in every way a machine knows, and the
 * promises that can be judged at the moment something happens (M1, M7, M8, M9).
 */
import { DaemonControl } from '../../../src/control/actions.ts';
import { Daemon } from '../../../src/control/daemon.ts';
import type { Actions, ActionName } from '../../../src/control/types.ts';
import type { MirrorNode } from '../../../src/failover/node.ts';
import type { NodeView, StateRecord } from '../../../src/failover/types.ts';
import type { SimNode } from '../../../src/io/simulated/node.ts';
import { SimWorld } from '../../../src/io/simulated/world.ts';
import type { Log } from '../../../src/io/log.ts';
import type { ServeRules } from '../../../src/io/serve.ts';
import type { Clock } from '../../../src/io/types.ts';
import { NBD_CMD_READ } from '../../../src/nbd/wire/constants.ts';
import { BitmapReader, type DurableMarks, isMarked } from './bitmap-reader.ts';
import { Branches } from './branches.ts';
import { DamageChecks } from './damage-checks.ts';
import { LeftOut } from './left-out.ts';
import { hostIn, LEG, PATHS, type Plan, ROOT, TAG } from './plan.ts';
import { SnapshotReaders } from './snapshots.ts';
import { CHANGES, spied, type Watcher } from './spy.ts';
import { RecordChecks } from './record-checks.ts';
import { parseRecord } from './state-reader.ts';

/** A promise that was broken. */
export class Violation extends Error {
  readonly promise: string;
  constructor(promise: string, what: string) {
    super(`${promise}: ${what}`);
    this.name = 'Violation';
    this.promise = promise;
  }
}

export class Machine {
  readonly name: string;
  readonly sim: SimNode;
  readonly #c: Cluster;
  readonly reader: BitmapReader;
  readonly leftOut: LeftOut;
  daemon: Daemon | undefined;
  control: DaemonControl | undefined;
  /** Its start has not ended yet, or it is being stopped in order. */
  busy = false;
  /** The record as last written, and the one before it served the epoch that it serves now. */
  record: StateRecord | undefined;
  beforeServing: StateRecord | undefined;
  /** The same, but for epochs that it wrote down and never went in service in: before the first of them. */
  beforeTerm: StateRecord | undefined;
  /** When its record first said so. */
  servingSince = 0;
  /** An operator is forcing it online. */
  forcing = false;
  /** How many decisions it has come to that are not those before. */
  decided = 0;
  /** An epoch that it was forced in, and that was over before it was served: its record says that it is the owner all the same. */
  #forcedInVain = '';
  #servedBefore = '';
  #answeredIn = '';
  /** By which its engine serves clients of the source, or did last. */
  served: ServeRules | undefined;
  /** Of each of its daemons, how many commands it has not answered. */
  readonly #unanswered = new WeakMap<DaemonControl, number>();

  constructor(c: Cluster, name: string) {
    this.#c = c;
    this.name = name;
    this.sim = c.world.node(name);
    this.reader = new BitmapReader(Math.ceil(c.plan.sizeBytes / c.plan.regionBytes));
    this.leftOut = new LeftOut(c, this);
  }

  get mirror(): MirrorNode | undefined {
    return this.daemon?.mirrors.get(TAG);
  }

  /** Its process answers applications now, or would if it were not frozen. */
  get inService(): boolean {
    return this.mirror?.inService === true;
  }

  get up(): boolean {
    return this.sim.state === 'running' && this.daemon !== undefined && !this.busy;
  }

  /** What its mirror says of itself; undefined while its process can not say anything. */
  get view(): NodeView | undefined {
    return this.sim.state === 'running' ? this.mirror?.view() : undefined;
  }

  /** An operator's command is still being carried out, though nobody may wait for its answer any more. */
  get commanded(): boolean {
    return this.control !== undefined && (this.#unanswered.get(this.control) ?? 0) > 0;
  }

  /** It goes in service by an operator's word, given now or for the last epoch that its record says it has served. */
  get forced(): boolean {
    const last = servedKey(this.beforeServing);
    return this.forcing || (last !== '' && last === this.#forcedInVain);
  }

  /** An operator forces it; what the command answers. */
  async force(withoutLastOwner: boolean): Promise<string> {
    this.#servedBefore = servedKey(this.record);
    this.forcing = true;
    const answer = await this.command('force', { tag: TAG, withoutLastOwner, confirmed: ['force', 'no-majority'] });
    this.#endForcing();
    return answer;
  }

  #endForcing(): void {
    const served = servedKey(this.record);
    if (this.forcing && this.mirror?.source?.serving !== true && served !== this.#servedBefore) this.#forcedInVain = served;
    this.forcing = false;
  }

  durableMarks(): DurableMarks | undefined {
    return this.reader.read(this.sim.durableFile(PATHS.bitmap));
  }

  /** Boots the daemon; a start that fails ends the process, as it would outside. */
  async boot(): Promise<void> {
    const io = spied(this.sim.boot(), this.#watcher());
    const { plan } = this.#c;
    this.record = parseRecord(this.sim.peek(PATHS.state));
    const { boots } = this.sim;
    const daemon = new Daemon({
      io,
      root: ROOT,
      node: this.name,
      cluster: 'simulated',
      listen: { kind: 'tcp', host: plan.networks.length > 1 ? '0.0.0.0' : this.name, port: 7000 },
      peers: Object.fromEntries(
        plan.nodes
          .filter((n) => n !== this.name)
          .map((n) => [n, plan.networks.map((w) => ({ kind: 'tcp' as const, host: hostIn(w, n), port: 7000 }))]),
      ),
      exportListen: [],
      failureTimeoutMs: plan.failureTimeoutMs,
      settings: plan.settings,
      extendedHeaders: plan.extendedHeaders.has(this.name),
      tunables: {
        connectionsPerTarget: plan.connectionsPerTarget,
        resyncsMax: plan.resyncsMax,
        noFullSync: false,
        waitToResync: false,
        checksums: plan.checksums,
        connectBeforeServing: true,
      },
      log: this.#log(),
    });
    daemon.onEvent((e) => {
      if (e.kind === 'in-service') this.#c.wentInService(this);
      if (e.kind === 'snapshot-created') this.#c.snapshots.taken(this, String(e.fields['snapshot']));
      if (e.kind === 'snapshot-lost') this.#c.count(`snapshots lost: ${String(e.fields['why']).replace(/\d+/gu, 'N')}`);
    });
    this.daemon = daemon;
    this.#c.records.booted(this, daemon);
    this.#c.damage.booted(this, daemon);
    this.control = new DaemonControl(daemon, { version: '0', regionBytes: plan.regionBytes, waitForPreviousSourceSec: -1 });
    this.busy = true;
    this.#answeredIn = '';
    try {
      await daemon.start();
      if (this.daemon === daemon) this.#c.damage.started(this, daemon);
    } catch (e: unknown) {
      if (this.sim.boots !== boots || this.daemon !== daemon) return;
      this.#c.say(`${this.name}: the daemon can't start: ${String(e)}`);
      this.#c.count('starts that failed');
      this.gone();
      this.sim.crash();
      return;
    } finally {
      if (this.daemon === daemon) this.busy = false;
    }
  }

  /** The process is gone; whoever asked it something waits for ever. */
  gone(): void {
    this.#endForcing();
    this.daemon = undefined;
    this.control = undefined;
    this.busy = false;
  }

  /** A clean stop, in the background: the process ends when it has ended. */
  stopClean(): void {
    const { daemon } = this;
    if (daemon === undefined) return;
    const { boots } = this.sim;
    this.busy = true;
    const ended = (): void => {
      if (this.sim.boots !== boots || this.daemon !== daemon) return;
      this.gone();
      this.sim.crash();
      this.#c.say(`${this.name} has stopped`);
    };
    daemon.stop().then(ended, (e: unknown) => {
      this.#c.say(`${this.name} did not stop in order: ${String(e)}`);
      ended();
    });
  }

  /** A command of an operator, who waits at most so long. Resolves with what went wrong, or nothing. */
  async command<A extends ActionName>(action: A, params: Actions[A]['params'], waitMs = 5000): Promise<string> {
    const answer = await this.#ask(action, params, waitMs);
    return typeof answer === 'string' ? answer : '';
  }

  /** What an operator is shown before he is asked; undefined: nothing, since it can't be asked, refuses, or does not answer. */
  async preview(params: Actions['preview']['params'], waitMs = 5000): Promise<Actions['preview']['result'] | undefined> {
    const answer = await this.#ask('preview', params, waitMs);
    return typeof answer === 'string' ? undefined : answer.result;
  }

  async #ask<A extends ActionName>(action: A, params: Actions[A]['params'], waitMs: number): Promise<{ result: Actions[A]['result'] } | string> {
    const { control } = this;
    if (control === undefined) return `${this.name} is not running`;
    this.#unanswered.set(control, (this.#unanswered.get(control) ?? 0) + 1);
    const asked = control
      .call(action, params)
      .then(
        (result) => ({ result }),
        (e: unknown) => (e instanceof Error ? e.message : String(e)),
      )
      .finally(() => this.#unanswered.set(control, (this.#unanswered.get(control) ?? 0) - 1));
    return await Promise.race([asked, this.#c.world.sleep(waitMs).then(() => 'no answer')]);
  }

  #log(): Log {
    const line =
      (level: string) =>
      (message: string, fields?: Record<string, unknown>): void => {
        this.#c.heard(this, level, message, fields ?? {});
      };
    return { info: line('info'), warn: line('warn'), error: line('error') };
  }

  #watcher(): Watcher {
    return {
      legChanges: (offset, length) => {
        this.#legChanges(offset, length);
      },
      serves: (rules) => {
        this.served = rules.marks === undefined ? undefined : rules;
        this.#c.count('clients served by the engine');
      },
      targetChanges: (offset, length) => {
        this.#mustBeMarked(this, offset, length, () => true, 'a target was told to write');
      },
      replies: (errno, request) => {
        if (errno !== 0) return;
        this.#answers();
        if (CHANGES.has(request.cmd) && request.length > 0) this.#answersWrite(request.offset, request.length);
        const epoch = this.mirror?.source?.epoch;
        if (epoch !== undefined && request.cmd !== NBD_CMD_READ) this.leftOut.answers(epochKey(epoch), epoch.number);
      },
      renamed: (to) => {
        if (to === PATHS.state) this.#recordWritten();
      },
    };
  }

  /** M1: of the source's own writes, and of those that it has a target make. */
  #legChanges(offset: number, length: number): void {
    const m = this.mirror;
    if (m === undefined) return;
    if (m.source !== undefined) this.#mustBeMarked(this, offset, length, (n) => n === 'intent', 'the own leg was told to write');
    const from = m.replica.session?.from;
    const source = from === undefined ? undefined : this.#c.machines.get(from);
    if (source !== undefined && !this.#accountedElsewhere(source))
      this.#mustBeMarked(source, offset, length, (n) => n === 'intent' || n === `oos:${this.name}`, `the leg of ${this.name} was told to write`);
  }

  /** What a target still had to write when it stood still: its source is out by now, and another has taken its marks over. */
  #accountedElsewhere(source: Machine): boolean {
    return source.mirror === undefined || source.mirror.source === undefined;
  }

  #mustBeMarked(by: Machine, offset: number, length: number, maps: (name: string) => boolean, what: string): void {
    const missing = this.#unmarked(by, offset, length, maps)[0];
    if (missing === undefined) this.#c.checked('M1');
    else
      this.#c.violated(
        'M1',
        `${what} region ${String(missing)} (${String(length)} bytes at ${String(offset)}) that no durable mark of ${by.name} covers`,
      );
  }

  /** Regions of the range that are in none of these maps of that node, durably. */
  #unmarked(by: Machine, offset: number, length: number, maps: (name: string) => boolean): number[] {
    const marks = by.durableMarks();
    const { regionBytes } = this.#c.plan;
    const out: number[] = [];
    for (let r = Math.floor(offset / regionBytes); r * regionBytes < offset + length; r += 1) if (!isMarked(marks, r, maps)) out.push(r);
    return out;
  }

  /** M8, M9: at the moment an answer is given. */
  #answers(): void {
    const source = this.mirror?.source;
    if (source === undefined) return;
    const { epoch } = source;
    const key = epochKey(epoch);
    this.#c.answered(this, epoch.number, key);
    if (this.#answeredIn === key) return;
    this.#answeredIn = key;
    this.#c.checked('M8');
    const durable = parseRecord(this.sim.peekDurable(PATHS.state));
    if (durable?.epochServed === null || durable === undefined || epochKey(durable.epochServed) !== key) {
      this.#c.violated('M8', `${this.name} answers in epoch ${key}, and its durable record has served ${JSON.stringify(durable?.epochServed)}`);
    }
    if (this.sim.durableFile(PATHS.lastOwner) === undefined)
      this.#c.violated('M8', `${this.name} answers in epoch ${key} without a durable last_owner`);
  }

  /**
   * M2: who is left out of a write that is being answered is durably marked for it, and nobody is about to be left out. While
   * the answer was held back it may have been resynced, and have gone again: then it has the write durably.
   */
  #answersWrite(offset: number, length: number): void {
    for (const link of this.mirror?.source?.links.values() ?? []) {
      const { phase } = link.leg;
      if (phase === 'leaving') {
        // Only whoever was in sync holds answers back; a resync that ends leaves as it came.
        if (this.mirror?.record().inSync.includes(link.node) === true) {
          this.#c.violated('M2', `a write is answered while the loss of ${link.node}, which was in sync, is being settled`);
        }
      }
      if (phase === 'out') this.#c.records.answersWithout(this, link.node);
      if (phase === 'out' && this.mirror?.record().accountComplete.includes(link.node) === true) {
        const unmarked = this.#unmarked(this, offset, length, (n) => n === `oos:${link.node}`);
        const bad = unmarked.length === 0 ? undefined : unmarked.find((r) => this.#differs(this.#c.machine(link.node), r));
        this.#c.checked('M2 (left out)');
        if (bad !== undefined)
          this.#c.violated(
            'M2',
            `a write was answered without ${link.node}, which lacks it in region ${String(bad)}, and no durable mark of ${this.name} says so`,
          );
      }
    }
  }

  /** The region differs from that of another node on stable storage; without a leg of its own, what a target in sync has counts. */
  #differs(other: Machine, region: number): boolean {
    const [from, to] = [region * this.#c.plan.regionBytes, (region + 1) * this.#c.plan.regionBytes];
    const source = this.mirror?.source;
    const holds = source?.device.local.state !== 'out' ? undefined : [...source.links.values()].find((l) => l.leg.phase === 'in-sync');
    const of = holds === undefined ? this : this.#c.machine(holds.node);
    return of.sim.differences(LEG, other.sim, LEG, true).some((at) => at >= from && at < to);
  }

  #recordWritten(): void {
    const next = parseRecord(this.sim.peek(PATHS.state));
    if (next === undefined) return;
    const before = this.record;
    if (
      next.epochServed !== null &&
      (before?.epochServed === undefined || before.epochServed === null || epochKey(before.epochServed) !== epochKey(next.epochServed))
    ) {
      this.beforeServing = before;
      if (!this.#c.branches.servedInVain(before)) this.beforeTerm = before;
      this.servingSince = this.#c.world.now();
    }
    this.#c.records.written(this, next);
    this.record = next;
  }
}

export function epochKey(e: { number: number; owner: string; random: string }): string {
  return `${String(e.number)}/${e.owner}/${e.random.slice(0, 6)}`;
}

function servedKey(r: StateRecord | undefined): string {
  const served = r?.epochServed ?? null;
  return served === null ? '' : epochKey(served);
}

export class Cluster {
  readonly plan: Plan;
  readonly world: SimWorld;
  /** Of its own for the faults: without them the application goes on as before. */
  readonly faultClock: Clock;
  readonly machines = new Map<string, Machine>();
  readonly branches: Branches;
  readonly records = new RecordChecks(this);
  readonly damage = new DamageChecks(this);
  readonly snapshots = new SnapshotReaders(this);
  readonly counts = new Map<string, number>();
  readonly checks = new Map<string, number>();
  /** The last things that happened, for people. */
  readonly story: string[] = [];
  violation: Violation | undefined;
  /** An operator has forced a node online: from then on records may contradict each other. */
  forced = false;
  #sourceStalled = false;
  #garbled = false;
  #onViolation: (() => void)[] = [];
  readonly #verbose: ((line: string) => void) | undefined;
  #highestAnswered = 0;

  constructor(plan: Plan, o: { verbose?: ((line: string) => void) | undefined }) {
    this.plan = plan;
    this.#verbose = o.verbose;
    this.world = new SimWorld(plan.seed, { tailEvents: 100 });
    this.faultClock = this.world.harnessClock('faults');
    for (const n of plan.nodes) this.machines.set(n, new Machine(this, n));
    for (const w of plan.networks.slice(1)) for (const n of plan.nodes) this.world.addHost(hostIn(w, n), n, w);
    this.branches = new Branches(this);
  }

  /**
   * Two may answer side by side: a network is cut, or a source stood still for long and, once awake, finds everybody silent.
   * Then what is promised is that it is noticed (M10). Where a majority decides that can't be, unless an operator overrules it.
   */
  get apart(): boolean {
    if (this.plan.arbiter === 'majority' && !this.forced) return false;
    return this.cut || this.#sourceStalled;
  }

  /** Nodes may have been silent to each other that both went on. */
  get cut(): boolean {
    return this.plan.kinds.has('cuts') || this.#garbled;
  }

  /** Of what passes between two nodes so much is damaged that nothing may get through for longer than failureTimeout: as good as a cut. */
  set garbled(yes: true) {
    this.#garbled = yes;
  }

  set sourceStalled(yes: true) {
    this.#sourceStalled = yes;
    this.branches.sourceStalls();
  }

  get all(): Machine[] {
    return [...this.machines.values()];
  }

  machine(name: string): Machine {
    const m = this.machines.get(name);
    if (m === undefined) throw new Error(`no machine ${name}`);
    return m;
  }

  get serving(): Machine[] {
    return this.all.filter((m) => m.inService && m.sim.state === 'running');
  }

  say(line: string): void {
    const text = `${this.world.now().toFixed(1).padStart(9)} ${line}`;
    this.story.push(text);
    if (this.story.length > 400) this.story.shift();
    this.#verbose?.(text);
  }

  count(what: string, n = 1): void {
    this.counts.set(what, (this.counts.get(what) ?? 0) + n);
  }

  checked(promise: string): void {
    this.checks.set(promise, (this.checks.get(promise) ?? 0) + 1);
  }

  violated(promise: string, what: string): void {
    if (this.violation !== undefined) return;
    this.violation = new Violation(promise, what);
    this.say(`VIOLATION ${promise}: ${what}`);
    for (const f of this.#onViolation) f();
  }

  /** Resolves at the first violation. */
  untilViolated(): Promise<void> {
    return new Promise((resolve) => {
      if (this.violation !== undefined) resolve();
      else this.#onViolation.push(resolve);
    });
  }

  heard(m: Machine, level: string, message: string, fields: Record<string, unknown>): void {
    const rule = typeof fields['rule'] === 'string' ? fields['rule'] : undefined;
    if (message === 'decision') {
      m.decided += 1;
      this.count(`decide ${String(rule)}`);
    } else if (message === 'compared with a target') {
      this.count(`compare ${String(rule)}/${String(fields['kind'])}`);
      if (/waits no longer|the wait for it ended/u.test(String(fields['why']))) this.count('waits for a previous source that ended');
    }
    if (fields['event'] === 'in-sync' && typeof fields['node'] === 'string') m.leftOut.joined(fields['node']);
    if (rule === 'split-brain' && !this.apart && !this.forced) {
      this.violated('M10', `${m.name} sees a split brain that can't be: ${message} ${JSON.stringify(fields)}`);
    }
    if (level === 'error') this.count(`said: ${message.slice(0, 60)}`);
    this.say(`${m.name} ${level} ${message} ${JSON.stringify(fields)}`);
  }

  wentInService(m: Machine): void {
    this.count('went in service');
    this.checked('M7');
    if (m.beforeServing !== undefined && m.beforeServing.resyncingFrom !== null && !m.forcing) {
      this.violated('M7', `${m.name} went in service, and its record said that its resync from ${m.beforeServing.resyncingFrom.node} was cut short`);
    }
    this.branches.wentInService(m);
  }

  /** M9: without a cut network no older epoch is answered in once a newer one was. */
  answered(m: Machine, epoch: number, key: string): void {
    this.checked('M9');
    if (epoch < this.#highestAnswered && !this.apart) {
      if (this.branches.of(m)?.mayNotKnow === true) this.#highestAnswered = epoch;
      else this.violated('M9', `${m.name} answers in epoch ${key} after epoch ${String(this.#highestAnswered)} was answered in`);
    }
    this.#highestAnswered = Math.max(this.#highestAnswered, epoch);
  }

  legOf(m: Machine): Uint8Array {
    const bytes = m.sim.peek(LEG, 0, this.plan.sizeBytes);
    if (bytes === undefined) throw new Error(`${m.name} has no leg`);
    return bytes;
  }
}
