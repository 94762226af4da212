/** Runs histories of simulated clusters; `scripts/simulate --help`. */
import { performance } from 'node:perf_hooks';
import { parseArgs } from 'node:util';
import { runHistory } from '../test/simulated/support/history.ts';
import { type Kind, KINDS } from '../test/simulated/support/plan.ts';
import { addHistory, failureLines, noTotals, summary } from '../test/simulated/support/report.ts';

const HELP = `scripts/simulate [options]

  --seed N          one history, replayed
  --seeds FROM..TO  these histories (default 1..200); every K-th with --every K
  --seconds N       as many as fit into N seconds, from the first of --seeds on
  --nodes N         2 to 4 nodes (default: the seed decides)
  --without KINDS   leaves kinds of faults out: ${KINDS.join(',')}
  --only KINDS      leaves all others out; 'aimed' strikes only where it is named here
  --verbose         prints what happens, line by line
  --keep-going      does not stop at the first failing history
  --json            prints the totals as JSON
`;

const { values: v } = parseArgs({
  options: {
    seed: { type: 'string' },
    seeds: { type: 'string', default: '1..200' },
    every: { type: 'string', default: '1' },
    seconds: { type: 'string' },
    nodes: { type: 'string' },
    without: { type: 'string' },
    only: { type: 'string' },
    verbose: { type: 'boolean', default: false },
    'keep-going': { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});

const out = (line: string): void => {
  process.stdout.write(`${line}\n`);
};

function fail(why: string): never {
  process.stderr.write(`scripts/simulate: ${why}\n`);
  process.exit(2);
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

if (v.help) {
  process.stdout.write(HELP);
  process.exit(0);
}

const [fromText, toText] = v.seed === undefined ? v.seeds.split('..') : [v.seed, v.seed];
const from = whole('seeds', fromText ?? '');
const to = v.seconds === undefined ? whole('seeds', toText ?? '') : Infinity;
const every = whole('every', v.every);
const options = {
  nodes: v.nodes === undefined ? undefined : whole('nodes', v.nodes),
  without: kinds('without', v.without),
  only: kinds('only', v.only),
  verbose: v.verbose ? out : undefined,
};

// Errors are answers here, and nobody reads where they came from before a history is replayed.
if (v.seed === undefined) Error.stackTraceLimit = 2;

let broken: ((why: unknown) => void) | undefined;
process.on('unhandledRejection', (why) => {
  if (broken === undefined) throw why;
  broken(why);
});

const totals = noTotals();
const started = performance.now();
const elapsed = (): number => (performance.now() - started) / 1000;
const seconds = v.seconds === undefined ? Infinity : whole('seconds', v.seconds);
for (let seed = from; seed <= to && elapsed() < seconds; seed += every) {
  const h = await runHistory(seed, {
    ...options,
    onStart: (f) => {
      broken = f;
    },
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
