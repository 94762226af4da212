/**
 * Hooks: an operator's programs in ROOT/etc/hooks.d, told what happens to a mirror.
 *
 *   events of the daemon --+                           +--> 10-a  one after the other, by name,
 *                          +--> HookQueue, one a mirror +--> 20-b  within one deadline for all of them
 *   before(out-of-service) -+
 *
 * Invariants: no decision and no request waits for a hook, but for `before`, which its caller awaits outside of every lock
 * and which ends with the deadline; a hook that fails is told of and changes nothing; hooks of a mirror never overlap.
 */
import type { HookFacts, NodeHooks } from '../failover/env.ts';
import { nodePaths } from '../failover/paths.ts';
import type { NodeName } from '../failover/types.ts';
import type { Log } from '../io/log.ts';
import { type Clock, Errno, IoError, type ProgramEnd, type Programs } from '../io/types.ts';
import { HOOK_QUEUE_MAX, HookQueue } from './hook-queue.ts';
import type { ControlEvent } from './types.ts';

const hookEvents = ['in-service', 'out-of-service', 'out-of-sync', 'resync-done', 'split-brain', 'data-corrupt', 'confirm-failover'] as const;
type HookEvent = (typeof hookEvents)[number];

export const HOOK_TIMEOUT_MS = 60_000;
/** What it may be set to at most. */
export const HOOK_TIMEOUT_MAX_MS = 120_000;
/** From the request to end to the kill. */
export const GRACE_MS = 5000;
const OUTPUT_MAX_BYTES = 4096;
const WHY_MAX_CHARACTERS = 1000;

