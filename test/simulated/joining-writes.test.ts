/**
 * Writes that reach a target while it joins, though it lacked nothing: until it has joined, a third node that never heard of this
 * source must not take it for what it was (M5, M6). The moment of the crash goes through the whole of the joining.
 */
import { describe, expect, it } from 'vitest';
import { parseScenario } from '../../src/scenario/parse.ts';
import { failureLine } from '../../src/scenario/report.ts';
import { runSimulated } from '../../src/scenario/run.ts';
import { command } from '../support/scenarios.ts';

/** Since server1 was started: from before there is a session to well after the join, and closely around its end. */
const MOMENTS_MS = [300, 600, 1000, 1400, ...Array.from({ length: 20 }, (_, i) => 1700 + i * 15)];

const scenario = (ms: number): string => `
scenario: the source is lost while a target that lacked nothing joins, and a node that never heard of it is forced
mirror:
  tag: datarep-ext3
  size: 16MiB
  region: 64KiB
  nodes: {server1: 1, server2: 10, server3: 20}
  failover: off
steps:
  - up: [server1, server2, server3]
  - write: {at: 0MiB, length: 4MiB, seed: 1}
  - wait: 15s
  - crash: server3
  - wait: 4s
  - run: "netraid out-of-service datarep-ext3"
    on: server1
  - down: server1
  - wait: 4s
  - run: "mirror_action datarep-ext3 force server2 --yes --without-last-owner"
    on: server2
  - expect:
      server2: {inService: true}
  - cut: [server2, server3]
  - slow: {link: [server1, server2], delay: 40ms}
  - up: server1
  - wait: ${String(ms)}ms
  - load: {name: L, on: server2, seed: 4, writes: 20, length: 4KiB..64KiB, range: 12MiB..13MiB}
  - wait: 60ms
  - crash: server2
  - up: server3
  - wait: 3s
  - run: "mirror_action datarep-ext3 force server3 --yes --without-last-owner"
    on: server3
  - endload: L
  - expect:
      server3: {inService: true, sees: {server1: Target}}
  - identical: [server1, server3]
`;

type End = 'equal' | 'not taken as a target' | 'split brain' | 'DIFFERENT';

async function lived(ms: number): Promise<End> {
  const { failure } = await runSimulated(parseScenario(scenario(ms), 'joining'), 1, command);
  if (failure === null) return 'equal';
  if (failure.action === 'identical') return 'DIFFERENT';
  const line = failureLine('joining', failure);
  expect(line).toContain('server3.sees.server1: expected Target');
  return line.includes('Split Brain') ? 'split brain' : 'not taken as a target';
}

describe('a target that lacks nothing', () => {
  it('is nobody’s target with data that nobody marked, whenever its source is lost', async () => {
    const ends = new Map<End, number>();
    for (const ms of MOMENTS_MS) {
      const end = await lived(ms);
      ends.set(end, (ends.get(end) ?? 0) + 1);
    }
    expect(ends.get('DIFFERENT')).toBeUndefined();
    // Before the join it is copied to in full, and after a generation was made there two have written apart.
    expect([...ends.keys()].sort()).toEqual(['equal', 'split brain']);
  });
});
