/**
 * What people may ask of a daemon, carried out. Each action refuses before it changes anything, with one line that says
 * what, where, and what is allowed.
 */
import { automaticRegionBytes, isRegionSize } from '../bitmap/regions.ts';
import { deleteCheckpoint, makeCheckpoint } from '../failover/checkpoint-commands.ts';
import { seededByWord } from '../failover/membership.ts';
import { askHeard, lookAfresh } from '../failover/fresh-views.ts';
import { Mutex } from '../failover/mutex.ts';
import type { MirrorNode } from '../failover/node.ts';
import { validateTag } from '../failover/paths.ts';
import { whileServingNothing } from '../failover/serving-nothing.ts';
import { orderFullResync } from '../failover/resolve.ts';
import { sectorsSaid } from '../failover/sectors.ts';
import type { SourceRole } from '../failover/source.ts';
import type { TargetLink } from '../failover/target-link.ts';
import type { Facts, MirrorDefinition, NodeName } from '../failover/types.ts';
import { PAUSED_WHY } from '../failover/views.ts';
import { VerifyRuns } from './verify-runs.ts';
import { explain } from './explain.ts';
import { confirmFailover, failoverSettings, setFailover } from './failover-settings.ts';
import { confirmedOver } from './full-resync.ts';
import { prepareFirstLeg } from './leg-size.ts';
import { servingElsewhere } from './elsewhere.ts';
import { forgetElsewhere } from './forget.ts';
import { preview } from './preview.ts';
import { previewOfMove, resolveSplitBrain, switchover } from './switchover.ts';
import type { Daemon } from './daemon.ts';
import { previewOfResize, resizeMirror } from './resize.ts';
import { refuseOldSize } from './resized-elsewhere.ts';
import { parseParams } from './schemas.ts';
import { asControlError, refusal } from './action-errors.ts';
import { createSnapshot, deleteSnapshot } from './snapshots.ts';
import { checkpointsStatus, mirrorStatus, nodeInfo } from './status.ts';
import { addTarget, asSource, linkOf, refuseLastCopy, removeTarget, replaceLeg, sourceOf } from './targets.ts';
import { type ActionName, type Actions, type ControlClient, ControlError, type ControlEvent, type MirrorStatus } from './types.ts';
import { whatIf } from './what-if.ts';

export interface ActionDefaults {
  version: string;
  /** null: by the device's size. */
  regionBytes: number | null;
  waitForPreviousSourceSec: number;
}

type Handlers = { [A in ActionName]: (p: Actions[A]['params']) => Promise<Actions[A]['result']> };

export class DaemonControl implements ControlClient {
  readonly #d: Daemon;
  readonly #defaults: ActionDefaults;
  /** One at a time of those that change which mirrors and nodes there are: each refuses on what it sees, and then changes it. */
  readonly #changing = new Mutex();
  readonly #verifies: VerifyRuns;

  constructor(daemon: Daemon, defaults: ActionDefaults) {
    this.#d = daemon;
    this.#defaults = defaults;
    this.#verifies = new VerifyRuns();
  }

  async call<A extends ActionName>(action: A, params: Actions[A]['params']): Promise<Actions[A]['result']> {
    try {
      return await this.#handlers[action](parseParams(action, params));
    } catch (e: unknown) {
      throw asControlError(e);
    }
  }

