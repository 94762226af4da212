/** `decide` against a second opinion that was written from the design alone; see oracle/decide-oracle.ts. */
import { describe, expect, it } from 'vitest';
import { decide } from '../../src/failover/decide.ts';
import type { Facts } from '../../src/failover/types.ts';
import { isPossible } from './oracle/compare-oracle.ts';
import { complaints, expected } from './oracle/decide-oracle.ts';
import { Complaints, Pick, Tally } from './oracle/pick.ts';
import { coreFacts, sampledCircle, sampledFacts } from './oracle/situations.ts';
import { shown } from './oracle/views.ts';

const SEED = 20_242;
const SAMPLES = 120_000;
const CIRCLES = 80_000;

function story(f: Facts): string {
  const peers = Object.values(f.peers).map((p) => `silent for ${String(p.silentForMs)}, said ${String(p.saidForMs ?? 0)} ago: ${shown(p.view)}`);
  const rest = { upForMs: f.upForMs, command: f.command, majority: f.majority, claiming: f.claiming, confirm: f.confirm };
  return [JSON.stringify(rest), shown(f.self), ...peers].join('\n  ');
}

function judge(f: Facts, rules: Tally, scenarios: Tally, found: Complaints): void {
  const d = decide(f);
  rules.add(`${d.rule}/${d.action}`);
  const e = expected(f);
  if (e !== null) scenarios.add(e.scenario);
  for (const c of complaints(f, d, e)) found.add(c, () => `${story(f)}\n  => ${JSON.stringify(d)}`);
}

function report(title: string, rules: Tally, scenarios: Tally): void {
  process.stdout.write(`decide, ${title}: ${String(rules.total)} combinations: ${rules.toString()}\n`);
  process.stdout.write(`decide, ${title}: ${String(scenarios.total)} of them documented: ${scenarios.toString()}\n`);
}

describe('decide, against an oracle', () => {
  it('answers as the design permits, for two nodes and every combination of what the scenarios turn on', () => {
    const [rules, scenarios, found] = [new Tally(), new Tally(), new Complaints()];
    for (const f of coreFacts()) judge(f, rules, scenarios, found);
    report('the core, all of it', rules, scenarios);
    expect(found.list).toEqual([]);
    for (const s of ['scenario 1', 'scenario 2', 'scenario 3', 'scenario 4', 'scenario 4, the source returns']) expect(scenarios.has(s)).toBe(true);
  });

  it(`answers as the design permits, for ${String(SAMPLES)} samples of all facts together`, () => {
    const [rules, scenarios, found, pick] = [new Tally(), new Tally(), new Complaints(), new Pick(SEED)];
    for (let i = 0; i < SAMPLES; i += 1) judge(sampledFacts(pick), rules, scenarios, found);
    report(`sampled with seed ${String(SEED)}`, rules, scenarios);
    expect(found.list).toEqual([]);
  });

  it('never lets two nodes that hear each other go in service at once', () => {
    const [goers, found, pick] = [new Tally(), new Complaints(), new Pick(SEED)];
    for (let i = 0; i < CIRCLES; i += 1) {
      const circle = sampledCircle(pick);
      const views = circle.map((f) => f.self);
      if (!views.every((a) => views.every((b) => a === b || isPossible(a, b)))) continue;
      const goes = circle.filter((f) => decide(f).action === 'go-in-service');
      goers.add(`${String(goes.length)} of ${String(circle.length)} go`);
      if (goes.length > 1) found.add('two go at once', () => circle.map((f) => `${shown(f.self)} => ${JSON.stringify(decide(f))}`).join('\n  '));
    }
    process.stdout.write(`decide, nodes that hear each other, seed ${String(SEED)}: ${goers.toString()}\n`);
    expect(found.list).toEqual([]);
  });
});
