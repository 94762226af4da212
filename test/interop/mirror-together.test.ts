/**
 * Several clients of one mirror at once, each by connections of its own, while its target joins, is paused and resumed, and one client is killed:
 * the engine serves them together while there is no target, and tells all of them when there is one.
 *
 *   fio (crc32c), libnbd by two connections --> server1 --> leg1
 *                                                 `--(joins, pauses, resumes)--> server2 --> leg2
 */
import { open } from 'node:fs/promises';
import { afterAll, beforeAll, expect } from 'vitest';
import { Daemons } from '../support/daemons.ts';
import { expectIdentical } from '../support/machine.ts';
import { nbdsh, run, runOk, testWith } from '../support/programs.ts';

const MIB = 1024 * 1024;
const SIZE = 128 * MIB;
const TAG = 'data';

/** A write of the second connection stays, whatever the first one had asked for before one that was answered; answers how many rounds there were. */
const ORDER = `
import os, random
second = nbd.NBD()
second.connect_uri(os.environ["URI"])
h.connect_uri(os.environ["URI"])
r, n, base = random.Random(int(os.environ["SEED"])), 0, 96 << 20
while not os.path.exists(os.environ["STOP"]) or n < 50:
    a, b = (h, second) if n % 2 else (second, h)
    length = r.choice([512, 4096, 16384, 65536, 300 * 1024, 500 * 1024])
    at = base + 512 * r.randrange(40000)
    def data(i): return bytes([1 + (3 * n + i) % 255]) * length
    cookies = [a.aio_pwrite(nbd.Buffer.from_bytearray(bytearray(data(0))), at)]
    # What the server's socket has no room for has not come yet.
    while a.aio_get_direction() & nbd.AIO_DIRECTION_WRITE: a.poll(-1)
    b.pwrite(data(1), at)
    b.pwrite(data(2), at)
    while not a.aio_command_completed(cookies[0]): a.poll(-1)
    if b.pread(length, at) != data(2): raise SystemExit(f"round {n}: {length} bytes at {at} are older than what was written last")
    n += 1
print(n)
`;

let daemons: Daemons;
const file = (name: string): string => daemons.path(name);

beforeAll(async () => {
  daemons = await Daemons.start({ nodes: ['server1', 'server2'] });
});

afterAll(async () => {
  await daemons.close();
});

testWith(
  ['fio', 'nbdsh', 'timeout', 'qemu-img'],
  'clients that are served together find all that they wrote, while a target joins and pauses and one of them is killed',
  async () => {
    const { control } = daemons.node('server1');
    const geometry = { sizeBytes: SIZE, regionBytes: 256 * 1024, priority: 1, failureTimeoutMs: null };
    const policy = { failover: 'auto' as const, arbiter: null, waitForPreviousSourceSec: null, zeroed: true };
    await control.call('create', { tag: TAG, leg: file('leg1'), ...geometry, ...policy });
    await control.call('in-service', { tag: TAG });
    const uri = daemons.node('server1').uri(TAG);
    const fio = async (offset: number): Promise<string> => {
      const what = ['--name=verify', '--ioengine=nbd', `--uri=${uri}`, '--rw=randrw', '--bsrange=512-500k', '--size=12m', '--io_size=60m'];
      const jobs = ['--numjobs=2', `--offset=${String(offset)}m`, '--offset_increment=12m', '--iodepth=16', '--fsync=200'];
      const verify = ['--verify=crc32c', '--verify_fatal=1', '--verify_state_save=0', '--output-format=normal'];
      return await runOk('fio', [...what, ...jobs, ...verify], { cwd: daemons.folder });
    };
    const orders = async (seed: number): Promise<string> => await nbdsh(uri, ORDER, { env: { SEED: String(seed), STOP: file('stop') } });

    const order = orders(1);
    const alone = fio(0);
    const killed = await run(
      'timeout',
      [
        '-s',
        'KILL',
        '1',
        'fio',
        '--thread',
        '--name=killed',
        '--ioengine=nbd',
        `--uri=${uri}`,
        '--rw=randrw',
        '--bsrange=512-500k',
        '--offset=72m',
        '--size=24m',
        '--io_size=100g',
        '--iodepth=16',
      ],
      { cwd: daemons.folder },
    );
    expect(killed).toMatchObject({ timedOut: false, code: null });
    expect((await alone).match(/err= 0/g)?.length).toBe(2);

    const joined = fio(24);
    await control.call('extend', { tag: TAG, node: 'server2', leg: file('leg2'), foreignUri: null, mode: 'sync', priority: 10, zeroed: false });
    await daemons.untilInSync('server1', TAG);
    await control.call('pause', { tag: TAG, nodes: ['server2'] });
    const paused = fio(48);
    await control.call('resume', { tag: TAG, nodes: ['server2'] });
    await daemons.untilInSync('server1', TAG);
    for (const out of [await joined, await paused]) expect(out.match(/err= 0/g)?.length).toBe(2);
    await (await open(file('stop'), 'w')).close();
    expect(Number(await order)).toBeGreaterThan(49);
    await daemons.untilInSync('server1', TAG);
    expect(await daemons.verify('server1', TAG)).toMatchObject({ comparedBytes: SIZE, differingBytes: 0 });
    await expectIdentical([file('leg1'), file('leg2')]);
  },
);
