/**
 * What people may ask of a daemon, carried out. Each action refuses before it changes anything, with one line that says
 * what, where, and what is allowed.
 */
import { isRegionSize } from '../bitmap/regions.ts';
import { compare } from '../failover/compare.ts';
import { NODES_MAX } from '../failover/limits.ts';
import { decide } from '../failover/decide.ts';
import { seededByWord, withoutNode } from '../failover/membership.ts';
import { Mutex } from '../failover/mutex.ts';
import type { MirrorNode } from '../failover/node.ts';
import { validateNodeName, validateTag } from '../failover/paths.ts';
import { orderFullResync } from '../failover/resolve.ts';
import { sectorsSaid } from '../failover/sectors.ts';
import type { SourceRole } from '../failover/source.ts';
import type { TargetLink } from '../failover/target-link.ts';
import type { MirrorDefinition, NodeName, NodeView } from '../failover/types.ts';
import { PAUSED_WHY } from '../failover/views.ts';
import { VerifyRuns } from './verify-runs.ts';
import { confirmFailover, failoverSettings, setFailover } from './failover-settings.ts';
import { prepareFirstLeg } from './leg-size.ts';
import { checkNewLeg } from './new-leg.ts';
import { servingElsewhere } from './elsewhere.ts';
import { forgetElsewhere } from './forget.ts';
import { preview } from './preview.ts';
import { previewOfMove, resolveSplitBrain, switchover } from './switchover.ts';
import type { Daemon } from './daemon.ts';
import { previewOfResize, resizeMirror } from './resize.ts';
import { refuseOldSize } from './resized-elsewhere.ts';
import { parseParams } from './schemas.ts';
import { asControlError, checkForeign, refusal } from './action-errors.ts';
import { mirrorStatus, nodeInfo } from './status.ts';
import { type ActionName, type Actions, type ControlClient, ControlError, type ControlEvent, type MirrorStatus } from './types.ts';
import { whatIf } from './what-if.ts';

