/**
 * Shows that the simulator would find a fault: each of these is planted in a temporary copy of the tree, and some seed
 * must find it within the budget. A patch that does not apply, or that changes nothing, is an error; the copy without a
 * patch must pass every seed that was used.
 */
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { performance } from 'node:perf_hooks';
import { bundleSimulator } from '../test/simulated/support/bundle.ts';
import type { Totals } from '../test/simulated/support/report.ts';
import { FAILOVER_PLANTS } from '../test/simulated/support/plants-failover.ts';
import { PLANTS, type Plant } from '../test/simulated/support/plants.ts';
import { badUse, scriptOptions } from './options.ts';

const NAME = 'scripts/plant-faults';
const HELP = `scripts/plant-faults [options]

  --only TEXT       plants whose name contains this
  --seconds N       for each fault (default 240)
  --list            names them
`;

const v = scriptOptions(NAME, HELP, {
  only: { type: 'string' },
  seconds: { type: 'string', default: '240' },
  list: { type: 'boolean', default: false },
});
const root = path.join(import.meta.dirname, '..');
const out = (line: string): void => {
  process.stdout.write(`${line}\n`);
};

function copyOfTheTree(): string {
  const to = mkdtempSync(path.join(tmpdir(), 'netraid-plant-'));
  for (const part of ['src', 'scripts', 'test/simulated', 'package.json', 'tsconfig.json'])
    cpSync(path.join(root, part), path.join(to, part), { recursive: true });
  symlinkSync(path.join(root, 'node_modules'), path.join(to, 'node_modules'));
  return to;
}

/** Each text is found exactly once in its file, or the patch does not apply. */
function plant(tree: string, p: Plant): void {
  for (const { file, find, replace } of p.edits) {
    const at = path.join(tree, file);
    const text = readFileSync(at, 'utf8');
    const parts = text.split(find);
    if (parts.length !== 2) throw new Error(`'${p.name}' does not apply: ${file} has its text ${String(parts.length - 1)} times`);
    if (find === replace) throw new Error(`'${p.name}' changes nothing`);
    writeFileSync(at, parts.join(replace));
  }
}

async function simulate(tree: string, args: string[]): Promise<Totals> {
  const program = await bundleSimulator(tree, tree);
  const done = spawnSync(process.execPath, [program, '--json', ...args], { encoding: 'utf8', maxBuffer: 1 << 28 });
  const last = done.stdout.trimEnd().split('\n').at(-1) ?? '';
  if (!last.startsWith('{')) throw new Error(`the simulator ended without a report: ${done.stderr.slice(-2000)}`);
  return JSON.parse(last) as Totals;
}

async function inCopy<T>(f: (tree: string) => Promise<T>): Promise<T> {
  const tree = copyOfTheTree();
  try {
    return await f(tree);
  } finally {
    rmSync(tree, { recursive: true });
  }
}

const secondsMax = Number(v.seconds);
if (!(secondsMax > 0)) badUse(NAME, `--seconds wants a number above 0, not ${v.seconds}`);
const chosen = [...PLANTS, ...FAILOVER_PLANTS].filter((p) => v.only === undefined || p.name.includes(v.only));
if (chosen.length === 0) badUse(NAME, `--only ${v.only ?? ''}: no plant has this in its name`);
if (v.list) {
  for (const p of chosen) out(p.name);
  process.exit(0);
}

const kinds = (p: Plant): string[] => [
  ...(p.only === undefined ? [] : ['--only', p.only]),
  ...(p.nodes === undefined ? [] : ['--nodes', String(p.nodes)]),
];
/** For each choice of histories, the last seed that was used. */
const used = new Map<string, number>();
let passed = 0;
let failed = 0;
const use = (p: Plant, seed: number): void => {
  const key = kinds(p).join(' ');
  used.set(key, Math.max(used.get(key) ?? 0, seed));
};

for (const p of chosen) {
  const started = performance.now();
  const t = await inCopy((tree) => {
    plant(tree, p);
    return simulate(tree, ['--seconds', v.seconds, ...kinds(p)]);
  });
  const [f] = t.failures;
  if (f === undefined) {
    failed += 1;
    out(`NOT FOUND  ${p.name}: ${String(t.histories)} histories pass`);
    use(p, t.histories);
    continue;
  }
  passed += 1;
  use(p, f.seed);
  const seconds = ((performance.now() - started) / 1000).toFixed(0);
  out(`found      ${p.name}: by seed ${String(f.seed)} in ${seconds} s, ${f.what.split('\n')[0]?.slice(0, 160) ?? ''}`);
}
for (const [key, last] of used) {
  const seeds = `seeds 1..${String(last)}${key === '' ? '' : ` ${key}`}`;
  const clean = await inCopy((tree) => simulate(tree, ['--seeds', `1..${String(last)}`, ...key.split(' ').filter((x) => x !== '')]));
  const [f] = clean.failures;
  if (f === undefined) {
    passed += 1;
    out(`clean      without a planted fault ${seeds} pass`);
  } else {
    failed += 1;
    out(`NOT CLEAN  without a planted fault seed ${String(f.seed)} fails: ${f.what.slice(0, 200)}`);
  }
}
out(`${String(passed)} passed, ${String(failed)} failed`);
process.exitCode = failed === 0 ? 0 : 1;
