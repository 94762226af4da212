/**
 * What the runner needs of a world, the same for real daemons and for simulated ones.
 *
 *   steps -> runner -> ScenarioWorld -- world-simulated   one process, virtual time
 *                                   \- world-process     child processes, sockets, relays
 *
 * Every method may be called at any time; what a node's state does not allow rejects with StepFailure.
 */
import type { ControlClient } from '../control/types.ts';
import type { EngineHub } from '../io/hub.ts';
import type { Clock, Files, Io } from '../io/types.ts';
import type { NodeName } from '../failover/types.ts';
import type { LegFault } from './types.ts';

export type NodeRunning = 'down' | 'up' | 'frozen';

export interface Slowness {
  rateBytesPerSec: number | null;
  delayMs: number;
}

export interface ScenarioWorld {
  readonly name: 'process' | 'simulated';
  readonly clock: Clock;
  /** A power failure here loses and tears unsynced writes. */
  readonly losesUnsynced: boolean;
  running(node: NodeName): NodeRunning;
  /** Resolves when the daemon answers, which is before it has found the others. */
  up(node: NodeName): Promise<void>;
  /** Resolves when the daemon has ended in order. */
  down(node: NodeName): Promise<void>;
  /** All at the same moment. */
  crash(nodes: readonly NodeName[]): Promise<void>;
  powerfail(nodes: readonly NodeName[]): Promise<void>;
  freeze(node: NodeName): void;
  thaw(node: NodeName): void;
  cut(from: NodeName, to: NodeName): void;
  /** Both directions; cuts and slowness. */
  heal(a: NodeName, b: NodeName): void;
  slow(a: NodeName, b: NodeName, how: Slowness): void;
  /** A client of the running daemon; calls end with an error when it goes away. */
  control(node: NodeName): ControlClient;
  /** For NBD clients on that node's machine. */
  io(node: NodeName): { io: Pick<Io, 'clock' | 'net'>; hub: EngineHub };
  root(node: NodeName): string;
  legPath(node: NodeName): string;
  /** Of that node's machine, for commands that read files. */
  files(node: NodeName): Files;
  exists(node: NodeName, path: string): Promise<boolean>;
  /** Undefined when the file is absent. */
  sizeBytes(node: NodeName, path: string): Promise<number | undefined>;
  /** Fewer bytes at the end of the file; undefined when it is absent. */
  read(node: NodeName, path: string, offset: number, length: number): Promise<Uint8Array | undefined>;
  /** Durable. The file exists. */
  write(node: NodeName, path: string, offset: number, bytes: Uint8Array): Promise<void>;
  unlink(node: NodeName, path: string): Promise<void>;
  /** Where the legs first differ; -1: nowhere. */
  firstDifference(a: NodeName, b: NodeName): Promise<number>;
  /** Null: none. */
  fault(node: NodeName, fault: LegFault | null): Promise<void>;
  /** Throws StepFailure when a daemon ended that nobody stopped. */
  checkDaemons(): void;
  /** What the daemons said last, for the report of a failure. */
  lastWords(node: NodeName): string[];
}

/** The product's commands. */
export interface CommandRunner {
  /** Before the first `run` in virtual time, which must not wait for a real disk. */
  load(): Promise<void>;
  /** Runs a command line against a node's daemon; answers its exit code. */
  run(
    argv: readonly string[],
    on: {
      client: ControlClient;
      clock: Clock;
      files: Files;
      root: string;
      /** One line of standard output. */
      out(line: string): void;
      /** One line of standard error. */
      error(line: string): void;
    },
  ): Promise<number>;
}

export function sleep(clock: Clock, ms: number): Promise<void> {
  return new Promise((resolve) => {
    clock.after(ms, resolve);
  });
}

/** The promise's outcome, or undefined when `ms` pass first; a later failure of it is then nobody's. */
export async function within<T>(clock: Clock, ms: number, promise: Promise<T>): Promise<{ value: T } | undefined> {
  return await new Promise((resolve, reject) => {
    const timer = clock.after(ms, () => {
      resolve(undefined);
    });
    promise.then(
      (value) => {
        timer.cancel();
        resolve({ value });
      },
      (e: unknown) => {
        timer.cancel();
        reject(e instanceof Error ? e : new Error(String(e)));
      },
    );
  });
}
