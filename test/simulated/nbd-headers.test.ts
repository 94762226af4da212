/** Which of the simulated nodes offer NBD with extended headers: what the histories of many seeds rest on. */
import { expect, test } from 'vitest';
import { drawPlan } from './support/plan.ts';

test('some seeds have nodes that all offer them, some none that does, and some both, as while a cluster is upgraded', () => {
  const kinds = new Set<string>();
  for (let seed = 1; seed <= 60; seed += 1) {
    const { nodes, extendedHeaders } = drawPlan(seed);
    expect(nodes).toEqual(expect.arrayContaining([...extendedHeaders]));
    kinds.add(extendedHeaders.size === 0 ? 'none' : extendedHeaders.size === nodes.length ? 'all' : 'some');
    expect([...drawPlan(seed).extendedHeaders]).toEqual([...extendedHeaders]);
  }
  expect([...kinds].sort()).toEqual(['all', 'none', 'some']);
});
