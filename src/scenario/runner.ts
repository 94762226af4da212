/**
 * Carries a scenario out, step by step, in whatever world it is given.
 *
 *   step -> world (processes, links, disks) | daemons' control interface | the device, as an application
 *        -> holds: the next one            | StepFailure: the scenario ends there
 *
 * Invariant: nothing that was begun in the background outlives the last step.
 */
import { DEFAULT_ROOT } from '../control/places.ts';
import { ControlError } from '../control/types.ts';
import { mirrorPaths } from '../failover/paths.ts';
import type { NodeName } from '../failover/types.ts';
import { IoError } from '../io/types.ts';
import { daemonClient } from './daemon-client.ts';
import { struckBytes } from './damage.ts';
import { Devices } from './devices.ts';
import { type Difference, StepFailure } from './errors.ts';
import { differences, holds, showBroken, showBytes, showComparison } from './expect.ts';
import { Load } from './load.ts';
import { Acknowledged } from './model.ts';
import { Observer } from './observe.ts';
import { joinMirror, makeMirror } from './setup.ts';
import { acknowledged, leg, read, write } from './transfer.ts';
import { type Action, type Comparison, type ExpectAction, type RunAction, type Scenario, type Step, wordOf } from './types.ts';
import { type CommandRunner, type ScenarioWorld, sleep } from './world.ts';

const POLL_MS = 50;
/** How long what is still on its way may make legs differ, or keep a resync from being recorded. */
const SETTLE_MAX_MS = 5000;
const COMMAND_MAX_MS = 120_000;
const WORDS_KEPT = 20;

export interface Failure {
  /** From 1. */
  step: number;
  line: number;
  /** The step's word. */
  action: string;
  message: string;
  differences: readonly Difference[];
  /** What each daemon said last. */
  log: Record<NodeName, string[]>;
}

/** Null: every step holds. `onStep`: before each. */
export async function runSteps(
  scenario: Scenario,
  world: ScenarioWorld,
  command: CommandRunner,
  onStep: (step: Step) => void = () => undefined,
): Promise<Failure | null> {
  const run = new Run(scenario, world, command);
  try {
    for (const step of scenario.steps) {
      onStep(step);
      const failure = await run.step(step);
      if (failure !== null) return failure;
    }
    return null;
  } finally {
    await run.end();
  }
}

class Run {
  readonly #scenario: Scenario;
  readonly #world: ScenarioWorld;
  readonly #command: CommandRunner;
  readonly #observer: Observer;
  readonly #devices: Devices;
  readonly #model = new Acknowledged();
  readonly #loads = new Map<string, Load>();
  /** Nodes that the mirror has been extended to; empty before the first `up`. */
  readonly #members = new Set<NodeName>();

  constructor(scenario: Scenario, world: ScenarioWorld, command: CommandRunner) {
    this.#scenario = scenario;
    this.#world = world;
    this.#command = command;
    this.#observer = new Observer(world, scenario.mirror);
    this.#devices = new Devices(world, this.#observer, scenario.mirror.tag);
  }