export interface ActionDefaults {
  version: string;
  regionBytes: number;
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
    extend: (p) => this.#changing.run(() => this.#extend(p)),
    unextend: (p) => this.#changing.run(() => this.#unextend(p)),
    replace: (p) => this.#changing.run(() => this.#replace(p)),
    delete: (p) => this.#changing.run(() => this.#delete(p)),
    'in-service': (p) => this.#inService(p.tag, { kind: 'in-service' }),
    set: (p) => this.#changing.run(async () => this.#status(await setFailover(this.#source(p.tag), p))),
    confirm: async (p) => this.#status(await confirmFailover(this.#mirror(p.tag), p.go)),
    'out-of-service': async (p) => {
      const m = this.#mirror(p.tag);
      if (!m.inService) throw new ControlError('refused', `mirror ${p.tag} is not in service on ${this.#d.options.node}`);
      await m.goOutOfService(true);
      return this.#status(m);
    },
    pause: (p) => this.#pause(p.tag, p.nodes),
    resume: (p) => this.#resume(p.tag, p.nodes),
    fullresync: (p) => this.#fullresync(p),
    verify: (p) => Promise.resolve({ started: this.#verifies.start(this.#source(p.tag)) }),
    'verify-result': (p) => Promise.resolve(this.#verifyResult(p.tag)),
    resize: (p) => this.#changing.run(() => this.#resize(p)),
    force: (p) => this.#inService(p.tag, { kind: 'force', withoutLastOwner: p.withoutLastOwner }),
    switchover: (p) => this.#changing.run(() => switchover(this.#mirror(p.tag), p.node)),
    resolve: (p) => resolveSplitBrain(this.#mirror(p.tag), p.victim),
    preview: async (p) => {
      const m = this.#mirror(p.tag);
      if (p.action === 'switchover' || p.action === 'resolve') return await previewOfMove(m, p.action, p.nodes[0]);
      return p.action === 'resize' ? await previewOfResize(m, p.resize) : preview(m, p);
    },
    'clear-bitmap': (p) => this.#clearBitmap(p.tag, p.node),
    explain: (p) => Promise.resolve(this.#explain(p.tag, p.whatIf)),
  };

  // ------------------------------------------------------------------------------------------------- finding

  #mirror(tag: string): MirrorNode {
    validateTag(tag);
    const m = this.#d.mirrors.get(tag);
    if (m !== undefined) return m;
    const broken = this.#d.broken.get(tag);
    if (broken !== undefined) {
      throw new ControlError(
        'refused',
        `mirror ${tag} is out of service on ${this.#d.options.node}: ${broken.why}; delete it here and extend the mirror to this node again`,
      );
    }
    const known = [...this.#d.mirrors.keys()].sort();
    throw new ControlError('not-found', `no mirror ${tag} on ${this.#d.options.node}; known: ${known.length === 0 ? 'none' : known.join(', ')}`);
  }

  #source(tag: string): { m: MirrorNode; s: SourceRole } {
    const m = this.#mirror(tag);
    const s = m.source;
    if (s === undefined || s.stopped) {
      const where = m.replica.session?.from;
      throw new ControlError(
        'refused',
        `mirror ${tag} is not in service on ${this.#d.options.node}${where === undefined ? '' : `; run this on ${where}`}`,
      );
    }
    return { m, s };
  }

  #links(tag: string, nodes: readonly NodeName[]): { m: MirrorNode; s: SourceRole; links: TargetLink[] } {
    const { m, s } = this.#source(tag);
    // DataKeeper's users name the source first.
    const wanted = nodes.filter((n) => n !== this.#d.options.node);
    const links = wanted.length === 0 ? [...s.links.values()] : wanted.map((n) => this.#link(s, n));
    if (links.length === 0) throw new ControlError('refused', `mirror ${tag} has no targets`);
    return { m, s, links };
  }

  #link(s: SourceRole, node: NodeName): TargetLink {
    const link = s.links.get(node);
    if (link === undefined)
      throw new ControlError('not-found', `${node} is not a target of ${s.ctx.tag}; targets: ${[...s.links.keys()].join(', ') || 'none'}`);
    return link;
  }

  #status(m: MirrorNode): MirrorStatus {
    return mirrorStatus(m, { socketPath: this.#d.socketPath, verify: this.#verifies.progress(m) });
  }

  // ------------------------------------------------------------------------------------------------ making

  async #create(p: Actions['create']['params']): Promise<MirrorStatus> {
    const { io, node } = this.#d.options;
    const tag = validateTag(p.tag);
    if (this.#d.mirrors.has(tag) || this.#d.broken.has(tag)) throw new ControlError('conflict', `mirror ${tag} exists already on ${node}`);
    if (!p.leg.startsWith('/')) throw new ControlError('bad-request', `leg ${p.leg}: give an absolute path of a file or a block device`);
    const regionSizeBytes = p.regionBytes ?? this.#defaults.regionBytes;
    if (!isRegionSize(regionSizeBytes))
      throw new ControlError('bad-request', `region size ${String(regionSizeBytes)}: allowed is a power of two from 4 KiB to 64 MiB`);
    const failover = failoverSettings(p);
    const { sizeBytes, sectorBytes, made } = await prepareFirstLeg(this.#d, p);
    const definition: MirrorDefinition = {
      tag,
      createId: io.chance.hex64(),
      revision: 1,
      sizeBytes,
      regionSizeBytes,
      ...sectorsSaid(sectorBytes),
      nodes: { [node]: { priority: p.priority, leg: p.leg, mode: 'sync' } },
      failureTimeoutMs: p.failureTimeoutMs ?? this.#d.options.failureTimeoutMs,
      ...failover,
      arbiter: p.arbiter ?? 'none',
      waitForPreviousSourceSec: p.waitForPreviousSourceSec ?? this.#defaults.waitForPreviousSourceSec,
      takeoverAfterCleanStop: p.takeoverAfterCleanStop ?? false,
    };
    return this.#status(await this.#d.install(definition, made || p.zeroed, !(made || p.zeroed)));
  }

  async #extend(p: Actions['extend']['params']): Promise<MirrorStatus> {
    const { m, s } = this.#source(p.tag);
    validateNodeName(p.node);
    const d = m.record().definition;
    if (d.nodes[p.node] !== undefined) throw new ControlError('conflict', `${p.node} has a leg of ${p.tag} already; a node holds one`);
    if (Object.keys(d.nodes).length >= NODES_MAX)
      throw new ControlError('refused', `${p.tag} has ${String(NODES_MAX - 1)} targets, which is the most a mirror can have`);
    if (Object.values(d.nodes).some((n) => n.priority === p.priority))
      throw new ControlError('conflict', `priority ${String(p.priority)} is taken; each node of a mirror has its own`);
    if ((p.foreignUri === null) === (p.leg === null))
      throw new ControlError('bad-request', 'give either a leg on the node or the URI of a foreign target');
    if (p.foreignUri !== null) await checkForeign(s, p.node, p.foreignUri);
    const own = { priority: p.priority, leg: p.leg ?? '', mode: p.mode, ...(p.foreignUri === null ? {} : { foreignUri: p.foreignUri }) };
    const definition: MirrorDefinition = { ...d, revision: d.revision + 1, nodes: { ...d.nodes, [p.node]: own } };
    if (p.foreignUri === null) await this.#adoptOn(m, p.node, definition, p.zeroed);
    // From now on marks are kept for it: what is written while the others hear of it must not be missing on a seeded target.
    const link = s.addLink(p.node, p.mode, p.foreignUri !== null);
    try {
      await m.store.update((r) => ({
        ...r,
        definition: { ...r.definition, revision: r.definition.revision + 1, nodes: { ...r.definition.nodes, [p.node]: own } },
      }));
    } catch (e: unknown) {
      await s.retire(link);
      throw e;
    }
    await s.members.announce();
    link.start();
    this.#d.env.emit(p.tag, 'config', `${p.node} was added`, { node: p.node });
    return this.#status(m);
  }

  async #adoptOn(m: MirrorNode, node: NodeName, definition: MirrorDefinition, zeroed: boolean): Promise<void> {
    const { cluster } = this.#d.env;
    if (!cluster.peers().includes(node))
      throw new ControlError('not-found', `${node} is not in this node's configuration; peers: ${cluster.peers().join(', ') || 'none'}`);
    await cluster.request(node, 'adopt', { tag: m.tag, definition, zeroed }, m.record().definition.failureTimeoutMs * 2);
  }

  async #unextend(p: Actions['unextend']['params']): Promise<MirrorStatus> {
    const { m, s } = this.#source(p.tag);
    const link = this.#link(s, p.node);
    await this.#dropLink(m, s, link);
    this.#d.env.emit(p.tag, 'config', `${p.node} was removed`, { node: p.node });
    return this.#status(m);
  }

  async #dropLink(m: MirrorNode, s: SourceRole, link: TargetLink): Promise<void> {
    const { node } = link;
    // Once it is retired, nothing is marked for it any more: whatever goes wrong from here on, the account is no longer complete (M5).
    await m.store.update((r) => ({ ...r, accountComplete: r.accountComplete.filter((n) => n !== node) }));
    await s.retire(link);
    await m.store.update((r) => withoutNode(r, node));
    await s.members.announce();
    if (!link.foreign && this.#d.env.cluster.connected(node)) {
      const { createId } = m.record().definition;
      await this.#d.env.cluster.request(node, 'forget', { tag: m.tag, createId }, m.record().definition.failureTimeoutMs * 2);
    }
    s.marks.file.dropMap(`oos:${node}`);
    if (!(await s.marks.durable())) throw new ControlError('io', 'the bitmap file can not be written');
  }

  async #replace(p: Actions['replace']['params']): Promise<MirrorStatus> {
    const { m, s } = this.#source(p.tag);
    const link = this.#link(s, p.node);
    if (link.foreign) throw new ControlError('refused', `${p.node} is a foreign target: unextend it and extend to the new one`);
    const before = m.record().definition.nodes[p.node];
    if (before === undefined) throw new ControlError('not-found', `${p.node} is not a node of ${p.tag}`);
    if (!this.#d.env.cluster.connected(p.node)) throw new ControlError('unreachable', `${p.node} can not be reached`);
    await checkNewLeg(m, p.node, p.leg);
    await this.#dropLink(m, s, link);
    return await this.#extend({
      tag: p.tag,
      node: p.node,
      leg: p.leg,
      foreignUri: null,
      mode: before.mode,
      priority: before.priority,
      zeroed: false,
    });
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

