import { expect, it } from 'vitest';
import { z } from 'zod';
import { remembered } from '../../../src/failover/remembered.ts';

function counted(): { schema: z.ZodType<{ n: number; more: string }>; judged: () => number } {
  let judged = 0;
  const n = z.number().refine((x) => {
    judged += 1;
    return x > 0;
  }, 'not positive');
  return { schema: remembered(z.object({ n, more: z.string().default('none') })), judged: () => judged };
}

it('judges a value once, and gives the same answer for the same text', () => {
  const { schema, judged } = counted();
  const first = schema.parse({ n: 1 });
  expect(first).toEqual({ n: 1, more: 'none' });
  expect(schema.parse({ n: 1 })).toBe(first);
  expect(judged()).toBe(1);
  expect(schema.parse({ n: 2 })).toEqual({ n: 2, more: 'none' });
  expect(judged()).toBe(2);
});

it('refuses what the schema refuses, each time, and says where', () => {
  const { schema, judged } = counted();
  for (const times of [1, 2]) {
    const refused = z.object({ record: schema }).safeParse({ record: { n: -1 } });
    expect(refused.error?.issues.map((i) => ({ path: i.path, message: i.message }))).toEqual([{ path: ['record', 'n'], message: 'not positive' }]);
    expect(judged()).toBe(times);
  }
});

it('remembers a bounded number of values, and no long ones', () => {
  const { schema, judged } = counted();
  for (let n = 1; n <= 33; n += 1) schema.parse({ n });
  schema.parse({ n: 33 });
  expect(judged()).toBe(33);
  schema.parse({ n: 1 });
  expect(judged()).toBe(34);
  const more = 'x'.repeat(20_000);
  schema.parse({ n: 1, more });
  schema.parse({ n: 1, more });
  expect(judged()).toBe(36);
});
