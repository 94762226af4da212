import { expect, it } from 'vitest';
import { parseScenario } from '../../src/scenario/parse.ts';
import type { Script } from './support/actions.ts';
import type { Cluster } from './support/cluster.ts';
import { runHistory } from './support/history.ts';
import { drawPlan, type Kind } from './support/plan.ts';
import { scenarioOf } from './support/scenario-file.ts';
import { type Run, shrink } from './support/shrink.ts';

const only = new Set<Kind>(['crash', 'power', 'freeze']);

/** Two crashes that were lived through by one node: of all that strikes, only these and their boots matter. */
function alsoWrong(c: Cluster): string | undefined {
  return c.machine('server2').sim.boots >= 3 && c.machine('server2').up ? 'server2 has been started three times' : undefined;
}

it('lives through the same history again from the list of what struck', async () => {
  for (const seed of [3, 7]) {
    const first = await runHistory(seed);
    const again = await runHistory(seed, { script: first.script });
    expect([again.virtualMs, again.requests, again.checks]).toEqual([first.virtualMs, first.requests, first.checks]);
    expect(first.script.actions.length).toBeGreaterThanOrEqual(first.faults);
  }
});

it('makes a failing history shorter, which still fails, and can be said as a scenario', async () => {
  const options = { only, alsoWrong };
  let seed = 1;
  let first = await runHistory(seed, options);
  while (first.failure === undefined || first.nodes < 3) first = await runHistory((seed += 1), options);
  expect(first.failure.promise).toBe('injected');
  const { replay, last } = await shrink(runHistory, seed, options, 120);
  expect(last.failure?.promise).toBe('injected');
  expect(replay.script.actions.length).toBeLessThan(first.script.actions.length);
  // A crash and a start, twice; what is started at the end of a history needs no action of its own.
  expect(replay.script.actions.length).toBeLessThanOrEqual(4);
  expect(last.nodes).toBe(2);
  const again = await runHistory(seed, { ...options, nodes: replay.options.nodes, requestsMax: replay.options.requestsMax, script: replay.script });
  expect(again.failure?.promise).toBe('injected');

  const scenario = scenarioOf(drawPlan(seed, { only, nodes: 2 }), replay.script, 'injected: server2 has been started three times');
  if ('unsaid' in scenario) throw new Error(`no words for ${scenario.unsaid}`);
  expect(scenario.text()).toContain(`# From seed ${String(seed)} of scripts/simulate; it breaks injected: server2 has been started three times\n`);
  expect(parseScenario(scenario.text(), 'shrunk.yaml').steps.length).toBeGreaterThan(replay.script.actions.length);
}, 240_000);

it('refuses a history that does not fail', async () => {
  await expect(shrink(runHistory, 3, {}, 10)).rejects.toThrow('seed 3 does not fail');
});

it('lets what follows from the last action happen, where a history broke before all was repaired', async () => {
  const script: Script = { actions: [{ at: 700, action: { do: 'crash', node: 'server2' } }], endAt: 700 };
  const run: Run = (seed, o) => {
    const breaks = o.script === undefined || (o.script.endAt >= 900 && o.script.actions.length > 0);
    const failure = breaks ? { promise: 'M2', what: 'x', story: [], tail: [] } : undefined;
    const rest = { fingerprint: '', faults: 1, requests: 0, events: 0, counts: {}, checks: {} };
    return Promise.resolve({ ...rest, seed, nodes: 2, script: o.script ?? script, virtualMs: 950, failure });
  };
  expect((await shrink(run, 1, {}, 20)).replay).toMatchObject({ promise: 'M2', script: { ...script, endAt: 950 } });
});

it('says which action the language of scenarios has no words for', () => {
  const script: Script = {
    actions: [
      { at: 1, action: { do: 'crash', node: 'server1' } },
      { at: 1.5, action: { do: 'short', node: 'server1', share: 0.2 } },
    ],
    endAt: 2,
  };
  expect(scenarioOf(drawPlan(3, { paths: 1 }), script, 'x')).toEqual({ unsaid: '1.500 {"do":"short","node":"server1","share":0.2}' });
});

it('says of a mirror with two paths that the scenario has one', () => {
  const scenario = scenarioOf(drawPlan(3, { paths: 2 }), { actions: [], endAt: 0 }, 'x');
  expect('unsaid' in scenario ? '' : scenario.text()).toContain('# There were 2 paths between each two nodes, and there is one here.\n');
});
