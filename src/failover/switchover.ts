/**
 * Moves the source to another node (design.md, "Switchover"), without losing an acknowledged write and without two writers.
 *
 *   old source                                             new source
 *   entrance closed, requests in hand answered
 *   every leg flushed, no mark left
 *   grant durable; is the new one alive?
 *   stopped: clients get ESHUTDOWN
 *   the grant on its way ----------- switchover.take ----> grant durable
 *   accepts the epoch, durably <---- claim --------------- epoch + 1, told to all who can be reached
 *                                                          last_owner, served durable, in service
 *   last_owner goes, becomes target <- session.open ------ joins all others
 *
 * Until it stops, the old source is a source as any other: whatever is lost by then, it goes on or somebody takes over. After
 * that it stays out until it has heard the new one, while the new one goes in service on the grant, also alone; and whoever of
 * the two is first accepted by the other makes the grant void. Targets are not told to wait, so that they take over from a
 * source that dies in the middle. Only the loss of the new source between its last sign of life and its answer leaves the
 * mirror out of service, until it can be heard: it may have served.
 */
import { ClusterCode, ClusterError } from '../cluster/errors.ts';
import { exists } from '../io/atomic-file.ts';
import { IoError } from '../io/types.ts';
import type { Claims } from './claim.ts';
import type { NodeContext } from './context.ts';
import { decideSwitchover, type SwitchoverDecision, type SwitchoverFacts, type TargetFacts } from './decide-switchover.ts';
import { isHigher, isSame } from './epoch.ts';
import { grantGiven, grantHeld, grantRefusal, sameGrant } from './grant.ts';
import type { Mutex } from './mutex.ts';
import { attachRecordPath } from './paths.ts';
import { takeAnswerSchema } from './protocol.ts';
import { boundedWhy } from './record.ts';
import type { SourceRole } from './source.ts';
import type { Decision, Facts, Grant, NodeName } from './types.ts';
import { DRAIN_MAX } from './within.ts';

/** How long the new source tries to go in service: somebody who has just died is waited for until it is silent. */
const TAKE_MAX = 3;
/** How long the old source waits for its answer: a claim and a first connection to the targets come on top. */
const ANSWER_MAX = 10;

/** What a switchover needs of the node. */
export interface SwitchoverNode extends NodeContext {
  readonly source: SourceRole | undefined;
  readonly inService: boolean;
  readonly stopped: boolean;
  facts(command: Facts['command'], claiming: boolean): Facts;
  leaveService(clean: boolean, dropOwnership: boolean, handedOver: boolean): Promise<void>;
  goInService(command: Facts['command']): Promise<Decision>;
}

export type TakeAnswer = { taken: boolean; why: string };

/** Errors after which it is certain that the other node has not carried anything out. */
const NOT_DONE: readonly string[] = [
  ClusterCode.UNREACHABLE,
  ClusterCode.BUSY,
  ClusterCode.TOO_LARGE,
  ClusterCode.NO_METHOD,
  ClusterCode.INVALID_PARAMS,
  ClusterCode.UNKNOWN_NODE,
  'no-mirror',
  'unusable',
];

export class Switchovers {
  readonly #n: SwitchoverNode;
  readonly #claims: Claims;
  /** One change of role at a time. */
  readonly #roles: Mutex;
  #preparing = false;
  /** A grant that was not sent, and that the disk has not let go of yet. */
  #unsent: Grant | undefined;
  #underWay = false;

  constructor(n: SwitchoverNode, claims: Claims, roles: Mutex) {
    this.#n = n;
    this.#claims = claims;
    this.#roles = roles;
  }

  /** This node hands the mirror over just now: it decides nothing by itself until that has ended. */
  get underWay(): boolean {
    return this.#underWay;
  }

  /** A change of role is being carried out, or this node hands the mirror over. May be otherwise whenever something was waited for. */
  roleIsHeld(): boolean {
    return this.#roles.busy || this.#underWay;
  }

  /** Why nothing else may begin, for people; null: no switchover is under way. It is from the moment that hooks are told. */
  get busy(): string | null {
    return this.#preparing || this.#underWay ? `a switchover of ${this.#n.tag} is under way` : null;
  }