  async step(step: Step): Promise<Failure | null> {
    try {
      await this.#carryOut(step.action);
      this.#world.checkDaemons();
      for (const load of this.#loads.values()) if (load.failure !== undefined) throw load.failure;
      return null;
    } catch (e: unknown) {
      // What is none of these is a fault of ours, but the report must still say where.
      const known = e instanceof StepFailure || e instanceof ControlError || e instanceof IoError;
      const message = e instanceof Error ? e.message : String(e);
      return {
        step: step.number,
        line: step.line,
        action: wordOf(step.action),
        message: known ? message : `unexpected: ${e instanceof Error ? (e.stack ?? message) : message}`,
        differences: e instanceof StepFailure ? e.differences : [],
        log: Object.fromEntries(this.#scenario.mirror.nodes.map((n) => [n.name, this.#world.lastWords(n.name).slice(-WORDS_KEPT)])),
      };
    }
  }

  async end(): Promise<void> {
    await Promise.all([...this.#loads.values()].map((l) => l.stop()));
    this.#devices.closeAll();
  }

  async #carryOut(a: Action): Promise<void> {
    const world = this.#world;
    const { mirror } = this.#scenario;
    const transfer = { world, mirror, devices: this.#devices, model: this.#model };
    switch (a.kind) {
      case 'up':
        await this.#up(a.nodes);
        return;
      case 'down':
        await world.down(a.node);
        return;
      case 'crash':
        await world.crash(a.nodes);
        return;
      case 'powerfail':
        await this.#powerfail(a.nodes);
        return;
      case 'freeze':
        world.freeze(a.node);
        return;
      case 'thaw':
        world.thaw(a.node);
        return;
      case 'cut':
        world.cut(a.from, a.to);
        if (a.bothWays) world.cut(a.to, a.from);
        return;
      case 'heal':
        this.#heal(a.link);
        return;
      case 'slow':
        world.slow(...a.link, a);
        return;
      case 'write':
        await write(transfer, a);
        return;
      case 'read':
        await read(transfer, a);
        return;
      case 'leg':
        await leg(transfer, a);
        return;
      case 'load':
        if (this.#loads.get(a.name)?.ended === false)
          throw new StepFailure(`load ${a.name} runs already: its writes are not done, and no endload came`);
        this.#loads.set(a.name, new Load(transfer, a));
        return;
      case 'endload':
        await this.#loads.get(a.name)?.end();
        return;
      case 'acknowledged':
        await this.#acknowledged(a.node);
        return;
      case 'run':
        await this.#run(a);
        return;
      case 'damage':
        await this.#damage(a);
        return;
      case 'remove':
        await this.#remove(a);
        return;
      case 'fault':
        await world.fault(a.node, a.fault);
        return;
      case 'wait':
        await sleep(world.clock, a.ms);
        return;
      case 'identical':
        await this.#identical(a.nodes);
        return;
      case 'resynced':
        await this.#resynced(a);
        return;
      case 'expect':
        await this.#expect(a);
        return;
    }
  }

  // ------------------------------------------------------------------------------------------------ processes, links

  async #up(nodes: readonly NodeName[]): Promise<void> {
    const ctx = { world: this.#world, mirror: this.#scenario.mirror, observer: this.#observer };
    await Promise.all(nodes.map((n) => this.#world.up(n)));
    if (this.#members.size === 0) {
      await makeMirror(ctx, nodes);
    } else {
      for (const n of nodes) if (!this.#members.has(n)) await joinMirror(ctx, n);
    }
    for (const n of nodes) this.#members.add(n);
  }

  async #powerfail(nodes: readonly NodeName[]): Promise<void> {
    const survivors = this.#world.losesUnsynced ? await this.#haveAll(nodes) : [];
    await this.#world.powerfail(nodes);
    if (this.#world.losesUnsynced && survivors.length === 0) this.#model.powerLost();
  }

  /** Nodes not among these that surely have all that was acknowledged. */
  async #haveAll(but: readonly NodeName[]): Promise<NodeName[]> {
    const source = await this.#observer.inService();
    if (source === undefined) return [];
    const targets = source.targets.filter((t) => t.state === 'Target' && t.mode === 'sync').map((t) => t.node);
    return [source.node, ...targets].filter((n) => !but.includes(n) && this.#world.running(n) !== 'down');
  }

  #heal(link: [NodeName, NodeName] | null): void {
    if (link !== null) {
      this.#world.heal(...link);
      return;
    }
    const names = this.#scenario.mirror.nodes.map((n) => n.name);
    for (const [i, a] of names.entries()) for (const b of names.slice(i + 1)) this.#world.heal(a, b);
  }

  // --------------------------------------------------------------------------------------------------------- files

  async #damage(a: Action & { kind: 'damage' }): Promise<void> {
    const world = this.#world;
    if (world.running(a.on) !== 'down') throw new StepFailure(`${a.on} is ${world.running(a.on)}; only files of a stopped node can be damaged`);
    const path = this.#path(a.on, a.file);
    const { at, length } = struckBytes(a, `${path} on ${a.on}`, await world.sizeBytes(a.on, path));
    const bytes = await world.read(a.on, path, at, length);
    if (bytes?.length !== length) throw new Error(`${path} on ${a.on} changes while nobody runs there`);
    await world.write(
      a.on,
      path,
      at,
      bytes.map((b) => b ^ 0xff),
    );
  }

  async #remove(a: Action & { kind: 'remove' }): Promise<void> {
    const path = this.#path(a.on, a.file);
    if (!(await this.#world.exists(a.on, path))) throw new StepFailure(`${path} does not exist on ${a.on}`);
    await this.#world.unlink(a.on, path);
  }

  #path(node: NodeName, file: (Action & { kind: 'damage' | 'remove' })['file']): string {
    const paths = mirrorPaths(this.#world.root(node), this.#scenario.mirror.tag);
    switch (file) {
      case 'leg':
        return this.#world.legPath(node);
      case 'bitmap':
        return paths.bitmap;
      case 'state':
        return paths.state;
      case 'last_owner':
        return paths.lastOwner;
      case 'source':
        return paths.source;
      case 'data_corrupt':
        return paths.dataCorrupt;
    }
  }

  // ---------------------------------------------------------------------------------------------------------- data

  async #acknowledged(node: NodeName): Promise<void> {
    const loads = [...this.#loads.values()];
    for (const l of loads) l.pause();
    try {
      const found = await this.#observer.status(node);
      const serving = 'status' in found && found.status.inService;
      await acknowledged({ world: this.#world, mirror: this.#scenario.mirror, devices: this.#devices, model: this.#model }, node, serving);
    } finally {
      for (const l of loads) l.resume();
    }
  }

  async #identical(nodes: readonly NodeName[]): Promise<void> {
    const [first, ...others] = nodes;
    if (first === undefined) return;
    await this.#until(SETTLE_MAX_MS, 'the legs differ', async () => {
      const found: Difference[] = [];
      for (const other of others) {
        const at = await this.#world.firstDifference(first, other);
        if (at >= 0) found.push({ field: `legs of ${first} and ${other}`, expected: 'the same', seen: `a difference at byte ${String(at)}` });
      }
      return found;
    });
  }

  async #resynced(a: Action & { kind: 'resynced' }): Promise<void> {
    await this.#until(SETTLE_MAX_MS, '', async () => {
      const source = await this.#observer.inService();
      if (source === undefined) return [{ field: 'a node in service', expected: 'one', seen: 'none' }];
      const last = source.targets.find((t) => t.node === a.target)?.lastResync;
      if (last === undefined || last === null) {
        return [{ field: `a finished resync to ${a.target}`, expected: 'one', seen: `none recorded on ${source.node}` }];
      }
      const found: Difference[] = [];
      if (a.type !== null && a.type !== last.kind) found.push({ field: `${a.target}.kind`, expected: a.type, seen: last.kind });
      const compare = (field: string, c: Comparison | null, bytes: number): void => {
        if (c !== null && !holds(c, bytes)) found.push({ field: `${a.target}.${field}`, expected: showComparison(c), seen: showBytes(bytes) });
      };
      compare('bytes', a.bytes, last.bytes);
      compare('sent', a.sent, last.sent);
      return found;
    });
  }

  /** At some moment within `within` all hold, and go on holding for `for`. */
  async #expect(a: ExpectAction): Promise<void> {
    const { clock } = this.#world;
    const began = clock.now();
    const deadline = began + a.withinMs;
    const nodes = Object.keys(a.nodes);
    let held: { from: number; to: number } | undefined;
    let broken = '';
    for (;;) {
      const found = differences(a.nodes, await this.#observer.seeAll(nodes));
      this.#world.checkDaemons();
      const now = clock.now();
      if (found.length === 0) {
        held = { from: held?.from ?? now, to: now };
        if (now - held.from >= a.forMs) return;
      } else {
        if (held !== undefined) broken = showBroken(a.forMs, { from: held.from - began, to: held.to - began, brokenAt: now - began }, found);
        held = undefined;
        if (now >= deadline) throw new StepFailure(broken, found);
      }
      await sleep(clock, POLL_MS);
    }
  }

  async #until(maxMs: number, what: string, missing: () => Promise<Difference[]>): Promise<void> {
    const { clock } = this.#world;
    const deadline = clock.now() + maxMs;
    for (;;) {
      const found = await missing();
      if (found.length === 0) return;
      if (clock.now() >= deadline) throw new StepFailure(what, found);
      this.#world.checkDaemons();
      await sleep(clock, POLL_MS);
    }
  }

  // ------------------------------------------------------------------------------------------------------ commands

  async #run(a: RunAction): Promise<void> {
    const world = this.#world;
    const node = a.on ?? (await this.#observer.inService())?.node ?? this.#scenario.mirror.nodes.find((n) => world.running(n.name) === 'up')?.name;
    if (node === undefined) throw new StepFailure('no daemon runs that the command could ask');
    const out: string[] = [];
    const errors: string[] = [];
    const root = world.root(node);
    const command = this.#command.run(
      a.argv.map((word) => belowRoot(word, root)),
      {
        client: daemonClient(world, node),
        clock: world.clock,
        files: world.files(node),
        root,
        out: (line) => out.push(line),
        error: (line) => errors.push(line),
      },
    );
    const timer = sleep(world.clock, COMMAND_MAX_MS).then(() => undefined);
    const exit = await Promise.race([command, timer]);
    if (exit === undefined) throw new StepFailure(`the command did not end within ${String(COMMAND_MAX_MS)} ms`);
    const lines = [...out, ...errors];
    const found: Difference[] = [];
    if (exit !== a.exit) found.push({ field: 'exit', expected: String(a.exit), seen: String(exit) });
    if (a.prints?.test(lines.join('\n')) === false) found.push({ field: 'prints', expected: `/${a.prints.source}/`, seen: 'nothing like it' });
    if (found.length > 0) throw new StepFailure(`on ${node}`, found, printed(lines));
  }
}

/** What a command said, to be read as it said it. */
function printed(lines: readonly string[]): string {
  const text = lines.join('\n').trimEnd();
  return text === '' ? 'it printed nothing' : `it printed:\n${text}`;
}

/** A file below the usual root is the node's own, wherever its root is in this world. */
function belowRoot(word: string, root: string): string {
  return word.startsWith(`${DEFAULT_ROOT}/`) ? `${root}${word.slice(DEFAULT_ROOT.length)}` : word;
}
