import { expect, it } from 'vitest';
import { FakeDaemon, harmless, mirror, run } from '../fake-daemon.ts';

const daemon = () =>
  new FakeDaemon({ status: () => mirror(), resize: (p) => mirror({ sizeBytes: p.sizeBytes }), preview: harmless(['cuts'], { bytesOverwritten: 0 }) });

it('grows without a question', async () => {
  const d = daemon();
  const { code, out } = await run('mirror_resize datarep-ext3 2GiB', d);
  expect([code, out]).toEqual([0, ['datarep-ext3 has 2 GiB']]);
  expect(d.calls.at(-1)).toEqual(['resize', { tag: 'datarep-ext3', sizeBytes: 2 ** 31, force: false }]);
});

it('makes smaller without --force what the daemon allows, and asks', async () => {
  const d = daemon();
  expect((await run('mirror_resize datarep-ext3 512MiB', d, { answers: ['no'] })).code).toBe(1);
  expect(d.changes()).toEqual([]);
  expect((await run('mirror_resize datarep-ext3 512MiB', d, { answers: ['yes'] })).code).toBe(0);
  expect(d.calls.at(-1)).toEqual(['resize', { tag: 'datarep-ext3', sizeBytes: 2 ** 29, force: false }]);
});

it('shows what a smaller size cuts off, and refuses what the daemon would refuse, before anybody is asked', async () => {
  const d = daemon();
  d.handlers.preview = harmless(['cuts'], { bytesOverwritten: 0, refused: 'the filesystem would be cut' });
  const bare = await run('mirror_resize datarep-ext3 512MiB --yes', d);
  expect([bare.code, bare.errors, d.changes()]).toEqual([1, ['mirror_resize: the filesystem would be cut'], []]);
  expect(bare.out).toEqual(['datarep-ext3: 1 GiB -> 512 MiB; the last 512 MiB are cut off', 'cuts']);
  expect(d.calls.at(-1)?.[1]).toMatchObject({ action: 'resize', resize: { sizeBytes: 2 ** 29, force: false } });
  d.handlers.preview = harmless(['cuts'], { bytesOverwritten: 0 });
  const no = await run('mirror_resize datarep-ext3 512MiB -f', d, { answers: ['no'] });
  expect([no.code, no.out, d.changes()]).toEqual([1, ['datarep-ext3: 1 GiB -> 512 MiB; the last 512 MiB are cut off', 'cuts'], []]);
  expect((await run('mirror_resize datarep-ext3 512MiB -f -y', d)).code).toBe(0);
  expect(d.calls.at(-1)?.[1]).toEqual({ tag: 'datarep-ext3', sizeBytes: 2 ** 29, force: true });
});

it.each(['', 'a', 'a 0', 'a big', 'a 1GB', 'a -1', 'a 1GiB more', '../a 1GiB'])('refuses %j', async (words) => {
  const d = daemon();
  const { code, errors } = await run(`mirror_resize ${words}`, d);
  expect([code, errors.length, d.calls]).toEqual([2, 1, []]);
});
