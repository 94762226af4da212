/**
 * `netraid scenario run`: files to scenarios, scenarios to worlds, outcomes to lines.
 *
 * Exit code 0: every step of every scenario holds; 1: one does not; 2: a file is not a scenario, and nothing was run.
 */
import { join } from 'node:path';
import { replaceFile } from '../io/atomic-file.ts';
import { SimulationError } from '../io/simulated/schedule.ts';
import { SimWorld } from '../io/simulated/world.ts';
import { type Files, IoError } from '../io/types.ts';
import { ScenarioSyntaxError } from './errors.ts';
import { parseScenario } from './parse.ts';
import { parallel } from './parallel.ts';
import { forPeople, forPrograms, junit, type Outcome } from './report.ts';
import { type Failure, runSteps } from './runner.ts';
import { type Scenario, type Step, wordOf } from './types.ts';
import type { CommandRunner } from './world.ts';
import { SimulatedWorld } from './world-simulated.ts';

const FILE_MAX_BYTES = 1024 * 1024;
const VIRTUAL_MAX_MS = 24 * 3_600_000;
const EVENTS_MAX = 200_000_000;

export interface ScenarioOptions {
  world: 'process' | 'simulated';
  /** For the simulated world: each scenario with each of them. Default 1. */
  seeds?: readonly number[];
  json?: boolean;
  /** Where to write what CI systems read. */
  junit?: string | null;
  /** Leave the nodes' folders behind (process world). */
  keep?: boolean;
  /** Scenarios at a time (process world). Default 1. */
  atATime?: number;
  /** Where scenario files are read and the report is written. */
  files: Files;
  command: CommandRunner;
  /** Standard output and standard error. */
  out(line: string): void;
  error(line: string): void;
}

/** `paths`: files, or folders whose `*.yaml` and `*.yml` are run. Answers the exit code. */
export async function runScenarios(paths: readonly string[], o: ScenarioOptions): Promise<number> {
  const loaded = await loadScenarios(paths, o.files);
  for (const e of loaded.errors) {
    if (o.json === true) o.out(JSON.stringify({ file: e.file, line: e.line, field: e.field, ok: false, error: e.message }));
    else o.error(e.message);
  }
  if (loaded.errors.length > 0) return 2;
  const outcomes: Outcome[] = [];
  const tell = (outcome: Outcome): void => {
    outcomes.push(outcome);
    for (const line of o.json === true ? [forPrograms(outcome)] : forPeople(outcome)) o.out(line);
  };
  if (o.world === 'simulated') {
    for (const s of loaded.scenarios) for (const seed of o.seeds ?? [1]) tell(await runSimulated(s, seed, o.command));
  } else {
    const { runInProcesses } = await import('./world-process.ts');
    const keep =
      o.keep === true
        ? (line: string) => {
            o.error(line);
          }
        : null;
    await parallel(o.atATime ?? 1, loaded.scenarios, async (s) => {
      tell(await runInProcesses(s, { command: o.command, keep }));
    });
  }
  if (o.junit !== undefined && o.junit !== null) await replaceFile(o.files, o.junit, new TextEncoder().encode(junit(outcomes)));
  return outcomes.some((x) => x.failure !== null) ? 1 : 0;
}

/** Every scenario, and every file that is none. */
export async function loadScenarios(paths: readonly string[], files: Files): Promise<{ scenarios: Scenario[]; errors: ScenarioSyntaxError[] }> {
  const scenarios: Scenario[] = [];
  const errors: ScenarioSyntaxError[] = [];
  for (const path of paths) {
    try {
      for (const file of await expand(path, files)) {
        try {
          scenarios.push(parseScenario(await readText(file, files), file));
        } catch (e: unknown) {
          errors.push(asSyntaxError(e, file));
        }
      }
    } catch (e: unknown) {
      errors.push(asSyntaxError(e, path));
    }
  }
  return { scenarios, errors };
}

async function expand(path: string, files: Files): Promise<string[]> {
  if ((await files.stat(path)).kind !== 'directory') return [path];
  const names = (await files.list(path)).filter((n) => /\.ya?ml$/.test(n));
  if (names.length === 0) throw new ScenarioSyntaxError(path, null, '', 'holds no scenario; allowed: a file, or a folder of *.yaml files');
  return names.map((n) => join(path, n));
}

async function readText(file: string, files: Files): Promise<string> {
  const bytes = await files.readFile(file, FILE_MAX_BYTES);
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (e: unknown) {
    if (!(e instanceof TypeError)) throw e;
    throw new ScenarioSyntaxError(file, null, '', 'is not UTF-8 text; allowed: a YAML file');
  }
}

function asSyntaxError(e: unknown, file: string): ScenarioSyntaxError {
  if (e instanceof ScenarioSyntaxError) return e;
  if (e instanceof IoError) return new ScenarioSyntaxError(file, null, '', `can't be read: ${e.message}; allowed: a YAML file, or a folder of them`);
  throw e;
}

/** `onLine`: every line of every daemon's log. */
export async function runSimulated(scenario: Scenario, seed: number, command: CommandRunner, onLine?: (line: string) => void): Promise<Outcome> {
  await command.load();
  const sim = new SimWorld(seed);
  const world = new SimulatedWorld(sim, scenario.mirror, onLine);
  let failure: Failure | null;
  let [current] = scenario.steps;
  const onStep = (step: Step): void => {
    current = step;
  };
  try {
    failure = await sim.run(runSteps(scenario, world, command, onStep), { virtualMs: VIRTUAL_MAX_MS, events: EVENTS_MAX });
  } catch (e: unknown) {
    if (!(e instanceof SimulationError)) throw e;
    // What broke is code under test, somewhere below the step that was being carried out.
    failure = brokenWorld(scenario, current, world, e);
  }
  return outcomeOf(scenario, 'simulated', seed, sim.now() / 1000, failure);
}

function brokenWorld(scenario: Scenario, step: Step | undefined, world: SimulatedWorld, e: SimulationError): Failure {
  const { cause } = e;
  const message = `the simulation ended: ${e.message}${cause instanceof Error && cause.stack !== undefined ? `\n${cause.stack}` : ''}`;
  return {
    step: step?.number ?? 0,
    line: step?.line ?? 0,
    action: step === undefined ? '' : wordOf(step.action),
    message,
    differences: [],
    log: Object.fromEntries(scenario.mirror.nodes.map((n) => [n.name, world.lastWords(n.name).slice(-20)])),
  };
}

export function outcomeOf(scenario: Scenario, world: Outcome['world'], seed: number | null, seconds: number, failure: Failure | null): Outcome {
  return { file: scenario.file, scenario: scenario.title, world, seed, steps: scenario.steps.length, seconds, failure };
}