  async #inService(tag: string, command: { kind: 'in-service' } | { kind: 'force'; withoutLastOwner: boolean }): Promise<MirrorStatus> {
    const m = this.#mirror(tag);
    if (command.kind === 'in-service' && !m.inService) await refuseOldSize(m);
    const d = await m.goInService(command);
    if (d.action !== 'go-in-service' && d.action !== 'stay-in-service') throw refusal(tag, this.#d.options.node, d);
    return this.#status(m);
  }

  async #pause(tag: string, nodes: readonly NodeName[]): Promise<MirrorStatus> {
    const { m, s, links } = this.#links(tag, nodes);
    const names = links.map((l) => l.node);
    await m.store.update((r) => ({ ...r, paused: [...new Set([...r.paused, ...names])] }));
    for (const l of links) {
      if (l.leg.inSession) s.device.targetFailed(l.leg, `${PAUSED_WHY} by an operator`, false);
    }
    await s.members.announce();
    s.changed();
    const out = (): boolean => s.stopped || links.every((l) => l.leg.phase === 'out');
    await s.changes.until(out, () => this.#d.options.io.clock.now(), m.record().definition.failureTimeoutMs * 3);
    return this.#status(m);
  }

  async #resume(tag: string, nodes: readonly NodeName[]): Promise<MirrorStatus> {
    const { m, s, links } = this.#links(tag, nodes);
    const names = links.map((l) => l.node);
    await m.store.update((r) => ({ ...r, paused: r.paused.filter((n) => !names.includes(n)) }));
    await s.members.announce();
    for (const l of links) {
      s.resyncReleased.add(l.node);
      l.damping.reset();
    }
    s.changed();
    return this.#status(m);
  }

  async #fullresync(p: Actions['fullresync']['params']): Promise<MirrorStatus> {
    const { node } = this.#d.options;
    const { m, s, links } = this.#links(p.tag, p.nodes);
    // A wrong source is never taken for one more target: it would be overwritten.
    if (p.source !== null && p.source !== node) {
      throw new ControlError('refused', `${p.source} is not in service: a full resync goes from the node in service, which is ${node}`);
    }
    await orderFullResync(s, links);
    return this.#status(m);
  }

  async #clearBitmap(tag: string, node: NodeName): Promise<{ clearedBytes: number }> {
    const { m, s } = this.#source(tag);
    const link = this.#link(s, node);
    if (link.leg.inSession) throw new ControlError('refused', `${node} is in a session; pause it first`);
    const clearedBytes = s.marks.bytes(s.marks.outOfSync(node));
    s.marks.outOfSync(node).clearAll();
    if (!(await s.marks.durable())) throw new ControlError('io', 'the bitmap file can not be written');
    await m.store.update((r) => seededByWord(r, node));
    s.changed();
    this.#d.env.emit(tag, 'config', `the marks for ${node} were cleared on an operator's word`, { node, clearedBytes });
    return { clearedBytes };
  }

  async #resize(p: Actions['resize']['params']): Promise<MirrorStatus> {
    const m = this.#mirror(p.tag);
    await resizeMirror(m, p);
    return this.#status(m);
  }

  #verifyResult(tag: string): Actions['verify-result']['result'] {
    this.#mirror(tag);
    return this.#verifies.result(tag);
  }

  #explain(tag: string, question: string | null): Actions['explain']['result'] {
    const m = this.#mirror(tag);
    const facts = question === null ? m.facts({ kind: 'none' }, false) : whatIf(m.facts({ kind: 'none' }, false), question);
    const peers: Record<NodeName, NodeView> = Object.fromEntries(Object.entries(facts.peers).map(([n, p]) => [n, p.view]));
    return { facts: facts.self, peers, decision: decide(facts), compares: Object.values(peers).map((v) => compare(facts.self, v)) };
  }
}
