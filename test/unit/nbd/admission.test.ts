import { beforeEach, expect, it } from 'vitest';
import { LimitedLog } from '../../../src/io/limited-log.ts';
import { nullLog } from '../../../src/io/log.ts';
import type { ExportAccess } from '../../../src/nbd/access.ts';
import { Admission } from '../../../src/nbd/admission.ts';
import { ManualClock } from '../../support/manual-clock.ts';

const LOCAL = 'unix:/run/nbd.sock';
let clock: ManualClock;
let said: (Record<string, unknown> | undefined)[];
let admission: Admission;

beforeEach(() => {
  clock = new ManualClock();
  said = [];
  const log = new LimitedLog({ ...nullLog, warn: (_m, f) => said.push(f) }, clock);
  admission = new Admission({ connectionsMax: 4, connectionsPerAddressMax: 2, offenders: { misdeedsMax: 3, withinMs: 1000 } }, clock, log);
});

const enters = (remote: string, access?: ExportAccess): boolean => admission.mayEnter(remote, access);

it('whoever is not let in for its address is counted, and told of once', () => {
  const access: ExportAccess = { to: () => 'full', toAny: (remote) => remote.startsWith('10.0.0.1:') };
  expect([enters('10.0.0.1:1', access), enters('10.0.0.2:1', access), enters('10.0.0.2:2', access)]).toEqual([true, false, false]);
  expect(admission.forbidden).toBe(2);
  expect(said).toMatchObject([{ remote: '10.0.0.2:1', why: 'it is not for that client' }]);
});

it('an address that fails too often is barred, its tries while it is barred count, and others come in', () => {
  for (let i = 0; i < 3; i += 1) admission.misdeed('10.0.0.1:1');
  for (let i = 0; i < 3; i += 1) expect(enters(`10.0.0.1:${String(i)}`)).toBe(false);
  expect(enters('10.0.0.2:1')).toBe(true);
  expect(said).toHaveLength(1);
  clock.advance(1500);
  expect(enters('10.0.0.1:1')).toBe(false);
  clock.advance(1500);
  expect(enters('10.0.0.1:1')).toBe(true);
});

it('clients of this machine are never barred', () => {
  for (let i = 0; i < 9; i += 1) admission.misdeed(LOCAL);
  expect(enters(LOCAL)).toBe(true);
});

it('an address has its part of the places, all have theirs together, and those of this machine are apart', () => {
  for (let i = 0; i < 2; i += 1) admission.count('10.0.0.1:1', 1);
  expect([admission.hasPlace('10.0.0.1:1'), admission.hasPlace('10.0.0.2:1')]).toEqual([false, true]);
  for (let i = 0; i < 2; i += 1) admission.count('10.0.0.2:1', 1);
  expect([admission.hasPlace('10.0.0.3:1'), admission.hasPlace(LOCAL)]).toEqual([false, true]);
  expect(said.map((f) => f?.['why'])).toEqual(['too many connections from that address: 2', 'too many connections: 4']);
  for (let i = 0; i < 4; i += 1) admission.count(LOCAL, 1);
  expect(admission.hasPlace(LOCAL)).toBe(false);
  admission.count('10.0.0.1:1', -1);
  expect(admission.hasPlace('10.0.0.1:1')).toBe(true);
});

it('of a name that a stranger made up only the beginning is told', () => {
  admission.forbid('10.0.0.1:1', 'x'.repeat(4096), 'no');
  expect(said).toMatchObject([{ exportName: 'x'.repeat(80), why: 'no' }]);
});
