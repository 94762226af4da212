/**
 * Measures one axis: for each point a mirror of its own, and in each run its source starts anew.
 *
 *   stop -> (mark dirty regions) -> start, in service -> at rest -> writes -> its bitmap file, opened elsewhere -> (resync decided)
 *
 * A point that fails is left out, and its reason kept.
 */
import { copyFileSync, statfsSync, statSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { bitmapPath } from '../../src/failover/paths.ts';
import { engineChoice } from '../../src/io/node/node-io.ts';
import { memoryAtRest } from '../../test/support/memory-at-rest.ts';
import { write4kQd32 } from './cells.ts';
import { cpuMicros } from './cpu.ts';
import { markDirty } from './dirty-regions.ts';
import { nbdArguments } from './fio.ts';
import { runFio, withCpu } from './load.ts';
import { type Mirror, startMirror, TAG } from './netraid.ts';
import { message } from './run.ts';
import type { Axis, AxisResult, Point, ScaleSample } from './scale-types.ts';
import { Stage } from './stage.ts';
import type { Sample } from './types.ts';

const MiB = 1024 ** 2;
const TOUCHED_MAX_BYTES = 256 * MiB;
/** For what is written all over a device, bitmap files and logs. */
const ROOM_BESIDES_BYTES = 1536 * MiB;
const OPEN_MAX_MS = 60_000;
const DECIDE_MAX_MS = 60_000;

export interface MeasureScaleOptions {
  /** Below it each point makes a folder of its own. */
  folder: string;
  /** Of the axis, those to be measured. */
  points: readonly Point[];
  runs: number;
  seconds: number;
  /** The benchmark is being ended: nothing more is begun. */
  ending: AbortSignal;
  onStage(stage: Stage): void;
  say(line: string): void;
}

const touchedBytes = (p: Point): number => Math.min(p.deviceBytes, TOUCHED_MAX_BYTES);

/** Room that a point takes, as far as it is known beforehand; bytes. */
export function roomOfPoint(p: Point): number {
  return (1 + p.targets) * touchedBytes(p) + ROOM_BESIDES_BYTES;
}

class PointRun {
  readonly #stage: Stage;
  readonly #point: Point;
  readonly #seconds: number;
  readonly #mirror: Mirror;
  /** The node that holds the dirty regions' other side, out of the mirror. */
  readonly #away: string | undefined;

  private constructor(stage: Stage, point: Point, seconds: number, mirror: Mirror, away: string | undefined) {
    this.#stage = stage;
    this.#point = point;
    this.#seconds = seconds;
    this.#mirror = mirror;
    this.#away = away;
  }

  static async start(stage: Stage, p: Point, seconds: number): Promise<PointRun> {
    const dirty = p.dirtyRegions > 0;
    const mirror = await startMirror(stage, {
      world: engineChoice('native').engine === 'native' ? 'native' : 'node',
      targets: p.targets + (dirty ? 1 : 0),
      content: 'sparse',
      // One that is paused is not connected, and is not to be waited for before the mirror is served.
      ...(dirty ? { tunables: { LKDR_CONNECT_NBD_DURING_RESTORE: 0 } } : {}),
    });
    const away = dirty ? mirror.all.nodes().at(-1)?.name : undefined;
    const run = new PointRun(stage, p, seconds, mirror, away);
    await run.#pause();
    return run;
  }

  async sample(): Promise<ScaleSample> {
    const { source, all } = this.#mirror;
    const { targets, dirtyRegions } = this.#point;
    const bitmap = bitmapPath(source.root, TAG);
    await source.stop();
    if (this.#away !== undefined) await markDirty(bitmap, this.#away, dirtyRegions);
    const started = await this.#inService();
    if (targets > 0) await all.untilInSync(source.name, TAG);
    await this.#requireDirty();
    const restBytes = await memoryAtRest(source);
    const near = await this.#writes(touchedBytes(this.#point));
    const far = this.#point.spread ? await this.#writes(this.#point.deviceBytes) : undefined;
    const loadedBytes = source.memory().residentBytes;
    const copy = this.#stage.fresh('bitmap');
    copyFileSync(bitmap, copy);
    const bitmapBytes = statSync(copy).size;
    const opened = await this.#opened(copy);
    const decideMs = await this.#decided();
    return {
      ...started,
      restBytes,
      loadedBytes,
      peakBytes: source.memory().highestBytes,
      writesPerSec: near.opsPerSec,
      writeCpuMicros: near.cpuMicrosPerOp ?? Number.NaN,
      targetCpuMicros: near.targetCpuMicrosPerOp,
      spreadPerSec: far?.opsPerSec ?? null,
      spreadCpuMicros: far?.cpuMicrosPerOp ?? null,
      bitmapBytes,
      ...opened,
      decideMs,
    };
  }

  async #inService(): Promise<Pick<ScaleSample, 'startMs' | 'startCpuMs'>> {
    const { source } = this.#mirror;
    const began = performance.now();
    await source.start();
    await source.control.call('in-service', { tag: TAG });
    return { startMs: performance.now() - began, startCpuMs: cpuMicros([source.pid]) / 1000 };
  }

  /** What the daemon has read is what was marked: a bitmap that it had given up for damaged would look cheap. */
  async #requireDirty(): Promise<void> {
    if (this.#away === undefined) return;
    const { dirtyRegions } = await this.#mirror.all.target(this.#mirror.source.name, TAG, this.#away);
    if (dirtyRegions !== this.#point.dirtyRegions) throw new Error(`the daemon knows of ${String(dirtyRegions)} dirty regions`);
  }

  async #writes(withinBytes: number): Promise<Sample> {
    const { source, served } = this.#mirror;
    const cell = { ...write4kQd32, blockBytes: this.#point.writeBytes };
    const run = { seconds: this.#seconds, touchedBytes: withinBytes, latencies: false };
    const targetPids = this.#away === undefined ? served.targetPids : (): number[] => [];
    await this.#stage.settle();
    const load = () => runFio(this.#stage, nbdArguments(cell, served.uri, run), cell, this.#seconds);
    const sample = await withCpu({ pids: served.pids, targetPids }, load);
    const { targets: all } = await source.control.call('status', { tag: TAG });
    const out = all.filter((t) => t.state !== 'Target' && t.node !== this.#away);
    if (out.length > 0) throw new Error(`a target has left: ${out.map((t) => `${t.node} is ${t.state} ${t.detail}`).join('; ')}`);
    return sample;
  }

  async #opened(file: string): Promise<Pick<ScaleSample, 'openMs' | 'openCpuMs'>> {
    const program = path.join(import.meta.dirname, 'open-bitmap.ts');
    const said = await this.#stage.run(process.execPath, [...process.execArgv, program, file], OPEN_MAX_MS);
    const [openMs, openCpuMs] = said.split(' ').map(Number);
    if (openMs === undefined || openCpuMs === undefined || !(openMs > 0) || !(openCpuMs > 0)) throw new Error(`${program} says ${said}`);
    return { openMs, openCpuMs };
  }

  /** Null where there is nothing to resync. The resync is not waited for: its speed is another figure. */
  async #decided(): Promise<number | null> {
    if (this.#away === undefined) return null;
    const { control } = this.#mirror.source;
    const late = new AbortController();
    const began = performance.now();
    let decidedMs: number | undefined;
    const events = await control.events((e) => {
      if (e.kind === 'resync-started') {
        decidedMs ??= performance.now() - began;
        late.abort();
      }
    });
    try {
      await control.call('resume', { tag: TAG, nodes: [this.#away] });
      await Promise.allSettled([sleep(DECIDE_MAX_MS, undefined, { signal: late.signal })]);
    } finally {
      late.abort();
      events.stop();
    }
    if (decidedMs === undefined) throw new Error(`no resync was begun within ${String(DECIDE_MAX_MS)} ms`);
    await this.#pause();
    return decidedMs;
  }

  async #pause(): Promise<void> {
    const { source, all } = this.#mirror;
    if (this.#away === undefined) return;
    await source.control.call('pause', { tag: TAG, nodes: [this.#away] });
    await all.untilTarget(source.name, TAG, this.#away, 'is paused', (t) => t.state === 'Paused');
  }
}

async function measurePoint(p: Point, o: MeasureScaleOptions): Promise<ScaleSample[]> {
  const { bavail, bsize } = statfsSync(o.folder);
  const [free, needed] = [bavail * bsize, roomOfPoint(p)];
  if (free < needed) {
    const mib = (n: number): string => `${(n / MiB).toFixed(0)} MiB`;
    throw new Error(`its files need ${mib(needed)}, and ${o.folder} has ${mib(free)}: choose another with --dir`);
  }
  const stage = new Stage(o.folder, { fileBytes: p.deviceBytes, touchedBytes: touchedBytes(p) }, o.ending);
  o.onStage(stage);
  try {
    const run = await PointRun.start(stage, p, o.seconds);
    const samples: ScaleSample[] = [];
    while (samples.length < o.runs) {
      o.ending.throwIfAborted();
      samples.push(await run.sample());
    }
    return samples;
  } finally {
    await stage.close();
  }
}

export async function measureAxis(axis: Axis, o: MeasureScaleOptions): Promise<AxisResult> {
  const { name, title, unit, log } = axis;
  const result: AxisResult = { name, title, unit, log, points: [], missing: [] };
  for (const point of o.points) {
    const began = performance.now();
    o.ending.throwIfAborted();
    try {
      result.points.push({ point, samples: await measurePoint(point, o) });
      o.say(`${name} ${point.label}: ${((performance.now() - began) / 1000).toFixed(0)} s`);
    } catch (e: unknown) {
      // What fails now fails because everything is being ended.
      o.ending.throwIfAborted();
      const why = message(e);
      o.say(`${name} ${point.label} is left out: ${why}`);
      result.missing.push({ label: point.label, why });
    }
  }
  return result;
}
