/**
 * The smallest world around `compare`, `decide` and the record changes that ship: what each event leaves on disk, and nothing else.
 *
 *   event -> time passes: every node in turn serves, drops, claims, opens sessions, until nothing changes -> invariants
 *
 * Data is a set of writes, each to a region of its own, as a bit mask; so are the marks. A write is one step on all legs;
 * only `torn` leaves a write on some of them. Silence is longer than failureTimeout as soon as a node cannot be heard.
 * A resync runs from one event to another (`resynced`), and until then the target counts as inconsistent.
 */
import { compare } from '../../../src/failover/compare.ts';
import { decide } from '../../../src/failover/decide.ts';
import {
  fullyMarked,
  generationCommitted,
  generationOffered,
  membershipOf,
  membershipTaken,
  targetJoined,
  targetLeft,
  termsUnited,
} from '../../../src/failover/membership.ts';
import { enteringAccount, planMerge } from '../../../src/failover/merge.ts';
import type { Decision, Epoch, Facts, NodeName, NodeView, StateRecord } from '../../../src/failover/types.ts';
import { type Event, type Host, hostInSync, hostKey, hostText } from './host.ts';
import { judge, overwritten, type Scene } from './judge.ts';
import { epochOf, gen, TIMEOUT_MS } from './views.ts';

const ALL = 0xffff;
const ROUNDS_MAX = 30;

export class World implements Scene {
  readonly names: readonly NodeName[];
  hosts: Record<NodeName, Host>;
  cuts: readonly string[];
  writes: number;
  acknowledged: number;
  generations: number;
  parted: boolean;
  forcedAlone: boolean;
  givenUp: number;
  readonly violations: string[] = [];
  /** Seen after the last event. */
  splitBrains = 0;
  sources = 0;

  private constructor(
    names: readonly NodeName[],
    o: Pick<World, 'hosts' | 'cuts' | 'writes' | 'acknowledged' | 'generations' | 'parted' | 'forcedAlone' | 'givenUp'>,
  ) {
    this.names = names;
    this.hosts = o.hosts;
    this.cuts = o.cuts;
    this.writes = o.writes;
    this.acknowledged = o.acknowledged;
    this.generations = o.generations;
    this.parted = o.parted;
    this.forcedAlone = o.forcedAlone;
    this.givenUp = o.givenUp;
  }

  /** All in sync with the first, which has written once. */
  static inSync(names: readonly NodeName[]): World {
    const hosts = Object.fromEntries(names.map((n) => [n, hostInSync(n, names)]));
    return new World(names, { hosts, cuts: [], writes: 1, acknowledged: 1, generations: 1, parted: false, forcedAlone: false, givenUp: 0 });
  }

  copy(): World {
    const hosts = Object.fromEntries(this.names.map((n) => [n, { ...this.host(n), oos: { ...this.host(n).oos }, links: { ...this.host(n).links } }]));
    const { cuts, writes, acknowledged, generations, parted, forcedAlone, givenUp } = this;
    return new World(this.names, { hosts, cuts, writes, acknowledged, generations, parted, forcedAlone, givenUp });
  }

  /** Equal for worlds that behave alike. */
  get key(): string {
    const { cuts, writes, acknowledged, generations, parted, forcedAlone, givenUp } = this;
    const rest = [cuts.join(), writes, acknowledged, generations, parted, forcedAlone, givenUp].join(' ');
    return [rest, ...this.names.map((n) => hostKey(this.host(n)))].join('\n');
  }

  host(n: NodeName): Host {
    const h = this.hosts[n];
    if (h === undefined) throw new Error(`no node ${n}`);
    return h;
  }

  hear(a: NodeName, b: NodeName): boolean {
    return this.host(a).up && this.host(b).up && !this.cuts.includes([a, b].sort().join('-'));
  }

