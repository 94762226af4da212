/**
 * One history: a mirror is made, an application uses it, things go wrong, everything is repaired, and all promises are
 * judged. The seed decides everything; the same seed is the same history, event by event.
 */
import { SimulationError } from '../../../src/io/simulated/schedule.ts';
import { Stream } from '../../../src/io/simulated/seed.ts';
import type { Clock } from '../../../src/io/types.ts';
import { perform, type Script } from './actions.ts';
import { Aimed } from './aimed.ts';
import { Checkpoints } from './checkpoints.ts';
import { Cluster } from './cluster.ts';
import { CompareChecks } from './compare-checks.ts';
import { DroppedMarks } from './dropped-marks.ts';
import { endHistory, describe, together } from './ending.ts';
import { Faults } from './faults.ts';
import { FlagChecks } from './flag-checks.ts';
import { PathChecks } from './path-checks.ts';
import { drawPlan, LEG, type Plan, type PlanOptions, TAG } from './plan.ts';
import { checkProofs, checkQuietly } from './quiet-checks.ts';
import { checkServed } from './served-checks.ts';
import { Workload } from './workload.ts';

export interface HistoryOptions extends PlanOptions {
  verbose?: ((line: string) => void) | undefined;
  /** A promise more, for tests of the simulator itself: says what is wrong, or nothing. */
  alsoWrong?: ((c: Cluster) => string | undefined) | undefined;
  /** What strikes, in place of what the seed draws. */
  script?: Script | undefined;
  /** Told what a history is broken by from outside its events: an unhandled rejection. */
  onStart?: ((broken: (why: unknown) => void) => void) | undefined;
}

export interface HistoryReport {
  seed: number;
  fingerprint: string;
  nodes: number;
  faults: number;
  /** All that struck, to be lived through again. */
  script: Script;
  /** Requests that the application has sent. */
  requests: number;
  events: number;
  virtualMs: number;
  /** Faults, rules, requests: how often. */
  counts: Record<string, number>;
  /** Promises: how often they were judged. */
  checks: Record<string, number>;
  failure: { promise: string; what: string; story: string[]; tail: string[] } | undefined;
}

const LIMITS = { virtualMs: 300_000, events: 2_000_000 };

export async function runHistory(seed: number, o: HistoryOptions = {}): Promise<HistoryReport> {
  const plan = drawPlan(seed, o);
  const c = new Cluster(plan, { verbose: o.verbose });
  o.onStart?.((why) => {
    c.violated('no rejection without a handler', why instanceof Error ? (why.stack ?? why.message) : String(why));
  });
  const l: Lived = { faults: 0, script: { actions: [], endAt: 0 }, requests: () => 0 };
  try {
    await c.world.run(Promise.race([live(c, plan, l, o), c.untilViolated()]), LIMITS);
  } catch (e: unknown) {
    if (!(e instanceof SimulationError)) throw e;
    const cause = e.cause instanceof Error ? (e.cause.stack ?? '') : '';
    c.violated(e.message.includes('limit') ? 'M14' : 'no invariant breaks', `${e.message}\n${cause}\n${describe(c)}`);
  }
  for (const [name, n] of Object.entries(c.world.counters.snapshot())) c.count(`world: ${name}`, n);
  const { violation } = c;
  return {
    seed,
    fingerprint: c.world.fingerprint(),
    nodes: plan.nodes.length,
    faults: l.faults,
    script: l.script,
    requests: l.requests(),
    events: c.world.events,
    virtualMs: c.world.now(),
    counts: Object.fromEntries(c.counts),
    checks: Object.fromEntries(c.checks),
    failure: violation === undefined ? undefined : { promise: violation.promise, what: violation.message, story: c.story, tail: [...c.world.tail()] },
  };
}

interface Lived {
  faults: number;
  script: Script;
  requests: () => number;
}

async function live(c: Cluster, plan: Plan, l: Lived, { script, alsoWrong }: HistoryOptions): Promise<void> {
  c.say(
    `${String(plan.nodes.length)} nodes, ${String(plan.sizeBytes / 1024)} KiB, regions of ${String(plan.regionBytes / 1024)} KiB; ${[...plan.kinds].join(' ')}; ` +
      `arbiter ${plan.arbiter}, networks ${plan.networks.join(' ')}`,
  );
  c.count(`histories: arbiter ${plan.arbiter}`);
  if (plan.kinds.has('aimed')) c.count('histories: aimed blows');
  c.count(`histories: ${String(plan.networks.length)} paths a pair`);
  const w = new Workload(c);
  const checkpoints = plan.kinds.has('checkpoints') ? new Checkpoints(c) : undefined;
  let backups: Promise<void> | undefined;
  const use = (): void => {
    w.start();
    backups = checkpoints?.run();
  };
  const dropped = new DroppedMarks(c);
  c.world.betweenEvents(() => {
    dropped.look();
    checkpoints?.look();
  });
  await make(c, plan, use);
  if (!w.started) use();
  l.requests = () => w.requests;
  const flags = new FlagChecks(c);
  const paths = new PathChecks(c);
  const compares = new CompareChecks(c);
  const looks = new Stream(plan.seed, 'looks');
  const watchClock = c.world.harnessClock('watch');
  let over = false as boolean;
  const watch = (async () => {
    while (!over && c.violation === undefined) {
      await sleep(watchClock, looks.between(15, 100));
      checkQuietly(c);
      checkServed(c);
      checkProofs(c);
      flags.look();
      c.damage.look();
      paths.look();
      compares.look();
      const wrong = alsoWrong?.(c);
      if (wrong !== undefined) c.violated('injected', wrong);
    }
  })();
  if (script === undefined) await strikeBySeed(c, plan, l);
  else await strikeByScript(c, l, script);
  c.snapshots.end();
  await endHistory(c, w);
  over = true;
  checkpoints?.end();
  await Promise.all([watch, backups]);
}