  events(onEvent: (e: ControlEvent) => void): Promise<{ stop(): void }> {
    return Promise.resolve(this.#d.onEvent(onEvent));
  }

  readonly #handlers: Handlers = {
    info: () => Promise.resolve(nodeInfo(this.#d, this.#defaults.version)),
    list: () => Promise.resolve([...this.#d.mirrors.values()].map((m) => this.#status(m))),
    status: (p) => Promise.resolve(this.#status(this.#mirror(p.tag))),
    create: (p) => this.#changing.run(() => this.#create(p)),
    extend: (p) => this.#change(p.tag, (m) => addTarget(m, p)),
    unextend: (p) => this.#change(p.tag, (m) => removeTarget(m, p.node)),
    replace: (p) => this.#change(p.tag, (m) => replaceLeg(m, p)),
    delete: (p) => this.#changing.run(() => this.#delete(p)),
    'in-service': (p) => this.#inService(p.tag, { kind: 'in-service', withoutLastOwner: p.withoutLastOwner === true, confirmed: p.confirmed ?? [] }),
    set: (p) => this.#change(p.tag, (m) => asSource(m, (s) => setFailover(m, s, p))),
    confirm: async (p) => this.#status(await confirmFailover(this.#mirror(p.tag), p.go)),
    'out-of-service': async (p) => {
      const m = this.#mirror(p.tag);
      if (!m.inService) throw new ControlError('refused', `mirror ${p.tag} is not in service on ${this.#d.options.node}`);
      await m.goOutOfService(true);
      return { ...this.#status(m), clean: m.record().session.clean };
    },
    pause: (p) => this.#pause(p.tag, p.nodes),
    resume: (p) => this.#resume(p.tag, p.nodes),
    fullresync: (p) => this.#fullresync(p),
    verify: (p) => Promise.resolve({ started: this.#verifies.start(this.#source(p.tag)) }),
    'verify-result': (p) => Promise.resolve(this.#verifyResult(p.tag)),
    'snapshot-create': (p) =>
      p.checkpoint === undefined ? createSnapshot(this.#source(p.tag).s, p) : asSource(this.#mirror(p.tag), (s) => createSnapshot(s, p)),
    'snapshot-list': (p) => Promise.resolve(this.#source(p.tag).s.snapshots.views()),
    'snapshot-delete': (p) => deleteSnapshot(this.#source(p.tag).s, p.name),
    resize: (p) => this.#changing.run(() => this.#resize(p)),
    force: (p) => this.#inService(p.tag, { kind: 'force', withoutLastOwner: p.withoutLastOwner, confirmed: p.confirmed ?? [] }),
    'checkpoint-create': (p) => this.#makeCheckpoint(p),
    'checkpoint-delete': async (p) => {
      const m = this.#mirror(p.tag);
      await m.whileRoleStays(() => deleteCheckpoint(m, p.name));
      return { deleted: p.name };
    },
    switchover: (p) => this.#changing.run(() => switchover(this.#mirror(p.tag), p.node)),
    resolve: (p) => resolveSplitBrain(this.#mirror(p.tag), p.victim, p.kept),
    preview: async (p) => {
      const m = this.#mirror(p.tag);
      if (p.action === 'switchover' || p.action === 'resolve') return await previewOfMove(m, p.action, p.nodes[0]);
      // What is said of the others is then what they say now, and what is said of the flags what an operator may have done to them just before.
      if (p.action === 'force' || p.action === 'in-service') await lookAfresh(m);
      if (p.action === 'delete' || p.action === 'fullresync') await askHeard(m);
      return p.action === 'resize' ? await previewOfResize(m, p.resize) : preview(m, p);
    },
    'clear-bitmap': (p) => this.#clearBitmap(p.tag, p.node),
    explain: async (p) => {
      // A question is about now, like the command that it stands for.
      if (p.whatIf !== null) await lookAfresh(this.#mirror(p.tag));
      return this.#explain(p.tag, p.whatIf);
    },
  };

  // ------------------------------------------------------------------------------------------------- finding

  #mirror(tag: string): MirrorNode {
    validateTag(tag);
    const m = this.#d.mirrors.get(tag);
    if (m !== undefined) return m;
    const broken = this.#d.broken.get(tag);
    if (broken !== undefined) {
      const then = broken.maybeSound
        ? 'mend that and start netraidd again, or delete it here and extend the mirror to this node again'
        : 'delete it here and extend the mirror to this node again';
      throw new ControlError('refused', `mirror ${tag} is out of service on ${this.#d.options.node}: ${broken.why}; ${then}`);
    }
    const known = [...this.#d.mirrors.keys()].sort();
    throw new ControlError('not-found', `no mirror ${tag} on ${this.#d.options.node}; known: ${known.length === 0 ? 'none' : known.join(', ')}`);
  }

  #source(tag: string): { m: MirrorNode; s: SourceRole } {
    const m = this.#mirror(tag);
    return { m, s: sourceOf(m) };
  }

  #links(s: SourceRole, nodes: readonly NodeName[]): TargetLink[] {
    // DataKeeper's users name the source first.
    const wanted = nodes.filter((n) => n !== this.#d.options.node);
    const links = wanted.length === 0 ? [...s.links.values()] : wanted.map((n) => linkOf(s, n));
    if (links.length === 0) throw new ControlError('refused', `mirror ${s.ctx.tag} has no targets`);
    return links;
  }

  #status(m: MirrorNode): MirrorStatus {
    return mirrorStatus(m, { socketPath: this.#d.socketPath, verify: this.#verifies.progress(m) });
  }

  // ------------------------------------------------------------------------------------------------ making

  /** A change of which nodes a mirror in service has, or of how it goes in service. */
  #change(tag: string, f: (m: MirrorNode) => Promise<unknown>): Promise<MirrorStatus> {
    return this.#changing.run(async () => {
      const { m } = this.#source(tag);
      await f(m);
      return this.#status(m);
    });
  }

  async #create(p: Actions['create']['params']): Promise<MirrorStatus> {
    const { io, node } = this.#d.options;
    const tag = validateTag(p.tag);
    if (this.#d.mirrors.has(tag) || this.#d.broken.has(tag)) throw new ControlError('conflict', `mirror ${tag} exists already on ${node}`);
    if (!p.leg.startsWith('/')) throw new ControlError('bad-request', `leg ${p.leg}: give an absolute path of a file or a block device`);
    const asked = p.regionBytes ?? this.#defaults.regionBytes;
    if (asked !== null && !isRegionSize(asked))
      throw new ControlError('bad-request', `region size ${String(asked)}: allowed is a power of two from 4 KiB to 64 MiB`);
    const failover = failoverSettings(p);
    const { sizeBytes, sectorBytes, made } = await prepareFirstLeg(this.#d, p);
    const definition: MirrorDefinition = {
      tag,
      createId: io.chance.hex64(),
      revision: 1,
      sizeBytes,
      regionSizeBytes: asked ?? automaticRegionBytes(sizeBytes),
      ...sectorsSaid(sectorBytes),
      nodes: { [node]: { priority: p.priority, leg: p.leg, mode: 'sync' } },
      failureTimeoutMs: p.failureTimeoutMs ?? this.#d.options.failureTimeoutMs,
      ...failover,
      arbiter: p.arbiter ?? 'none',
      waitForPreviousSourceSec: p.waitForPreviousSourceSec ?? this.#defaults.waitForPreviousSourceSec,
      takeoverAfterCleanStop: p.takeoverAfterCleanStop ?? false,
    };
    return this.#status(await this.#d.install(definition, { made, zeroed: p.zeroed }, !(made || p.zeroed)));
  }

  async #delete(p: Actions['delete']['params']): Promise<Actions['delete']['result']> {
    const { node } = this.#d.options;
    validateTag(p.tag);
    const m = this.#d.mirrors.get(p.tag);
    if (m === undefined && !this.#d.broken.has(p.tag)) this.#mirror(p.tag);
    const result: Actions['delete']['result'] = { forgotten: [node], unreached: [] };
    if (m !== undefined) {
      const source = await servingElsewhere(m);
      if (source !== undefined)
        throw new ControlError('refused', `${p.tag} is in service on ${source}; delete it there, or take it out of service first`);
      if (m.inService) await m.goOutOfService(true);
      const elsewhere = await forgetElsewhere(m);
      result.forgotten.push(...elsewhere.forgotten);
      result.unreached.push(...elsewhere.unreached);
    }
    await this.#d.forget(p.tag, null);
    return result;
  }

  // ---------------------------------------------------------------------------------------------- operating

  async #inService(tag: string, command: Exclude<Facts['command'], { kind: 'none' }>): Promise<MirrorStatus> {
    const m = this.#mirror(tag);
    if (command.kind === 'in-service' && !m.inService) await refuseOldSize(m);
    const d = await m.goInService(command);
    if (d.action !== 'go-in-service' && d.action !== 'stay-in-service') throw refusal(tag, this.#d.options.node, d);
    return this.#status(m);
  }

  async #pause(tag: string, nodes: readonly NodeName[]): Promise<MirrorStatus> {
    const m = this.#mirror(tag);
    const { s, links } = await asSource(m, async (source) => {
      const paused = this.#links(source, nodes);
      const names = paused.map((l) => l.node);
      refuseLastCopy(source, names);
      await m.store.update((r) => ({ ...r, paused: [...new Set([...r.paused, ...names])] }));
      for (const l of paused) {
        if (l.leg.inSession) source.device.targetFailed(l.leg, `${PAUSED_WHY} by an operator`, false);
      }
      await source.members.announce();
      return { s: source, links: paused };
    });
    s.changed();
    const out = (): boolean => s.stopped || links.every((l) => l.leg.phase === 'out');
    await s.changes.until(out, () => this.#d.options.io.clock.now(), m.record().definition.failureTimeoutMs * 3);
    return this.#status(m);
  }

  async #resume(tag: string, nodes: readonly NodeName[]): Promise<MirrorStatus> {
    const m = this.#mirror(tag);
    await asSource(m, async (s) => {
      const links = this.#links(s, nodes);
      const names = links.map((l) => l.node);
      await m.store.update((r) => ({ ...r, paused: r.paused.filter((n) => !names.includes(n)) }));
      await s.members.announce();
      for (const l of links) {
        s.resyncReleased.add(l.node);
        l.connectNow();
      }
      s.changed();
    });
    return this.#status(m);
  }

  async #fullresync(p: Actions['fullresync']['params']): Promise<MirrorStatus> {
    const { node } = this.#d.options;
    const { m, s } = this.#source(p.tag);
    this.#links(s, p.nodes);
    // A wrong source is never taken for one more target: it would be overwritten.
    if (p.source !== null && p.source !== node) {
      throw new ControlError('refused', `${p.source} is not in service: a full resync goes from the node in service, which is ${node}`);
    }
    await askHeard(m);
    await asSource(m, async (source) => {
      const links = this.#links(source, p.nodes);
      await orderFullResync(source, links, confirmedOver(m, links, p.overrules ?? []));
    });
    return this.#status(m);
  }

  #clearBitmap(tag: string, node: NodeName): Promise<{ clearedBytes: number }> {
    const m = this.#mirror(tag);
    return asSource(m, async (s) => {
      const link = linkOf(s, node);
      if (link.leg.inSession) throw new ControlError('refused', `${node} is in a session; pause it first`);
      const clearedBytes = s.marks.bytes(s.marks.outOfSync(node));
      s.marks.outOfSync(node).clearAll();
      // The word is about what has been written, and not about what may reach the own leg after it was given (M5, M6).
      s.marks.markInHand(node);
      if (!(await s.marks.durable())) throw new ControlError('io', 'the bitmap file can not be written');
      await m.store.update((r) => seededByWord(r, node));
      s.changed();
      this.#d.env.emit(tag, 'config', `the marks for ${node} were cleared on an operator's word`, { node, clearedBytes });
      return { clearedBytes };
    });
  }

  async #resize(p: Actions['resize']['params']): Promise<MirrorStatus> {
    const m = this.#mirror(p.tag);
    await resizeMirror(m, p);
    return this.#status(m);
  }

  async #makeCheckpoint(p: Actions['checkpoint-create']['params']): Promise<Actions['checkpoint-create']['result']> {
    const m = this.#mirror(p.tag);
    await asSource(m, (s) => whileServingNothing(s, () => makeCheckpoint(s, p.name)));
    const made = checkpointsStatus(m).find((c) => c.name === p.name);
    if (made === undefined) throw new ControlError('refused', `checkpoint ${p.name} of ${p.tag} was deleted as soon as it was made`);
    return made;
  }

  #verifyResult(tag: string): Actions['verify-result']['result'] {
    this.#mirror(tag);
    return this.#verifies.result(tag);
  }

  #explain(tag: string, question: string | null): Actions['explain']['result'] {
    const m = this.#mirror(tag);
    const now = m.facts({ kind: 'none' }, false);
    const facts = question === null ? now : whatIf(now, question);
    // Who is lost only in a question has not fallen mute.
    const asked = (n: NodeName): boolean => facts !== now && facts.peers[n]?.silentForMs !== now.peers[n]?.silentForMs;
    const reachable = new Set(m.others().filter((n) => m.silentForMs(n) < facts.failureTimeoutMs && !asked(n)));
    return explain(facts, { source: m.switchovers.sourceFacts(), reachable });
  }
}
