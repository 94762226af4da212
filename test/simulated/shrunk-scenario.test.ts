import { afterEach, expect, it, vi } from 'vitest';
import { Marks } from '../../src/mirror/marks.ts';
import { ExitCode } from '../../src/cli/exit.ts';
import { parseScenario } from '../../src/scenario/parse.ts';
import { runSimulated } from '../../src/scenario/run.ts';
import type { Failure } from '../../src/scenario/runner.ts';
import { command } from '../support/scenarios.ts';
import type { Action, Script } from './support/actions.ts';
import { runHistory } from './support/history.ts';
import { drawPlan, type Kind, PATHS, type Plan, type PlanOptions } from './support/plan.ts';
import { scenarioOf, type ShrunkScenario } from './support/scenario-file.ts';
import { type Trial, type TrialOptions, tryScenario } from './support/scenario-trial.ts';
import { shrink } from './support/shrink.ts';

const two: PlanOptions = { nodes: 2, paths: 1, only: new Set<Kind>(['crash']) };
const plan: Plan = { ...drawPlan(1, two), modes: ['sync', 'sync'], sizeBytes: 256 * 1024 };

function said(p: Plan, script: Script, why: string): ShrunkScenario {
  const scenario = scenarioOf(p, script, why);
  if ('unsaid' in scenario) throw new Error(`no words for ${scenario.unsaid}`);
  return scenario;
}

function tried(s: ShrunkScenario, o: Partial<TrialOptions> = {}): Promise<Trial> {
  return tryScenario(s, { promise: 'M2', file: 'shrunk.yaml', seedsMax: 1, inTime: () => true, ...o });
}

const apart = (...actions: Action[]): Script => ({ actions: actions.map((action, i) => ({ at: 600 + 100 * i, action })), endAt: 0 });
const told = (what: Extract<Action, { do: 'command' }>['command'], node: string, ...nodes: string[]): Action => ({
  do: 'command',
  node,
  command: what,
  nodes,
});

/** As everybody runs the file. */
async function failureOf(text: string, seed: number): Promise<Failure | null> {
  return (await runSimulated(parseScenario(text, 'shrunk.yaml'), seed, command)).failure;
}

afterEach(() => {
  vi.restoreAllMocks();
});

