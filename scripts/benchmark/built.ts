/**
 * The programs that are measured are the built ones. Whoever starts a benchmark by hand, and not by its script, which builds first, may have
 * some that were built before a change: figures of those would be taken for the change's.
 */
import { readdirSync, statSync } from 'node:fs';
import path from 'node:path';
import { UsageError } from './arguments.ts';

interface Product {
  file: string;
  /** Files, and folders whose files with these endings count. */
  from: readonly string[];
  endings: readonly string[];
  command: string;
}

const products: readonly Product[] = [
  {
    file: 'dist/main/netraidd.js',
    from: ['src', 'scripts/build.mjs', 'package.json', 'tsconfig.json', 'tsconfig.build.json'],
    endings: ['.ts', '.json', '.mjs'],
    command: 'npm run build',
  },
  { file: 'native-shims/build/Release/netraid.node', from: ['native-shims'], endings: ['.c', '.h', '.gyp'], command: 'npm run install' },
];

/** Throws UsageError when something below `root` is newer than what was built of it. What was not built at all is missed elsewhere. */
export function checkBuilt(root: string): void {
  for (const p of products) {
    const builtAt = statSync(path.join(root, p.file), { throwIfNoEntry: false })?.mtimeMs;
    if (builtAt === undefined) continue;
    const newer = p.from
      .flatMap((f) => files(root, f))
      .find((f) => p.endings.some((e) => f.endsWith(e)) && statSync(path.join(root, f)).mtimeMs > builtAt);
    if (newer !== undefined) throw new UsageError(`${p.file} is older than ${newer}: ${p.command}`);
  }
}

function files(root: string, place: string): string[] {
  const stat = statSync(path.join(root, place), { throwIfNoEntry: false });
  if (stat?.isDirectory() !== true) return stat === undefined ? [] : [place];
  return readdirSync(path.join(root, place), { recursive: true, encoding: 'utf8' })
    .map((name) => path.join(place, name))
    .sort();
}
