import { expect, it } from 'vitest';
import { LimitedLog } from '../../../src/cluster/limited-log.ts';
import { nullLog } from '../../../src/io/log.ts';
import { HandClock } from './hand-clock.ts';

function limited(): { clock: HandClock; log: LimitedLog; said: [string, Record<string, unknown> | undefined][] } {
  const clock = new HandClock();
  const said: [string, Record<string, unknown> | undefined][] = [];
  const log = new LimitedLog({ ...nullLog, warn: (m, f) => said.push([m, f]) }, clock, 1000);
  return { clock, log, said };
}

it('the same thing is said once in its time, and then how often it was not', () => {
  const { clock, log, said } = limited();
  for (let i = 0; i < 5; i += 1) log.warn('k', 'garbage', { n: i });
  expect(said).toEqual([['garbage', { n: 0 }]]);
  clock.jump(1000);
  log.warn('k', 'garbage', { n: 9 });
  expect(said[1]).toEqual(['garbage', { n: 9, notLogged: 4 }]);
});

it('another thing is not held back', () => {
  const { log, said } = limited();
  log.warn('a', 'x');
  log.warn('b', 'y');
  expect(said.map((s) => s[0])).toEqual(['x', 'y']);
});

it('strangers without number cost bounded memory: the oldest is forgotten first', () => {
  const { log, said } = limited();
  for (let i = 0; i < 1000; i += 1) log.warn(`k${String(i)}`, 'm');
  log.warn('k999', 'm');
  expect(said.length).toBe(1000);
  log.warn('k0', 'm');
  expect(said.length).toBe(1001);
});
