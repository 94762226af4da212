/** What `Programs` promises, for every world that has one. */
import { describe, expect, it } from 'vitest';
import { Errno, type ProgramLimits, type Programs } from '../../../src/io/types.ts';
import { expectIoError } from './engine-rig.ts';

export interface ProgramSpec {
  exit?: number;
  durationMs?: number;
  output?: string;
  stubborn?: boolean;
  /** Instead of `output`: its first two arguments and these variables of its environment, with blanks between. */
  says?: readonly string[];
}

export interface ProgramsWorld {
  programs: Programs;
  /** Where `install` puts programs. */
  folder: string;
  install(name: string, spec: ProgramSpec): Promise<void>;
  drive<T>(body: () => Promise<T>): Promise<T>;
}

const LIMITS: ProgramLimits = { timeoutMs: 5000, graceMs: 200, outputMaxBytes: 4096 };
const SHORT: ProgramLimits = { ...LIMITS, timeoutMs: 200 };

export function describePrograms(name: string, make: () => Promise<ProgramsWorld>): void {
  describe(`programs of the ${name}`, () => {
    const story = (body: (w: ProgramsWorld) => Promise<void>) => async () => {
      const w = await make();
      await w.drive(() => body(w));
    };

    it(
      'are listed by name, and a folder that is absent is said to be',
      story(async (w) => {
        await expectIoError(w.programs.list(`${w.folder}/absent`), Errno.ENOENT);
        await w.install('20-second', {});
        await w.install('10-first', {});
        expect(await w.programs.list(w.folder)).toEqual(['10-first', '20-second']);
      }),
    );

    it(
      'get arguments and an environment, and their end is told',
      story(async (w) => {
        await w.install('ok', { says: ['A', 'B'] });
        await w.install('fails', { exit: 3, output: 'no room' });
        const ran = await w.programs.run(`${w.folder}/ok`, ['one', 'two'], { A: 'x y', B: 'z' }, LIMITS);
        expect(ran).toEqual({ exit: 0, signal: null, timedOut: false, output: 'one two x y z' });
        expect(await w.programs.run(`${w.folder}/fails`, [], {}, LIMITS)).toEqual({ exit: 3, signal: null, timedOut: false, output: 'no room' });
      }),
    );

    it(
      'that are not there are refused',
      story(async (w) => {
        await w.install('ok', {});
        await expectIoError(w.programs.run(`${w.folder}/absent`, [], {}, LIMITS), Errno.ENOENT);
      }),
    );

    it(
      'that last too long are asked to end, and killed when they do not',
      story(async (w) => {
        await w.install('slow', { durationMs: 60_000, output: 'begun' });
        await w.install('stubborn', { durationMs: 60_000, output: 'begun', stubborn: true });
        const asked = await w.programs.run(`${w.folder}/slow`, [], {}, SHORT);
        expect(asked).toEqual({ exit: null, signal: 'SIGTERM', timedOut: true, output: 'begun' });
        const killed = await w.programs.run(`${w.folder}/stubborn`, [], {}, SHORT);
        expect(killed).toEqual({ exit: null, signal: 'SIGKILL', timedOut: true, output: 'begun' });
      }),
    );

    it(
      'are heard up to a limit',
      story(async (w) => {
        await w.install('talks', { output: 'x'.repeat(20_000) });
        const { exit, output } = await w.programs.run(`${w.folder}/talks`, [], {}, LIMITS);
        expect([exit, output]).toEqual([0, 'x'.repeat(4096)]);
      }),
    );
  });
}
