import { readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { PLANTS } from './support/plants.ts';
import { FAILOVER_PLANTS } from './support/plants-failover.ts';

const root = path.join(import.meta.dirname, '..', '..');

describe('the faults that scripts/plant-faults plants', () => {
  it.each([...PLANTS, ...FAILOVER_PLANTS].map((p) => [p.name, p] as const))('each apply to the code as it is: %s', (_name, plant) => {
    for (const { file, find, replace } of plant.edits) {
      expect(readFileSync(path.join(root, file), 'utf8').split(find).length - 1, `${file}: ${find}`).toBe(1);
      expect(replace).not.toBe(find);
    }
  });
});
