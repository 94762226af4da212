/** Runs histories of simulated clusters; `scripts/simulate --help`. */
import { readFileSync, writeFileSync } from 'node:fs';
import { performance } from 'node:perf_hooks';
import { runHistory } from '../test/simulated/support/history.ts';
import { drawPlan, type Kind, KINDS, type PlanOptions } from '../test/simulated/support/plan.ts';
import { addHistory, failureLines, noTotals, summary } from '../test/simulated/support/report.ts';
import { scenarioOf } from '../test/simulated/support/scenario-file.ts';
import { type Replay, shrink } from '../test/simulated/support/shrink.ts';
import { badUse, scriptOptions } from './options.ts';

/** Histories that are lived through to make one short. */
const SHRINK_RUNS_MAX = 400;
/** Seeds that a scenario made of it is run with, and for how long at most. */
const TRIAL_SEEDS_MAX = 20;
const TRIAL_MAX_MS = 60_000;

const NAME = 'scripts/simulate';
const HELP = `scripts/simulate [options]

  --seed N          one history, replayed
  --seeds FROM..TO  these histories (default 1..200); every K-th with --every K
  --seconds N       as many as fit into N seconds, from the first of --seeds on
  --nodes N         2 to 4 nodes (default: the seed decides)
  --arbiter KIND    none or majority (default: the seed decides)
  --paths N         1 or 2 paths between each pair of nodes (default: the seed decides)
  --without KINDS   leaves kinds of faults out: ${KINDS.join(',')}
  --only KINDS      leaves all others out; 'aimed' strikes only where it is named here
  --shrink          makes the failing history of --seed short, and says which faults are left
  --out FILE        writes it there: as a scenario where that language can say it, and for --replay as FILE.json;
                    the scenario is run, and says itself whether it fails too
  --replay FILE     lives through a shrunk history again
  --verbose         prints what happens, line by line
  --keep-going      does not stop at the first failing history
  --json            prints the totals as JSON
`;

const v = scriptOptions(NAME, HELP, {
  seed: { type: 'string' },
  seeds: { type: 'string', default: '1..200' },
  every: { type: 'string', default: '1' },
  seconds: { type: 'string' },
  nodes: { type: 'string' },
  arbiter: { type: 'string' },
  paths: { type: 'string' },
  without: { type: 'string' },
  only: { type: 'string' },
  shrink: { type: 'boolean', default: false },
  out: { type: 'string' },
  replay: { type: 'string' },
  verbose: { type: 'boolean', default: false },
  'keep-going': { type: 'boolean', default: false },
  json: { type: 'boolean', default: false },
});

const out = (line: string): void => {
  process.stdout.write(`${line}\n`);
};

function fail(why: string): never {
  badUse(NAME, why);
}

function whole(name: string, text: string): number {
  const n = Number(text);
  if (!Number.isSafeInteger(n) || n < 0) fail(`--${name} wants a whole number, not ${text}`);
  return n;
}

function kinds(name: string, text: string | undefined): ReadonlySet<Kind> | undefined {
  if (text === undefined) return undefined;
  const out = text.split(',').map((k) => KINDS.find((x) => x === k) ?? fail(`--${name}: there is no kind ${k}; kinds: ${KINDS.join(', ')}`));
  return new Set(out);
}

function arbiter(text: string): 'none' | 'majority' {
  return (['none', 'majority'] as const).find((a) => a === text) ?? fail(`--arbiter wants none or majority, not ${text}`);
}

function planOptions(r: Replay): PlanOptions {
  const { only, without, ...rest } = r.options;
  return { ...rest, only: kinds('only', only?.join(',')), without: kinds('without', without?.join(',')) };
}

