/** Bad days of a node itself: a full root folder, a port that is taken, and peers that speak something else. */
import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Socket } from 'node:net';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it, test } from 'vitest';
import { Cleanup } from '../support/cleanup.ts';
import { Daemons, freePort } from '../support/daemons.ts';
import { expectIdentical, smallFilesystem } from '../support/machine.ts';
import { run, runOk, temporaryFolder, testWith, until } from '../support/programs.ts';

const MIB = 1024 * 1024;
const TAG = 'data';
const isRoot = process.getuid?.() === 0;
if (!isRoot) process.stderr.write('\nWARNING: SKIPPED "a full root folder": mounting needs root\n\n');

const roots = temporaryFolder();
let cleanup: Cleanup;

beforeEach(() => {
  cleanup = new Cleanup();
});

afterEach(async () => {
  await cleanup.run();
});

async function startDaemons(o: { roots?: Record<string, string> } = {}): Promise<Daemons> {
  const daemons = await Daemons.start({ nodes: ['server1', 'server2'], ...o });
  cleanup.add('the daemons', () => daemons.close());
  return daemons;
}

const legsOf = (daemons: Daemons): Record<string, string> => ({ server1: daemons.path('leg1'), server2: daemons.path('leg2') });

describe.skipIf(!isRoot)('a full root folder', () => {
  /** Nothing more fits below the folder. */
  function fill(root: string): void {
    const filler = path.join(root, 'filler');
    for (let bytes = MIB; bytes >= 1; bytes = Math.floor(bytes / 2)) {
      for (;;) {
        try {
          writeFileSync(filler, Buffer.alloc(bytes, 1), { flag: 'a' });
        } catch (e: unknown) {
          if (!(e instanceof Error) || !e.message.includes('ENOSPC')) throw e;
          break;
        }
      }
    }
  }

  /** Exit code of one write and flush; a client that hangs fails the test. */
  async function write(uri: string, command: string): Promise<number | null> {
    const r = await run('qemu-io', ['-f', 'raw', '-c', command, '-c', 'flush', uri], { timeoutMs: 20_000 });
    expect(r.timedOut, `${command} hangs`).toBe(false);
    return r.code;
  }

  testWith(
    ['qemu-io', 'qemu-img', 'mount'],
    'on the source: writes are answered, if need be with an error, and it goes on by itself when there is room',
    async () => {
      const root = path.join(roots, 'source');
      await smallFilesystem(root, 2 * MIB, cleanup);
      const daemons = await startDaemons({ roots: { server1: root } });
      const source = daemons.node('server1');
      await daemons.createMirror({ tag: TAG, sizeBytes: 64 * MIB, regionBytes: 4096, legs: legsOf(daemons) });
      const uri = source.uri(TAG);
      expect(await write(uri, 'write -P 1 0 1M')).toBe(0);
      fill(root);
      // Regions all over the device, so that the bitmap file has to grow.
      const codes = [];
      for (let at = 0; at < 64; at += 8) codes.push(await write(uri, `write -P 2 ${String(at)}M 64k`));
      expect(codes).toContain(1);
      expect(source.logged(/bitmap file could not be written.*ENOSPC/).length).toBeGreaterThanOrEqual(1);
      await daemons.node('server2').kill();
      await write(uri, 'write -P 3 5M 64k');
      expect((await source.control.call('info', {})).node).toBe('server1');
      await runOk('rm', [path.join(root, 'filler')]);
      await daemons.node('server2').start();
      await daemons.untilInSync('server1', TAG);
      expect(await write(uri, 'write -P 4 9M 1M')).toBe(0);
      await runOk('qemu-io', ['-f', 'raw', '-c', 'read -P 4 9M 1M', '-c', 'read -P 1 512k 256k', uri]);
      await expectIdentical(Object.values(legsOf(daemons)));
      expect(await daemons.verify('server1', TAG)).toMatchObject({ differingBytes: 0 });
    },
  );

  testWith(
    ['qemu-io', 'qemu-img', 'mount'],
    'on a target: the application notices nothing, and the target is in sync when there is room',
    async () => {
      const root = path.join(roots, 'target');
      await smallFilesystem(root, 2 * MIB, cleanup);
      const daemons = await startDaemons({ roots: { server2: root } });
      const source = daemons.node('server1');
      await daemons.createMirror({ tag: TAG, sizeBytes: 64 * MIB, regionBytes: 4096, legs: legsOf(daemons) });
      expect(await write(source.uri(TAG), 'write -P 1 0 1M')).toBe(0);
      fill(root);
      expect(await write(source.uri(TAG), 'write -P 2 1M 1M')).toBe(0);
      await daemons.node('server2').kill();
      expect(await write(source.uri(TAG), 'write -P 3 2M 1M')).toBe(0);
      await daemons.node('server2').start();
      await daemons.untilTarget(
        'server1',
        TAG,
        'server2',
        'says why it is out',
        (t) => t.state !== 'Target' && /ENOSPC|no space|disk is full/i.test(t.detail),
      );
      expect(await write(source.uri(TAG), 'write -P 4 3M 1M')).toBe(0);
      await runOk('rm', [path.join(root, 'filler')]);
      await daemons.untilInSync('server1', TAG);
      await expectIdentical(Object.values(legsOf(daemons)));
    },
  );
});

