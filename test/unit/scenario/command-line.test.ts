import { expect, it } from 'vitest';
import { splitWords } from '../../../src/scenario/command-line.ts';

it.each([
  ['mirror_action datarep-ext3 pause', ['mirror_action', 'datarep-ext3', 'pause']],
  ['  a\tb  ', ['a', 'b']],
  ['netraid explain t --what-if "server1 lost"', ['netraid', 'explain', 't', '--what-if', 'server1 lost']],
  ["a 'b \"c\\' d", ['a', 'b "c\\', 'd']],
  ['a "" \'\' b""c', ['a', '', '', 'bc']],
  ['a\\ b "c\\"d" "e\\n"', ['a b', 'c"d', 'e\\n']],
  ['', []],
])('splits %s as a shell does', (line, words) => {
  expect(splitWords(line)).toEqual(words);
});

it.each(['a "b', "it's"])('refuses %s, whose quote is not closed', (line) => {
  expect(splitWords(line)).toBeUndefined();
});
