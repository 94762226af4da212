import { describe, expect, it } from 'vitest';
import { flushEach4k, fua4kQd32, read4kQd32, twice, write256kQd8, write4kQd32 } from '../../../scripts/benchmark/cells.ts';
import { fileArguments, nbdArguments, parseFio } from '../../../scripts/benchmark/fio.ts';

const run = { seconds: 0.5, touchedBytes: 1024 ** 3, latencies: false };
const uri = 'nbd+unix:///?socket=/s';

const direction = (o: Record<string, unknown> = {}) => ({ iops: 0, bw_bytes: 0, total_ios: 0, ...o });
const job = (o: Record<string, unknown> = {}) => ({ error: 0, read: direction(), write: direction(), ...o });
const text = (...jobs: unknown[]) => `fio: a warning\n${JSON.stringify({ 'fio version': 'fio-3.33', jobs })}`;

describe('the command line', () => {
  it('is that of the method', () => {
    const args = nbdArguments(write4kQd32, uri, run);
    expect(args).toContain('--rw=randwrite');
    expect(args).toContain('--bs=4096');
    expect(args).toContain('--iodepth=32');
    expect(args).toContain('--runtime=500ms');
    expect(args).toContain('--size=1073741824');
    expect(args).toContain('--gtod_reduce=1');
    expect(args.at(-1)).toBe(`--uri=${uri}`);
  });

  it('gives each of two connections a half of its own', () => {
    const args = nbdArguments(twice(write256kQd8), uri, run);
    expect(args).toContain('--numjobs=2');
    expect(args).toContain('--size=536870912');
    expect(args).toContain('--offset_increment=536870912');
  });

  it('takes latencies only where they are shown', () => {
    expect(nbdArguments(write4kQd32, uri, { ...run, latencies: true })).not.toContain('--gtod_reduce=1');
  });

  it('flushes after each write where the cell says so: by NBD, and by fdatasync on a file', () => {
    expect(nbdArguments(flushEach4k, uri, run)).toContain('--fsync=1');
    expect(fileArguments(flushEach4k, '/f', 'threads', run)).toContain('--fdatasync=1');
  });

  it('refuses durable writes by NBD, which fio can not ask for', () => {
    expect(() => nbdArguments(fua4kQd32, uri, run)).toThrow('no FUA');
  });

  it('reaches a depth on a file by io_uring, or by threads that write one block each', () => {
    const uring = fileArguments(fua4kQd32, '/f', 'io_uring', run);
    expect(uring).toEqual(expect.arrayContaining(['--ioengine=io_uring', '--iodepth=32', '--numjobs=1', '--sync=dsync', '--filename=/f']));
    const threads = fileArguments(fua4kQd32, '/f', 'threads', run);
    expect(threads).toEqual(expect.arrayContaining(['--ioengine=psync', '--iodepth=1', '--numjobs=32', '--sync=dsync']));
  });
});

describe('the report', () => {
  it('is read in the direction of the cell, also after a warning', () => {
    const t = text(job({ read: direction({ iops: 7.5, bw_bytes: 30_720, total_ios: 15 }) }));
    expect(parseFio(t, read4kQd32)).toEqual({ opsPerSec: 7.5, bytesPerSec: 30_720, ops: 15, p99Micros: null });
  });

  it('has the 99th percentile in microseconds where latencies were taken', () => {
    const clat_ns = { percentile: { '50.000000': 1000, '99.000000': 25_500 } };
    expect(parseFio(text(job({ write: direction({ iops: 1, bw_bytes: 1, total_ios: 1, clat_ns }) })), write4kQd32).p99Micros).toBe(25.5);
  });

  it('is refused when nothing was done: a rate of zero is no figure', () => {
    expect(() => parseFio(text(job()), write4kQd32)).toThrow('not complete one operation');
  });

  it('is refused when the job failed', () => {
    expect(() => parseFio(text(job({ error: 5 })), write4kQd32)).toThrow('error 5');
  });

  it.each(['', 'fio: command not understood', '{"jobs": [', '{"jobs": []}', '{"jobs": [{"error": 0}]}'])(
    'is refused when it can not be read: %s',
    (t) => {
      expect(() => parseFio(t, write4kQd32)).toThrow('no report that can be read');
    },
  );
});