describe('a port that is taken', () => {
  it('ends the daemon with one line that names the address, for nodes and for NBD clients alike', async () => {
    const daemons = await startDaemons();
    const port = await freePort();
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(port, '127.0.0.1', resolve));
    cleanup.add('the listener', () => {
      taken.close();
    });
    for (const [name, field] of [
      ['a', { listen: `127.0.0.1:${String(port)}` }],
      ['b', { exports: { listen: `127.0.0.1:${String(port)}` } }],
    ] as const) {
      const r = await daemons.runAlone(name, field);
      expect(r.code).toBe(1);
      const said = r.stderr.trim().split('\n');
      expect(said.at(-1)).toContain(`127.0.0.1:${String(port)}`);
      expect(said.at(-1)).toMatch(/EADDRINUSE|in use/);
      expect(r.stderr).not.toMatch(/^\s+at /m);
      expect(existsSync(daemons.path(`${name}/run/control.sock`))).toBe(false);
    }
  });

  it('a second daemon on the same root is refused and the first goes on', async () => {
    const daemons = await startDaemons();
    const r = await daemons.runAlone('server1', undefined);
    expect([r.code, /another netraidd is running/.test(r.stderr)]).toEqual([1, true]);
    expect((await daemons.node('server1').control.call('info', {})).node).toBe('server1');
  });
});

describe('a peer of another cluster', () => {
  it('is refused, both sides say why in one line, and the mirror goes on without it until its name is right again', async () => {
    const daemons = await startDaemons();
    const [source, other] = [daemons.node('server1'), daemons.node('server2')];
    await daemons.createMirror({ tag: TAG, sizeBytes: 16 * MIB, legs: legsOf(daemons) });
    const file = path.join(other.root, 'etc', 'netraid.yaml');
    const right = readFileSync(file, 'utf8');
    await other.kill();
    writeFileSync(file, right.replace('cluster: interop', 'cluster: elsewhere'));
    await other.start();
    const refused = (by: string, stranger: string): RegExp => new RegExp(`node ${stranger} is of cluster \\w+; ${by} is of cluster \\w+`);
    for (const [n, stranger] of [
      [source, other],
      [other, source],
    ] as const) {
      // Each calls the other: it says whom it has not taken, and who has not taken it.
      await until(
        `${n.name} says both`,
        () => n.logged(refused(n.name, stranger.name)).length > 0 && n.logged(refused(stranger.name, n.name)).length > 0,
      );
      const said = n.logged(/is of cluster/);
      expect(said.every((l) => l.includes('wrong-cluster') && l.includes('interop') && l.includes('elsewhere'))).toBe(true);
      expect((await n.control.call('info', {})).peers[stranger.name]).toEqual({ reachable: false, links: [] });
    }
    await daemons.untilTarget('server1', TAG, 'server2', 'is not heard', (t) => t.state === 'Unknown');
    expect((await other.control.call('status', { tag: TAG })).inService).toBe(false);
    await other.kill();
    writeFileSync(file, right);
    await other.start();
    await daemons.untilInSync('server1', TAG);
    // Said, and not with every try.
    expect(source.logged(/is of cluster/).length).toBeLessThan(20);
  });
});

describe('peers that speak something else', () => {
  const GREETING = Buffer.from('NBDMAGICIHAVEOPT\0\x03', 'latin1');
  const garbage: [string, Buffer][] = [
    ['nothing at all', Buffer.alloc(0)],
    ['zeroes', Buffer.alloc(64 * 1024)],
    ['ones', Buffer.alloc(64 * 1024, 0xff)],
    ['noise', randomBytes(MIB)],
    ['HTTP', Buffer.from('GET /v1/status HTTP/1.1\r\nHost: server1\r\n\r\n')],
    ['a TLS hello', Buffer.concat([Buffer.from([0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]), randomBytes(501)])],
    ['an NBD greeting', GREETING],
    ['a frame of 4 GiB', Buffer.from([0xff, 0xff, 0xff, 0xff, 0x7b, 0x22])],
    ['JSON', Buffer.from(`{"hello":${'['.repeat(50_000)}`)],
  ];

  /** Open files of a process. */
  const filesOf = (pid: number): number => readdirSync(`/proc/${String(pid)}/fd`).length;

  test('are hung up on, whatever they send, and disturb neither the mirror nor the memory of the nodes', { timeout: 90_000 }, async () => {
    const daemons = await startDaemons();
    await daemons.createMirror({ tag: TAG, sizeBytes: 16 * MIB, legs: legsOf(daemons) });
    const before = daemons.nodes().map((n) => ({ files: filesOf(n.pid), bytes: n.memory().residentBytes }));
    const sockets: { what: string; socket: Socket; closed: boolean }[] = [];
    cleanup.add('the sockets', () => {
      for (const s of sockets) s.socket.destroy();
    });
    for (const n of daemons.nodes()) {
      for (const [what, bytes] of garbage) {
        for (let i = 0; i < 3; i += 1) {
          const entry = { what: `${what} to ${n.name}`, socket: connect(n.port, '127.0.0.1'), closed: false };
          sockets.push(entry);
          entry.socket.on('close', () => {
            entry.closed = true;
          });
          // Being cut off in the middle is what is expected.
          entry.socket.on('error', () => undefined);
          entry.socket.resume();
          entry.socket.write(bytes);
        }
      }
    }
    await until('all are hung up on', () => sockets.every((s) => s.closed), 30_000);
    await daemons.until('their descriptors are closed', () =>
      Promise.resolve(daemons.nodes().every((n, i) => filesOf(n.pid) <= (before[i]?.files ?? 0))),
    );
    const { targets } = await daemons.node('server1').control.call('status', { tag: TAG });
    expect(targets.map((t) => t.state)).toEqual(['Target']);
    for (const [i, n] of daemons.nodes().entries()) {
      expect(n.logged(/has left the mirror/)).toEqual([]);
      expect(n.memory().residentBytes - (before[i]?.bytes ?? 0)).toBeLessThan(48 * MIB);
      // Said, and not once for each of them.
      expect(n.log(10_000).length).toBeLessThan(64 * 1024);
    }
  });
});
