import { describe, expect, it } from 'vitest';
import { roomBytes } from '../../../scripts/benchmark/measure.ts';
import { allRows } from '../../../scripts/benchmark/rows.ts';

const unique = (names: readonly string[]) => new Set(names).size === names.length;

it('has rows with names of their own', () => {
  expect(unique(allRows.map((r) => r.name))).toBe(true);
});

describe.each(allRows.map((r) => [r.name, r] as const))('row %s', (_name, r) => {
  it('has sides and cells with names of their own, and its reference is one of the sides', () => {
    expect(unique(r.sides.map((s) => s.name))).toBe(true);
    expect(unique(r.cells.map((c) => c.id))).toBe(true);
    expect(r.sides.map((s) => s.name)).toContain(r.reference);
  });

  it('requires only what it measures', () => {
    const sides = new Set(r.sides.map((s) => s.name));
    for (const q of r.requirements) {
      expect(r.cells.map((c) => c.id)).toContain(q.cell);
      for (const s of [q.side, ...q.over]) expect(sides).toContain(s);
    }
  });

  it('measures in its quick form all sides that a requirement needs', () => {
    const quick = new Set((r.quickCells ?? r.cells).map((c) => c.id));
    for (const q of r.requirements.filter((x) => quick.has(x.cell))) {
      for (const s of r.sides.filter((x) => [q.side, ...q.over].includes(x.name))) expect(s.quick).toBe(true);
    }
  });
});

it('counts room for every leg, and none for sparse files but what is written to them', () => {
  const GiB = 1024 ** 3;
  const besides = roomBytes([], { fileBytes: GiB, touchedBytes: GiB });
  expect(roomBytes([{ targets: 0 }, { targets: 7 }], { fileBytes: GiB, touchedBytes: GiB })).toBe(besides + 9 * GiB);
  expect(roomBytes([{ targets: 1 }], { fileBytes: 2 * GiB, touchedBytes: GiB }, true)).toBe(besides + 2 * GiB);
  expect(roomBytes([{ targets: 0 }], { fileBytes: 64 * GiB, touchedBytes: 64 * GiB })).toBe(besides);
});

it('measures rows with files in memory as their originals, for no longer, and never unasked in the quick form', () => {
  const inMemory = allRows.filter((r) => r.inMemory === true);
  expect(inMemory.map((r) => r.name)).toEqual(['mirror-tmpfs', 'intent-64g-tmpfs']);
  for (const r of inMemory) {
    const original = allRows.find((o) => `${o.name}-tmpfs` === r.name);
    expect([r.cells, r.sides, r.requirements, r.sizes]).toEqual([original?.cells, original?.sides, original?.requirements, original?.sizes]);
    expect(original?.inMemory).toBe(undefined);
    expect(r.quickCells).toEqual([]);
  }
  // What is written to sparse files is kept in memory as long as the row lasts.
  expect(inMemory.find((r) => r.name === 'intent-64g-tmpfs')?.secondsMax).toBeLessThanOrEqual(2);
});
