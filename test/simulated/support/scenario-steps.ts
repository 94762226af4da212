/**
 * What strikes a history, in the steps of the language of scenarios:
 *
 *   action, at its virtual time -> waits until then -> what the language has for it, or nothing where nothing happens
 *                               -> no words: it is answered with false, and the caller says which one it was
 *
 * A step that does not apply is an error in that language and nothing in a history, and some of its words do more than the
 * action: `heal` ends cuts and slowness, `diskok` every fault of the disk. Hence the account of how everything stands.
 */
import type { Action, TimedAction } from './actions.ts';
import { LEG, PATHS, TAG } from './plan.ts';

/** What a command answers is known when the scenario has been run; see scenario-trial.ts. */
export type Step = string | { run: string; on: string | null };

type Command = Extract<Action, { do: 'command' }>['command'];
type DiskFault = Extract<Action, { do: 'disk' }>;
type Loss = 'crash' | 'powerfail';

/**
 * The language has no counts: a fault that strikes so many times is one that ends after this time, for each of them. Under
 * the scenario's load writes are frequent; reads come with a resync, and syncs now and then.
 */
const COUNTED_MS = { read: 100, write: 10, sync: 100, full: 10 };

interface Fault {
  step: string;
  /** When it ends of itself, virtual ms. */
  until: number;
}

const list = (names: Iterable<string>): string => `[${[...names].join(', ')}]`;
const pairOf = (a: string, b: string): string => list([a, b].sort());

export class Telling {
  readonly #nodes: readonly string[];
  readonly #steps: Step[] = [];
  /** Virtual time that the waits have come to, whole ms. */
  #now: number;
  readonly #state = new Map<string, 'up' | 'frozen' | 'stopped' | 'dark'>();
  readonly #faults = new Map<string, Fault[]>();
  /** `A>B`. */
  readonly #cuts = new Set<string>();
  /** The step that slows each pair down. */
  readonly #slow = new Map<string, string>();
  /** Commands to a node that stands still: it carries them out when it goes on. */
  readonly #late = new Map<string, Step[]>();
  /** What is lost at one moment is lost together: to the application it may be all that there is of its data. */
  #lost: { word: Loss; nodes: string[]; at: number } | undefined;
  #paused = false;
  /** The last node that was told to go out of service, and nobody was told to go in service since. */
  #outOfService: string | undefined;

  /** `from`: the virtual time at which the first step follows. */
  constructor(nodes: readonly string[], from: number) {
    this.#nodes = nodes;
    this.#now = Math.round(from);
    for (const n of nodes) this.#state.set(n, 'up');
  }

  get steps(): readonly Step[] {
    return this.#steps;
  }

  /** False: the language has no words for it. */
  tell({ at, action }: TimedAction): boolean {
    this.passUntil(at);
    const steps = this.#of(action, at);
    if (steps === undefined) return false;
    if (steps.length > 0) this.#lost = undefined;
    this.#steps.push(...steps);
    if (action.do === 'crash' || action.do === 'power') this.#lose(action.do === 'crash' ? 'crash' : 'powerfail', action.node, at);
    return true;
  }

