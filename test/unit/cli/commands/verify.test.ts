import { expect, it } from 'vitest';
import type { Actions } from '../../../../src/control/types.ts';
import { FakeDaemon, mirror, run } from '../fake-daemon.ts';

type Result = Actions['verify-result']['result'];
const at = (
  running: boolean,
  ranges: { offset: number; length: number; node: string }[] = [],
  notCompared: { node: string; bytes: number; why: string }[] = [],
): Result => ({
  running,
  comparedBytes: 2 ** 30,
  differingBytes: ranges.reduce((n, r) => n + r.length, 0),
  ranges,
  notCompared,
});

function daemon(results: Result[], started = true) {
  const left = [...results];
  return new FakeDaemon({
    verify: () => ({ started }),
    'verify-result': () => (left.length > 1 ? (left.shift() ?? null) : (left[0] ?? null)),
    status: () => mirror({ verify: { kind: 'verify', totalBytes: 2 ** 30, doneBytes: 2 ** 29, bytesPerSec: 2 ** 20, secondsLeft: 512 } }),
  });
}

it('follows it to its end, with progress on a terminal', async () => {
  const { code, out, terminal } = await run('netraid verify datarep-ext3', daemon([at(true), at(true), at(false)]), { isTTY: true });
  expect([code, out]).toEqual([0, ['datarep-ext3: 1 GiB compared, all legs are the same']]);
  expect(terminal.drawn).toEqual([
    ['datarep-ext3 [=======>        ]  50% (512 MiB of 1 GiB), 00:08:32 left, 1024K/sec'],
    ['datarep-ext3 [=======>        ]  50% (512 MiB of 1 GiB), 00:08:32 left, 1024K/sec'],
    [],
  ]);
});

it('fails when something differs, and says where', async () => {
  const { code, out } = await run('netraid verify datarep-ext3', daemon([at(false, [{ offset: 1048576, length: 65536, node: 'server2' }])]));
  expect([code, out]).toEqual([1, ['datarep-ext3: 1 GiB compared, 64 KiB differ and are resynced', '  server2: 64 KiB at byte 1048576']]);
});

it('fails when a target could not be compared, and says why, although nothing differs', async () => {
  const { code, out } = await run(
    'netraid verify datarep-ext3',
    daemon([at(false, [], [{ node: 'server3', bytes: 2 ** 30, why: 'it is\npaused' }])]),
  );
  expect([code, out]).toEqual([
    1,
    ['datarep-ext3: 1 GiB compared, nothing that was compared differs', '  server3: 1 GiB not compared: it is paused'],
  ]);
});

it('shows a hundred ranges, and all of them as JSON', async () => {
  const ranges = Array.from({ length: 150 }, (_, i) => ({ offset: i * 8192, length: 4096, node: 'server2' }));
  const { out } = await run('netraid verify datarep-ext3', daemon([at(false, ranges)]));
  expect([out.length, out.at(-1)]).toEqual([102, '  and 50 ranges more; --json shows all']);
  const json = await run('netraid verify datarep-ext3 --json', daemon([at(false, ranges)]));
  expect([json.code, JSON.parse(json.out.join('\n'))]).toEqual([1, at(false, ranges)]);
});

it('follows one that is under way already, and says when it is gone', async () => {
  const { code, out, errors } = await run('netraid verify datarep-ext3', daemon([at(true), null], false));
  expect([code, out]).toEqual([1, ['datarep-ext3: a verify is under way already; this follows it']]);
  expect(errors[0]).toContain('the verify is gone');
});

it.each(['', 'a b', 'a/b', 'a --wait 1s'])('refuses %j', async (words) => {
  const d = daemon([]);
  expect([(await run(`netraid verify ${words}`, d)).code, d.calls]).toEqual([2, []]);
});
