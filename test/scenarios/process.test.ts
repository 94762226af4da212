import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { parallel } from '../../src/scenario/parallel.ts';
import { parseScenario } from '../../src/scenario/parse.ts';
import { failureLine, type Outcome } from '../../src/scenario/report.ts';
import { runInProcesses } from '../../src/scenario/world-process.ts';
import { documentedScenarios } from '../support/documented-scenarios.ts';
import { command } from '../support/scenarios.ts';

/** Real daemons wait most of the time: several scenarios share the two cores. */
const AT_A_TIME = 4;
const ROUNDS = 3;
const ALL_MAX_MS = 400_000;
const folder = path.join(import.meta.dirname, 'files');
const names = readdirSync(folder).filter((n) => n.endsWith('.yaml'));

interface Run {
  name: string;
  outcome: Promise<Outcome>;
  begin(): Promise<void>;
}

function runOf(name: string, engine: string): Run {
  let settle: (outcome: Promise<Outcome>) => void = () => undefined;
  const outcome = new Promise<Outcome>((resolve) => {
    settle = resolve;
  });
  return {
    name,
    outcome,
    begin: async () => {
      const running = runInProcesses(parseScenario(readFileSync(path.join(folder, name), 'utf8'), name), { command, keep: null, engine });
      settle(running);
      // Its own test tells of a failure; the others go on.
      await running.then(
        () => undefined,
        () => undefined,
      );
    },
  };
}

/** The documented failures are lived through in each round, and once more with the portable engine; all others once. */
const rounds = [...Array.from({ length: ROUNDS }, (_, i) => i + 1), 'of the portable engine'].map((round) => ({
  round,
  runs: (round === 1 ? names : documentedScenarios).map((name) => runOf(name, typeof round === 'number' ? 'native' : 'portable')),
}));
let started: Promise<void> | undefined;

/** All of them begin with the first test that is run. */
function start(): void {
  started ??= parallel(
    AT_A_TIME,
    rounds.flatMap((r) => r.runs),
    (r) => r.begin(),
  );
}

it('the documented failures are among them', () => {
  expect(documentedScenarios.filter((n) => !names.includes(n))).toEqual([]);
});

describe.each(rounds)('round $round with real daemons', ({ runs }) => {
  it.each(runs)(
    '$name holds',
    async ({ name, outcome }) => {
      start();
      const { failure } = await outcome;
      expect(failure === null ? '' : `${failureLine(name, failure)}\n${Object.values(failure.log).flat().join('\n')}`).toBe('');
    },
    ALL_MAX_MS,
  );
});
