import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterEach, expect, it } from 'vitest';
import { rootDir } from './sources.ts';

interface CruiseSummary {
  summary: { violations: { from: string; to: string; rule: { name: string } }[]; totalCruised: number };
}

const made: string[] = [];
afterEach(() => {
  for (const dir of made.splice(0)) rmSync(dir, { recursive: true });
});

async function cruise(dir: string): Promise<{ violations: string[]; modules: number }> {
  const program = path.join(rootDir, 'node_modules', '.bin', 'depcruise');
  const args = ['src', '--config', path.join(rootDir, '.dependency-cruiser.cjs'), '--output-type', 'json'];
  // The exit status counts violations: the report tells them, so that a non-zero status is no failure of the run.
  const report = await promisify(execFile)(program, args, { cwd: dir, maxBuffer: 64 * 1024 * 1024, timeout: 100_000 }).then(
    (r) => r.stdout,
    (e: unknown) => {
      if (e instanceof Error && 'stdout' in e && typeof e.stdout === 'string' && e.stdout.startsWith('{')) return e.stdout;
      throw e;
    },
  );
  const { summary } = JSON.parse(report) as CruiseSummary;
  return { violations: summary.violations.map((v) => `${v.rule.name}: ${v.from} -> ${v.to}`), modules: summary.totalCruised };
}

function tree(files: Record<string, string>): string {
  const dir = mkdtempSync(path.join(tmpdir(), 'netraid-graph-'));
  made.push(dir);
  for (const [name, text] of Object.entries({ 'tsconfig.json': '{}', 'package.json': '{"type":"module"}', ...files })) {
    mkdirSync(path.dirname(path.join(dir, name)), { recursive: true });
    writeFileSync(path.join(dir, name), text);
  }
  return dir;
}

it('the arrows between the rooms run one way, without cycles', async () => {
  const found = await cruise(rootDir);
  expect(found.violations).toEqual([]);
  expect(found.modules).toBeGreaterThan(10);
});

it('notices an arrow that runs up, a leaf that imports, code taken where only words may be, a cycle, and a file in no room', async () => {
  const dir = tree({
    'src/nbd/wire/a.ts': "import 'node:path'; export const a = 1;",
    'src/io/b.ts': "import { a } from '../nbd/wire/a.ts'; import { c } from '../mirror/c.ts'; export const b = a + c;",
    'src/mirror/c.ts': "import { facts, type Words } from '../failover/types.ts'; export const c: Words = facts;",
    'src/failover/types.ts': 'export type Words = number; export const facts = 1;',
    'src/bitmap/d.ts': "import { e } from './e.ts'; export const d: number = e;",
    'src/bitmap/e.ts': "import { d } from './d.ts'; export const e: number = d;",
    'src/main/f.ts': 'export const f = 1;',
    'src/cli/g.ts': "import { f } from '../main/f.ts'; export const g = f;",
    'src/stray/h.ts': "import { a } from '../nbd/wire/a.ts'; export const h = a;",
  });
  const rules = new Set((await cruise(dir)).violations.map((v) => v.split(':')[0]));
  expect([...rules].sort()).toEqual(
    ['failover-words-as-types', 'layer-cli', 'layer-io', 'leaf-imports-nothing', 'main-is-the-root', 'no-cycles', 'rooms-are-named'].sort(),
  );
});
