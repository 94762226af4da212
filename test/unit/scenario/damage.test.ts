import { describe, expect, it } from 'vitest';
import { type Damage, struckBytes } from '../../../src/scenario/damage.ts';
import { StepFailure } from '../../../src/scenario/errors.ts';

const KIB = 1024;

function struck(a: Damage, sizeBytes: number | undefined): unknown {
  try {
    return struckBytes(a, 'FILE', sizeBytes);
  } catch (e: unknown) {
    if (e instanceof StepFailure) return e.message;
    throw e;
  }
}

describe.each(['bitmap', 'state'] as const)('damage of a %s file', (file) => {
  it.each([
    ['inside it', { at: 512, length: 16 }, 2 * KIB, { at: 512, length: 16 }],
    ['up to its last byte', { at: 2 * KIB - 16, length: 16 }, 2 * KIB, { at: 2 * KIB - 16, length: 16 }],
    ['one byte beyond its end', { at: 2 * KIB - 15, length: 16 }, 2 * KIB, { at: 2 * KIB - 16, length: 16 }],
    ['far beyond its end', { at: 4 * KIB, length: 16 }, 2 * KIB, { at: 2 * KIB - 16, length: 16 }],
    ['longer than it', { at: 0, length: 4 * KIB }, 2 * KIB, { at: 0, length: 2 * KIB }],
    ['longer than it and beyond', { at: 4 * KIB, length: 4 * KIB }, 2 * KIB, { at: 0, length: 2 * KIB }],
    ['of one byte', { at: 1, length: 1 }, 1, { at: 0, length: 1 }],
  ])('%s', (_what, range, sizeBytes, expected) => {
    expect(struck({ file, ...range }, sizeBytes)).toEqual(expected);
  });

  it('needs a file with something in it', () => {
    expect(struck({ file, at: 0, length: 1 }, 0)).toBe('FILE is empty; there is nothing to damage');
    expect(struck({ file, at: 0, length: 1 }, undefined)).toBe('FILE does not exist');
  });
});

describe('damage of a leg', () => {
  it('is where the scenario says, up to the last byte', () => {
    expect(struck({ file: 'leg', at: 8 * KIB - 16, length: 16 }, 8 * KIB)).toEqual({ at: 8 * KIB - 16, length: 16 });
  });

  it.each([
    [8 * KIB - 15, '15'],
    [9 * KIB, '0'],
  ])('at %i reaches beyond the end, and is a mistake', (at, there) => {
    const message = `FILE ends before what is to be damaged; bytes there: expected 16, last seen ${there}`;
    expect(struck({ file: 'leg', at, length: 16 }, 8 * KIB)).toBe(message);
  });
});
