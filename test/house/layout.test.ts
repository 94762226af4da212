import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { rootDir, sourcesBelow } from './sources.ts';

/** The fixed top level, and what convention demands beside it. */
const topLevel = new Set([
  'package.json',
  'tsconfig.json',
  'src',
  'native-shims',
  'scripts',
  'test',
  'loopback-images',
  'README.md',
  'LICENSE',
  'CHANGELOG.md',
  'package-lock.json',
  'tsconfig.build.json',
  'eslint.config.js',
  'biome.json',
  '.dependency-cruiser.cjs',
  'knip.json',
  'vitest.config.ts',
  'vite.config.ts',
  'stryker.config.json',
  '.gitignore',
  '.gitattributes',
  '.ci',
  '.github',
  '.npmrc',
]);
/** Made by building and testing, never committed. */
const made = new Set(['.git', 'node_modules', 'dist', 'coverage', 'build', 'reports']);

/** Rooms whose modules are tested as a whole. */
const testedAsAWhole: Record<string, string> = {
  'src/main/': 'the composition root: the interop tests and the demo start the programs themselves',
};

/** Paths of our own modules that a file imports, types included, relative to the checkout. */
function imported(source: { path: string; text: string }): string[] {
  return [...source.text.matchAll(/(?:from|import\()\s*'(\.[^']+\.ts)'/g)].map((m) => path.join(path.dirname(source.path), m[1] ?? ''));
}

const roomOf = (module: string): string => module.split('/').slice(0, 2).join('/');

/**
 * Modules that a unit test imports, with what these use within their own room, and all that tests of whole clusters use: a
 * module outside is run by no test.
 */
function exercised(): Set<string> {
  const uses = new Map(sourcesBelow('src').map((s) => [s.path, imported(s)]));
  const all = new Set<string>();
  for (const wholeClusters of [false, true]) {
    const found = new Set<string>();
    const tests = sourcesBelow('test').filter((t) => t.path.startsWith('test/unit/') !== wholeClusters);
    const look = tests.flatMap((t) => imported(t)).filter((p) => uses.has(p));
    for (let module = look.pop(); module !== undefined; module = look.pop()) {
      if (found.has(module)) continue;
      found.add(module);
      const room = roomOf(module);
      look.push(...(uses.get(module) ?? []).filter((p) => (wholeClusters || roomOf(p) === room) && uses.has(p)));
    }
    for (const p of found) all.add(p);
  }
  return all;
}

describe('the checkout', () => {
  it('has at its top level only what the layout names', () => {
    const strangers = readdirSync(rootDir).filter((n) => !topLevel.has(n) && !made.has(n) && !n.endsWith('.log'));
    expect(strangers).toEqual([]);
  });

  it('has every module of src exercised by a test, its own or one of its room', () => {
    const seen = exercised();
    const bare = sourcesBelow('src')
      .map((s) => s.path)
      .filter((p) => !Object.keys(testedAsAWhole).some((room) => p.startsWith(room)) && !seen.has(p));
    expect(bare).toEqual([]);
  });

  it('pins every dependency to one version', () => {
    const p = JSON.parse(readFileSync(path.join(rootDir, 'package.json'), 'utf8')) as Record<string, Record<string, string> | undefined>;
    const loose = ['dependencies', 'devDependencies', 'optionalDependencies', 'overrides'].flatMap((kind) =>
      Object.entries(p[kind] ?? {})
        .filter(([, version]) => !/^\d+\.\d+\.\d+(-[\w.]+)?$/.test(version))
        .map(([name, version]) => `${kind} ${name}: ${version}`),
    );
    expect(loose).toEqual([]);
    expect(Object.keys(p['dependencies'] ?? {})).not.toEqual([]);
  });

  it('is one version in package.json and in the lock file', () => {
    const read = (name: string) => JSON.parse(readFileSync(path.join(rootDir, name), 'utf8')) as { version: string };
    expect(read('package-lock.json').version).toBe(read('package.json').version);
  });
});
