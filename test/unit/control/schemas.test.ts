import { describe, expect, it } from 'vitest';
import { actionNames, isActionName, parseParams } from '../../../src/control/schemas.ts';
import type { ActionName } from '../../../src/control/types.ts';

const create = {
  tag: 'a',
  leg: '/l',
  sizeBytes: null,
  regionBytes: null,
  priority: 1,
  failureTimeoutMs: null,
  failover: null,
  arbiter: null,
  waitForPreviousSourceSec: null,
  zeroed: false,
};
const extend = { tag: 'a', node: 'b', leg: '/l', foreignUri: null, mode: 'sync', priority: 10, zeroed: false };

const good: [ActionName, unknown][] = [
  ['info', {}],
  ['list', {}],
  ['status', { tag: 'datarep-ext3' }],
  ['create', create],
  [
    'create',
    {
      ...create,
      sizeBytes: 4096,
      regionBytes: 65536,
      sectorBytes: 4096,
      failureTimeoutMs: 100,
      failover: 'confirm',
      arbiter: 'majority',
      waitForPreviousSourceSec: -1,
    },
  ],
  ['extend', extend],
  ['extend', { ...extend, leg: null, foreignUri: 'nbd://h/x' }],
  ['unextend', { tag: 'a', node: 'b' }],
  ['replace', { tag: 'a', node: 'b', leg: '/l' }],
  ['delete', { tag: 'a' }],
  ['create', { ...create, failover: 'confirm', confirmTimeoutSec: 1, confirmDefault: 'go' }],
  ['set', { tag: 'a' }],
  ['set', { tag: 'a', failover: 'confirm', confirmTimeoutSec: 604_800, confirmDefault: 'stay' }],
  ['confirm', { tag: 'a', go: false }],
  ['in-service', { tag: 'a' }],
  ['out-of-service', { tag: 'a' }],
  ['pause', { tag: 'a', nodes: [] }],
  ['resume', { tag: 'a', nodes: ['b', 'c'] }],
  ['fullresync', { tag: 'a', source: null, nodes: ['b'] }],
  ['fullresync', { tag: 'a', source: null, nodes: [], overrules: ['split-brain b 1 (b) 00'] }],
  ['verify', { tag: 'a' }],
  ['verify-result', { tag: 'a' }],
  ['checkpoint-create', { tag: 'a', name: 'monday' }],
  ['checkpoint-delete', { tag: 'a', name: 'monday' }],
  ['switchover', { tag: 'a', node: 'n' }],
  ['resolve', { tag: 'a', victim: 'n' }],
  ['snapshot-create', { tag: 'a', name: 's', spaceBytes: null }],
  ['snapshot-create', { tag: 'a', name: 's', spaceBytes: 4096 }],
  ['snapshot-create', { tag: 'a', name: 's', spaceBytes: null, checkpoint: 'c' }],
  ['snapshot-list', { tag: 'a' }],
  ['snapshot-delete', { tag: 'a', name: 's' }],
  ['resize', { tag: 'a', sizeBytes: 4096, force: false }],
  ['switchover', { tag: 'a', node: 'b' }],
  ['resolve', { tag: 'a', victim: 'b' }],
  ['force', { tag: 'a', withoutLastOwner: true }],
  ['preview', { tag: 'a', action: 'force', nodes: [], source: null }],
  ['clear-bitmap', { tag: 'a', node: 'b' }],
  ['explain', { tag: 'a', whatIf: 'b lost' }],
];

describe('parameters of actions', () => {
  it.each(good)('%s takes %j', (action, params) => {
    expect(parseParams(action, params)).toEqual(params);
  });

  it('has an example above for each action', () => {
    expect([...new Set(good.map(([a]) => a))].sort()).toEqual([...actionNames].sort());
  });

  it.each<[ActionName, unknown, string]>([
    ['info', { x: 1 }, 'info: parameters: Unrecognized key: "x"'],
    ['status', {}, 'status: tag: '],
    ['status', null, 'status: parameters: '],
    ['status', { tag: '../etc' }, 'status: tag: "../etc" is not a tag'],
    ['status', { tag: 'constructor' }, 'status: tag: '],
    ['create', { ...create, leg: 'relative' }, 'create: leg: not an absolute path'],
    ['create', { ...create, regionBytes: 12288 }, 'create: regionBytes: not a power of two'],
    ['create', { ...create, sectorBytes: 1000 }, 'create: sectorBytes: allowed: a power of two from 512 to 4096'],
    ['create', { ...create, failureTimeoutMs: 99 }, 'create: failureTimeoutMs: '],
    ['create', { ...create, priority: 1.5 }, 'create: priority: '],
    ['extend', { ...extend, foreignUri: 'nbd://h' }, 'extend: parameters: either leg or foreignUri, and not both'],
    ['extend', { ...extend, leg: null }, 'extend: parameters: either leg or foreignUri, and not both'],
    ['extend', { ...extend, mode: 'later' }, 'extend: mode: '],
    ['pause', { tag: 'a', nodes: ['b', 'c/d'] }, 'pause: nodes.1: "c/d" is not a node name'],
    ['pause', { tag: 'a', nodes: Array.from({ length: 9 }, (_, i) => `n${String(i)}`) }, 'pause: nodes: '],
    ['fullresync', { tag: 'a', source: null, nodes: [], overrules: ['x'.repeat(1025)] }, 'fullresync: overrules.0: '],
    ['fullresync', { tag: 'a', source: null, nodes: [], overrules: Array.from({ length: 9 }, () => 'x') }, 'fullresync: overrules: '],
    ['resize', { tag: 'a', sizeBytes: 2 ** 60, force: false }, 'resize: sizeBytes: '],
    ['resize', { tag: 'a', sizeBytes: '1', force: false }, 'resize: sizeBytes: '],
    ['explain', { tag: 'a', whatIf: 'x'.repeat(201) }, 'explain: whatIf: '],
  ])('%s refuses %j', (action, params, message) => {
    expect(() => parseParams(action, params)).toThrow(message);
  });

  it('knows an action by its own name alone', () => {
    expect(isActionName('status')).toBe(true);
    expect(['toString', '__proto__', 'Status', ''].some(isActionName)).toBe(false);
  });
});
