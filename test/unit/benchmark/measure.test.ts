/** Rows that have their files in memory: what is free for them, where they lie, how long they are measured, and that nothing is left of them. */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { TMPFS } from '../../../scripts/benchmark/arguments.ts';
import { availableBytes, measureRow, type MeasureOptions } from '../../../scripts/benchmark/measure.ts';
import { isTmpfs, type Stage } from '../../../scripts/benchmark/stage.ts';
import type { Cell, Row, Sample, Side } from '../../../scripts/benchmark/types.ts';

const MiB = 1024 ** 2;
const cell: Cell = {
  id: 'write-4k-qd1',
  kind: 'randwrite',
  blockBytes: 4096,
  depth: 1,
  connections: 1,
  flushEach: false,
  durable: false,
  inBytes: false,
};
const sample: Sample = { opsPerSec: 1, bytesPerSec: 4096, cpuMicrosPerOp: null, targetCpuMicrosPerOp: null, p99Micros: null, intentBytes: null };

function sideOf(start: Side['start']): Side {
  return { name: 'side', about: '', programs: [], ours: false, native: false, quick: true, targets: 0, start };
}

describe('what is free of memory', () => {
  it('is what is available, and not what is unused', () => {
    expect(availableBytes('MemTotal:       16000000 kB\nMemFree:           20000 kB\nMemAvailable:    8000000 kB\n')).toBe(8_000_000 * 1024);
  });

  it('is not guessed', () => {
    expect(() => availableBytes('MemFree: 20000 kB\n')).toThrow('how much memory is available');
  });
});

describe.skipIf(!isTmpfs(TMPFS))('a row with files in memory', () => {
  const temporary = process.env['TMPDIR'];
  let folder = '';
  let tmpfs = '';
  let said: string[] = [];

  beforeEach(() => {
    folder = mkdtempSync(path.join(tmpdir(), 'netraid-measure-'));
    tmpfs = mkdtempSync(path.join(TMPFS, 'netraid-measure-'));
    said = [];
  });

  afterEach(() => {
    // A stage sets it.
    if (temporary === undefined) delete process.env['TMPDIR'];
    else process.env['TMPDIR'] = temporary;
    for (const f of [folder, tmpfs]) rmSync(f, { recursive: true, force: true });
  });

  const rowOf = (side: Side): Row => ({
    name: 'row',
    title: '',
    cells: [cell],
    sides: [side],
    requirements: [],
    reference: side.name,
    inMemory: true,
    secondsMax: 0.02,
  });
  const optionsOf = (side: Side, more: Partial<MeasureOptions> = {}): MeasureOptions => ({
    folder,
    tmpfs,
    sizes: { fileBytes: MiB, touchedBytes: 4096 },
    cells: [cell],
    sides: [side],
    runs: 1,
    seconds: 1,
    ending: new AbortController().signal,
    onStage: () => undefined,
    say: (line) => said.push(line),
    ...more,
  });
  const measured = (side: Side, more: Partial<MeasureOptions> = {}) => measureRow(rowOf(side), optionsOf(side, more));
  const neverStarted = (targets: number): Side => ({ ...sideOf(() => Promise.reject(new Error('it was started'))), targets });
  /** Keeps where its file lies, and how long it is measured. */
  function recording(paths: string[], seconds: number[]): Side {
    return sideOf(async (stage: Stage) => {
      paths.push(await stage.file('random'), stage.fresh('sock'));
      return {
        measure: (_cell, s) => {
          seconds.push(s);
          return Promise.resolve(sample);
        },
      };
    });
  }

  it('has them there and all else in the other folder, is measured no longer than it may be, and leaves nothing', async () => {
    const [paths, seconds]: [string[], number[]] = [[], []];
    expect(await measured(recording(paths, seconds))).toMatchObject({ missing: [], cells: [{}] });
    expect([paths[0]?.startsWith(`${tmpfs}/`), paths[1]?.startsWith(`${folder}/`)]).toEqual([true, true]);
    expect(Math.max(...seconds)).toBe(0.02);
    expect([readdirSync(tmpfs), readdirSync(folder)]).toEqual([[], []]);
  });

  it('leaves nothing when a side fails after it has made its file', async () => {
    const failing = sideOf(async (stage) => {
      await stage.file('random');
      throw new Error('no such luck');
    });
    expect((await measured(failing)).missing).toEqual([{ side: 'side', why: expect.stringContaining('no such luck') as unknown }]);
    expect([readdirSync(tmpfs), readdirSync(folder)]).toEqual([[], []]);
  });

  it('leaves nothing when the benchmark is ended in the middle of it', async () => {
    let stage: Stage | undefined;
    const ended = sideOf(async (s) => {
      await s.file('random');
      await stage?.close();
      throw new Error('ended');
    });
    await measured(ended, {
      onStage: (s) => {
        stage = s;
      },
    });
    expect(stage).not.toBe(undefined);
    expect([readdirSync(tmpfs), readdirSync(folder)]).toEqual([[], []]);
  });

  it.each([
    ['too many files', 1_000_000_000, '', / GiB of memory, and .* GiB are free in /],
    ['a folder that is not in memory', 0, '/proc', /^\/proc is no tmpfs$/],
    ['a folder that is not there', 0, 'absent', /absent/],
  ])('is left out, with the reason, where there is no room: %s', async (_name, targets, place, why) => {
    const r = await measured(neverStarted(targets), { tmpfs: path.resolve(tmpfs, place) });
    expect(r).toMatchObject({ cells: [], missing: [{ side: 'side', why: expect.stringMatching(why) as unknown }] });
    expect(said).toHaveLength(1);
    expect([readdirSync(tmpfs), readdirSync(folder)]).toEqual([[], []]);
  });
});
