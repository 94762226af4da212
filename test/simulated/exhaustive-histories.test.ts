/** Every short history of a tiny mirror around the shipped decisions; see oracle/world.ts. */
import { describe, expect, it } from 'vitest';
import { type Walk, walk } from './oracle/breadth-first.ts';
import type { Event } from './oracle/host.ts';
import { A, B, C } from './oracle/views.ts';

/** How many there must be at least: far fewer would mean that something ends histories early. */
interface AtLeast {
  worlds: number;
  histories: number;
}

const WORLDS_MAX = 200_000;
const walks: readonly (Walk & { title: string; atLeast: AtLeast })[] = [
  // Six are asked for; it takes seven to be written apart by a force alone, without a cut.
  { title: 'two nodes, seven events', nodes: [A, B], depth: 7, worldsMax: WORLDS_MAX, atLeast: { worlds: 27_000, histories: 150_000 } },
  { title: 'three nodes, five events', nodes: [A, B, C], depth: 5, worldsMax: WORLDS_MAX, atLeast: { worlds: 19_000, histories: 100_000 } },
];

const KINDS: readonly Event['kind'][] = ['crash', 'return', 'cut', 'heal', 'write', 'torn', 'torn-on-target', 'resynced', 'force'];

describe('every short history', () => {
  it.each(walks)('of $title keeps the promises', (w) => {
    const found = walk(w);
    const counts = `${String(found.histories)} histories, ${String(found.steps)} steps, ${String(found.worlds)} worlds`;
    const met = `two sources in a partition ${String(found.apart)}, split brain met ${String(found.splitBrains)} (after a force ${String(found.forcedSplits)}), nobody serves ${String(found.out)}`;
    const kinds = KINDS.map((k) => `${k} ${String(found.kinds.get(k) ?? 0)}`).join(', ');
    process.stdout.write(`histories of ${w.title}: ${counts}; steps: ${kinds}; steps that end with: ${met}\n`);
    const stories = [...found.violations].map(([what, { history, world }]) => `${what}\n after: ${history}\n${world}`);
    expect(stories).toEqual([]);
    // All of them, and no less: the walk was ended by the number of events alone, and every kind of event took place.
    expect(found.complete).toBe(true);
    expect(found.worlds).toBeGreaterThan(w.atLeast.worlds);
    expect(found.histories).toBeGreaterThan(w.atLeast.histories);
    expect(KINDS.filter((k) => (found.kinds.get(k) ?? 0) < 100)).toEqual([]);
    expect(Math.min(found.apart, found.splitBrains, found.forcedSplits, found.out)).toBeGreaterThan(0);
  });

  it('says so when it was cut short', () => {
    const found = walk({ nodes: [A, B], depth: 3, worldsMax: 20 });
    expect(found).toMatchObject({ complete: false, worlds: 20 });
  });

  it('counts each sequence of events once', () => {
    // One node alone can crash, write, or crash in the midst of a write; it can do each of them after a write, and else only return.
    expect(walk({ nodes: [A], depth: 2, worldsMax: WORLDS_MAX })).toMatchObject({ complete: true, histories: 3 + (3 + 1 + 1) });
  });
});
