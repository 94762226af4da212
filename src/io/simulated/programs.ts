/** Programs of a simulated machine: functions that a test has put there, which take virtual time. */
import { dirname, basename } from 'node:path';
import { Errno, IoError, type ProgramEnd, type ProgramLimits, type Programs } from '../types.ts';
import type { Process } from './process.ts';

export interface SimProgramEnd {
  /** 0 unless set. */
  exit?: number;
  /** How long it runs, if nobody ends it; 1 ms unless set. */
  durationMs?: number;
  output?: string;
  /** Goes on when it is asked to end: only a kill ends it. */
  stubborn?: boolean;
}

/** Called when the program starts; what it does to the world, it does then. */
export type SimProgram = (args: readonly string[], env: Readonly<Record<string, string>>) => SimProgramEnd;

/** Virtual milliseconds of one look at a folder, and of a program that says nothing else. */
const LIST_MS = 0.1;
const RUN_MS = 1;

export class SimPrograms implements Programs {
  readonly #process: Process;
  readonly #installed: ReadonlyMap<string, SimProgram>;

  constructor(process: Process, installed: ReadonlyMap<string, SimProgram>) {
    this.#process = process;
    this.#installed = installed;
  }

  list(folder: string): Promise<string[]> {
    const names = (): string[] =>
      [...this.#installed.keys()]
        .filter((p) => dirname(p) === folder)
        .map((p) => basename(p))
        .sort();
    // Without programs no time passes: worlds that know of none have the same history as before.
    if (names().length === 0) return Promise.reject(new IoError(Errno.ENOENT, `${folder}: there is no such folder`));
    return this.#process.call('programs.list', LIST_MS, names);
  }

  async run(path: string, args: readonly string[], env: Readonly<Record<string, string>>, limits: ProgramLimits): Promise<ProgramEnd> {
    const program = this.#installed.get(path);
    if (program === undefined) throw new IoError(Errno.ENOENT, `${path}: there is no such program`);
    const { exit = 0, durationMs = RUN_MS, output = '', stubborn = false } = program(args, env);
    const kept = new TextDecoder().decode(new TextEncoder().encode(output).subarray(0, limits.outputMaxBytes));
    if (durationMs <= limits.timeoutMs) {
      return await this.#ends(durationMs, { exit, signal: null, timedOut: false, output: kept });
    }
    const [lastsMs, signal] = stubborn ? [limits.timeoutMs + limits.graceMs, 'SIGKILL'] : [limits.timeoutMs, 'SIGTERM'];
    return await this.#ends(lastsMs, { exit: null, signal, timedOut: true, output: kept });
  }

  #ends(afterMs: number, end: ProgramEnd): Promise<ProgramEnd> {
    return this.#process.call(
      'programs.run',
      afterMs,
      () => end,
      () => {
        // A daemon that dies does not hear of the end, and what the program does was done when it began.
      },
    );
  }
}
