/**
 * Measures one row: all sides are started, then each cell is done on all of them in turn, round after round, so that a noisy
 * minute is everybody's. A side that fails is left out from then on, and its reason kept.
 */
import { accessSync, constants, readFileSync, statfsSync } from 'node:fs';
import { engineChoice } from '../../src/io/node/node-io.ts';
import { findProgram } from '../../test/support/programs.ts';
import { judge } from './judge.ts';
import type { CellResult, Missing, RowResult } from './results.ts';
import { medianText } from './table.ts';
import { isTmpfs, Stage } from './stage.ts';
import type { Cell, Row, Sample, Side, Sizes, Subject } from './types.ts';

const WARM_UP_MAX_SEC = 1;
/** Besides the files: bitmap files, logs, and what is written to sparse ones. */
const ROOM_BESIDES_BYTES = 4 * 1024 ** 3;
const SPARSE_FROM_BYTES = 32 * 1024 ** 3;
/** What all sides together write to sparse files in memory. */
const SPARSE_IN_MEMORY_BYTES = 14 * 1024 ** 3;

export interface MeasureOptions {
  /** Below it the row makes a folder of its own. */
  folder: string;
  /** The same for the files of rows that have them in memory. */
  tmpfs: string;
  sizes: Sizes;
  cells: readonly Cell[];
  sides: readonly Side[];
  runs: number;
  seconds: number;
  /** The benchmark is being ended: nothing more is begun. */
  ending: AbortSignal;
  onStage(stage: Stage): void;
  say(line: string): void;
}

interface Started {
  side: Side;
  subject: Subject;
}

function lacking(side: Side): string | undefined {
  const absent = side.programs.filter((p) => findProgram(p) === undefined);
  if (absent.length > 0) return `not installed: ${absent.join(', ')}`;
  if (side.native && engineChoice('native').engine !== 'native') return 'the native shim was not built for this machine';
  return undefined;
}

const message = (e: unknown): string => (e instanceof Error ? e.message : String(e));

/** Room that the files take, as far as it is known beforehand; bytes. On tmpfs that is what of them is touched. */
export function roomBytes(sides: readonly Pick<Side, 'targets'>[], sizes: Sizes, onTmpfs = false): number {
  const legs = sides.reduce((n, s) => n + 1 + s.targets, 0);
  if (sizes.fileBytes >= SPARSE_FROM_BYTES) return ROOM_BESIDES_BYTES;
  return ROOM_BESIDES_BYTES + legs * (onTmpfs ? sizes.touchedBytes : sizes.fileBytes);
}

const gib = (n: number): string => (n / 1024 ** 3).toFixed(1);

/** Why there is no room for it; undefined: there is. */
function roomLacking(row: Row, o: MeasureOptions, sizes: Sizes): string | undefined {
  if (row.inMemory !== true) {
    const needed = roomBytes(o.sides, sizes, isTmpfs(o.folder));
    const { bavail, bsize } = statfsSync(o.folder);
    return bavail * bsize < needed ? `its files need ${gib(needed)} GiB, and ${o.folder} has ${gib(bavail * bsize)} GiB` : undefined;
  }
  try {
    if (!isTmpfs(o.tmpfs)) return `${o.tmpfs} is no tmpfs`;
    accessSync(o.tmpfs, constants.W_OK | constants.X_OK);
  } catch (e: unknown) {
    return message(e);
  }
  const needed = sizes.fileBytes >= SPARSE_FROM_BYTES ? SPARSE_IN_MEMORY_BYTES : roomBytes(o.sides, sizes, true);
  const { bavail, bsize } = statfsSync(o.tmpfs);
  const free = Math.min(bavail * bsize, availableBytes(readFileSync('/proc/meminfo', 'utf8')));
  return free < needed ? `its files need ${gib(needed)} GiB of memory, and ${gib(free)} GiB are free in ${o.tmpfs}` : undefined;
}

/** Of memory, without that others have to give theirs up; from the text of /proc/meminfo. */
export function availableBytes(meminfo: string): number {
  const kib = /^MemAvailable: +(\d+) kB$/m.exec(meminfo)?.[1];
  if (kib === undefined) throw new Error('/proc/meminfo does not say how much memory is available');
  return Number(kib) * 1024;
}

