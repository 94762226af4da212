/**
 * One machine of a simulated world: its disk, its power, and one daemon process at a time.
 *
 *   boot -> running -- crash -----> stopped   SIGKILL: the kernel closes its sockets, the page cache lives on
 *                   -- powerFail -> dark      nobody is told, unsynced data goes as the seed says
 *                   -- freeze ----> frozen -- thaw --> running
 */
import { behindDoor } from '../door.ts';
import type { Clock, Io, Timer } from '../types.ts';
import { createSimEngine } from './engine.ts';
import type { Counters } from './counters.ts';
import { Disk } from './disk.ts';
import type { FileContent } from './file-content.ts';
import { DiskFaults, type DiskLatencies, type FailRule, type PathPattern } from './faults.ts';
import { SimFiles } from './files.ts';
import { SimLegOpener } from './leg.ts';
import type { Network } from './network.ts';
import type { DiskContext } from './open-file.ts';
import { Process } from './process.ts';
import { type SimProgram, SimPrograms } from './programs.ts';
import type { Schedule } from './schedule.ts';
import { PAGE_BYTES } from './sectors.ts';
import { Stream } from './seed.ts';

/** What a node shares with its world. */
export interface NodeContext {
  seed: number | string;
  schedule: Schedule;
  network: Network;
  counters: Counters;
  latencies: DiskLatencies;
  shortTransfers: number;
}

/** What is on stable storage. */
export interface DurableFile {
  /** Another object after each change. */
  readonly durableStamp: object;
  readonly durableSizeBytes: number;
  /** From `offset` on, to the end or at most so many. */
  readDurable(offset?: number, lengthMax?: number): Uint8Array;
}

/** Virtual time's zero for people: 2026-01-01. */
const WALL_ORIGIN_MS = 1_767_225_600_000;

export class SimNode {
  readonly name: string;
  readonly #context: NodeContext;
  readonly #disk: Disk;
  readonly #faults: DiskFaults;
  readonly #stream: Stream;
  readonly #programs = new Map<string, SimProgram>();
  #boots = 0;
  #daemon: { process: Process; io: Io } | undefined;
  #local: { process: Process; io: Io } | undefined;
  #powered = true;
  #powerFailures = 0;

  constructor(name: string, context: NodeContext) {
    this.name = name;
    this.#context = context;
    this.#disk = new Disk(context.counters);
    this.#faults = new DiskFaults(context.latencies, context.shortTransfers);
    this.#stream = new Stream(context.seed, `disk of ${name}`);
    context.network.addMachine(name);
  }

