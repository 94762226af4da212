/**
 * Our server against clients that nobody here wrote: a plain export of a sparse file, in the node world, on a unix socket
 * and on TCP. After each test nothing may be left in the engine.
 */
import { open, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect } from 'vitest';
import { exportAccess } from '../../src/control/export-access.ts';
import { EngineHub } from '../../src/io/hub.ts';
import { createNodeIo } from '../../src/io/node/node-io.ts';
import type { Address, Engine, LegInfo } from '../../src/io/types.ts';
import type { Device } from '../../src/nbd/device.ts';
import { LegDevice } from '../../src/nbd/leg-device.ts';
import { NbdServer } from '../../src/nbd/server.ts';
import { nbdsh, run, runOk, start, temporaryFolder, testWith, until } from '../support/programs.ts';

const MIB = 1024 * 1024;
const SIZE = 64 * MIB;

const folder = temporaryFolder();
const socket = join(folder, 'nbd.sock');
const uri = `nbd+unix:///plain?socket=${socket}`;
const readOnlyUri = `nbd+unix:///read-only?socket=${socket}`;
const leg = join(folder, 'leg.img');
const file = (name: string): string => join(folder, name);

let engine: Engine;
let server: NbdServer;
let device: LegDevice;
let tcp: Address;
/** What this machine may do there: read one export; nothing. */
let guarded: Address;
let closed: Address;

/** The leg's file becomes one hole of SIZE bytes again. */
async function empty(): Promise<void> {
  await truncate(leg, 0);
  await truncate(leg, SIZE);
}

async function noise(path: string, bytes: number): Promise<Buffer> {
  const data = Buffer.allocUnsafe(bytes);
  // A cheap generator will do: the bytes must differ from block to block, not be hard to guess.
  let x = 0x9e3779b9;
  for (let i = 0; i < bytes; i += 4) {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    data.writeUInt32LE(x, i);
  }
  await writeFile(path, data);
  return data;
}

beforeAll(async () => {
  await writeFile(leg, '');
  await empty();
  const io = createNodeIo();
  engine = io.createEngine();
  const hub = new EngineHub(engine);
  const info: LegInfo = await engine.openLeg(leg, { write: true, lock: true });
  device = new LegDevice(hub, info, { description: 'a plain file' });
  const readOnly = new LegDevice(hub, info, { readOnly: true });
  const devices = new Map<string, Device>([
    ['plain', device],
    ['', device],
    ['read-only', readOnly],
  ]);
  server = new NbdServer({
    io,
    hub,
    exports: {
      list: () => [
        { name: 'plain', description: 'a plain file' },
        { name: 'read-only', description: '' },
      ],
      find: (name) => devices.get(name),
    },
  });
  await server.listen({ kind: 'unix', path: socket });
  tcp = (await server.listen({ kind: 'tcp', host: '127.0.0.1', port: 0 })).address;
  const rules = { allow: ['192.0.2.0/24'], mirrors: { plain: { allow: ['127.0.0.0/8'], readOnly: true } } };
  guarded = (await server.listen({ kind: 'tcp', host: '127.0.0.1', port: 0 }, exportAccess(rules))).address;
  closed = (await server.listen({ kind: 'tcp', host: '127.0.0.1', port: 0 }, exportAccess({ ...rules, mirrors: {} }))).address;
});

afterEach(async () => {
  await until('all connections have closed', () => server.connectionCount === 0);
  expect(engine.usage()).toMatchObject({ handles: 0, bytes: 0, operations: 0, connections: 0 });
});

afterAll(async () => {
  await server.close({ drainMs: 1000 });
  await engine.shutdown();
});