class RowRun {
  readonly #stage: Stage;
  readonly #o: MeasureOptions;
  readonly missing: Missing[] = [];
  #going: Started[] = [];

  constructor(stage: Stage, o: MeasureOptions) {
    this.#stage = stage;
    this.#o = o;
  }

  /** Starts and warms up all sides. Rejects when the benchmark is being ended. */
  async start(): Promise<void> {
    for (const side of this.#o.sides) {
      const why = lacking(side);
      if (why !== undefined) this.#leaveOut(side, why);
      else {
        await this.#attempt(side, 'start', async () => {
          this.#going.push({ side, subject: await side.start(this.#stage) });
        });
      }
    }
    await this.#warmUp();
  }

  /** What is compiled while it runs is compiled by the deepest of the cells. */
  async #warmUp(): Promise<void> {
    const [first, ...others] = this.#o.cells.filter((c) => c.kind !== 'copy');
    if (first === undefined) return;
    const deepest = others.reduce((a, b) => (b.depth > a.depth ? b : a), first);
    await this.#round(async (g) => {
      await g.subject.measure(deepest, Math.min(WARM_UP_MAX_SEC, this.#o.seconds));
    });
  }

  async cell(cell: Cell): Promise<CellResult> {
    const { runs, seconds } = this.#o;
    const samples = new Map<Side, Sample[]>(this.#going.map((g) => [g.side, []]));
    for (let run = 0; run < runs; run += 1) {
      await this.#round(async (g) => {
        await this.#stage.settle();
        samples.get(g.side)?.push(await g.subject.measure(cell, seconds));
      });
    }
    const sides = [...samples].flatMap(([s, all]) => {
      const { name, about, ours, targets } = s;
      return all.length > 0 ? [{ side: name, about, ours, targets, samples: all }] : [];
    });
    return { cell: cell.id, inBytes: cell.inBytes, sides };
  }

  async #round(step: (g: Started) => Promise<void>): Promise<void> {
    for (const g of [...this.#going]) {
      await this.#attempt(g.side, 'measurement', () => step(g));
    }
  }

  async #attempt(side: Side, what: string, step: () => Promise<void>): Promise<void> {
    const { ending } = this.#o;
    ending.throwIfAborted();
    try {
      await step();
    } catch (e: unknown) {
      // What fails now fails because everything is being ended.
      ending.throwIfAborted();
      this.#leaveOut(side, `${what} failed: ${message(e)}`);
    }
  }

  #leaveOut(side: Side, why: string): void {
    this.#going = this.#going.filter((g) => g.side !== side);
    this.missing.push({ side: side.name, why });
    this.#o.say(`${side.name} is left out: ${why}`);
  }
}

export async function measureRow(row: Row, o: MeasureOptions): Promise<RowResult> {
  const sizes = row.sizes?.(o.sizes) ?? o.sizes;
  const { name, title, reference } = row;
  const result: RowResult = { name, title, reference, ...sizes, cells: [], missing: [], verdicts: [] };
  const why = roomLacking(row, o, sizes);
  if (why !== undefined) {
    o.say(`${name} is left out: ${why}`);
    return { ...result, missing: o.sides.map((s) => ({ side: s.name, why })) };
  }
  const stage = new Stage(o.folder, sizes, o.ending, row.inMemory === true ? o.tmpfs : undefined);
  o.onStage(stage);
  const run = new RowRun(stage, { ...o, seconds: Math.min(o.seconds, row.secondsMax ?? o.seconds) });
  try {
    await run.start();
    for (const cell of o.cells) {
      const found = await run.cell(cell);
      result.cells.push(found);
      o.say(`${name} ${cell.id}: ${found.sides.map((s) => `${s.side} ${medianText(found, s)}`).join(', ')}`);
    }
  } finally {
    await stage.close();
  }
  return { ...result, missing: run.missing, verdicts: judge(name, row.requirements, result.cells) };
}
