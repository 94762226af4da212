import { truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { EngineHub } from '../../../../src/io/hub.ts';
import type { LegFile } from '../../../../src/io/leg-file.ts';
import { nodeClock } from '../../../../src/io/node/clock.ts';
import { type Fallocate, loadFallocate } from '../../../../src/io/node/fallocate.ts';
import { createNodeLegOpener } from '../../../../src/io/node/legs.ts';
import { PortableEngine } from '../../../../src/io/portable-engine.ts';
import { Errno, type Extent } from '../../../../src/io/types.ts';
import { expectIoError, pattern, takeBytes } from '../engine-rig.ts';
import { temporaryFolders } from './temporary-folder.ts';

const folder = temporaryFolders();
const KIB = 1024;

async function legOf(fallocate: Fallocate | undefined, write = true): Promise<{ path: string; file: LegFile }> {
  const path = join(await folder(), 'leg');
  await writeFile(path, pattern(64 * KIB, 1));
  return { path, file: await createNodeLegOpener({ fallocate }).open(path, { write, lock: true }) };
}

function extents(file: LegFile, offset: number, length: number): Promise<Extent[]> {
  return new Promise((resolve, reject) => {
    file.extents(offset, length, (errno, all) => {
      if (errno === 0) resolve(all);
      else reject(new Error(String(errno)));
    });
  });
}

function zero(file: LegFile, mayPunch: boolean): Promise<number> {
  return new Promise((resolve) => {
    file.zero(16 * KIB, 16 * KIB, mayPunch, resolve);
  });
}

/** Answers both calls with an errno, and counts them. */
function refusing(punch: number, zeroRange: number): { shim: Fallocate; calls: string[] } {
  const calls: string[] = [];
  const shim: Fallocate = {
    punch: (_fd, _offset, _length, done) => {
      calls.push('punch');
      setImmediate(done, punch);
    },
    zeroRange: (_fd, _offset, _length, done) => {
      calls.push('zeroRange');
      setImmediate(done, zeroRange);
    },
  };
  return { shim, calls };
}

describe('a leg on a file', () => {
  it('is sparse where the shim can make holes, and not where there is none', async () => {
    const withShim = await legOf(loadFallocate());
    expect(withShim.file.info()).toEqual({ sizeBytes: 64 * KIB, blockSizeBytes: 512, sparse: true });
    await withShim.file.close();
    const without = await legOf(undefined);
    expect(without.file.info().sparse).toBe(false);
    await without.file.close();
  });

  it('still reads as zero after zeroing without the shim', async () => {
    const { path, file } = await legOf(undefined);
    await file.close();
    const hub = new EngineHub(new PortableEngine({ clock: nodeClock, legs: createNodeLegOpener({ fallocate: undefined }) }));
    const { leg, sparse } = await hub.engine.openLeg(path, { write: true, lock: true });
    expect(sparse).toBe(false);
    await hub.must('zero', (op) => {
      hub.engine.zero(op, leg, 100, 10_000, true, true);
    });
    const r = await hub.must('read', (op) => {
      hub.engine.read(op, leg, 0, 64 * KIB);
    });
    const expected = pattern(64 * KIB, 1);
    expected.fill(0, 100, 10_100);
    expect(Buffer.compare(takeBytes(hub, r.h), expected)).toBe(0);
    await hub.engine.shutdown();
  });

  it('asks a file system that cannot zero only once', async () => {
    const { shim, calls } = refusing(Errno.ENOTSUP, Errno.ENOTSUP);
    const { file } = await legOf(shim);
    expect(file.info().sparse).toBe(false);
    calls.length = 0;
    expect(await zero(file, true)).toBe(Errno.ENOTSUP);
    expect(await zero(file, false)).toBe(Errno.ENOTSUP);
    expect(calls).toEqual(['zeroRange']);
    await file.close();
  });

  it('tells a failure to zero from a refusal', async () => {
    const { shim } = refusing(0, Errno.ENOSPC);
    const { file } = await legOf(shim);
    expect(await zero(file, true)).toBe(0);
    expect(await zero(file, false)).toBe(Errno.ENOSPC);
    await file.close();
  });

  it('calls what lies beyond the end data, so that reading it shows the error', async () => {
    const { path, file } = await legOf(loadFallocate());
    await truncate(path, 32 * KIB);
    expect(await file.sizeBytes()).toBe(32 * KIB);
    const all = await extents(file, 0, 64 * KIB);
    expect(all.every((e) => !e.hole)).toBe(true);
    expect(all.reduce((n, e) => n + e.length, 0)).toBe(64 * KIB);
    await file.close();
  });

  it('opened for reading alone, reports holes but writes nothing', async () => {
    const { path, file } = await legOf(loadFallocate(), false);
    await truncate(path, 1024 * KIB);
    await file.sizeBytes();
    expect((await extents(file, 0, 1024 * KIB)).at(-1)).toMatchObject({ hole: true, zero: true });
    const errno = await new Promise<number>((resolve) => {
      file.write(new Uint8Array(1), 0, resolve);
    });
    expect(errno).toBe(9);
    await file.close();
  });

  it('is not a folder or a terminal', async () => {
    const opener = createNodeLegOpener();
    await expectIoError(opener.open(await folder(), { write: false, lock: false }), Errno.EINVAL);
    await expectIoError(opener.open('/dev/null', { write: true, lock: false }), Errno.EINVAL);
  });
});
