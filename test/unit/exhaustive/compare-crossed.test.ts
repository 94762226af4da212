/** `compare`, each fact and each two facts crossed with a small core; see compare-facts.ts, and for what is right simulated/oracle. */
import { describe, expect, it } from 'vitest';
import { compare } from '../../../src/failover/compare.ts';
import { compareRules } from '../../../src/failover/types.ts';
import { complaints, essence, isPossible } from '../../simulated/oracle/compare-oracle.ts';
import { Complaints, Tally } from '../../simulated/oracle/pick.ts';
import { shown } from '../../simulated/oracle/views.ts';
import { entangled, facts, type Meeting, meetings, NOTES, usualMeetings } from './compare-facts.ts';
import { type Crossed, crossed, crossedByTwo } from './crossing.ts';

class Judge {
  readonly answers = new Tally();
  readonly rows = new Tally();
  readonly found = new Complaints();

  judge({ at, without, last, of }: Crossed<Meeting>): void {
    const { a, b, waitEnded } = at;
    const answer = compare(a, b, { ended: waitEnded });
    // What no history leaves may be refused, or answered in any way that is not forbidden.
    if (isPossible(a, b)) {
      this.answers.add(`${answer.rule}/${answer.kind}`);
      this.rows.add(answer.rule);
    } else this.answers.add('impossible');
    const example = (): string => `${of}${waitEnded ? ', wait ended' : ''}\n  ${shown(a)}\n  ${shown(b)}\n  => ${JSON.stringify(answer)}`;
    for (const c of complaints(a, b, waitEnded, answer)) this.found.add(c, example);
    const said = essence(answer);
    if (essence(compare(b, a, { ended: waitEnded })) !== said) this.found.add('the two nodes answer differently', example);
    if (last === NOTES && essence(compare(without.a, without.b, { ended: without.waitEnded })) !== said)
      this.found.add('a note decides something', example);
  }
}

/** What the rows that wait, or ask for an account, answer in each case. */
const ANSWERS: readonly string[] = [
  'blank/full',
  'inconsistent/partial',
  'inconsistent/wait',
  'inconsistent/full',
  'inconsistent/refuse',
  'merge-pending/wait',
  'merge-pending/full',
  'serving/partial',
  'serving/full',
  'both-targets/wait',
  'both-targets/full',
  'kept-bitmap/partial',
  'kept-bitmap/full',
];

interface Walk {
  title: string;
  all: () => Generator<Crossed<Meeting>>;
  rows: readonly string[];
  answers: readonly string[];
}

const walks: readonly Walk[] = [
  { title: 'each value of each fact', all: () => crossed(meetings(), facts), rows: compareRules, answers: [] },
  { title: 'each two values of two facts', all: () => crossedByTwo(usualMeetings(), entangled), rows: [], answers: ANSWERS },
];

/** Whole domains on a machine that does other things besides. */
const TEST_TIMEOUT_MS = 90_000;

describe('compare, every fact crossed with a small core', () => {
  it.each(walks)(
    'answers as the design permits: $title',
    ({ title, all, rows, answers }) => {
      const j = new Judge();
      for (const c of all()) j.judge(c);
      process.stdout.write(`compare, ${title}: ${String(j.answers.total)} combinations: ${j.answers.toString()}\n`);
      process.stdout.write(`compare, ${title}, rows: ${j.rows.toString()}\n`);
      expect(j.found.list).toEqual([]);
      expect(rows.filter((r) => !j.rows.has(r))).toEqual([]);
      expect(answers.filter((a) => !j.answers.has(a))).toEqual([]);
    },
    TEST_TIMEOUT_MS,
  );
});