it('makes of a history that meets a planted fault a scenario that fails by it, and holds without it', async () => {
  vi.spyOn(Marks.prototype, 'markOutOfSync').mockImplementation(() => undefined);
  const away = [
    ['boot', 'server1'],
    ['crash', 'server2'],
    ['boot', 'server2'],
    ['crash', 'server2'],
  ] as const;
  const script: Script = { actions: away.map(([what, node], i) => ({ at: 900 + 600 * i, action: { do: what, node } })), endAt: 3000 };
  let seed = 1;
  // Not each of them writes where only that mark would tell of it.
  while ((await runHistory(seed, { ...two, script })).failure === undefined) seed += 1;
  const { replay, last } = await shrink(runHistory, seed, { ...two, script }, 12);
  expect(replay.script.actions.length).toBeLessThan(script.actions.length);
  const scenario = said(drawPlan(seed, two), replay.script, last.failure?.what ?? '');
  const trial = await tried(scenario, { promise: replay.promise });
  const { failing } = trial;
  if (failing === undefined) throw new Error(trial.text);
  expect(trial.text).toMatch(/^# {3}it fails with 1 of them; with 1: step \d+ \((identical|acknowledged)\): /m);
  expect(trial.text).toContain(`# To see it: netraid scenario run shrunk.yaml --world simulated --seed ${String(failing.seed)}\n`);
  expect(trial.text).not.toContain('what to replay is the seed');
  expect(['identical', 'acknowledged']).toContain((await failureOf(trial.text, failing.seed))?.action);
  vi.restoreAllMocks();
  expect(await failureOf(trial.text, failing.seed)).toBeNull();
}, 240_000);

it('takes over what commands exit with, refused ones too, and says so where the scenario holds', async () => {
  const script = apart(
    told('pause', 'server1', 'server2'),
    told('pause', 'server2'),
    told('switchover', 'server1', 'server2'),
    told('resume', 'server1'),
  );
  const trial = await tried(said(plan, script, 'M2: x'));
  expect(trial.attempts).toEqual([{ seed: 1, kind: 'holds', what: '', exits: [ExitCode.OK, ExitCode.REFUSED, ExitCode.REFUSED, ExitCode.OK] }]);
  expect(trial.failing).toBeUndefined();
  expect(trial.text).toContain('  - {run: "mirror_action mirror pause", on: server2, exit: 1}\n');
  expect(trial.text).toContain('  - {run: "mirror_action mirror resume", on: server1}\n');
  expect(trial.text).toContain(
    '#   it holds with 1 of them\n# What its commands exit with is as with seed 1.\n# The load that failed was another one; what to replay is',
  );
  expect(await failureOf(trial.text, 1)).toBeNull();
});

it('says every command as the product understands it', async () => {
  const all = (['fullresync', 'out-of-service', 'in-service', 'switchover', 'pause', 'resume', 'force'] as const).map((what) =>
    told(what, 'server1', ...(what === 'switchover' || what === 'pause' ? ['server2'] : [])),
  );
  const { attempts } = await tried(
    said(plan, apart(...all, { do: 'freeze', node: 'server2', ms: 5, asSource: false }, told('force', 'server2')), 'M2: x'),
  );
  expect(attempts[0]?.exits.slice(0, 3)).toEqual([ExitCode.OK, ExitCode.OK, ExitCode.OK]);
  expect(attempts[0]?.exits.filter((e) => e !== ExitCode.OK && e !== ExitCode.REFUSED)).toEqual([]);
  expect(attempts[0]?.exits.length).toBeGreaterThanOrEqual(8);
});

it('takes a mirror that does not come together for the failure only where the history broke that promise', async () => {
  const damaged = said(plan, apart({ do: 'stop', node: 'server2' }, { do: 'damage', node: 'server2', path: PATHS.state, at: 40, bit: 1 }), 'M14: x');
  const other = await tried(damaged);
  expect(other.attempts.map((a) => a.kind)).toEqual(['apart']);
  expect(other.failing).toBeUndefined();
  expect(other.text).toContain('the mirror does not come together, or waits for an operator with 1 of them; with 1: step ');
  const same = await tried(damaged, { promise: 'M14' });
  expect(same.failing?.what).toMatch(/^step \d+ \(run\): the mirror has not come together$/);
  expect((await failureOf(same.text, 1))?.step).toBe(damaged.togetherStep);
});

it('takes a rejection that nobody handled for a failure', async () => {
  const trial = await tried(said(plan, apart({ do: 'crash', node: 'server2' }), 'M2: x'), {
    onStart: (broken) => {
      broken(new Error('from nowhere'));
    },
  });
  expect(trial.failing?.what).toMatch(/^a rejection without a handler: Error: from nowhere/);
});

it('says which step can not be carried out, and that time was over', async () => {
  const script = apart({ do: 'stop', node: 'server2' }, { do: 'damage', node: 'server2', path: PATHS.bitmap, at: 10_000_000, bit: 1 });
  const scenario = said(plan, script, 'M2: x');
  // Of a bitmap the last byte would be struck.
  const text: ShrunkScenario['text'] = (...a) => scenario.text(...a).replace('file: bitmap', 'file: leg');
  const trial = await tried({ ...scenario, text }, { seedsMax: 20, inTime: () => false });
  expect(trial.found.slice(0, 2)).toEqual([
    'Run in the simulated world with seed 1:',
    expect.stringMatching(/^ {2}a step before the end can not be carried out with 1 of them; with 1: step 6 \(damage\): .* ends before/),
  ]);
});