describe('libnbd', () => {
  testWith(['nbdinfo'], 'nbdinfo reads size, flags, contexts and description', async () => {
    const info = JSON.parse(await runOk('nbdinfo', ['--json', uri])) as { exports: Record<string, unknown>[] };
    expect(info).toMatchObject({ protocol: 'newstyle-fixed', structured: true });
    expect(info.exports[0]).toMatchObject({
      'export-name': 'plain',
      description: 'a plain file',
      'export-size': SIZE,
      contexts: ['base:allocation'],
      is_read_only: false,
      can_flush: true,
      can_fua: true,
      can_trim: true,
      can_zero: true,
      can_df: true,
      can_cache: true,
      can_multi_conn: true,
      block_size_minimum: 1,
      block_size_maximum: 32 * MIB,
    });
  });

  testWith(['nbdinfo'], 'nbdinfo lists the exports', async () => {
    const info = JSON.parse(await runOk('nbdinfo', ['--json', '--list', `nbd+unix:///?socket=${socket}`])) as { exports: Record<string, unknown>[] };
    expect(info.exports.map((e) => e['export-name'])).toEqual(['plain', 'read-only']);
  });

  testWith(['nbdinfo'], 'an export that is not there is refused as such', async () => {
    const r = await run('nbdinfo', [`nbd+unix:///nowhere?socket=${socket}`]);
    expect(r.code).not.toBe(0);
    expect(r.stderr).toContain('No such file or directory for export: nowhere');
  });

  testWith(['nbdcopy', 'nbdinfo'], 'nbdcopy copies a file in and out again over four connections, and holes stay holes', async () => {
    await empty();
    const data = Buffer.alloc(SIZE);
    (await noise(file('part'), 16 * MIB)).copy(data, 8 * MIB);
    await writeFile(file('in'), data);
    await runOk('nbdcopy', ['--connections=4', '--flush', file('in'), uri]);
    expect((await readFile(leg)).equals(data)).toBe(true);
    await runOk('nbdcopy', ['--connections=4', uri, file('out')]);
    expect((await readFile(file('out'))).equals(data)).toBe(true);
    const map = JSON.parse(await runOk('nbdinfo', ['--map', '--json', uri])) as { offset: number; length: number; type: number }[];
    expect(map.reduce((sum, e) => sum + e.length, 0)).toBe(SIZE);
    expect(map.some((e) => e.type === 3)).toBe(device.info().canFastZero);
  });

  testWith(['nbdsh'], '256 requests in flight on one connection all come back, each with its own bytes', async () => {
    const out = await nbdsh(
      uri,
      `
import os
h.connect_uri(os.environ["URI"])
n, size = 256, 16384
bufs = [nbd.Buffer.from_bytearray(bytearray([i % 251 + 1]) * size) for i in range(n)]
cookies = [h.aio_pwrite(bufs[i], i * size) for i in range(n)]
assert h.aio_in_flight() == n, h.aio_in_flight()
def drain(cookies):
    left = set(cookies)
    while left:
        h.poll(-1)
        left = {c for c in left if not h.aio_command_completed(c)}
drain(cookies)
h.flush()
back = [nbd.Buffer(size) for i in range(n)]
drain([h.aio_pread(back[i], i * size) for i in range(n)])
for i in range(n):
    assert back[i].to_bytearray() == bytearray([i % 251 + 1]) * size, i
h.shutdown()
print("all came back")
`,
    );
    expect(out).toContain('all came back');
  });

  testWith(['nbdsh'], 'a request that breaks the rules gets the error that the specification names, and the connection lives on', async () => {
    const out = await nbdsh(
      uri,
      `
import os, errno
h.add_meta_context("base:allocation")
h.connect_uri(os.environ["URI"])
h.set_strict_mode(0)
size = h.get_size()
def refused(f, *a):
    try:
        f(*a)
    except nbd.Error as e:
        return e.errno
    return "accepted"
print("read", refused(h.pread, 512, size))
print("write", refused(h.pwrite, b"x" * 512, size - 100))
print("zero", refused(h.zero, 512, size))
print("trim", refused(h.trim, 512, size))
print("flags", refused(h.pwrite, b"x" * 512, 0, nbd.CMD_FLAG_REQ_ONE))
print("status", refused(h.block_status, 0, 0, lambda *a: 0))
print("huge", refused(h.pread, 33 * 1024 * 1024, 0))
print("empty", refused(h.pread, 0, 0))
h.pwrite(b"alive", 0)
print(h.pread(5, 0).decode())
h.shutdown()
`,
    );
    expect(out.trim().split('\n')).toEqual([
      'read EINVAL',
      'write ENOSPC',
      'zero ENOSPC',
      'trim EINVAL',
      'flags EINVAL',
      'status EINVAL',
      'huge EINVAL',
      'empty accepted',
      'alive',
    ]);
  });

  testWith(['nbdsh'], 'a client that knows neither structured replies nor GO is served by EXPORT_NAME and simple replies', async () => {
    const out = await nbdsh(
      uri,
      `
import os
h.set_handshake_flags(0)
h.set_request_structured_replies(False)
h.connect_uri(os.environ["URI"])
h.pwrite(b"old" * 1000, 12345)
h.flush()
print(h.get_size(), h.get_structured_replies_negotiated(), h.pread(3000, 12345) == b"old" * 1000)
h.shutdown()
`,
    );
    expect(out.trim()).toBe(`${String(SIZE)} False True`);
  });

  testWith(['nbdsh'], 'a read-only export can be read and not changed', async () => {
    const out = await nbdsh(
      readOnlyUri,
      `
import os
h.connect_uri(os.environ["URI"])
h.set_strict_mode(0)
h.pread(512, 0)
for f in (lambda: h.pwrite(b"x" * 512, 0), lambda: h.trim(512, 0), lambda: h.zero(512, 0)):
    try:
        f()
        print("accepted")
    except nbd.Error as e:
        print(e.errno)
print(h.is_read_only())
h.shutdown()
`,
    );
    expect(out.trim().split('\n')).toEqual(['EPERM', 'EPERM', 'EPERM', 'True']);
  });

  testWith(['nbdsh'], 'a client that is killed with requests in flight leaves nothing behind', async () => {
    const child = start('nbdsh', ['-c', '-'], { env: { PATH: '/usr/bin:/bin', URI: uri } });
    const ended = new Promise((resolve) => child.on('close', resolve));
    child.stdin?.end(`
import os
h.connect_uri(os.environ["URI"])
data, into = nbd.Buffer(65536), nbd.Buffer(65536)
while True:
    while h.aio_in_flight() < 64:
        h.aio_pwrite(data, 0, completion=lambda e: 1)
        h.aio_pread(into, 65536, completion=lambda e: 1)
    h.poll(-1)
`);
    await until('requests are in flight', () => server.connections().some((c) => c.requestsTotal > 200));
    child.kill('SIGKILL');
    await ended;
    await until('the connection has closed', () => server.connectionCount === 0);
    await until('its requests have ended', () => device.inFlight === 0);
  });
});