  /** Whatever changes the role of this node, or must not meet a change of it, is being carried out. */
  get waits(): boolean {
    return this.#roles.busy;
  }

  decide(to: NodeName): SwitchoverDecision {
    return decideSwitchover({ facts: this.#n.facts({ kind: 'none' }, false), to, source: this.sourceFacts() });
  }

  /** Null: this node is not the source. */
  sourceFacts(): SwitchoverFacts['source'] {
    const { source } = this.#n;
    if (source === undefined) return null;
    const targets: Record<NodeName, TargetFacts> = {};
    for (const l of source.links.values())
      targets[l.node] = { foreign: l.foreign, inSync: l.leg.phase === 'in-sync' && l.joined, problem: l.problem };
    return { targets, localLeg: source.device.local.state, suspendedFor: source.device.suspension?.reasons ?? [] };
  }

  /** Whether a block device is attached here, by the record that `netraid attach` keeps. */
  async attached(): Promise<boolean> {
    const { env, tag } = this.#n;
    return await exists(env.io.files, attachRecordPath(env.root, tag));
  }

  // ---------------------------------------------------------------------------------------------- the old source

  /** Resolves when the other node is in service. Rejects with ClusterError: one line that says where the mirror is now. */
  async handOver(to: NodeName): Promise<void> {
    const { env, tag } = this.#n;
    if (this.busy !== null) throw new ClusterError('refused', this.busy);
    this.#preparing = true;
    try {
      const d = this.decide(to);
      if (d.action === 'refuse') throw new ClusterError('refused', `${d.why} (rule ${d.rule})`);
      // An operator's programs have ended before anything moves, and may have taken away what is attached here.
      const facts = { rule: d.rule, peer: to, why: `the mirror is handed over to ${to}` };
      await env.hooks.before('out-of-service', tag, facts);
      try {
        await this.#handOver(to);
      } finally {
        if (this.#n.inService) env.hooks.abandoned(tag, { ...facts, why: `the mirror was not handed over to ${to}` });
      }
    } finally {
      this.#preparing = false;
    }
  }

  async #handOver(to: NodeName): Promise<void> {
    this.#underWay = true;
    let refused: string;
    try {
      const { grant, answered } = await this.#roles.run(() => this.#release(to));
      const answer = await answered;
      if (answer instanceof ClusterError) throw answer;
      if (answer.taken) {
        await this.#roles.run(() => this.#gone(grant));
        return;
      }
      await this.#withdraw(grant);
      refused = answer.why;
    } finally {
      this.#underWay = false;
    }
    const d = await this.#n.goInService({ kind: 'in-service' });
    const { self } = this.#n.env;
    const now = this.#n.inService ? `${self} is in service again` : `${self} is out of service: ${d.why} (rule ${d.rule})`;
    throw new ClusterError('refused', `${to} did not take ${this.#n.tag} over: ${refused}; ${now}`);
  }

  /** Until the grant is on its way this node is the source, and goes on as before when anything is in the way. */
  async #release(to: NodeName): Promise<{ grant: Grant; answered: Promise<TakeAnswer | ClusterError> }> {
    const d = this.decide(to);
    const { source } = this.#n;
    if (d.action === 'refuse' || source === undefined) throw new ClusterError('refused', `${d.why} (rule ${d.rule})`);
    if (await this.attached()) {
      const { self } = this.#n.env;
      throw new ClusterError('refused', `a block device of ${this.#n.tag} is attached on ${self}: run this there with --detach, or detach it first`);
    }
    const before = this.#unsent;
    if (before !== undefined) await this.#withdraw(before);
    this.#unsent = undefined;
    let grant: Grant | undefined;
    try {
      grant = await this.#drained(source, to);
      const given = grant;
      await this.#n.store.update((r) => ({ ...r, grant: given }));
      await this.#answersNow(source, given);
    } catch (e: unknown) {
      // Nobody has heard of it. As long as it is written here, this node would wait for the other one after a crash.
      if (grant !== undefined) await this.#withdrawWhenPossible(source, grant);
      source.device.openEntrance('switchover');
      throw e;
    }
    source.cease();
    // Already on its way while this node takes leave of its clients: the sooner it is known there, the less a crash can leave open.
    const answered = this.#offer(grant);
    await this.#n.leaveService(true, false, true);
    return { grant, answered };
  }

  /** It is alive just now and would take the grant: whatever it holds against it is said while this node can still go on. */
  async #answersNow(source: SourceRole, grant: Grant): Promise<void> {
    const view = await this.#n.askView(grant.to, source.timeoutMs);
    const not = view === null ? 'it does not know the mirror' : grantRefusal(view.record, grant);
    if (not !== null) throw new ClusterError('refused', `${grant.to} can not take the mirror over: ${not}`);
    const again = this.decide(grant.to);
    if (again.action === 'refuse' || source.stopped || source.device.stopped) throw new ClusterError('refused', `${again.why} (rule ${again.rule})`);
    // What the grant says of the others may have changed since: a difference found, one that left, a pause.
    const changed = [...source.links.values()].find(
      (l) => grant.synced.includes(l.node) && (l.leg.phase !== 'in-sync' || !l.joined || source.marks.outOfSync(l.node).count > 0),
    );
    if (changed !== undefined) throw new ClusterError('refused', `${changed.node} is no longer in sync`);
    if (this.#n.record().paused.join() !== grant.paused.join()) throw new ClusterError('refused', 'a target was paused or resumed just now');
  }

  /** Certain that nobody acts on it. */
  async #withdraw(grant: Grant): Promise<void> {
    await this.#n.store.update((r) => (sameGrant(r.grant, grant) ? { ...r, grant: null } : r));
  }

