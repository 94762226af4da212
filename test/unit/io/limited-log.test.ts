import { expect, it } from 'vitest';
import { LimitedLog } from '../../../src/io/limited-log.ts';
import { nullLog } from '../../../src/io/log.ts';
import { HandClock } from '../cluster/hand-clock.ts';

function limited(linesMax = 1): { clock: HandClock; log: LimitedLog; said: [string, Record<string, unknown> | undefined][] } {
  const clock = new HandClock();
  const said: [string, Record<string, unknown> | undefined][] = [];
  const log = new LimitedLog({ ...nullLog, warn: (m, f) => said.push([m, f]), info: (m, f) => said.push([m, f]) }, clock, {
    everyMs: 1000,
    linesMax,
  });
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

it('strangers without number cost bounded memory and lines: it speaks of no more of them in its time than it can tell apart, and then says how often it kept quiet', () => {
  const { clock, log, said } = limited();
  for (let i = 0; i < 300; i += 1) log.warn(`k${String(i)}`, 'garbage');
  expect(said).toHaveLength(256);
  log.warn('k7', 'garbage');
  expect(said).toHaveLength(256);
  clock.jump(1000);
  log.warn('new', 'garbage');
  log.warn('newer', 'garbage');
  expect(said.slice(256)).toEqual([
    ['garbage', { othersNotLogged: 44 }],
    ['garbage', {}],
  ]);
});

it('where so many lines are allowed, those beyond them are summed up in the first of the next time', () => {
  const { clock, log, said } = limited(3);
  for (let i = 0; i < 8; i += 1) log.info('k', 'connected', { n: i });
  expect(said.map(([, f]) => f)).toEqual([{ n: 0 }, { n: 1 }, { n: 2 }]);
  clock.jump(1000);
  for (let i = 8; i < 10; i += 1) log.info('k', 'connected', { n: i });
  expect(said.slice(3).map(([, f]) => f)).toEqual([{ n: 8, notLogged: 5 }, { n: 9 }]);
});