  #others(n: NodeName): NodeName[] {
    return this.names.filter((x) => x !== n);
  }

  #reachable(n: NodeName): NodeName[] {
    return this.#others(n).filter((x) => this.hear(n, x));
  }

  /** One count a link: what the daemon says of itself. */
  view(n: NodeName): NodeView {
    const h = this.host(n);
    const silent = h.heard.map((x): [NodeName, number] => [x, this.hear(n, x) ? 10 : 5 * TIMEOUT_MS]);
    return {
      node: n,
      record: h.record,
      flags: { lastOwner: h.lastOwner, source: h.source, dataCorrupt: h.corrupt },
      state: h.serving ? 'Source' : 'Waiting',
      inService: h.serving,
      bitmapDamaged: false,
      legDoubtful: false,
      intentBytes: h.intent,
      outOfSyncBytes: h.oos,
      daemonStart: '1',
      contactWithSource: h.contact,
      silentForMs: Object.fromEntries(silent),
    };
  }

  #decide(n: NodeName, command: Facts['command'], claiming: boolean): Decision {
    const peers = Object.fromEntries(this.#reachable(n).map((x) => [x, { view: this.view(x), silentForMs: 10 }]));
    return decide({ self: this.view(n), peers, failureTimeoutMs: TIMEOUT_MS, upForMs: 60_000, command, majority: null, claiming });
  }

  /** What the node would do by itself now. */
  decides(n: NodeName): Decision {
    return this.#decide(n, { kind: 'none' }, false);
  }

  /** Carries the event out, lets time pass, and looks at what must hold. */
  apply(e: Event): void {
    const crashes = e.kind === 'crash' || e.kind === 'torn' || e.kind === 'torn-on-target';
    const lastsAlone = crashes && this.#mustBeSurvived(e.node);
    if ('a' in e) {
      const link = `${e.a}-${e.b}`;
      this.cuts = e.kind === 'cut' ? [...this.cuts, link].sort() : this.cuts.filter((c) => c !== link);
      this.parted ||= e.kind === 'cut';
    } else if (e.kind === 'crash') this.#crash(e.node);
    else if (e.kind === 'return') this.host(e.node).up = true;
    else if (e.kind === 'resynced') this.#resynced(e.node, e.target);
    else if (e.kind === 'force') this.#force(e.node);
    else {
      this.#write(e.node, e.kind);
      if (e.kind !== 'write') this.#crash(e.node);
    }
    this.#settle();
    const { violations, sources, splitBrains } = judge(this);
    this.violations.push(...violations);
    this.sources = sources;
    this.splitBrains = splitBrains;
    if (lastsAlone && !this.names.some((n) => this.host(n).serving))
      this.violations.push('M12: the source was lost, a node in sync was left, and nobody serves');
  }

  /** The only source dies while a node in sync hears everybody who is up. */
  #mustBeSurvived(n: NodeName): boolean {
    const h = this.host(n);
    if (!h.serving || this.cuts.length > 0 || this.parted || this.forcedAlone || this.givenUp !== 0) return false;
    return this.#reachable(n).some((x) => h.links[x] === 'in-sync' && this.host(x).contact);
  }

  #crash(n: NodeName): void {
    Object.assign(this.host(n), { up: false, serving: false, contact: false, heard: [], generationDue: false, links: {} });
  }

  #force(n: NodeName): void {
    const d = this.#decide(n, { kind: 'force', withoutLastOwner: true }, false);
    if (d.action !== 'go-in-service') return;
    this.forcedAlone ||= this.#reachable(n).length < this.#others(n).length;
    this.givenUp |= this.acknowledged & ~this.host(n).data;
    this.#claim(n, { kind: 'force', withoutLastOwner: true });
    if (this.host(n).serving) this.#commit(n);
  }

  #commit(s: NodeName): void {
    const h = this.host(s);
    this.generations += 1;
    h.record = generationCommitted(generationOffered(h.record, gen(this.generations)), gen(this.generations));
    h.generationDue = false;
    this.#tellMembers(s);
  }

  #tellMembers(s: NodeName): void {
    const h = this.host(s);
    const epoch = h.record.epochServed;
    if (epoch === null) throw new Error(`${s} serves without an epoch`);
    for (const [x, state] of Object.entries(h.links)) {
      if (state !== 'in-sync' || !this.hear(s, x)) continue;
      const t = this.host(x);
      t.record = membershipTaken(t.record, membershipOf(h.record), epoch);
    }
  }

  #write(s: NodeName, kind: 'write' | 'torn' | 'torn-on-target'): void {
    const h = this.host(s);
    if (h.generationDue) this.#commit(s);
    const bit = 1 << this.writes;
    this.writes += 1;
    for (const x of this.#others(s)) {
      const state = h.links[x];
      const t = this.host(x);
      if (state !== 'in-sync') h.oos[x] = (h.oos[x] ?? 0) | bit;
      if (state !== undefined && kind !== 'torn') t.data |= bit;
    }
    if (kind !== 'torn-on-target') h.data |= bit;
    if (kind === 'write') this.acknowledged |= bit;
    else h.intent |= bit;
  }

  #settle(): void {
    for (let round = 0; round < ROUNDS_MAX; round += 1) {
      const before = this.key;
      for (const n of this.names) this.#listen(n);
      for (const n of this.names) if (this.host(n).up) this.#step(n);
      if (this.key === before) return;
    }
    this.violations.push('M14: the nodes do not come to rest');
  }

  #listen(n: NodeName): void {
    const h = this.host(n);
    const now = this.#reachable(n);
    h.heard = this.#others(n).filter((x) => h.heard.includes(x) || now.includes(x));
    const owner = h.record.epochInSync?.owner;
    if (owner !== undefined && now.includes(owner) && !h.serving) h.contact = true;
  }

  #step(n: NodeName): void {
    const h = this.host(n);
    const d = this.decides(n);
    if (d.setFlags?.dataCorrupt !== undefined && d.action !== 'go-in-service') {
      h.corrupt = d.setFlags.dataCorrupt;
      if (h.corrupt) h.record = { ...h.record, dataCorruptSet: true };
    }
    if (d.setFlags?.lastOwner === false) h.lastOwner = false;
    if (d.epochSeen !== undefined && (d.action === 'stay-out' || d.action === 'demote')) h.record = { ...h.record, epochSeen: d.epochSeen };
    if (h.serving && d.action !== 'stay-in-service') {
      h.serving = false;
      h.links = {};
      h.generationDue = false;
      return;
    }
    if (h.serving) {
      this.#dropSilent(n);
      for (const x of this.#reachable(n)) if (h.links[x] === undefined) this.#open(n, x);
    } else if (d.action === 'go-in-service') this.#claim(n, { kind: 'none' });
  }

  #dropSilent(s: NodeName): void {
    const h = this.host(s);
    for (const x of Object.keys(h.links)) {
      const t = this.host(x);
      const alive = this.hear(s, x) && !t.serving && t.record.epochSeen?.random === h.record.epochServed?.random;
      if (alive) continue;
      const wasIn = h.links[x] === 'in-sync';
      h.links = Object.fromEntries(Object.entries(h.links).filter(([y]) => y !== x));
      h.record = targetLeft(h.record, x, { confirmed: false, foreign: false });
      if (wasIn) h.generationDue = true;
    }
  }

  #claim(n: NodeName, command: Facts['command']): void {
    const h = this.host(n);
    const before = h.record;
    const near = this.#reachable(n);
    const known = [n, ...near].map((x) => this.host(x).record.epochSeen?.number ?? 0);
    const number = Math.max(...known) + 1;
    const epoch = epochOf(`${'ABC'.charAt(this.names.indexOf(n))}${String(number)}`);
    if (epoch === null) throw new Error('no epoch');
    h.record = { ...before, epochSeen: epoch, claim: epoch, keepOut: false };
    for (const x of near) {
      const t = this.host(x);
      if (t.serving) continue;
      t.record = { ...t.record, epochSeen: epoch, inSync: [] };
    }
    const d = this.#decide(n, command, true);
    if (d.action !== 'go-in-service') {
      h.record = { ...h.record, claim: null };
      return;
    }
    this.#serve(n, before, epoch, near);
  }

  #serve(n: NodeName, before: StateRecord, epoch: Epoch, confirmed: readonly NodeName[]): void {
    const h = this.host(n);
    const entering = enteringAccount(before, confirmed);
    const left = entering.inSync.filter((m) => m !== n);
    h.record = {
      ...h.record,
      ...entering,
      inSync: [n],
      droppedUnconfirmed: [...new Set([...entering.droppedUnconfirmed, ...left.filter((m) => !confirmed.includes(m))])],
      absentPeers: { ...entering.absentPeers, ...Object.fromEntries(left.map((m) => [m, before.generation])) },
      epochServed: epoch,
      epochInSync: epoch,
      terms: termsUnited([epoch.random], before.terms),
      claim: null,
      toldOut: null,
      legBehind: null,
      resyncingFrom: null,
      dataCorruptSet: false,
      session: { role: 'source', clean: false },
    };
    Object.assign(h, { lastOwner: true, corrupt: false, serving: true, contact: false, generationDue: true, links: {} });
    for (const x of this.#others(n)) h.oos[x] = (h.oos[x] ?? 0) | h.intent;
    h.intent = 0;
  }

  /** A source meets a node: compared, merged, marked; then the session, durable on the target. */
  #open(s: NodeName, x: NodeName): void {
    const [h, t] = [this.host(s), this.host(x)];
    const epoch = h.record.epochServed;
    const seen = t.record.epochSeen;
    // M9: the target refuses a session of an epoch that is over, or another owner's.
    if (t.serving || epoch === null || (seen !== null && seen.number >= epoch.number && seen.random !== epoch.random)) return;
    const c = compare(this.view(s), this.view(x), { ended: false });
    if (c.kind === 'wait' || c.kind === 'refuse') return;
    if (c.direction !== null && c.direction.from !== s) {
      this.violations.push(`${c.rule}: a node in service is to be overwritten`);
      return;
    }
    this.violations.push(...overwritten(this, s, x));
    if (h.record.mergePending.some((m) => m.from === x)) this.#merge(s, x);
    if (c.kind === 'full') {
      h.oos[x] = ALL;
      h.record = fullyMarked(h.record, x);
    }
    for (const m of c.kind === 'partial' ? (c.marks ?? []) : []) {
      const of = this.host(m.of);
      h.oos[x] = (h.oos[x] ?? 0) | (m.map === 'intent' ? of.intent : (of.oos[m.for] ?? 0));
    }
    const uncovered = (h.data ^ t.data) & ~(h.oos[x] ?? 0);
    if (uncovered !== 0) this.violations.push(`M5: ${c.rule}/${c.kind}: ${s} and ${x} differ in what no mark covers (${uncovered.toString(2)})`);
    const resync = h.oos[x] !== 0;
    const cut = { node: s, kind: c.kind === 'full' ? ('full' as const) : ('partial' as const), generation: h.record.generation };
    t.record = {
      ...t.record,
      epochSeen: epoch,
      sessionIn: epoch,
      session: { role: 'target', clean: false },
      resyncingFrom: resync ? cut : t.record.resyncingFrom,
      inSync: resync ? t.record.inSync.filter((m) => m !== x) : t.record.inSync,
    };
    t.lastOwner = false;
    t.source = s;
    h.links[x] = 'resync';
    if (h.record.inSync.includes(x) || h.record.droppedUnconfirmed.includes(x)) {
      h.record = targetLeft(h.record, x, { confirmed: true, foreign: false });
      h.generationDue = true;
    }
    if (!resync) this.#resynced(s, x);
  }

  #merge(s: NodeName, p: NodeName): void {
    const [h, t] = [this.host(s), this.host(p)];
    const plan = planMerge(this.view(s), this.view(p));
    for (const { into, from } of plan.operations) {
      const of = this.host(from.node);
      const x = into.slice('oos:'.length);
      h.oos[x] = (h.oos[x] ?? 0) | (from.map === 'intent' ? of.intent : (of.oos[from.map.slice('oos:'.length)] ?? 0));
    }
    h.record = { ...h.record, mergePending: plan.mergePending, accountComplete: plan.accountComplete };
    if (plan.operations.length > 0) h.record = { ...h.record, terms: termsUnited(h.record.terms, t.record.terms) };
    if (plan.operations.length > 0) t.record = { ...t.record, accountGivenTo: s };
  }

  /** Every marked region is copied, proven and joined. */
  #resynced(s: NodeName, x: NodeName): void {
    const [h, t] = [this.host(s), this.host(x)];
    const epoch = h.record.epochServed;
    if (epoch === null) return;
    const marks = h.oos[x] ?? 0;
    t.data = (t.data & ~marks) | (h.data & marks);
    h.oos[x] = 0;
    h.record = targetJoined(h.record, x, false);
    h.links[x] = 'in-sync';
    t.record = {
      ...membershipTaken(t.record, membershipOf(h.record), epoch),
      resyncingFrom: null,
      toldOut: null,
      legBehind: null,
      accountComplete: [],
      accountGivenTo: null,
      mergePending: [],
      claim: null,
      dataCorruptSet: false,
    };
    Object.assign(t, { corrupt: false, intent: 0, oos: Object.fromEntries(this.#others(x).map((n) => [n, 0])), contact: true });
    this.#tellMembers(s);
  }

  /** For the one who reads a violation. */
  describe(): string {
    return this.names.map((n) => hostText(n, this.host(n))).join('\n');
  }
}