  /** Resolves after the first attempt; while the disk refuses, it is tried again as long as the source goes on, or until another attempt does it. */
  async #withdrawWhenPossible(source: SourceRole, grant: Grant): Promise<void> {
    const { env, tag } = this.#n;
    this.#unsent = grant;
    try {
      await this.#withdraw(grant);
      if (this.#unsent === grant) this.#unsent = undefined;
    } catch (e: unknown) {
      if (!(e instanceof IoError)) throw e;
      env.log.warn('a grant that was not sent can not be taken back yet', { tag, to: grant.to, error: e.message });
      env.io.clock.after(source.retryMs, () => {
        if (!source.stopped && this.#unsent === grant) void this.#withdrawWhenPossible(source, grant);
      });
    }
  }

  /** Nothing more is admitted, nothing is in hand, and every leg has everything durably. */
  async #drained(source: SourceRole, to: NodeName): Promise<Grant> {
    const { device } = source;
    const before = [...source.links.values()].filter((l) => l.leg.phase === 'in-sync' && l.joined && !l.foreign);
    const sessions = new Map(before.map((l) => [l.node, l.leg.session]));
    const refuse = (why: string): never => {
      throw new ClusterError('refused', why);
    };
    if (!(await source.within(device.closeEntrance('switchover'), source.timeoutMs * DRAIN_MAX)))
      refuse('the requests in hand were not answered in time');
    // What the first proof brings to an async target out of its queue, the second one covers.
    if (!(await this.#proven(source)) || (source.marks.intent.markedRegions > 0 && !(await this.#proven(source))))
      refuse('not every leg could be flushed');
    if (!(await source.marks.durable())) refuse('the bitmap file can not be written');
    const leaving = [...source.links.values()].find((l) => l.leg.phase === 'leaving');
    if (leaving !== undefined) refuse(`${leaving.node} is leaving the mirror just now`);
    if (source.marks.intent.markedRegions > 0) refuse('not all that was written is proven to be on every leg');
    const r = this.#n.record();
    const synced = before.filter(
      ({ node, leg }) =>
        leg.phase === 'in-sync' &&
        leg.session === sessions.get(node) &&
        (leg.queue?.outstandingWrites ?? 0) === 0 &&
        source.marks.outOfSync(node).count === 0 &&
        r.inSync.includes(node),
    );
    if (!synced.some((l) => l.node === to)) refuse(`${to} is no longer in sync`);
    return { epoch: source.epoch, from: this.#n.env.self, to, synced: [this.#n.env.self, ...synced.map((l) => l.node)], paused: r.paused };
  }

  async #proven(source: SourceRole): Promise<boolean> {
    let proven = false as boolean;
    const proof = source.prover.prove().then((all) => {
      proven = all;
    });
    await source.within(proof, source.timeoutMs * DRAIN_MAX);
    if (!(await source.within(source.inherited, source.timeoutMs * DRAIN_MAX))) return false;
    if (proven) source.marks.collect(false);
    return proven;
  }

  /** What the other node made of it. An error when that is not known: then only its word can bring this node back in service. */
  async #offer(grant: Grant): Promise<TakeAnswer | ClusterError> {
    const { env, tag } = this.#n;
    const timeoutMs = this.#n.record().definition.failureTimeoutMs * ANSWER_MAX;
    try {
      const answer = takeAnswerSchema.safeParse(await env.cluster.request(grant.to, 'switchover.take', { tag, grant }, timeoutMs));
      if (answer.success) return answer.data;
      throw new ClusterError('bad-answer', `an answer that can not be read: ${answer.error.issues[0]?.message ?? ''}`);
    } catch (e: unknown) {
      if (!(e instanceof ClusterError)) throw e;
      if (NOT_DONE.includes(e.code)) return { taken: false, why: e.message };
      return new ClusterError(
        'refused',
        `${tag} was handed over to ${grant.to}, and it is not known whether ${grant.to} took it over (${e.message}); ${env.self} stays out until ${grant.to} can be heard`,
      );
    }
  }

  /** The other one serves. Its first session has taken the flag away already, unless it has not come yet. */
  async #gone(grant: Grant): Promise<void> {
    if (this.#n.inService || grantGiven(this.#n.record()) === null) return;
    await this.#n.own.setLastOwner(false);
    await this.#n.own.setSource(grant.to);
  }

  // ---------------------------------------------------------------------------------------------- the new source

  /** `taken: false` is said only when it is durable here that the grant means nothing any more. */
  async take(peer: NodeName, grant: Grant): Promise<TakeAnswer> {
    const answer = await this.#roles.run(() => this.#take(peer, grant));
    const { source } = this.#n;
    if (!answer.taken || source === undefined) return { taken: answer.taken, why: boundedWhy(answer.why) };
    // Whoever asked for it finds everybody in sync again, unless somebody has gone meanwhile.
    const joined = (): boolean => source.stopped || grant.synced.every((n) => source.links.get(n)?.joined !== false);
    await source.changes.until(joined, () => this.#n.env.io.clock.now(), source.timeoutMs);
    return answer;
  }

  async #take(peer: NodeName, grant: Grant): Promise<TakeAnswer> {
    const n = this.#n;
    const not = n.stopped ? 'it is stopping' : peer !== grant.from ? `${peer} speaks for ${grant.from}` : n.inService ? 'it is in service' : null;
    if (not !== null) return { taken: false, why: not };
    let refusal = null as string | null;
    await n.store.update((r) => {
      refusal = grantRefusal(r, grant);
      return refusal === null ? { ...r, grant } : r;
    });
    if (refusal !== null) return { taken: false, why: refusal };
    const why = await this.#goInService();
    if (n.inService && isSame(n.record().epochServed, n.source?.epoch ?? null)) return { taken: true, why: '' };
    // Once served, even if it could not go on from there, only the records can say who is first.
    if (isHigher(n.record().epochServed, grant.epoch)) throw new ClusterError('io', why);
    await n.store.update((r) => (sameGrant(r.grant, grant) ? { ...r, grant: null } : r));
    return { taken: false, why };
  }

  /** Tries for a while; why it did not come about. */
  async #goInService(): Promise<string> {
    const n = this.#n;
    const { clock } = n.env.io;
    const { failureTimeoutMs } = n.record().definition;
    const end = clock.now() + failureTimeoutMs * TAKE_MAX;
    let why = 'the grant is void';
    while (!n.stopped && grantHeld(n.record()) !== null) {
      try {
        await this.#claims.askAll();
        const d = await this.#claims.run({ kind: 'in-service' });
        why = `${d.why} (rule ${d.rule})`;
      } catch (e: unknown) {
        if (!(e instanceof Error)) throw e;
        n.env.log.warn('could not go in service on a grant', { tag: n.tag, error: e.message });
        why = e.message;
      }
      if (n.inService || clock.now() >= end) break;
      await new Promise<void>((resolve) => {
        clock.after(failureTimeoutMs / 5, resolve);
      });
    }
    return why;
  }
}
