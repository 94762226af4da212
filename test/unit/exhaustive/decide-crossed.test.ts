/** `decide`, each fact and each two facts crossed with small cores of two and three nodes; see decide-facts.ts and decide-oracle.ts. */
import { describe, expect, it } from 'vitest';
import { decide } from '../../../src/failover/decide.ts';
import { type Decision, decideRules, type Facts } from '../../../src/failover/types.ts';
import { isPossible } from '../../simulated/oracle/compare-oracle.ts';
import { Complaints, Tally } from '../../simulated/oracle/pick.ts';
import { shown } from '../../simulated/oracle/views.ts';
import { type Crossed, crossed, crossedByTwo } from './crossing.ts';
import { entangled, facts, NOTES, votes } from './decide-facts.ts';
import { complaints, documented, isAnewAfterLoss, wordOfVotes } from './decide-oracle.ts';
import { factsIn, factsOfPeer, possibleTwo, type Scene, storiesOfThree, storiesOfTwo } from './scene.ts';

function story(f: Facts): string {
  const peers = Object.values(f.peers).map((p) => `silent for ${String(p.silentForMs)}: ${shown(p.view)}`);
  const rest = { upForMs: f.upForMs, command: f.command, majority: f.majority, claiming: f.claiming, confirm: f.confirm };
  return [JSON.stringify(rest), shown(f.self), ...peers].join('\n  ');
}

/** What it does, the wording left aside. */
const essence = (d: Decision): string => JSON.stringify([d.action, d.rule, d.setFlags ?? null]);

/** Whoever else goes of those that hear each other, each of them by itself; what one that is in the middle of a claim hears is under way. */
function alsoGo(s: Scene): { facts: Facts; decision: Decision }[] {
  if (s.over.claiming === true || s.over.command !== undefined) return [];
  const circle = s.peers.map((_, i) => factsOfPeer(s, i)).filter((f) => f !== null);
  const views = [s.self, ...circle.map((f) => f.self)];
  if (!views.every((a) => views.every((b) => a === b || isPossible(a, b)))) return [];
  return circle.map((f) => ({ facts: f, decision: decide(f) })).filter(({ decision }) => decision.action === 'go-in-service');
}

class Judge {
  readonly rules = new Tally();
  readonly rows = new Tally();
  readonly scenarios = new Tally();
  readonly found = new Complaints();

  judge({ at, without, last, of }: Crossed<Scene>): void {
    const f = factsIn(at);
    const d = decide(f);
    this.rules.add(`${d.rule}/${d.action}`);
    this.rows.add(d.rule);
    const e = documented(f);
    if (e !== null) this.scenarios.add(e.scenario);
    const example = (): string => `${of}\n  ${story(f)}\n  => ${JSON.stringify(d)}`;
    for (const c of complaints(f, d, e)) this.found.add(c, example);
    if (at.byVotes && f.majority !== wordOfVotes(f)) this.found.add(`the arbiter says ${String(f.majority)}`, example);
    if (d.action === 'go-in-service') this.#judgeTogether(at, d, example);
    if (NOTES.includes(last) && !at.byVotes && essence(d) !== essence(decide(factsIn(without)))) this.found.add(`${last} decides something`, example);
  }

  /** M10. */
  #judgeTogether(at: Scene, d: Decision, example: () => string): void {
    for (const { facts: f, decision } of alsoGo(at)) {
      if (isAnewAfterLoss(factsIn(at), d, f.self) || isAnewAfterLoss(f, decision, at.self)) continue;
      this.found.add('two that hear each other go at once', () => `${example()}\n and\n  ${story(f)}\n  => ${JSON.stringify(decision)}`);
    }
  }

  report(title: string): void {
    process.stdout.write(`decide, ${title}: ${String(this.rules.total)} combinations: ${this.rules.toString()}\n`);
    process.stdout.write(`decide, ${title}, rows: ${this.rows.toString()}\n`);
    process.stdout.write(`decide, ${title}: ${String(this.scenarios.total)} of them documented: ${this.scenarios.toString()}\n`);
  }
}

/** Each determines an answer to the letter; see documented() of decide-oracle.ts. */
const DOCUMENTED: readonly string[] = [
  'scenario 1',
  'scenario 2',
  'scenario 3',
  'scenario 4',
  'scenario 4, the source returns',
  'told out',
  'own leg behind',
  'forced',
  'forced without last_owner',
  'in service',
  'in service without a majority',
  'no majority',
  'a target after a clean stop',
  'the source alone after a clean stop',
  'switchover, the new source',
  'switchover, the old source hears the new one',
  'switchover, the old source alone after a crash',
  'failover off',
  'an operator is asked',
  'an operator says no',
];
const BY_TWO: readonly string[] = [
  'switchover, the old source alone',
  'switchover without a majority',
  'a clean stop after which others may take over',
  'data_corrupt deleted, then in-service',
];

interface Walk {
  title: string;
  all: () => Generator<Crossed<Scene>>;
  rows: readonly string[];
  scenarios: readonly string[];
}

const walks: readonly Walk[] = [
  { title: 'two nodes, each value of each fact', all: () => crossed(possibleTwo(), facts), rows: decideRules, scenarios: DOCUMENTED },
  {
    title: 'two nodes, each two values of two facts',
    all: () => crossedByTwo(storiesOfTwo(), entangled),
    rows: decideRules,
    scenarios: [...DOCUMENTED, ...BY_TWO],
  },
  {
    title: 'two nodes, the arbiter asked and overruled',
    all: () => crossedByTwo(storiesOfTwo(), votes),
    rows: ['no-quorum', 'forced', 'evidence'],
    scenarios: ['in service', 'in service without a majority'],
  },
  { title: 'three nodes, each value of each fact', all: () => crossed(storiesOfThree(), facts), rows: decideRules, scenarios: DOCUMENTED },
];

/** Whole domains on a machine that does other things besides. */
const TEST_TIMEOUT_MS = 90_000;

describe('decide, every fact crossed with a small core', () => {
  it.each(walks)(
    'answers as the design permits: $title',
    ({ title, all, rows, scenarios }) => {
      const j = new Judge();
      for (const c of all()) j.judge(c);
      j.report(title);
      expect(j.found.list).toEqual([]);
      expect(rows.filter((r) => !j.rows.has(r))).toEqual([]);
      expect(scenarios.filter((s) => !j.scenarios.has(s))).toEqual([]);
    },
    TEST_TIMEOUT_MS,
  );
});