/** Hidden files, and what editors and package managers leave beside a file. */
const LEFT_OVER = /^[.#]|[~#]$|\.(bak|old|orig|rej|tmp|sw[a-p]|disabled|dpkg-\w+|rpm(new|orig|save))$/;

export interface HooksOptions {
  programs: Programs;
  clock: Clock;
  root: string;
  self: NodeName;
  /** For all hooks of one event together. */
  timeoutMs: number;
  log: Log;
  /** What this node knows of a mirror now; undefined: it has been forgotten. */
  mirror(tag: string): { nodes: readonly NodeName[]; source: NodeName | null } | undefined;
  failed(tag: string, message: string, fields: Record<string, unknown>): void;
}

function isHookEvent(kind: string): kind is HookEvent {
  return hookEvents.some((e) => e === kind);
}

export function isHook(name: string): boolean {
  return !LEFT_OVER.test(name);
}

export class Hooks implements NodeHooks {
  readonly #o: HooksOptions;
  readonly #folder: string;
  readonly #queues = new Map<string, HookQueue>();
  /** Mirrors whose hooks have been told that they go out of service: they are not told a second time when it happens. */
  readonly #announced = new Set<string>();
  readonly #announcing = new Map<string, Promise<void>>();
  /** Mirrors whose split brain has been told of, until it is over. */
  readonly #splitBrains = new Set<string>();
  #stopping = false;

  constructor(o: HooksOptions) {
    this.#o = o;
    this.#folder = nodePaths(o.root).hooks;
  }

  /** An event of the daemon has happened. */
  heard(e: Pick<ControlEvent, 'tag' | 'kind' | 'message' | 'fields'>): void {
    const { tag, kind, fields } = e;
    // A node that is thrown out by a split brain is told `superseded` before it decides anew: that does not end it.
    const over = kind === 'in-sync' || (kind === 'decision' && fields['action'] !== 'demote');
    if (over) this.#splitBrains.delete(tag);
    if (!isHookEvent(kind)) return;
    if (kind === 'in-service') this.#announced.delete(tag);
    if (kind === 'out-of-service' && this.#announced.delete(tag)) return;
    if (kind === 'split-brain') {
      if (this.#splitBrains.has(tag)) return;
      this.#splitBrains.add(tag);
    }
    this.#add(kind, tag, { why: e.message, rule: text(fields['rule']), peer: text(fields['node']) });
  }

  before(event: 'out-of-service', tag: string, facts: HookFacts): Promise<void> {
    const under = this.#announcing.get(tag);
    if (under !== undefined) return under;
    if (this.#stopping) return Promise.resolve();
    this.#announced.add(tag);
    const queue = this.#queue(tag);
    // A hook that would only begin to use the device now is overtaken.
    if (queue.drop('in-service') > 0) this.#o.log.warn('hooks for in-service are left out: the mirror goes out of service', { tag });
    const ended = queue
      .addFirst(event, () => this.#run(event, tag, facts))
      .finally(() => {
        this.#announcing.delete(tag);
      });
    this.#announcing.set(tag, ended);
    return ended;
  }

  leaving(tag: string): boolean {
    return this.#announcing.has(tag);
  }

  abandoned(tag: string, facts: HookFacts): void {
    if (this.#announced.delete(tag)) this.#add('in-service', tag, facts);
  }

  /** Waits for the hooks that run, which ends with their deadline; what waits is left out. */
  async stop(): Promise<void> {
    this.#stopping = true;
    for (const [tag, queue] of this.#queues) {
      const left = queue.drop();
      if (left > 0) this.#o.log.warn('hooks are left out: the daemon stops', { tag, events: left });
    }
    await Promise.all([...this.#queues.values()].map((q) => q.idle()));
  }

  #add(event: HookEvent, tag: string, facts: HookFacts): void {
    if (this.#stopping) return;
    const key = facts.peer === undefined ? event : `${event} ${facts.peer}`;
    if (this.#queue(tag).add(key, () => this.#run(event, tag, facts))) return;
    this.#fails(tag, event, null, `${String(HOOK_QUEUE_MAX)} events wait for hooks already`, {});
  }

  #queue(tag: string): HookQueue {
    let queue = this.#queues.get(tag);
    if (queue === undefined) this.#queues.set(tag, (queue = new HookQueue()));
    return queue;
  }

  /** Never rejects. */
  async #run(event: HookEvent, tag: string, facts: HookFacts): Promise<void> {
    try {
      const { clock, timeoutMs } = this.#o;
      const until = clock.now() + timeoutMs;
      const names = await this.#list();
      const env = this.#environment(event, tag, facts);
      for (const name of names) {
        const left = until - clock.now();
        if (left > 0) await this.#runOne(name, event, tag, env, left);
        else this.#fails(tag, event, name, `not run: the ${String(timeoutMs)} ms of this event are over`, {});
      }
    } catch (e: unknown) {
      this.#fails(tag, event, null, e instanceof Error ? e.message : String(e), {});
    }
  }

  async #list(): Promise<string[]> {
    try {
      return (await this.#withinDeadline(this.#o.programs.list(this.#folder))).filter(isHook);
    } catch (e: unknown) {
      if (e instanceof IoError && e.errno === Errno.ENOENT) return [];
      throw e;
    }
  }

  /** A folder on a disk that does not answer holds nobody up for longer (M14). */
  #withinDeadline(listed: Promise<string[]>): Promise<string[]> {
    const { clock, timeoutMs } = this.#o;
    return new Promise((resolve, reject) => {
      const timer = clock.after(timeoutMs, () => {
        reject(new Error(`${this.#folder} has not been listed within ${String(timeoutMs)} ms`));
      });
      listed
        .finally(() => {
          timer.cancel();
        })
        .then(resolve, reject);
    });
  }

  async #runOne(name: string, event: HookEvent, tag: string, env: Record<string, string>, timeoutMs: number): Promise<void> {
    const { programs, clock, log } = this.#o;
    const begun = clock.now();
    const limits = { timeoutMs, graceMs: GRACE_MS, outputMaxBytes: OUTPUT_MAX_BYTES };
    let end: ProgramEnd;
    try {
      end = await programs.run(`${this.#folder}/${name}`, [event, tag], env, limits);
    } catch (e: unknown) {
      if (!(e instanceof IoError)) throw e;
      this.#fails(tag, event, name, `it can not be started: ${e.message}`, {});
      return;
    }
    const output = end.output.trim();
    if (end.exit === 0 && !end.timedOut) {
      log.info('a hook has ended', { tag, hook: name, for: event, ms: Math.round(clock.now() - begun), output });
      return;
    }
    const how = end.exit === null ? `ended by ${end.signal ?? 'nobody'}` : `exit status ${String(end.exit)}`;
    this.#fails(tag, event, name, end.timedOut ? `its time was over, ${how}` : how, { exit: end.exit, signal: end.signal, output });
  }

  #fails(tag: string, event: HookEvent, hook: string | null, why: string, fields: Record<string, unknown>): void {
    const which = hook === null ? 'the hooks' : `hook ${hook}`;
    this.#o.failed(tag, `${which} for ${event} failed: ${why}`, { hook, for: event, ...fields });
  }

  #environment(event: HookEvent, tag: string, facts: HookFacts): Record<string, string> {
    const { self, root } = this.#o;
    const mirror = this.#o.mirror(tag);
    return {
      NETRAID_EVENT: event,
      NETRAID_TAG: tag,
      NETRAID_NODE: self,
      NETRAID_PEER: facts.peer ?? '',
      NETRAID_NODES: mirror?.nodes.join(' ') ?? '',
      NETRAID_SOURCE: mirror?.source ?? '',
      NETRAID_RULE: facts.rule ?? '',
      NETRAID_WHY: oneLine(facts.why),
      NETRAID_ROOT: root,
    };
  }
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined;
}

/** Other nodes have a hand in reasons: no line of theirs begins anew in an operator's script. */
function oneLine(why: string): string {
  return why
    .replace(/[\p{Cc}\s]+/gu, ' ')
    .trim()
    .slice(0, WHY_MAX_CHARACTERS);
}
