/**
 * NBD clients that nobody here wrote, against the export of a mirror with two targets: one of our nodes, and an nbdkit.
 * After each test all three legs are the same, and no target has ever left.
 */
import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { afterAll, afterEach, beforeAll, describe, expect } from 'vitest';
import { Daemons, freePort } from '../support/daemons.ts';
import { expectIdentical } from '../support/machine.ts';
import { NbdkitServer } from '../support/nbdkit-server.ts';
import { nbdsh, runOk, testWith } from '../support/programs.ts';

const MIB = 1024 * 1024;
const SIZE = 64 * MIB;
const TAG = 'data';
/** Of every test here: the foreign target, and what compares the legs. */
const NEEDED = ['nbdkit', 'qemu-img'];

let daemons: Daemons;
let foreign: NbdkitServer;
let uri = '';
let tcpPort = 0;
const file = (name: string): string => daemons.path(name);
const legs = (): string[] => [file('leg1'), file('leg2'), file('leg3')];

beforeAll(async () => {
  tcpPort = await freePort();
  daemons = await Daemons.start({ nodes: ['server1', 'server2'], config: { server1: { exports: { listen: `127.0.0.1:${String(tcpPort)}` } } } });
  await runOk('truncate', ['-s', String(SIZE), file('leg3')]);
  foreign = new NbdkitServer(file('foreign.sock'), ['file', file('leg3')]);
  await foreign.start();
  await daemons.createMirror({
    tag: TAG,
    sizeBytes: SIZE,
    regionBytes: 64 * 1024,
    legs: { server1: file('leg1'), server2: file('leg2') },
    foreign: { elsewhere: foreign.uri },
  });
  uri = daemons.node('server1').uri(TAG);
});

afterEach(async () => {
  const { targets } = await daemons.node('server1').control.call('status', { tag: TAG });
  expect(targets.map((t) => [t.node, t.state, t.dirtyBytes])).toEqual([
    ['server2', 'Target', 0],
    ['elsewhere', 'Target', 0],
  ]);
  expect(daemons.node('server1').logged(/has left the mirror/)).toEqual([]);
  await expectIdentical(legs());
});

afterAll(async () => {
  await foreign.kill();
  await daemons.close();
});

describe('libnbd', () => {
  testWith(['nbdinfo', ...NEEDED], 'nbdinfo reads what the mirror can do', async () => {
    const info = JSON.parse(await runOk('nbdinfo', ['--json', uri])) as { exports: Record<string, unknown>[] };
    expect(info).toMatchObject({ protocol: 'newstyle-fixed', structured: true });
    expect(info.exports[0]).toMatchObject({
      'export-name': TAG,
      'export-size': SIZE,
      contexts: ['base:allocation', 'netraid:dirty:server2', 'netraid:dirty:elsewhere'],
      is_read_only: false,
      can_flush: true,
      can_fua: true,
      can_trim: true,
      can_zero: true,
      can_multi_conn: true,
    });
  });

  testWith(['nbdcopy', ...NEEDED], 'nbdcopy copies in and out over four connections', async () => {
    const data = randomBytes(SIZE);
    await writeFile(file('in'), data);
    const options = ['--connections=4', '--requests=64', '--request-size=262144'];
    await runOk('nbdcopy', [...options, '--flush', file('in'), uri]);
    await runOk('nbdcopy', [...options, uri, file('out')]);
    expect((await readFile(file('out'))).equals(data)).toBe(true);
    expect((await readFile(file('leg3'))).equals(data)).toBe(true);
  });

  testWith(['nbdsh', ...NEEDED], '256 requests in flight on one connection all come back, each with its own bytes', async () => {
    const script = `
import os, random, struct
h.connect_uri(os.environ["URI"])
size, block = h.get_size(), 4096
places = random.Random(7).sample(range(size // block), 8192)
def content(n): return struct.pack("<Q", n * 2654435761 + 1) * (block // 8)
failed, most = [], 0
def wait(limit):
    while h.aio_in_flight() >= limit: h.poll(-1)
for n in places:
    wait(256)
    h.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(content(n))), n * block, completion=lambda e: (e and failed.append(e), 1)[1])
    most = max(most, h.aio_in_flight())
wait(1)
h.flush()
wrong = []
for n in places:
    wait(256)
    into = nbd.Buffer(block)
    def check(e, n=n, into=into):
        if e or bytes(into.to_bytearray()) != content(n): wrong.append(n)
        return 1
    h.aio_pread(into, n * block, completion=check)
wait(1)
print(most, len(failed), len(wrong))
h.shutdown()
`;
    expect((await nbdsh(uri, script)).trim()).toBe('256 0 0');
  });
});

