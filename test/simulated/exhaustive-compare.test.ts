/** `compare` against a second opinion that was written from the design alone; see oracle/compare-oracle.ts. */
import { describe, expect, it } from 'vitest';
import { compare } from '../../src/failover/compare.ts';
import { complaints, essence, isPossible } from './oracle/compare-oracle.ts';
import { corePairs, type Pair, sampledPair } from './oracle/pairs.ts';
import { Complaints, Pick, Tally } from './oracle/pick.ts';
import { shown } from './oracle/views.ts';

const SEED = 20_241;
const SAMPLES = 120_000;

/** Judges one pair, both ways round. */
function judge(pair: Pair, rules: Tally, found: Complaints): void {
  const { a, b, waitEnded } = pair;
  const answer = compare(a, b, { ended: waitEnded });
  rules.add(isPossible(a, b) ? `${answer.rule}/${answer.kind}` : 'impossible');
  const example = (): string => `${pair.of}${waitEnded ? ', wait ended' : ''}\n  ${shown(a)}\n  ${shown(b)}\n  => ${JSON.stringify(answer)}`;
  for (const c of complaints(a, b, waitEnded, answer)) found.add(c, example);
  const back = compare(b, a, { ended: waitEnded });
  if (essence(back) !== essence(answer)) found.add('the two nodes answer differently', () => `${example()}\n  <= ${JSON.stringify(back)}`);
}

function report(title: string, rules: Tally): void {
  process.stdout.write(`compare, ${title}: ${String(rules.total)} combinations: ${rules.toString()}\n`);
}

describe('compare, against an oracle', () => {
  it('answers as the design permits, for every relation of data, terms, sessions and service', () => {
    const [rules, found] = [new Tally(), new Complaints()];
    for (const pair of corePairs()) judge(pair, rules, found);
    report('the core, all of it', rules);
    expect(found.list).toEqual([]);
  });

  it(`answers as the design permits, for ${String(SAMPLES)} samples of all facts together`, () => {
    const [rules, found, pick] = [new Tally(), new Complaints(), new Pick(SEED)];
    for (let i = 0; i < SAMPLES; i += 1) judge(sampledPair(pick), rules, found);
    report(`sampled with seed ${String(SEED)}`, rules);
    expect(found.list).toEqual([]);
    for (const rule of ['blank', 'unrelated', 'inconsistent', 'split-brain', 'merge-pending', 'serving', 'clean', 'served-later', 'crashed-source'])
      expect(rules.toString()).toContain(rule);
    for (const rule of ['crashed-target', 'both-targets', 'kept-bitmap', 'history']) expect(rules.toString()).toContain(rule);
  });
});
