import { mkdirSync, mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { UsageError } from '../../../scripts/benchmark/arguments.ts';
import { checkBuilt } from '../../../scripts/benchmark/built.ts';

describe('what is measured', () => {
  let root = '';

  /** Changed so many seconds after the others. */
  const file = (name: string, second: number): void => {
    mkdirSync(path.join(root, path.dirname(name)), { recursive: true });
    writeFileSync(path.join(root, name), '');
    utimesSync(path.join(root, name), 1_000_000 + second, 1_000_000 + second);
  };
  const refusal = (): unknown => {
    try {
      checkBuilt(root);
    } catch (e: unknown) {
      return e;
    }
    return undefined;
  };

  beforeEach(() => {
    root = mkdtempSync(path.join(tmpdir(), 'netraid-built-'));
    file('src/mirror/resync.ts', 1);
    file('package.json', 2);
    file('native-shims/conn.c', 3);
    file('dist/main/netraidd.js', 10);
    file('native-shims/build/Release/netraid.node', 10);
  });

  afterEach(() => {
    rmSync(root, { recursive: true });
  });

  it('was built of what is there', () => {
    expect(refusal()).toBeUndefined();
  });

  it('is not measured when a source has changed since, wherever it lies', () => {
    file('src/mirror/pacer.ts', 11);
    const found = refusal();
    expect(found).toBeInstanceOf(UsageError);
    expect(found).toMatchObject({ message: 'dist/main/netraidd.js is older than src/mirror/pacer.ts: npm run build' });
  });

  it('is not measured when the engine has changed since', () => {
    file('native-shims/conn.h', 11);
    expect(refusal()).toMatchObject({ message: 'native-shims/build/Release/netraid.node is older than native-shims/conn.h: npm run install' });
  });

  it('does not come of a document, nor of what a build itself leaves', () => {
    file('src/bitmap/README.md', 11);
    file('native-shims/build/Release/obj.target/conn.o', 11);
    expect(refusal()).toBeUndefined();
  });

  it('that was not built at all is not missed here', () => {
    rmSync(path.join(root, 'native-shims', 'build'), { recursive: true });
    rmSync(path.join(root, 'dist'), { recursive: true });
    expect(refusal()).toBeUndefined();
  });
});
