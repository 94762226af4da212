import { expect, it } from 'vitest';
import { hearsMajority } from '../../../src/failover/quorum.ts';
import type { MirrorDefinition } from '../../../src/failover/types.ts';

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

it('gives a foreign target no vote', () => {
  const d = definition(['a', 'b']);
  const nodes = { ...d.nodes, f: { priority: 9, leg: '', mode: 'sync' as const, foreignUri: 'nbd://f/x' } };
  expect(hearsMajority({ ...d, nodes }, 'a', silence({ b: 0 }))).toBe(true);
  expect(hearsMajority({ ...d, nodes }, 'a', silence({ f: 0 }))).toBe(false);
});

it('is content alone where no arbiter is asked', () => {
  expect(hearsMajority(definition(['a', 'b', 'c'], { arbiter: 'none' }), 'a', silence({}))).toBe(true);
});
