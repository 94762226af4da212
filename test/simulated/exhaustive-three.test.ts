/** `decide` with three nodes, every combination of the facts in oracle/three-nodes.ts, against oracle/decide-oracle.ts. */
import { describe, expect, it } from 'vitest';
import { decide } from '../../src/failover/decide.ts';
import type { Decision, Facts, NodeName } from '../../src/failover/types.ts';
import { complaints, expected } from './oracle/decide-oracle.ts';
import { Complaints, Pick, Tally } from './oracle/pick.ts';
import { sampledFacts } from './oracle/situations.ts';
import { bothHeard, nobodyHeard, oneHeard } from './oracle/three-nodes.ts';
import { A, B, C, shown } from './oracle/views.ts';

const SEED = 20_243;
const SAMPLES = 20_000;

function story(f: Facts): string {
  const peers = Object.values(f.peers).map((p) => `silent for ${String(p.silentForMs)}: ${shown(p.view)}`);
  return [JSON.stringify({ upForMs: f.upForMs, command: f.command }), shown(f.self), ...peers].join('\n  ');
}

const parts = [
  { title: 'both others are heard', facts: bothHeard, atLeast: 750_000, scenarios: ['scenario 4, the source returns'] },
  { title: 'one other is heard', facts: oneHeard, atLeast: 600_000, scenarios: ['scenario 1', 'scenario 3', 'scenario 4'] },
  { title: 'nobody is heard', facts: nobodyHeard, atLeast: 300_000, scenarios: ['scenario 1', 'scenario 3', 'scenario 4'] },
];

/** What it does, the wording and the names in it left aside. */
const essence = (d: Decision): string => JSON.stringify([d.action, d.rule, d.setFlags ?? null]);

/** The same with the names of two nodes exchanged, each of which keeps its name's priority. */
function exchanged(f: Facts, x: NodeName, y: NodeName): Facts {
  const { definition } = f.self.record;
  const text = JSON.stringify(f, (k, v: unknown) => (k === 'definition' ? null : v));
  const renamed = text.replaceAll(x, '?').replaceAll(y, x).replaceAll('?', y);
  return JSON.parse(renamed, (k, v: unknown) => (k === 'definition' ? definition : v)) as Facts;
}

/** Of three nodes, by the seed. */
function* samples(): Generator<Facts> {
  const pick = new Pick(SEED);
  for (let i = 0; i < SAMPLES; i += 1) {
    const f = sampledFacts(pick);
    if (Object.keys(f.self.record.definition.nodes).length === 3) yield f;
  }
}

describe('decide, three nodes', () => {
  it.each(parts)('answers as the design permits, for every combination when $title', ({ title, facts, atLeast, scenarios }) => {
    const [rules, documented, found] = [new Tally(), new Tally(), new Complaints()];
    for (const f of facts()) {
      const d = decide(f);
      rules.add(`${d.rule}/${d.action}`);
      const e = expected(f);
      if (e !== null) documented.add(e.scenario);
      for (const c of complaints(f, d, e)) found.add(c, () => `${story(f)}\n  => ${JSON.stringify(d)}`);
    }
    process.stdout.write(`decide, three nodes, ${title}: ${String(rules.total)} combinations: ${rules.toString()}\n`);
    process.stdout.write(`decide, three nodes, ${title}: ${String(documented.total)} of them documented: ${documented.toString()}\n`);
    expect(found.list).toEqual([]);
    expect(rules.total).toBeGreaterThan(atLeast);
    expect(scenarios.filter((s) => !documented.has(s))).toEqual([]);
  });

  it('does the same when two peers exchange their names, both of which come before it or after it', () => {
    const found = new Complaints();
    let seen = 0;
    for (const f of samples()) {
      const { node } = f.self;
      if (node === B) continue;
      seen += 1;
      const [d, other] = [decide(f), decide(exchanged(f, B, node === A ? C : A))];
      if (essence(d) !== essence(other)) found.add(`${essence(d)} or ${essence(other)}`, () => story(f));
    }
    expect(seen).toBeGreaterThan(SAMPLES / 4);
    expect(found.list).toEqual([]);
  });

  it('does not look at what a node says that has been silent for failureTimeout', () => {
    const found = new Complaints();
    let seen = 0;
    for (const f of samples()) {
      for (const [name, peer] of Object.entries(f.peers)) {
        if (peer.silentForMs < f.failureTimeoutMs) continue;
        seen += 1;
        const others = Object.fromEntries(Object.entries(f.peers).filter(([n]) => n !== name));
        const without = { ...f, peers: others };
        if (essence(decide(f)) !== essence(decide(without))) found.add(`${essence(decide(f))} or ${essence(decide(without))}`, () => story(f));
      }
    }
    expect(seen).toBeGreaterThan(SAMPLES / 8);
    expect(found.list).toEqual([]);
  });
});
