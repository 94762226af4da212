import { describe, expect, it } from 'vitest';
import { UsageError } from '../../../scripts/benchmark/arguments.ts';
import { parseOptions } from '../../../scripts/benchmark/options.ts';
import { allRows } from '../../../scripts/benchmark/rows.ts';

const rows = [
  { name: 'plain', title: 'Plain export', cells: [{ id: 'write' }, { id: 'read' }] },
  { name: 'resync', title: 'Full resync', cells: [{ id: 'copy' }] },
];
const parse = (...argv: string[]) => parseOptions(argv, rows, '/from');

function options(...argv: string[]) {
  const p = parse(...argv);
  if (p.kind !== 'options') throw new Error('help was printed');
  return p.options;
}

describe('what is typed', () => {
  it('may be nothing: every row, five runs of four seconds, on a disk', () => {
    const o = options();
    expect(o).toMatchObject({ quick: false, rows: ['plain', 'resync'], cells: [], rowsNamed: false, runs: 5, seconds: 4, dir: '/var/tmp' });
    expect(o.json).toBeUndefined();
    expect(o.svg).toBeUndefined();
  });

  it('chooses rows and cells, by commas or again and again, each once', () => {
    expect(options('--rows', 'resync,plain', '--rows', 'plain')).toMatchObject({ rows: ['resync', 'plain'], rowsNamed: true });
    expect(options('--cells', 'read,read')).toMatchObject({ cells: ['read'] });
  });

  it('means paths in the folder of whoever typed it', () => {
    expect(options('--json', 'b.json', '--svg', '../charts', '--dir', 'files')).toMatchObject({
      json: '/from/b.json',
      svg: '/charts',
      dir: '/from/files',
    });
    expect(options('--dir', 'tmpfs').dir).toBe('/dev/shm');
  });

  it('is one short run with --quick, unless runs or seconds are given', () => {
    const quick = options('--quick');
    expect(quick.runs).toBe(1);
    expect(quick.seconds).toBeLessThan(1);
    expect(quick.sizes.fileBytes).toBeLessThan(options().sizes.fileBytes);
    expect(options('--quick', '--runs', '3', '--seconds', '0.5')).toMatchObject({ runs: 3, seconds: 0.5 });
  });
});

describe('what is refused, in one line', () => {
  it.each([
    [['--rows', 'nope'], '--rows "nope": allowed are plain, resync'],
    [['--rows', ''], '--rows "": allowed are plain, resync'],
    [['--cells', 'copied'], '--cells "copied": allowed are write, read, copy'],
    [['--rows', 'plain', '--cells', 'copy'], '--cells "copy": allowed are write, read'],
    [['--runs', '0'], '--runs "0": allowed is a number from 1 to 100'],
    [['--runs', '1.5'], '--runs "1.5": allowed is a number from 1 to 100'],
    [['--runs', '1e1'], '--runs "1e1": allowed is a number from 1 to 100'],
    [['--seconds', '601'], '--seconds "601": allowed is a number from 0.1 to 600'],
    [['--seconds', 'four'], '--seconds "four": allowed is a number from 0.1 to 600'],
    [['--dir', ''], '--dir is empty: allowed is a path'],
    [['--json', ''], '--json is empty: allowed is a path'],
    [['--frob'], "Unknown option '--frob'"],
    [['--json'], "Option '--json <value>' argument missing"],
    [['--quick=1'], "Option '--quick' does not take an argument"],
    [['stray'], "Unexpected argument 'stray'"],
  ])('%j', (argv, expected) => {
    expect(() => parse(...argv)).toThrow(UsageError);
    expect(() => parse(...argv)).toThrow(new UsageError(expected));
  });
});

describe('the help', () => {
  const p = parseOptions(['--help'], allRows, '/');
  const text = p.kind === 'help' ? p.text : '';

  it('names every row and every cell', () => {
    for (const r of allRows) {
      expect(text).toContain(`    ${r.name} `);
      for (const c of r.cells) expect(text).toContain(c.id);
    }
  });

  it('has examples that are allowed', () => {
    const examples = text.split('\n').filter((l) => l.startsWith('  scripts/bench '));
    expect(examples.length).toBeGreaterThan(1);
    for (const e of examples) expect(parseOptions(e.trim().split(' ').slice(1), allRows, '/').kind).toBe('options');
  });

  it('fits a terminal', () => {
    expect(Math.max(...text.split('\n').map((l) => l.length))).toBeLessThanOrEqual(132);
  });
});
