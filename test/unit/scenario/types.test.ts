import { expect, it } from 'vitest';
import { wordOf } from '../../../src/scenario/types.ts';

it('calls a step by its word in the file', () => {
  expect(wordOf({ kind: 'wait', ms: 1 })).toBe('wait');
  expect(wordOf({ kind: 'fault', node: 'a', fault: null, word: 'diskok' })).toBe('diskok');
});
