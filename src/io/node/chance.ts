import { randomBytes } from 'node:crypto';
import type { Chance } from '../types.ts';

const TWO32 = 2 ** 32;
const TWO53 = 2 ** 53;

export const nodeChance: Chance = {
  u32: () => randomBytes(4).readUInt32BE(),
  hex64(): string {
    for (;;) {
      const hex = randomBytes(8).toString('hex');
      if (hex !== '0000000000000000') return hex;
    }
  },
  float(): number {
    const b = randomBytes(8);
    return ((b.readUInt32BE(0) % 2 ** 21) * TWO32 + b.readUInt32BE(4)) / TWO53;
  },
};