describe('qemu', () => {
  testWith(NEEDED, 'qemu-img converts in, compares, converts out and maps', async () => {
    const data = Buffer.alloc(SIZE);
    randomBytes(6 * MIB).copy(data, 20 * MIB);
    await writeFile(file('image'), data);
    await runOk('qemu-img', ['convert', '-n', '-f', 'raw', '-O', 'raw', file('image'), uri]);
    expect(await runOk('qemu-img', ['compare', '-f', 'raw', '-F', 'raw', file('image'), uri])).toContain('identical');
    await runOk('qemu-img', ['convert', '-f', 'raw', '-O', 'raw', uri, file('converted')]);
    expect((await readFile(file('converted'))).equals(data)).toBe(true);
    const map = JSON.parse(await runOk('qemu-img', ['map', '--output=json', '-f', 'raw', uri])) as { start: number; length: number; data: boolean }[];
    expect(map.reduce((sum, e) => sum + e.length, 0)).toBe(SIZE);
    expect(map.find((e) => e.start <= 20 * MIB && e.start + e.length > 20 * MIB)).toMatchObject({ data: true });
  });

  testWith(['qemu-io', ...NEEDED], 'qemu-io finds its patterns, zeroes and discarded ranges again, plain and with FUA', async () => {
    const commands = [
      'write -P 0xab 0 1M',
      'write -f -P 0xcd 1M 64k',
      'write -z 64k 64k',
      'write -z -u 128k 64k',
      'write -z -f 192k 64k',
      'discard 256k 64k',
      'discard 333k 1k',
      'flush',
      'read -P 0xab 0 64k',
      'read -P 0 64k 192k',
      'read -P 0 256k 64k',
      'read -P 0xab 340k 64k',
      'read -P 0xcd 1M 64k',
      'aio_write -P 0x11 2M 1M',
      'aio_write -P 0x22 3M 1M',
      'aio_write -P 0x33 2560k 1M',
      'aio_flush',
      'read -P 0x11 2M 512k',
      'read -P 0x22 3584k 512k',
      'write -P 0x77 4097 777',
      'write -f -P 0x78 65537 3',
      'read -P 0x77 4097 777',
      'read -P 0x78 65537 3',
      'write -P 0x55 32M 31M',
      'discard 32M 31M',
      'read -P 0 32M 31M',
    ];
    const out = await runOk('qemu-io', ['-f', 'raw', '-d', 'unmap', ...commands.flatMap((c) => ['-c', c]), uri]);
    expect(out).not.toContain('Pattern verification failed');
    expect(out).not.toMatch(/error|failed/i);
  });
});

testWith(['nbd-client', ...NEEDED], 'nbd-client lists the mirror over TCP', async () => {
  expect(await runOk('nbd-client', ['-l', '127.0.0.1', String(tcpPort)])).toContain(`\n${TAG}: `);
});

testWith(['fio', 'timeout', ...NEEDED], 'fio verifies every block that it wrote with crc32c, on two jobs with 32 requests each', async () => {
  const args = ['-k', '5', '60', 'fio', '--name=verify', '--ioengine=nbd', `--uri=${uri}`, '--rw=randrw', '--bsrange=512-64k', '--size=24m'];
  const jobs = ['--numjobs=2', '--offset_increment=32m', '--iodepth=32', '--fsync=64', '--trim_percentage=5'];
  const out = await runOk('timeout', [...args, ...jobs, '--verify=crc32c', '--verify_fatal=1', '--verify_state_save=0', '--output-format=normal'], {
    cwd: daemons.folder,
  });
  expect(out.match(/err= 0/g)?.length).toBe(2);
});

testWith(NEEDED, 'the product itself finds all legs the same', async () => {
  expect(await daemons.verify('server1', TAG)).toMatchObject({ comparedBytes: SIZE, differingBytes: 0, ranges: [] });
});
