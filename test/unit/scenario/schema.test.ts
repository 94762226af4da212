import { expect, it } from 'vitest';
import { nodeNameFault, stepForms } from '../../../src/scenario/schema.ts';
import { wordOf } from '../../../src/scenario/types.ts';

const words = [
  'up',
  'down',
  'crash',
  'powerfail',
  'freeze',
  'thaw',
  'cut',
  'heal',
  'slow',
  'write',
  'read',
  'leg',
  'load',
  'endload',
  'acknowledged',
  'run',
  'damage',
  'remove',
  'diskfull',
  'diskerror',
  'diskok',
  'wait',
  'identical',
  'resynced',
  'expect',
];

const forms = stepForms({
  tag: 't',
  sizeBytes: 1 << 20,
  regionBytes: null,
  async: [],
  nodes: [{ name: 'a', priority: 1 }],
  settings: {},
  failureTimeoutMs: 2000,
  arbiter: 'none',
  failover: 'auto',
});

it('has a form for every word of the language, and no other', () => {
  expect(Object.keys(forms).sort()).toEqual([...words].sort());
});

it('lets fields stand beside run alone', () => {
  expect(Object.entries(forms).flatMap(([w, f]) => (f.more === undefined ? [] : [w]))).toEqual(['run']);
});

it.each(['diskfull', 'diskok', 'up', 'down'])('calls a step %s as the file does', (word) => {
  const action = forms[word]?.schema.parse('a');
  expect(action === undefined ? '' : wordOf(action)).toBe(word);
});

it('takes no word of the language, and nothing that can not be part of a path, for a node', () => {
  expect(nodeNameFault('server1')).toBeUndefined();
  expect(nodeNameFault('within')).toContain('a word of the language');
  expect(nodeNameFault('a/b')).toContain('no name of a node');
});
