/**
 * One history: a mirror is made, an application uses it, things go wrong, everything is repaired, and all promises are
 * judged. The seed decides everything; the same seed is the same history, event by event.
 */
import { SimulationError } from '../../../src/io/simulated/schedule.ts';
import { Stream } from '../../../src/io/simulated/seed.ts';
import { Aimed } from './aimed.ts';
import { Cluster } from './cluster.ts';
import { DroppedMarks } from './dropped-marks.ts';
import { endHistory, describe, together } from './ending.ts';
import { Faults } from './faults.ts';
import { FlagChecks } from './flag-checks.ts';
import { drawPlan, LEG, type Plan, type PlanOptions, TAG } from './plan.ts';
import { checkProofs, checkQuietly } from './quiet-checks.ts';
import { Workload } from './workload.ts';

export interface HistoryOptions extends PlanOptions {
  verbose?: ((line: string) => void) | undefined;
  /** Told what a history is broken by from outside its events: an unhandled rejection. */
  onStart?: ((broken: (why: unknown) => void) => void) | undefined;
}

export interface HistoryReport {
  seed: number;
  fingerprint: string;
  nodes: number;
  faults: number;
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
  let faults = 0;
  try {
    await c.world.run(
      Promise.race([
        live(c, plan).then((n) => {
          faults = n;
        }),
        c.untilViolated(),
      ]),
      LIMITS,
    );
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
    faults,
    events: c.world.events,
    virtualMs: c.world.now(),
    counts: Object.fromEntries(c.counts),
    checks: Object.fromEntries(c.checks),
    failure: violation === undefined ? undefined : { promise: violation.promise, what: violation.message, story: c.story, tail: [...c.world.tail()] },
  };
}

async function live(c: Cluster, plan: Plan): Promise<number> {
  c.say(
    `${String(plan.nodes.length)} nodes, ${String(plan.sizeBytes / 1024)} KiB, regions of ${String(plan.regionBytes / 1024)} KiB; ${[...plan.kinds].join(' ')}`,
  );
  await make(c, plan);
  const s = new Stream(plan.seed, 'history');
  const w = new Workload(c);
  w.start();
  const faults = new Faults(c);
  const aimed = new Aimed(c);
  const dropped = new DroppedMarks(c);
  const flags = new FlagChecks(c);
  c.world.betweenEvents(() => {
    dropped.look();
  });
  let over = false as boolean;
  const watch = (async () => {
    while (!over && c.violation === undefined) {
      await c.world.sleep(s.between(15, 100));
      checkQuietly(c);
      checkProofs(c);
      flags.look();
    }
  })();
  while (faults.struck + aimed.struck < plan.faults && c.violation === undefined) {
    const draw = s.float();
    await c.world.sleep((draw < 0.3 ? s.float() * 20 : draw < 0.75 ? s.float() * 300 : s.float() * 1100) * aimed.patience);
    faults.strike();
  }
  await c.world.sleep(s.float() * 800);
  faults.end();
  aimed.end();
  await endHistory(c, w);
  over = true;
  await watch;
  return faults.struck + aimed.struck;
}

/** Makes the mirror, as an operator does; a history begins with all legs in sync, or with the first copy under way. */
async function make(c: Cluster, plan: Plan): Promise<void> {
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
      arbiter: null,
      waitForPreviousSourceSec: null,
      zeroed: true,
    }),
  );
  await must(first.command('in-service', { tag: TAG }));
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
