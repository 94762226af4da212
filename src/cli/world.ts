/**
 * What a command of the command line works with. All of it is handed in, so that a scenario runs the same commands in the
 * simulated world, and a test on a fake daemon.
 */
import type { webcrypto } from 'node:crypto';
import type { AttachMethod, Attached, AttachOptions, Detached, DetachOptions } from '../attach/attach.ts';
import type { MountOptions } from '../attach/filesystem.ts';
import type { AttachStatus } from '../attach/status.ts';
import type { ControlClient } from '../control/types.ts';
import type { Clock, Files } from '../io/types.ts';
import type { Args } from './args.ts';

export type { AttachMethod };

export interface Terminal {
  /** One line on standard output. */
  line(text: string): void;
  /** One line on standard error. */
  error(text: string): void;
  /** Draws over what the last call drew; without lines, wipes it away. Only of use on a terminal. */
  redraw(lines: readonly string[]): void;
  /** Standard output is a terminal. */
  readonly isTTY: boolean;
  readonly columns: number;
  readonly colour: boolean;
  /** Somebody is there to answer. */
  readonly canAsk: boolean;
  /** What was typed; empty at the end of input. */
  ask(question: string): Promise<string>;
}

/** Where a node's daemon is, as `--root` and `--socket` said. */
export interface Place {
  root: string;
  socketPath: string;
}

/** Making block devices of exports: `src/attach`, where there is a kernel to do it. */
export interface BlockDevices {
  attach(o: AttachOptions): Promise<Attached>;
  detach(o: DetachOptions): Promise<Detached>;
  mount(o: MountOptions): Promise<{ type: string; mountPoint: string }>;
  unmount(o: { dir: string }): Promise<{ wasMounted: boolean }>;
  status(o: { runDir: string }): Promise<AttachStatus[]>;
}

export interface World {
  client(place: Place): ControlClient;
  terminal: Terminal;
  clock: Clock;
  files: Files;
  /** Loaded when first needed; null where block devices can't be made. */
  devices: (() => Promise<BlockDevices>) | null;
  /** Keys, signatures and secret bytes; null where all chance is a seed's, which nobody may take for a secret. */
  crypto: webcrypto.Crypto | null;
  version: string;
  /** Of every command that is given no `--root`. */
  defaultRoot?: string;
}

/** All commands, for a command that runs others. */
export interface CommandLine {
  /** As `runCommandLine`. */
  run(argv: readonly string[], world: World): Promise<number>;
  /** Loads all that `run` would load when it is needed. */
  load(): Promise<void>;
}

/** What a command that has been parsed works with. */
export interface CommandContext extends Omit<World, 'client' | 'defaultRoot'> {
  client: ControlClient;
  commandLine: CommandLine;
  place: Place;
  args: Args;
}

/** Answers the exit code. Throws UsageError, ControlError or AttachError. */
export type Run = (ctx: CommandContext) => Promise<number>;
