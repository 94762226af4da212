import { describe, expect, it } from 'vitest';
import { type z } from 'zod';
import {
  choice,
  comparison,
  duration,
  fieldsOf,
  flag,
  integer,
  nodeFields,
  optional,
  pattern,
  range,
  seedOrZero,
  size,
  text,
} from '../../../src/scenario/fields.ts';

const { node, nodeOrNodes, nodes, link, perNode } = nodeFields(['a', 'b', '3']);

describe('fields', () => {
  it.each<[string, z.ZodType, unknown, unknown]>([
    ['flag', flag, true, true],
    ['text', text('a name'), 'x', 'x'],
    ['integer', integer(1, 3), 3, 3],
    ['choice', choice('x', 'y'), 'y', 'y'],
    ['size', size(0, 2 ** 30), '1MiB', 2 ** 20],
    ['size in bytes', size(0, 100), 16, 16],
    ['duration', duration, '1.5s', 1500],
    ['no duration', duration, 0, 0],
    ['seed', seedOrZero, 7, 7],
    ['no seed', seedOrZero, 'zero', 'zero'],
    ['range', range(4096, 2 ** 30), '4KiB..64KiB', { from: 4096, to: 65536 }],
    ['one size as a range', range(4096, 2 ** 30), '8KiB', { from: 8192, to: 8192 }],
    ['comparison', comparison, '<=2MiB', { operator: '<=', bytes: 2 ** 21 }],
    ['comparison with spaces', comparison, ' ==  0B ', { operator: '==', bytes: 0 }],
    ['pattern', pattern, 'a.c', /a.c/m],
    ['node', node, 'a', 'a'],
    ['node of digits', node, 3, '3'],
    ['one node', nodeOrNodes, 'b', ['b']],
    ['several nodes', nodeOrNodes, ['b', 'a'], ['b', 'a']],
    ['nodes', nodes(2), ['b', 'a'], ['b', 'a']],
    ['link', link, ['a', 'b'], ['a', 'b']],
    ['per node', perNode(flag), { a: true }, { a: true }],
    ['optional', optional(flag, null), undefined, null],
  ])('%s', (_name, schema, given, taken) => {
    expect(schema.parse(given)).toEqual(taken);
  });

  it.each<[string, z.ZodType, unknown]>([
    ['flag', flag, 'yes'],
    ['empty text', text('a name'), ' '],
    ['integer that is none', integer(1, 3), 1.5],
    ['integer beyond', integer(1, 3), 4],
    ['integer in quotes', integer(1, 3), '2'],
    ['choice', choice('x', 'y'), 'z'],
    ['size beyond', size(0, 100), '1KiB'],
    ['size of another unit', size(0, 2 ** 30), '1MB'],
    ['duration without a unit', duration, 5],
    ['duration beyond a day', duration, '25h'],
    ['negative seed', seedOrZero, -1],
    ['range the wrong way', range(4096, 2 ** 30), '64KiB..4KiB'],
    ['range of three', range(4096, 2 ** 30), '4KiB..8KiB..12KiB'],
    ['range not in units', range(4096, 2 ** 30), '1KiB..4KiB'],
    ['comparison without a sign', comparison, '2MiB'],
    ['comparison with another sign', comparison, '!= 2MiB'],
    ['pattern', pattern, '('],
    ['node', node, 'c'],
    ['no node', nodeOrNodes, []],
    ['a node twice', nodes(2), ['a', 'a']],
    ['too few', nodes(2), ['a']],
    ['link of three', link, ['a', 'b', '3']],
    ['per node', perNode(flag), { c: true }],
    ['missing', flag, undefined],
  ])('refuses: %s', (_name, schema, given) => {
    expect(schema.safeParse(given).success).toBe(false);
  });

  it('say what is allowed', () => {
    const message = (schema: z.ZodType, given: unknown): string | undefined => schema.safeParse(given).error?.issues[0]?.message;
    expect(message(choice('x', 'y'), 'z')).toBe('"z" is not allowed; allowed: x, y');
    expect(message(choice('x', 'y'), undefined)).toBe('is missing; allowed: x, y');
    expect(message(fieldsOf({ a: flag }), { a: true, b: 1 })).toBe('is not known; allowed: a');
    expect(message(fieldsOf({ a: flag }), 3)).toBe('3 is not allowed; allowed: {a}');
  });
});
