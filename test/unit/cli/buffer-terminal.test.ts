import { expect, it } from 'vitest';
import { BufferTerminal } from '../../../src/cli/buffer-terminal.ts';

it('keeps what was written, line by line, and answers in order, then with nothing', async () => {
  const t = new BufferTerminal({ answers: ['yes'] });
  t.line('a\nb');
  t.error('c');
  t.redraw(['d']);
  expect([t.out, t.errors, t.drawn]).toEqual([['a', 'b'], ['c'], [['d']]]);
  expect([await t.ask('1?'), await t.ask('2?'), t.questions]).toEqual(['yes', '', ['1?', '2?']]);
  expect([t.canAsk, new BufferTerminal().canAsk]).toEqual([true, false]);
});