  /** The running daemon's. */
  get io(): Io {
    if (this.#daemon === undefined) throw new Error(`${this.name} is not running: boot it first`);
    return this.#daemon.io;
  }

  get state(): 'dark' | 'stopped' | 'running' | 'frozen' {
    if (!this.#powered) return 'dark';
    if (this.#daemon === undefined) return 'stopped';
    return this.#daemon.process.running ? 'running' : 'frozen';
  }

  /** How often it was booted; an incarnation's number. */
  get boots(): number {
    return this.#boots;
  }

  /** Starts a new incarnation, with power. */
  boot(): Io {
    if (this.#daemon !== undefined) throw new Error(`${this.name} is running already`);
    this.powerOn();
    this.#boots += 1;
    this.#context.counters.add('boots');
    this.#daemon = this.#start(`${this.name}#${String(this.#boots)}`);
    return this.#daemon.io;
  }

  /**
   * A harness's own process on this machine: it reaches the daemon's unix and loopback sockets, outlives it, and is told
   * of a power failure by ECONNRESET.
   */
  localIo(): Io {
    this.#local ??= this.#start(`${this.name}@local`);
    return this.#local.io;
  }

  /** SIGKILL: timers and promises end, sockets get FIN or RST from the kernel, files stay as the page cache has them. */
  crash(): void {
    this.#stop(false);
    this.#context.counters.add('crashes');
  }

  /** As a crash, but peers hear nothing, and unsynced data is lost, kept or torn. Dark until `powerOn` or `boot`. */
  powerFail(): void {
    if (!this.#powered) throw new Error(`${this.name} has no power to lose`);
    if (this.#daemon !== undefined) this.#stop(true);
    this.#powered = false;
    this.#context.network.setPower(this.name, false);
    this.#disk.powerFail(this.#stream);
    this.#local?.process.machineLostPower();
    this.#powerFailures += 1;
    this.#context.counters.add('powerFailures');
  }

  /** The machine is up, without the daemon: it answers leftovers of old connections with resets. */
  powerOn(): void {
    if (this.#powered) return;
    this.#powered = true;
    this.#context.network.setPower(this.name, true);
  }

  /** The process stops (SIGSTOP); its kernel goes on receiving up to the window. */
  freeze(): void {
    this.#running().process.freeze();
    this.#context.counters.add('freezes');
  }

  thaw(): void {
    this.#running().process.thaw();
  }

  /** Operations on matching files fail from now on. A failed sync dooms part of what it would have made durable. */
  fail(pattern: PathPattern, rule: FailRule): void {
    this.#faults.fail(pattern, rule);
  }

  /** Matching files get no more room: ENOSPC. */
  full(pattern: PathPattern): void {
    this.#faults.full(pattern);
  }

  /** Operations on matching files hang until `repairDisk`. */
  stall(pattern: PathPattern): void {
    this.#faults.stall(pattern);
  }

  repairDisk(): void {
    this.#faults.repair();
  }

  setDisk(o: { latencies?: Partial<DiskLatencies>; shortTransfers?: number }): void {
    this.#faults.latencies = { ...this.#faults.latencies, ...o.latencies };
    this.#faults.shortTransfers = o.shortTransfers ?? this.#faults.shortTransfers;
  }

  /** Harness: a durable file or device, with its folders, without passing time. */
  createFile(path: string, sizeBytes: number, kind: 'file' | 'block' = 'file', sectorBytes?: number): void {
    this.#disk.create(path, sizeBytes, kind, sectorBytes);
  }

  /** Harness: an executable file at this path, which does what `program` says; undefined takes it away. */
  install(path: string, program: SimProgram | undefined): void {
    if (program === undefined) this.#programs.delete(path);
    else this.#programs.set(path, program);
  }

  /** Harness: bytes as a reader would find them now, without passing time; undefined when the file is absent. */
  peek(path: string, offset = 0, length?: number): Uint8Array | undefined {
    const node = this.#disk.find(path);
    if (node === undefined || node.kind === 'directory') return undefined;
    const rest = Math.max(0, node.content.sizeBytes - offset);
    const bytes = new Uint8Array(Math.min(length ?? rest, rest));
    node.content.read(bytes, offset);
    return bytes;
  }

  /** Harness: the length of a file as a reader would find it now; undefined when it is absent. */
  peekSizeBytes(path: string): number | undefined {
    const node = this.#disk.find(path);
    return node === undefined || node.kind === 'directory' ? undefined : node.content.sizeBytes;
  }

  /** Harness: bytes that are certain to be found after a power failure now; undefined when the file's name is not. */
  peekDurable(path: string): Uint8Array | undefined {
    return this.durableFile(path)?.readDurable();
  }

  /** Harness: a file as it is certain to be found after a power failure now; undefined when its name is not. */
  durableFile(path: string): DurableFile | undefined {
    const node = this.#disk.findDurable(path);
    return node === undefined || node.kind === 'directory' ? undefined : node.content;
  }

  /** Harness: names in a folder; undefined when it is absent. */
  peekFolder(path: string): string[] | undefined {
    return this.#disk.find(path)?.kind === 'directory' ? this.#disk.list(path) : undefined;
  }

  /** Harness: where this file first differs from another node's, in steps of a page; -1 when they are equal. Holes cost nothing. */
  firstDifference(path: string, other: SimNode, otherPath: string): number {
    return this.#disk.file(path).content.firstDifference(other.#disk.file(otherPath).content);
  }

  /** Harness: offsets of the pages in which this file differs from another node's of the same size, ascending; on stable storage: `durable`. */
  differences(path: string, other: SimNode, otherPath: string, durable: boolean): number[] {
    const [mine, theirs] = [this.#content(path, durable), other.#content(otherPath, durable)];
    return mine === undefined || theirs === undefined ? [] : mine.differingPages(theirs, durable).map((n) => n * PAGE_BYTES);
  }

  #content(path: string, durable: boolean): FileContent | undefined {
    const node = durable ? this.#disk.findDurable(path) : this.#disk.file(path);
    return node === undefined || node.kind === 'directory' ? undefined : node.content;
  }

  #running(): { process: Process; io: Io } {
    if (this.#daemon === undefined) throw new Error(`${this.name} is not running`);
    return this.#daemon;
  }

  #stop(silently: boolean): void {
    const { process } = this.#running();
    this.#daemon = undefined;
    process.kill(silently);
  }

  #start(name: string): { process: Process; io: Io } {
    const { seed, schedule, network, counters } = this.#context;
    const process = new Process(name, schedule, new Stream(seed, `process ${name}`));
    const disk: DiskContext = { process, disk: this.#disk, faults: this.#faults, stream: this.#stream, counters };
    const clock = simClock(process, schedule, new Stream(seed, `clock of ${name}`));
    const legs = new SimLegOpener(disk);
    const engineTurns = new Stream(seed, `engine of ${name}`);
    const io: Io = {
      clock,
      chance: new Stream(seed, `chance of ${name}`),
      files: new SimFiles(disk),
      net: {
        listen: (at, onConnection, mayEnter) =>
          process.call('net.listen', 0.01, () => network.listen(process, this.name, at, behindDoor(onConnection, mayEnter))),
        connect: (to, timeoutMs) => network.connect(process, this.name, to, timeoutMs),
      },
      bootId: `${this.name} ${String(this.#powerFailures)}`,
      programs: new SimPrograms(process, this.#programs),
      createEngine: () => createSimEngine(process, clock, legs, engineTurns),
    };
    return { process, io };
  }
}

/** Each process counts from an origin of its own, so that nobody compares monotonic times of two nodes. */
export function simClock(process: Process, schedule: Schedule, stream: Stream): Clock {
  const originMs = stream.float() * 1e6;
  const wallSkewMs = (stream.float() - 0.5) * 10_000;
  return {
    now: () => {
      // Whoever calls into a frozen process from outside makes it do what it can not: find out that it stands still.
      if (process.frozen) throw new Error(`${process.name} is frozen, and was made to look at its clock`);
      return originMs + schedule.now();
    },
    wallNow: () => Math.floor(WALL_ORIGIN_MS + wallSkewMs + schedule.now()),
    after: (ms: number, f: () => void): Timer => {
      if (!Number.isFinite(ms)) throw new Error(`a timer of ${String(ms)} ms never ends`);
      return process.post('timer', Math.max(0, ms) + stream.float(), f);
    },
    soon: (f: () => void): void => {
      process.post('soon', 0, f);
    },
  };
}
