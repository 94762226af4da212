import { expect, it } from 'vitest';
import type { MirrorStatus, TargetStatus } from '../../../src/control/types.ts';
import { differences, holds, type Seen, showBroken, showBytes, showComparison } from '../../../src/scenario/expect.ts';

const target: TargetStatus = {
  node: 'b',
  state: 'Target',
  detail: '',
  mode: 'sync',
  foreign: false,
  priority: 2,
  progress: null,
  dirtyBytes: 65536,
  dirtyRegions: 1,
  queuedWrites: 0,
  queuedBytes: 0,
  rule: null,
  lastResync: null,
};

const status: MirrorStatus = {
  tag: 't',
  node: 'a',
  state: 'Source',
  inService: true,
  source: 'a',
  sizeBytes: 4096,
  sectorBytes: 512,
  regionBytes: 4096,
  regions: 1,
  leg: '/leg',
  flags: { lastOwner: false, source: null, dataCorrupt: false },
  generation: '0000000000000001',
  epoch: { number: 1, owner: 'a' },
  decision: { action: 'go-in-service', rule: 'evidence', why: '' },
  intentBytes: 0,
  localLeg: 'in',
  nodes: {},
  targets: [target],
  verify: null,
  snapshots: [],
  export: null,
  failureTimeoutMs: 2000,
  failover: 'auto',
  confirm: null,
  takeoverAfterCleanStop: false,
  arbiter: 'none',
  arbiterOverruled: false,
  waitForPreviousSourceSec: -1,
  checkpoints: [],
  suspended: null,
};

const seen: Seen = { running: true, flags: { lastOwner: true, source: 'a', dataCorrupt: false }, status, why: '' };
const down: Seen = { running: false, flags: { lastOwner: true, source: null, dataCorrupt: true }, status: null, why: 'the daemon is down' };

it('finds nothing to say when all facts hold', () => {
  const facts = {
    up: true,
    inService: true,
    last_owner: true,
    data_corrupt: false,
    source: 'a',
    state: 'Source' as const,
    rule: 'evidence' as const,
    sees: { b: 'Target' as const },
    dirty: { b: { operator: '>' as const, bytes: 0 } },
  };
  expect(differences({ a: facts }, { a: seen })).toEqual([]);
});

it('names each field with both values', () => {
  const facts = {
    inService: false,
    source: null,
    sees: { b: 'Unknown' as const, c: 'Target' as const },
    dirty: { b: { operator: '==' as const, bytes: 0 } },
  };
  expect(differences({ a: facts }, { a: seen })).toEqual([
    { field: 'a.inService', expected: 'false', seen: 'true' },
    { field: 'a.source', expected: 'none', seen: 'a' },
    { field: 'a.sees.b', expected: 'Unknown', seen: 'Target' },
    { field: 'a.sees.c', expected: 'Target', seen: 'nothing (c is not among its targets)' },
    { field: 'a.dirty.b', expected: '== 0B', seen: '64KiB (65536 bytes)' },
  ]);
});

it('reads flag files of a node that is down, and takes what it can not ask for not there', () => {
  expect(differences({ a: { up: false, inService: false, last_owner: true, data_corrupt: true, source: null } }, { a: down })).toEqual([]);
  expect(
    differences({ a: { state: 'Source', sees: { b: 'Target' }, dirty: { b: { operator: '>=', bytes: 0 } }, rule: 'evidence' } }, { a: down }),
  ).toEqual([
    { field: 'a.state', expected: 'Source', seen: 'nothing (the daemon is down)' },
    { field: 'a.rule', expected: 'evidence', seen: 'nothing (the daemon is down)' },
    { field: 'a.sees.b', expected: 'Target', seen: 'nothing (the daemon is down)' },
    { field: 'a.dirty.b', expected: '>= 0B', seen: 'nothing (the daemon is down)' },
  ]);
});

it('says that a node out of service sees nobody', () => {
  const out = { ...seen, status: { ...status, inService: false, targets: [], decision: null } };
  expect(differences({ a: { sees: { b: 'Target' }, rule: 'evidence' } }, { a: out }).map((d) => d.seen)).toEqual([
    'none',
    'nothing (a is not in service)',
  ]);
});

it.each([
  ['<', [true, false, false]],
  ['<=', [true, true, false]],
  ['>', [false, false, true]],
  ['>=', [false, true, true]],
  ['==', [false, true, false]],
] as const)('compares with %s', (operator, [less, equal, more]) => {
  expect([9, 10, 11].map((n) => holds({ operator, bytes: 10 }, n))).toEqual([less, equal, more]);
});

it('shows sizes with their exact number', () => {
  expect(showBytes(0)).toBe('0B');
  expect(showBytes(2 ** 21)).toBe('2MiB (2097152 bytes)');
  expect(showComparison({ operator: '<=', bytes: 100 })).toBe('<= 100B');
});

it('says when facts that had to hold for so long were broken, and by what', () => {
  const by = [{ field: 'a.sees.b', expected: 'Target', seen: 'Unknown' }];
  const held = { from: 61.2, to: 2050.4, brokenAt: 2100 };
  expect(showBroken(2000, held, by)).toBe('held from 61 ms to 2050 ms, and had to for 2000 ms; broken when seen at 2100 ms: a.sees.b Unknown');
  expect(showBroken(0, held, by)).toBe('');
});