const sleep = (clock: Clock, ms: number): Promise<void> =>
  new Promise((resolve) => {
    clock.after(ms, resolve);
  });

async function strikeBySeed(c: Cluster, plan: Plan, l: Lived): Promise<void> {
  const s = new Stream(plan.seed, 'history');
  const faults = new Faults(c);
  const aimed = new Aimed(c, (action) => {
    faults.act(action);
  });
  l.script.actions = faults.actions;
  while (faults.struck + aimed.struck < plan.faults && c.violation === undefined) {
    const draw = s.float();
    await sleep(c.faultClock, plan.pace * aimed.patience * (draw < 0.3 ? s.float() * 20 : draw < 0.75 ? s.float() * 300 : s.float() * 1100));
    faults.strike();
    l.faults = faults.struck + aimed.struck;
    l.script.endAt = c.world.now();
  }
  await sleep(c.faultClock, s.float() * 800);
  faults.end();
  aimed.end();
  l.script.endAt = c.world.now();
}

/** The same at the same moments, whatever the seed would draw. */
async function strikeByScript(c: Cluster, l: Lived, script: Script): Promise<void> {
  l.script = script;
  const until = (at: number): Promise<void> =>
    new Promise((resolve) => {
      c.world.at(at, resolve);
    });
  for (const { at, action } of script.actions) {
    await until(at);
    c.say(`--- ${JSON.stringify(action)}`);
    perform(c, action);
    l.faults += 1;
  }
  await until(script.endAt);
}

const ALONE_CHANCE = 0.3;

/** Makes the mirror, as an operator does; a history begins with all legs in sync, or with the first copy under way. */
async function make(c: Cluster, plan: Plan, use: () => void): Promise<void> {
  const s = new Stream(plan.seed, 'making');
  for (const m of c.all) m.sim.createFile(LEG, plan.sizeBytes, s.coin(0.8) ? 'file' : 'block');
  for (const m of c.all) await m.boot();
  await c.world.sleep(250);
  const [first, ...rest] = c.all;
  if (first === undefined) throw new Error('a cluster without nodes');
  const must = async (answer: Promise<string>): Promise<void> => {
    const why = await answer;
    if (why !== '') c.violated('M14', `the mirror could not be made: ${why}`);
  };
  await must(
    first.command('create', {
      tag: TAG,
      leg: LEG,
      sizeBytes: plan.sizeBytes,
      regionBytes: plan.regionBytes,
      priority: 1,
      failureTimeoutMs: plan.failureTimeoutMs,
      failover: null,
      arbiter: plan.arbiter,
      waitForPreviousSourceSec: plan.waitForPreviousSourceSec,
      zeroed: true,
    }),
  );
  await must(first.command('in-service', { tag: TAG }));
  // Of its own stream: other histories stay as they were.
  const alone = new Stream(plan.seed, 'alone');
  if (alone.coin(ALONE_CHANCE)) {
    c.count('histories: written to before there is a target');
    use();
    const end = c.world.now() + alone.between(50, 1500);
    const snapshotAt = plan.kinds.has('snapshot') ? c.world.now() + alone.between(20, 800) : Infinity;
    for (let taken = false; c.world.now() < end; ) {
      await c.world.sleep(5);
      checkServed(c);
      if (taken || c.world.now() < snapshotAt) continue;
      taken = true;
      await must(first.command('snapshot-create', { tag: TAG, name: 'first', spaceBytes: plan.sizeBytes }));
    }
  }
  for (const [i, m] of rest.entries()) {
    const mode = plan.modes[i + 1] ?? 'sync';
    await must(first.command('extend', { tag: TAG, node: m.name, leg: LEG, foreignUri: null, mode, priority: 10 * (i + 1), zeroed: s.coin(0.5) }));
  }
  if (s.coin(0.2)) return;
  const end = c.world.now() + 10_000;
  while (together(c) === undefined) {
    if (c.world.now() > end) {
      c.violated('M14', `the first copy does not end\n${describe(c)}`);
      return;
    }
    await c.world.sleep(10);
  }
}
