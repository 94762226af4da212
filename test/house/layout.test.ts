import { existsSync, readdirSync, readFileSync } from 'node:fs';
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

/** Modules without a test file of their own, each with the reason. */
const untested: Record<string, string> = {
  'src/attach/errors.ts': 'an error type; its kinds are tested where they are thrown',
  'src/io/types.ts': 'types; the conformance suite tests what keeps them',
  'src/nbd/device.ts': 'types only',
  'src/failover/types.ts': 'types only',
};
/** Rooms whose modules are tested as a whole. */
const untestedRooms: Record<string, string> = {
  'src/main/': 'the composition root: the interop tests start the programs themselves',
};

const hasTest = (module: string): boolean => {
  const name = module.replace(/^src\//, '').replace(/\.ts$/, '.test.ts');
  return ['unit', 'simulated', 'interop', 'native'].some((tier) => existsSync(path.join(rootDir, 'test', tier, name)));
};

describe('the checkout', () => {
  it('has at its top level only what the layout names', () => {
    const strangers = readdirSync(rootDir).filter((n) => !topLevel.has(n) && !made.has(n) && !n.endsWith('.log'));
    expect(strangers).toEqual([]);
  });

  it('has a test file for every module, but for those with a reason', () => {
    const bare = sourcesBelow('src')
      .map((s) => s.path)
      .filter((p) => !(p in untested) && !Object.keys(untestedRooms).some((room) => p.startsWith(room)) && !hasTest(p));
    expect(bare).toEqual([]);
  });

  it('keeps no reason for a module that is gone or has got its test', () => {
    const stale = Object.keys(untested).filter((p) => !existsSync(path.join(rootDir, p)) || hasTest(p));
    expect(stale).toEqual([]);
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
