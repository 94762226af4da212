import { describe, expect, it } from 'vitest';
import { BitmapFile } from '../../../../src/bitmap/bitmap-file.ts';
import { MemoryFiles } from '../../../support/memory-files.ts';
import { FakeDaemon, mirror, run, target } from '../fake-daemon.ts';

const path = '/r/bitmap_datarep-ext3';

async function withFile(): Promise<MemoryFiles> {
  const files = new MemoryFiles();
  const file = await BitmapFile.create(files, path, {
    createId: 'aaaaaaaaaaaaaaaa',
    deviceBytes: 2 ** 30,
    regionBytes: 2 ** 18,
    generation: 'bbbbbbbbbbbbbbbb',
  });
  file.map('oos:server2').setRange(0, 10);
  await file.flush();
  await file.close();
  return files;
}

describe('bitmap FILE', () => {
  it('shows what the file says, and asks no daemon', async () => {
    const d = new FakeDaemon();
    const { code, out } = await run(`bitmap ${path}`, d, { files: await withFile() });
    expect(code).toBe(0);
    expect(out.slice(0, 4)).toEqual([
      `${path}: version 1, closed cleanly`,
      '  Device: 1 GiB, 4096 bits (chunks) of 256 KiB',
      '  Create Id: aaaaaaaaaaaaaaaa',
      '  Generation: bbbbbbbbbbbbbbbb',
    ]);
    expect(out[5]).toBe('  MAP          DIRTY  BYTES    SHARE');
    expect(out[6]).toBe('  oos:server2  11     2.8 MiB  0.3%');
    expect(d.calls).toEqual([]);
  });

  it('answers JSON', async () => {
    const { out } = await run(`bitmap ${path} --json`, new FakeDaemon(), { files: await withFile() });
    expect(JSON.parse(out.join('\n'))).toMatchObject({ regionCount: 4096, clean: true });
  });

  it('ends in one line without a file, or with a damaged one', async () => {
    const none = await run('bitmap /nowhere', new FakeDaemon());
    expect([none.code, none.errors.length]).toEqual([1, 1]);
    expect(none.errors[0]).toMatch(/^bitmap: (?!unexpected)/);
    const files = await withFile();
    const file = await files.open(path, { write: true });
    await file.write(new Uint8Array(4096).fill(7), 0);
    await file.close();
    const damaged = await run(`bitmap ${path}`, new FakeDaemon(), { files });
    expect(damaged.code).toBe(1);
    expect(damaged.errors[0]).toMatch(/^bitmap: (?!unexpected)/);
  });
});

describe('bitmap -c', () => {
  const daemon = () =>
    new FakeDaemon({
      status: () => mirror({ targets: [target('server2', { dirtyBytes: 2 ** 30 })] }),
      'clear-bitmap': () => ({ clearedBytes: 2 ** 30 }),
    });

  it('says what the word means, asks, and clears', async () => {
    const d = daemon();
    const { code, out, terminal } = await run(`bitmap -c ${path} --node server2`, d, { answers: ['yes'] });
    expect([code, out]).toEqual([
      0,
      [
        'datarep-ext3: on your word server2 holds the same data as server1, now 1 GiB marked: nothing of it will be resynced',
        'datarep-ext3: marks for 1 GiB on server2 are cleared',
      ],
    ]);
    expect(terminal.questions).toHaveLength(1);
    expect(d.calls.at(-1)).toEqual(['clear-bitmap', { tag: 'datarep-ext3', node: 'server2' }]);
  });

  it('means the only target where none is named, and asks which one where there are several, or none', async () => {
    const d = daemon();
    expect((await run(`bitmap -c ${path} --yes`, d)).code).toBe(0);
    expect(d.calls.at(-1)).toEqual(['clear-bitmap', { tag: 'datarep-ext3', node: 'server2' }]);
    for (const [targets, known] of [
      [[target('server2'), target('server3')], '; targets: server2, server3'],
      [[], ''],
    ] as const) {
      const other = new FakeDaemon({ status: () => mirror({ targets: [...targets] }) });
      const { code, errors } = await run(`bitmap -c ${path} --yes`, other);
      expect([code, other.changes()]).toEqual([2, []]);
      expect(errors[0]).toContain(`--node is missing: the target whose marks are cleared${known}; see`);
    }
  });

  it('changes nothing without a yes', async () => {
    const d = daemon();
    expect([(await run(`bitmap -c ${path} --node server2`, d, { answers: ['no'] })).code, d.changes()]).toEqual([1, []]);
    expect([(await run(`bitmap -c ${path} --node server2`, d)).code, d.changes()]).toEqual([2, []]);
  });

  it.each([
    ['-c /r/state_a --node b', 'FILE "/r/state_a" is not allowed; allowed with -c: bitmap_TAG'],
    ['-c /r/bitmap_ --node b', '"" is not a tag'],
    ['-c /r/bitmap_a.tmp --node b', 'may not end in .tmp'],
    [`-c ${path} --node b/c`, '"b/c" is not a node name'],
    [`${path} --node b`, '--node means nothing without -c'],
    ['', 'FILE is missing'],
    ['a b', 'not known: b'],
  ])('refuses %s', async (words, message) => {
    const d = daemon();
    const { code, errors } = await run(`bitmap ${words}`, d);
    expect([code, errors.length, d.calls]).toEqual([2, 1, []]);
    expect(errors[0]).toContain(message);
  });
});
