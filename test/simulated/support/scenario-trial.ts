/**
 * Whether a scenario made from a failing history fails too: it is run in the simulated world, seed by seed.
 *
 *   as text, every command expected to exit with 0 -> run, and whatever a command exits with is taken down and accepted
 *     -> the seed that breaks it best -> the text with the exits of that seed -> run once more, as everybody will run it
 *
 * The language has no word for "whatever it answers", so that the exits that a file expects are those of one seed.
 */
import { commandLine } from '../../../src/cli/run.ts';
import { scenarioCommands } from '../../../src/cli/scenario-commands.ts';
import { parseScenario } from '../../../src/scenario/parse.ts';
import { runSimulated } from '../../../src/scenario/run.ts';
import type { CommandRunner } from '../../../src/scenario/world.ts';
import type { ShrunkScenario } from './scenario-file.ts';

const SHOWN_MAX = 300;

/**
 * `breaks`: data is lost or differs, or the daemon breaks; `apart`: the mirror has not come together, perhaps since it waits for
 * an operator; `stuck`: some step before can't be carried out.
 */
type Kind = 'holds' | 'breaks' | 'apart' | 'stuck';

interface Attempt {
  seed: number;
  kind: Kind;
  /** The failing step and what it says; empty: it holds. */
  what: string;
  /** Of its commands, as far as it came. */
  exits: number[];
}

export interface Trial {
  attempts: Attempt[];
  /** With the exits of the seed that it is about, and what was found in its comment. */
  text: string;
  /** The same for people, without the rest of the file. */
  found: string[];
  /** The file itself, with this seed, fails as the history did; undefined: the load that failed was another one. */
  failing: { seed: number; what: string } | undefined;
}

export interface TrialOptions {
  /** The promise that the history breaks. */
  promise: string;
  /** The file's name, for what is said of it. */
  file: string;
  /** From 1. */
  seedsMax: number;
  /** False: no further seed. */
  inTime(): boolean;
  /** Told what a run is broken by from outside its events: an unhandled rejection. */
  onStart?: ((broken: (why: unknown) => void) => void) | undefined;
}

export async function tryScenario(s: ShrunkScenario, o: TrialOptions): Promise<Trial> {
  const attempts: Attempt[] = [];
  for (let seed = 1; seed <= o.seedsMax && (seed === 1 || o.inTime()); seed += 1) attempts.push(await attempt(s, s.text(), seed, true, o));
  // That a mirror does not come together is what a history breaks M14 by; else it may be for an operator to say how it goes on.
  const asTheHistory = o.promise === 'M14' ? (['breaks', 'apart'] as const) : (['breaks'] as const);
  const chosen = attempts.find((a) => asTheHistory.some((k) => k === a.kind)) ?? attempts[0];
  const exits = chosen?.exits ?? [];
  const found = foundLines(attempts);
  if (exits.length > 0) found.push(`What its commands exit with is as with seed ${String(chosen?.seed ?? 1)}.`);
  let failing: Trial['failing'];
  if (chosen !== undefined && asTheHistory.some((k) => k === chosen.kind)) {
    const again = await attempt(s, s.text(exits), chosen.seed, false, o);
    if (asTheHistory.some((k) => k === again.kind)) failing = { seed: again.seed, what: again.what };
    else
      found.push(
        `With seed ${String(chosen.seed)} it does not fail so once its commands are held to what they exited with: ${again.what || 'it holds'}`,
      );
  }
  found.push(
    failing === undefined
      ? `The load that failed was another one; what to replay is the seed: scripts/simulate --replay ${o.file}.json`
      : `To see it: netraid scenario run ${o.file} --world simulated --seed ${String(failing.seed)}`,
  );
  return { attempts, text: s.text(exits, found), found, failing };
}

/** `lenient`: each command may exit with what it likes. */
async function attempt(s: ShrunkScenario, text: string, seed: number, lenient: boolean, o: TrialOptions): Promise<Attempt> {
  const exits: number[] = [];
  const product = scenarioCommands(commandLine);
  const command: CommandRunner = {
    load: () => product.load(),
    run: async (argv, on) => {
      const exit = await product.run(argv, on);
      exits.push(exit);
      return lenient ? 0 : exit;
    },
  };
  let rejected: string | undefined;
  o.onStart?.((why) => {
    rejected ??= why instanceof Error ? (why.stack ?? why.message) : String(why);
  });
  const scenario = parseScenario(text, o.file);
  const { failure } = await runSimulated(scenario, seed, command);
  // The look at the end is a command of ours.
  const ofHistory = exits.slice(0, scenario.steps.filter((x) => x.action.kind === 'run').length - 1);
  if (rejected !== undefined) return { seed, kind: 'breaks', what: shown(`a rejection without a handler: ${rejected}`), exits: ofHistory };
  if (failure === null) return { seed, kind: 'holds', what: '', exits: ofHistory };
  const where = `step ${String(failure.step)} (${failure.action})`;
  if (failure.step === s.togetherStep) return { seed, kind: 'apart', what: `${where}: the mirror has not come together`, exits: ofHistory };
  // What is no failure of a step is one of the code under test.
  const broken = failure.step > s.togetherStep || /^(unexpected|the simulation ended):/.test(failure.message);
  return { seed, kind: broken ? 'breaks' : 'stuck', what: shown(`${where}: ${failure.message}`), exits: ofHistory };
}

/** One line, and not a whole report: the scenario itself says more when it is run. */
function shown(text: string): string {
  const line = text.replace(/\s+/g, ' ').trim();
  return line.length > SHOWN_MAX ? `${line.slice(0, SHOWN_MAX)}...` : line;
}

const said: Record<Kind, string> = {
  holds: 'it holds',
  breaks: 'it fails',
  apart: 'the mirror does not come together, or waits for an operator',
  stuck: 'a step before the end can not be carried out',
};

function foundLines(attempts: readonly Attempt[]): string[] {
  const lines = [`Run in the simulated world with ${seedsOf(attempts)}:`];
  for (const kind of ['breaks', 'apart', 'stuck', 'holds'] as const) {
    const some = attempts.filter((a) => a.kind === kind);
    const [first] = some;
    if (first === undefined) continue;
    const example = first.what === '' ? '' : `; with ${String(first.seed)}: ${first.what}`;
    lines.push(
      `  ${said[kind]} with ${String(some.length)} of them${some.length === attempts.length ? '' : ` (${some.map((a) => a.seed).join(', ')})`}${example}`,
    );
  }
  return lines;
}

function seedsOf(attempts: readonly Attempt[]): string {
  return attempts.length === 1 ? 'seed 1' : `seeds 1..${String(attempts.length)}`;
}
