/** Every short history of a tiny mirror around the shipped decisions; see oracle/world.ts. */
import { describe, expect, it } from 'vitest';
import { type Walk, walk } from './oracle/breadth-first.ts';
import { A, B, C } from './oracle/views.ts';

const walks: readonly (Walk & { title: string })[] = [
  { title: 'two nodes, six events', nodes: [A, B], depth: 6, forces: false, writesMax: 5, worldsMax: 60_000 },
  { title: 'two nodes with force, five events', nodes: [A, B], depth: 5, forces: true, writesMax: 4, worldsMax: 60_000 },
  { title: 'three nodes, five events', nodes: [A, B, C], depth: 5, forces: false, writesMax: 4, worldsMax: 60_000 },
];

describe('every short history', () => {
  it.each(walks)('of $title keeps the promises', (w) => {
    const found = walk(w);
    const rest = found.complete ? '' : `, stopped at ${String(w.worldsMax)} worlds`;
    const counts = `${String(found.ways)} histories, ${String(found.steps)} steps, ${String(found.worlds)} worlds${rest}`;
    const met = `two sources in a partition ${String(found.apart)}, split brain met ${String(found.splitBrains)}, nobody serves ${String(found.out)}`;
    process.stdout.write(`histories of ${w.title}: ${counts}; steps that end with: ${met}\n`);
    const stories = [...found.violations].map(([what, { history, world }]) => `${what}\n after: ${history}\n${world}`);
    expect(stories).toEqual([]);
    expect(found.worlds).toBeGreaterThan(1000);
    expect(Math.min(found.apart, found.splitBrains, found.out)).toBeGreaterThan(0);
  });
});