describe('qemu', () => {
  testWith(['qemu-img'], 'qemu-img converts in, compares, converts out and maps', async () => {
    await empty();
    const data = Buffer.alloc(SIZE);
    (await noise(file('part'), 4 * MIB)).copy(data, 20 * MIB);
    await writeFile(file('image'), data);
    await runOk('qemu-img', ['convert', '-n', '-f', 'raw', '-O', 'raw', file('image'), uri]);
    expect(await runOk('qemu-img', ['compare', '-f', 'raw', '-F', 'raw', file('image'), uri])).toContain('identical');
    await runOk('qemu-img', ['convert', '-f', 'raw', '-O', 'raw', uri, file('converted')]);
    expect((await readFile(file('converted'))).equals(data)).toBe(true);
    const map = JSON.parse(await runOk('qemu-img', ['map', '--output=json', '-f', 'raw', uri])) as { start: number; length: number; data: boolean }[];
    expect(map.reduce((sum, e) => sum + e.length, 0)).toBe(SIZE);
    expect(map.find((e) => e.start <= 20 * MIB && e.start + e.length > 20 * MIB)).toMatchObject({ data: true });
  });

  testWith(['qemu-io'], 'qemu-io finds its patterns, its zeroes and its discarded ranges again', async () => {
    const commands = [
      'write -P 0xab 0 1M',
      'write -f -P 0xcd 1M 64k',
      'write -z 64k 64k',
      'write -z -u 128k 64k',
      'discard 256k 64k',
      'flush',
      'read -P 0xab 0 64k',
      'read -P 0 64k 128k',
      'read -P 0xab 192k 64k',
      'read -P 0 256k 64k',
      'read -P 0xab 320k 64k',
      'read -P 0xcd 1M 64k',
      'aio_write -P 0x11 2M 1M',
      'aio_write -P 0x22 3M 1M',
      'aio_flush',
      'read -P 0x11 2M 1M',
      'read -P 0x22 3M 1M',
      'write -P 0x77 4097 777',
      'read -P 0x77 4097 777',
    ];
    const out = await runOk('qemu-io', ['-f', 'raw', '-d', 'unmap', ...commands.flatMap((c) => ['-c', c]), uri]);
    expect(out).not.toContain('Pattern verification failed');
    expect(out).not.toMatch(/error|failed/i);
    const fd = await open(leg, 'r');
    const { buffer } = await fd.read(Buffer.alloc(777), 0, 777, 4097);
    await fd.close();
    expect(buffer.every((b) => b === 0x77)).toBe(true);
  });
});

