import { expect, it } from 'vitest';
import { parseSpace } from '../../../../src/cli/commands/snapshots.ts';
import { mirrorLines } from '../../../../src/cli/render.ts';
import type { MirrorStatus } from '../../../../src/control/types.ts';
import { FakeDaemon, mirror, run } from '../fake-daemon.ts';

const GIB = 2 ** 30;
const whole: MirrorStatus['snapshots'][number] = {
  name: 'monday',
  export: 'datarep-ext3@monday',
  state: 'whole',
  why: '',
  createdAt: Date.UTC(2026, 0, 5, 3, 0, 0),
  sizeBytes: 100 * GIB,
  usedBytes: 1.5 * GIB,
  spaceBytes: 10 * GIB,
  clients: 2,
};
const lost: typeof whole = { ...whole, name: 'old', export: 'datarep-ext3@old', state: 'lost', why: 'its file\ncan not be read: EIO', clients: 0 };

it.each([
  ['', null],
  [' --space 20%', Math.ceil(GIB / 5)],
  [' --space 0.001%', Math.ceil(GIB / 100_000)],
  [' --space 3GiB', 3 * GIB],
])('creates one, with%s', async (option, spaceBytes) => {
  const asked: unknown[] = [];
  const daemon = new FakeDaemon({
    status: () => mirror({ sizeBytes: GIB }),
    'snapshot-create': (p) => {
      asked.push(p);
      return whole;
    },
  });
  const { code, out } = await run(`netraid snapshot create datarep-ext3 monday${option}`, daemon);
  expect([code, out]).toEqual([0, ['datarep-ext3@monday holds 100 GiB, as of 2026-01-05T03:00:00Z; it may keep 10 GiB of what is overwritten']]);
  expect(asked).toEqual([{ tag: 'datarep-ext3', name: 'monday', spaceBytes }]);
});

it('makes a checkpoint of the same moment when asked to', async () => {
  const asked: unknown[] = [];
  const daemon = new FakeDaemon({
    'snapshot-create': (p) => {
      asked.push(p);
      return whole;
    },
  });
  expect((await run('netraid snapshot create datarep-ext3 full --checkpoint monday', daemon)).code).toBe(0);
  expect(asked).toEqual([{ tag: 'datarep-ext3', name: 'full', spaceBytes: null, checkpoint: 'monday' }]);
  expect((await run('netraid snapshot create datarep-ext3 full --checkpoint a/b', daemon)).code).toBe(2);
});

it.each(['0%', '101%', '-1%', '%', '0', 'much', '10 %%'])('refuses %s as space', (text) => {
  expect(() => parseSpace(text)).toThrow(/is not allowed; allowed: more than 0% and at most 100%, or a number of bytes/);
});

it('refuses a name that is none before it asks anybody', async () => {
  const { code, errors } = await run('netraid snapshot create datarep-ext3 a@b', new FakeDaemon());
  expect(code).toBe(2);
  expect(errors.join()).toContain('"a@b" is not a name: NAME; allowed are');
});

it('lists them, each on one line', async () => {
  const daemon = new FakeDaemon({ 'snapshot-list': () => [whole, lost] });
  const { code, out } = await run('netraid snapshot list datarep-ext3', daemon);
  expect(code).toBe(0);
  expect(out).toEqual([
    'EXPORT               AS OF                 SIZE     STATE                                CLIENTS',
    'datarep-ext3@monday  2026-01-05T03:00:00Z  100 GiB  keeps 1.5 GiB of at most 10 GiB      2',
    'datarep-ext3@old     2026-01-05T03:00:00Z  100 GiB  lost: its file can not be read: EIO  0',
  ]);
});

it('says that there are none, and as JSON an empty list', async () => {
  const daemon = new FakeDaemon({ 'snapshot-list': () => [] });
  expect((await run('netraid snapshot list datarep-ext3', daemon)).out).toEqual(['datarep-ext3 has no snapshots']);
  expect((await run('netraid snapshot list datarep-ext3 --json', daemon)).out.join('')).toBe('[]');
});

it('deletes one', async () => {
  const daemon = new FakeDaemon({ 'snapshot-delete': (p) => ({ deleted: p.name }) });
  expect((await run('netraid snapshot delete datarep-ext3 monday', daemon)).out).toEqual(['snapshot monday of datarep-ext3 is deleted']);
});

it('are part of the status of their mirror', () => {
  const lines = mirrorLines(mirror({ snapshots: [whole, lost] }), { colour: false });
  expect(lines.filter((l) => l.includes('Snapshot:'))).toEqual([
    '    Snapshot: datarep-ext3@monday, keeps 1.5 GiB of at most 10 GiB',
    '    Snapshot: datarep-ext3@old, lost: its file can not be read: EIO',
  ]);
});