/** The scenario is run as well: its load is not the application of the history, and may not meet what that one met. */
async function writeShrunk(file: string, replay: Replay, what: string): Promise<void> {
  writeFileSync(`${file}.json`, `${JSON.stringify(replay, null, 2)}\n`);
  const scenario = scenarioOf(drawPlan(replay.seed, planOptions(replay)), replay.script, what);
  if ('unsaid' in scenario) {
    out(`written: ${file}.json; no scenario: that language has no words for ${scenario.unsaid}`);
    return;
  }
  writeFileSync(file, scenario.text());
  out(`written: ${file} and ${file}.json`);
  // Only here: histories themselves do without the product's commands, and the program that lives through many has none.
  const { tryScenario } = await import('../test/simulated/support/scenario-trial.ts');
  const end = performance.now() + TRIAL_MAX_MS;
  const trial = await tryScenario(scenario, {
    promise: replay.promise,
    file,
    seedsMax: TRIAL_SEEDS_MAX,
    inTime: () => performance.now() < end,
    onStart,
  });
  writeFileSync(file, trial.text);
  for (const line of trial.found) out(line);
}

const [fromText, toText] = v.seed === undefined ? v.seeds.split('..') : [v.seed, v.seed];
const from = whole('seeds', fromText ?? '');
const to = v.seconds === undefined ? whole('seeds', toText ?? '') : Infinity;
const every = whole('every', v.every);
const options = {
  nodes: v.nodes === undefined ? undefined : whole('nodes', v.nodes),
  arbiter: v.arbiter === undefined ? undefined : arbiter(v.arbiter),
  paths: v.paths === undefined ? undefined : whole('paths', v.paths),
  without: kinds('without', v.without),
  only: kinds('only', v.only),
  verbose: v.verbose ? out : undefined,
};

// Errors are answers here, and nobody reads where they came from before a history is replayed.
if (v.seed === undefined) Error.stackTraceLimit = 0;

let broken: ((why: unknown) => void) | undefined;
process.on('unhandledRejection', (why) => {
  if (broken === undefined) throw why;
  broken(why);
});

const onStart = (f: (why: unknown) => void): void => {
  broken = f;
};

if (v.shrink) {
  if (v.seed === undefined) fail('--shrink wants --seed');
  const { replay, last, runs } = await shrink(runHistory, from, { ...options, verbose: undefined, onStart }, SHRINK_RUNS_MAX, out);
  const { promise, what } = last.failure ?? fail('the shrunk history does not fail');
  out(
    `seed ${String(from)}, shrunk in ${String(runs)} histories: ${String(last.nodes)} nodes, ${String(last.requests)} requests; ${promise}: ${what}`,
  );
  for (const { at, action } of replay.script.actions) out(`${at.toFixed(3).padStart(12)} ${JSON.stringify(action)}`);
  if (v.out !== undefined) await writeShrunk(v.out, replay, what);
  process.exit(0);
}

if (v.replay !== undefined) {
  const replay = JSON.parse(readFileSync(v.replay, 'utf8')) as Replay;
  const h = await runHistory(replay.seed, { ...planOptions(replay), script: replay.script, verbose: options.verbose, onStart });
  out(h.failure === undefined ? `seed ${String(replay.seed)}: nothing is broken` : `${h.failure.promise}: ${h.failure.what}`);
  process.exit(h.failure === undefined ? 0 : 1);
}

const totals = noTotals();
const started = performance.now();
const elapsed = (): number => (performance.now() - started) / 1000;
const seconds = v.seconds === undefined ? Infinity : whole('seconds', v.seconds);
for (let seed = from; seed <= to && elapsed() < seconds; seed += every) {
  const h = await runHistory(seed, {
    ...options,
    onStart,
  });
  addHistory(totals, h);
  if (v.seed !== undefined) out(`seed ${String(seed)}: fingerprint ${h.fingerprint}, ${String(h.events)} events, ${h.virtualMs.toFixed(0)} ms`);
  if (h.failure === undefined) continue;
  const f = totals.failures.at(-1);
  if (f !== undefined && !v.json) for (const line of failureLines(f, v['keep-going'] ? 0 : 60)) out(line);
  if (!v['keep-going']) break;
}
if (v.json) out(JSON.stringify(totals));
else for (const line of summary(totals, elapsed())) out(line);
process.exitCode = totals.failures.length > 0 ? 1 : 0;