testWith(['nbd-client'], 'nbd-client lists the exports over TCP', async () => {
  if (tcp.kind !== 'tcp') throw new Error('listening on TCP gave another address');
  const out = await runOk('nbd-client', ['-l', tcp.host, String(tcp.port)]);
  expect(out).toContain('plain');
  expect(out).toContain('read-only');
});

testWith(
  ['fio', 'timeout'],
  'fio verifies every block that it wrote with crc32c, many at a time',
  async () => {
    const args = ['-k', '5', '60', 'fio', '--name=verify', '--ioengine=nbd', `--uri=${uri}`, '--rw=randrw', '--bsrange=4k-64k', '--size=32m'];
    const out = await runOk('timeout', [
      ...args,
      '--iodepth=32',
      '--verify=crc32c',
      '--verify_state_save=0',
      '--verify_fatal=1',
      '--fsync=64',
      '--output-format=normal',
    ]);
    expect(out).toMatch(/err= 0/);
  },
  90_000,
);

// Last, because a device that was stopped stays so.
describe('an address that not everybody may use', () => {
  const at = (a: Address, name: string): string => (a.kind === 'tcp' ? `nbd://127.0.0.1:${String(a.port)}/${name}` : '');

  testWith(['nbdinfo', 'nbdcopy', 'nbdsh'], 'shows what is for this machine, to read, and refuses the rest', async () => {
    const listed = await runOk('nbdinfo', ['--list', '--json', at(guarded, '')]);
    const { exports } = JSON.parse(listed) as { exports: { 'export-name': string; is_read_only: boolean }[] };
    expect(exports.map((e) => [e['export-name'], e.is_read_only])).toEqual([['plain', true]]);
    const data = await noise(file('source'), 4 * MIB);
    await runOk('nbdcopy', [file('source'), uri]);
    await runOk('nbdcopy', [at(guarded, 'plain'), file('copy')]);
    expect((await readFile(file('copy'))).subarray(0, data.length).equals(data)).toBe(true);
    const forced = await nbdsh(
      at(guarded, 'plain'),
      `
import os
h = nbd.NBD()
h.set_strict_mode(0)
h.connect_uri(os.environ['URI'])
try:
    h.pwrite(bytearray(512), 0)
except nbd.Error as e:
    print(e.errno)
`,
    );
    expect(forced.trim()).toBe('EPERM');
    for (const name of ['read-only', '']) {
      const refused = await run('nbdinfo', [at(guarded, name)]);
      expect([refused.code === 0, /Operation not supported|policy/i.test(refused.stderr)], refused.stderr).toEqual([false, true]);
    }
    const before = server.forbidden;
    expect((await run('nbdinfo', [at(closed, 'plain')])).code).not.toBe(0);
    expect(server.forbidden).toBe(before + 1);
    expect((await readFile(leg)).subarray(0, data.length).equals(data)).toBe(true);
  });
});

describe('ending things while a client is at work', () => {
  const cases: [string, () => Promise<void>][] = [
    ['closing the export', () => server.closeExport(device)],
    [
      'stopping the device',
      () => {
        device.stop();
        return device.drained();
      },
    ],
  ];
  for (const [how, end] of cases) {
    testWith(['qemu-img'], `${how}: the client gets an error, not silence, and the device is drained`, async () => {
      const client = run('qemu-img', ['bench', '-f', 'raw', '-w', '-c', '500000', '-d', '32', '-s', '4096', uri], { timeoutMs: 30_000 });
      await until('the client writes', () => server.connections().some((c) => c.requestsTotal > 500));
      await end();
      const { code, timedOut } = await client;
      expect([code === 0, timedOut]).toEqual([false, false]);
      await device.drained();
      expect(device.inFlight).toBe(0);
    });
  }
});
