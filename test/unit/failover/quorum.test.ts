import { expect, it } from 'vitest';
import { ClusterError } from '../../../src/cluster/errors.ts';
import type { NodeContext } from '../../../src/failover/context.ts';
import { hearsMajority, majorityStandsBy, noMajorityWithout } from '../../../src/failover/quorum.ts';
import type { Epoch, MirrorDefinition } from '../../../src/failover/types.ts';

function definition(names: string[], more: Partial<MirrorDefinition> = {}): MirrorDefinition {
  return {
    tag: 't',
    createId: '0000000000000001',
    revision: 1,
    sizeBytes: 4096,
    regionSizeBytes: 4096,
    nodes: Object.fromEntries(names.map((n, i) => [n, { priority: i, leg: '/leg', mode: 'sync' as const }])),
    failureTimeoutMs: 1000,
    failover: 'auto',
    confirmTimeoutSec: 60,
    confirmDefault: 'stay',
    arbiter: 'majority',
    waitForPreviousSourceSec: -1,
    takeoverAfterCleanStop: false,
    ...more,
  };
}

const silence = (ms: Record<string, number>) => (node: string) => ms[node] ?? Infinity;

it('needs more than half of the nodes, itself among them', () => {
  expect(hearsMajority(definition(['a', 'b', 'c']), 'a', silence({ b: 999 }))).toBe(true);
  expect(hearsMajority(definition(['a', 'b', 'c']), 'a', silence({ b: 1000 }))).toBe(false);
  expect(hearsMajority(definition(['a', 'b']), 'a', silence({}))).toBe(false);
  expect(hearsMajority(definition(['a', 'b', 'c', 'd']), 'a', silence({ b: 0 }))).toBe(false);
});

it.each([
  [['a'], ['a', 'b', 'c'], false],
  [['a', 'b'], ['a', 'b', 'c'], true],
  [['a'], ['a', 'b', 'c', 'd'], false],
  // The other two are half, and no majority.
  [['a', 'd'], ['a', 'b', 'c', 'd'], true],
  [['a', 'b'], ['a', 'b', 'c', 'd', 'e'], false],
  [['a', 'b', 'z'], ['a', 'b', 'c', 'd', 'e'], false],
  [['a'], ['a', 'b'], true],
])('where %j know of something, of %j, there is no majority without them: %s', (knowing, all, expected) => {
  expect(noMajorityWithout(definition(all), new Set(knowing))).toBe(expected);
});

it('gives a foreign target no vote', () => {
  const d = definition(['a', 'b']);
  const nodes = { ...d.nodes, f: { priority: 9, leg: '', mode: 'sync' as const, foreignUri: 'nbd://f/x' } };
  expect(hearsMajority({ ...d, nodes }, 'a', silence({ b: 0 }))).toBe(true);
  expect(hearsMajority({ ...d, nodes }, 'a', silence({ f: 0 }))).toBe(false);
});

const epoch = (number: number): Epoch => ({ number, owner: 'a', random: '0000000000000001' });

/** What each other node answers when it is asked: the epoch it has seen, that it knows no such mirror, or nothing. */
function asking(d: MirrorDefinition, answers: Record<string, number | 'unknown' | 'silent'>): NodeContext {
  const context = {
    env: { self: 'a', cluster: { connected: (n: string) => answers[n] !== undefined } },
    record: () => ({ definition: d }),
    askView: (n: string) => {
      const answer = answers[n];
      if (answer === 'silent') return Promise.reject(new ClusterError('timeout', 'no answer'));
      if (answer === 'unknown' || answer === undefined) return Promise.resolve(null);
      return Promise.resolve({ record: { epochSeen: epoch(answer), claim: null } });
    },
  };
  return context as unknown as NodeContext;
}

it.each([
  ['most stand by it', { b: 3 }, true],
  ['most have voted for another', { b: 4, c: 4 }, false],
  ['one of three has, and one still stands by it', { b: 4, c: 3 }, true],
  ['the only one who can be asked has', { b: 4 }, false],
  ['the others do not answer', { b: 'silent' as const, c: 'silent' as const }, false],
  ['the others do not know the mirror', { b: 'unknown' as const, c: 'unknown' as const }, false],
  ['nobody is connected', {}, false],
])('goes on after it was cut off only when most stand by its epoch: %s', async (_what, answers, stands) => {
  expect(await majorityStandsBy(asking(definition(['a', 'b', 'c']), answers), epoch(3))).toBe(stands);
});