  pass(ms: number): void {
    this.passUntil(this.#now + ms);
  }

  /** Until that virtual time; faults that end by then do. */
  passUntil(at: number): void {
    this.#endCounted(at);
    this.#waitUntil(at);
  }

  /** Everything is repaired, as at the end of a history. */
  repair(): void {
    this.#lost = undefined;
    const those = (...states: string[]): string[] => this.#nodes.filter((n) => states.includes(this.#state.get(n) ?? ''));
    this.#steps.push('heal: all');
    for (const node of this.#nodes) this.#steps.push(...this.#repaired(node, []));
    for (const node of those('frozen')) this.#steps.push(...this.#thaw(node));
    const down = those('stopped', 'dark');
    if (down.length > 0) this.#steps.push(`up: ${list(down)}`);
  }

  /** What an operator left undone, he does. */
  operate(): void {
    if (this.#outOfService !== undefined) this.#steps.push({ run: commandLine('in-service', this.#outOfService, []), on: this.#outOfService });
    if (this.#paused) this.#steps.push({ run: commandLine('resume', '', []), on: null });
  }

  then(step: string): void {
    this.#steps.push(step);
  }

  #waitUntil(until: number): void {
    const ms = Math.round(until) - this.#now;
    if (ms <= 0) return;
    this.#lost = undefined;
    this.#now += ms;
    // Where nothing was said in between, it is one wait.
    const last = this.#steps.at(-1);
    const before = typeof last === 'string' ? /^wait: (\d+)ms$/.exec(last)?.[1] : undefined;
    if (before !== undefined) this.#steps.pop();
    this.#steps.push(`wait: ${String(ms + Number(before ?? 0))}ms`);
  }

  /** Undefined: no words. */
  #of(a: Action, at: number): Step[] | undefined {
    switch (a.do) {
      case 'crash':
      case 'power':
        return [];
      case 'boot':
        return this.#moves(a.node, ['stopped', 'dark'], 'up') ? [`up: ${a.node}`] : [];
      case 'stop':
        return this.#moves(a.node, ['up'], 'stopped') ? [`down: ${a.node}`] : [];
      case 'freeze':
        return this.#moves(a.node, ['up'], 'frozen') ? [`freeze: ${a.node}`] : [];
      case 'thaw':
        return this.#thaw(a.node);
      case 'isolate':
        return this.#others(a.node).flatMap((o) => this.#cut(a.node, o));
      case 'rejoin':
        return this.#others(a.node).flatMap((o) => this.#heal(a.node, o));
      case 'cut':
        return a.network === null ? this.#cut(a.a, a.b) : undefined;
      case 'heal':
        return a.network === null ? this.#heal(a.a, a.b) : undefined;
      case 'cut-one-way':
        this.#cuts.add(`${a.a}>${a.b}`);
        return [`cut: {from: ${a.a}, to: ${a.b}}`];
      case 'heal-all':
        this.#cuts.clear();
        return ['heal: all', ...this.#slow.values()];
      case 'slow':
        return this.#slower(a);
      case 'disk':
        return this.#diskFault(a, at);
      case 'repair':
        return this.#repaired(a.node, []);
      case 'damage': {
        if (this.#state.get(a.node) !== 'stopped') return [];
        const file = a.path === PATHS.bitmap ? 'bitmap' : a.path === PATHS.state ? 'state' : undefined;
        if (file === undefined) return undefined;
        // The disk is sound while it is damaged, there as well.
        return [...this.#repaired(a.node, []), `damage: {on: ${a.node}, file: ${file}, at: ${String(a.at)}B, length: 1}`];
      }
      case 'short':
        return a.share === 0 ? [] : undefined;
      case 'flip':
      case 'flip-one-way':
        return a.share === 0 ? [] : undefined;
      case 'slow-disk':
        return a.ms === null ? [] : undefined;
      case 'snapshot':
        return this.#snapshot(a);
      case 'command':
        return this.#command(a);
    }
  }

  // -------------------------------------------------------------------------------------------------------- nodes

  /** False: it is in none of these states, and nothing happens. */
  #moves(node: string, from: readonly string[], to: 'up' | 'frozen' | 'stopped' | 'dark'): boolean {
    if (!from.includes(this.#state.get(node) ?? '')) return false;
    this.#state.set(node, to);
    return true;
  }

  #lose(word: Loss, node: string, at: number): void {
    if (!this.#moves(node, ['up', 'frozen'], word === 'crash' ? 'stopped' : 'dark')) return;
    this.#late.delete(node);
    if (this.#lost?.word === word && this.#lost.at === at) {
      this.#lost.nodes.push(node);
      this.#steps.splice(-1, 1, `${word}: ${list(this.#lost.nodes)}`);
      return;
    }
    this.#lost = { word, nodes: [node], at };
    this.#steps.push(`${word}: ${node}`);
  }

  #thaw(node: string): Step[] {
    if (!this.#moves(node, ['frozen'], 'up')) return [];
    const late = this.#late.get(node) ?? [];
    this.#late.delete(node);
    return [`thaw: ${node}`, ...late];
  }

  #command({ node, command, nodes }: Extract<Action, { do: 'command' }>): Step[] {
    const state = this.#state.get(node);
    if (state !== 'up' && state !== 'frozen') return [];
    if (command === 'pause') this.#paused = true;
    else if (command === 'resume') this.#paused = false;
    else if (command === 'out-of-service') this.#outOfService = node;
    else if (command !== 'fullresync') this.#outOfService = undefined;
    const step = { run: commandLine(command, node, nodes), on: node };
    if (state === 'up') return [step];
    this.#late.set(node, [...(this.#late.get(node) ?? []), step]);
    return [];
  }

  #snapshot({ node, name, spaceBytes }: Extract<Action, { do: 'snapshot' }>): Step[] {
    if (this.#state.get(node) !== 'up') return [];
    const made = spaceBytes !== null;
    return [{ run: `netraid snapshot ${made ? 'create' : 'delete'} ${TAG} ${name}${made ? ` --space ${String(spaceBytes)}` : ''}`, on: node }];
  }

  // -------------------------------------------------------------------------------------------------------- links

  #others(node: string): string[] {
    return this.#nodes.filter((n) => n !== node);
  }

  #cut(a: string, b: string): Step[] {
    this.#cuts.add(`${a}>${b}`).add(`${b}>${a}`);
    return [`cut: [${a}, ${b}]`];
  }

  #heal(a: string, b: string): Step[] {
    const cut = [this.#cuts.delete(`${a}>${b}`), this.#cuts.delete(`${b}>${a}`)].includes(true);
    const slow = this.#slow.get(pairOf(a, b));
    return cut ? [`heal: [${a}, ${b}]`, ...(slow === undefined ? [] : [slow])] : [];
  }

  #slower({ a, b, delayMs, rateBytesPerSec }: Extract<Action, { do: 'slow' }>): Step[] {
    const pair = pairOf(a, b);
    if (delayMs === null && rateBytesPerSec === null) {
      if (!this.#slow.delete(pair)) return [];
      const cuts = [`${a}>${b}`, `${b}>${a}`].filter((way) => this.#cuts.has(way)).map((way) => way.split('>'));
      return [`heal: [${a}, ${b}]`, ...cuts.map(([from, to]) => `cut: {from: ${from ?? ''}, to: ${to ?? ''}}`)];
    }
    const how = [
      ...(rateBytesPerSec === null ? [] : [`rate: ${String(Math.ceil(rateBytesPerSec))}B`]),
      ...(delayMs === null ? [] : [`delay: ${String(Math.max(1, Math.round(delayMs)))}ms`]),
    ];
    const step = `slow: {link: [${a}, ${b}], ${how.join(', ')}}`;
    this.#slow.set(pair, step);
    return [step];
  }

  // -------------------------------------------------------------------------------------------------------- disks

  #diskFault({ node, pattern, op, times }: DiskFault, at: number): Step[] | undefined {
    if (pattern !== LEG) return undefined;
    const step = op === 'full' ? `diskfull: ${node}` : `diskerror: {on: ${node}, op: ${op}}`;
    const until = times === null ? Infinity : Math.round(at) + times * COUNTED_MS[op];
    this.#faults.set(node, [...(this.#faults.get(node) ?? []), { step, until }]);
    return [step];
  }

  /** Its disk is sound, but for these. */
  #repaired(node: string, left: Fault[]): Step[] {
    const before = this.#faults.get(node) ?? [];
    this.#faults.set(node, left);
    return before.length === 0 ? [] : [`diskok: ${node}`, ...left.map((f) => f.step)];
  }

  /** Faults that have struck as often as they were to, before this time. */
  #endCounted(before: number): void {
    for (;;) {
      const ends = [...this.#faults].flatMap(([node, faults]) => faults.map((f) => ({ node, until: f.until })));
      const [first] = ends.filter((e) => e.until <= before).sort((a, b) => a.until - b.until);
      if (first === undefined) return;
      this.#waitUntil(first.until);
      const left = (this.#faults.get(first.node) ?? []).filter((f) => f.until > first.until);
      this.#steps.push(...this.#repaired(first.node, left));
    }
  }
}

/** As an operator says it. What asks a question has its answer, as nobody asks in a history. */
function commandLine(command: Command, node: string, nodes: readonly string[]): string {
  const named = nodes.map((n) => ` ${n}`).join('');
  switch (command) {
    case 'pause':
      return `mirror_action ${TAG} pause${named}`;
    case 'resume':
      return `mirror_action ${TAG} resume`;
    case 'fullresync':
      return `mirror_action ${TAG} fullresync${named} --yes`;
    case 'out-of-service':
      return `netraid out-of-service ${TAG}`;
    case 'in-service':
      return `netraid in-service ${TAG} --yes`;
    case 'switchover':
      return `netraid switchover ${TAG} ${nodes[0] ?? node} --yes`;
    case 'force':
      return `mirror_action ${TAG} force ${node} --yes --without-last-owner`;
  }
}
