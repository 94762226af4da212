/** What can be seen and done on the network between two nodes: each in a network namespace of its own, joined by a cable. */
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect } from 'vitest';
import { Daemons } from '../support/daemons.ts';
import { runOk, start, temporaryFolder, testWith } from '../support/programs.ts';
import { type TestCa, testCa } from '../unit/pki/ca-world.ts';

const SIZE = 16 * 1024 * 1024;
const MARKER = Buffer.from('9f3c61d07be8425aa1f4c8e2570b963dd41e7af0386b59c2e5187f0ac43d92b6', 'hex');
const NETWORKS = { server1: `nr${String(process.pid)}a`, server2: `nr${String(process.pid)}b` } as const;
const ADDRESS = { server1: '10.99.7.1', server2: '10.99.7.2' } as const;
const NODES = ['server1', 'server2'] as const;
const PORT = 7788;
const PROGRAMS = ['ip', 'python3', 'nbdcopy'];

/** Says "ready"; at SIGTERM: bytes that passed, and packets with the marker. */
const CAPTURE = `
import signal, socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
s.bind((sys.argv[1], 0))
s.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)
marker, total, seen = bytes.fromhex(sys.argv[2]), 0, 0
def end(*_):
    print(total, seen, flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
print('ready', flush=True)
while True:
    b = s.recv(1 << 18)
    total += len(b)
    seen += marker in b
`;

describe('between nodes on different machines', () => {
  const folder = temporaryFolder();
  const image = join(folder, 'image');
  let ca: TestCa;
  let all: Daemons | undefined;
  let capture: ChildProcess | undefined;
  const within = (n: (typeof NODES)[number]): string[] => ['ip', 'netns', 'exec', NETWORKS[n]];

  beforeAll(async () => {
    ca = await testCa(folder);
    for (const name of NODES) await ca.issue({ name, hosts: [ADDRESS[name]], out: join(folder, name) });
    writeFileSync(image, Buffer.alloc(SIZE, MARKER));
    if (process.getuid?.() !== 0) return;
    for (const n of NODES) await runOk('ip', ['netns', 'add', NETWORKS[n]]);
    await runOk('ip', ['link', 'add', 'cable', 'netns', NETWORKS.server1, 'type', 'veth', 'peer', 'name', 'cable', 'netns', NETWORKS.server2]);
    for (const n of NODES) {
      await runOk('ip', ['-n', NETWORKS[n], 'addr', 'add', `${ADDRESS[n]}/24`, 'dev', 'cable']);
      for (const device of ['lo', 'cable']) await runOk('ip', ['-n', NETWORKS[n], 'link', 'set', device, 'up']);
    }
  });

  afterEach(async () => {
    capture?.kill('SIGKILL');
    await all?.close();
    all = undefined;
  });

  afterAll(async () => {
    if (process.getuid?.() === 0) for (const n of NODES) await runOk('ip', ['netns', 'del', NETWORKS[n]]);
  });

  /** What went over the cable while a mirror of the marker was made: bytes, and packets that show it. */
  async function seen(more: Record<string, unknown>): Promise<{ bytes: number; shown: number }> {
    const other = { server1: 'server2', server2: 'server1' } as const;
    const at = (n: (typeof NODES)[number]): string => `${ADDRESS[n]}:${String(PORT)}`;
    const listening = start('ip', ['netns', 'exec', NETWORKS.server1, 'python3', '-c', CAPTURE, 'cable', MARKER.toString('hex')]);
    capture = listening;
    let said = '';
    listening.stdout?.on('data', (b: Buffer) => {
      said += b.toString();
    });
    await expect.poll(() => said, { timeout: 10_000 }).toContain('ready');
    all = await Daemons.start({
      nodes: NODES,
      within: Object.fromEntries(NODES.map((n) => [n, within(n)])),
      config: Object.fromEntries(NODES.map((n) => [n, { listen: at(n), peers: { [other[n]]: at(other[n]) }, ...more }])),
      prepare: async (node, root) => {
        const tls = join(root, 'etc', 'tls');
        mkdirSync(tls, { recursive: true });
        await runOk('cp', ['-a', `${join(folder, node)}/.`, tls]);
      },
    });
    const legs = { server1: all.path('leg1'), server2: all.path('leg2') };
    await all.createMirror({ tag: 't', sizeBytes: SIZE, legs });
    await runOk('nbdcopy', ['--flush', image, all.node('server1').uri('t')]);
    await runOk('cmp', [image, legs.server2]);
    const ended = once(listening, 'close');
    listening.kill('SIGTERM');
    await ended;
    const [bytes = 0, shown = 0] = said.replace('ready', '').trim().split(' ').map(Number);
    return { bytes, shown };
  }

  testWith(PROGRAMS, 'nothing of the data is seen, where nothing else was said', async () => {
    const r = await seen({});
    expect(r.bytes).toBeGreaterThan(SIZE);
    expect(r.shown).toBe(0);
  });

  testWith(PROGRAMS, 'and without TLS it is', async () => {
    const r = await seen({ tls: 'off' });
    expect(r.bytes).toBeGreaterThan(SIZE);
    expect(r.shown).toBeGreaterThan(100);
  });

  testWith(PROGRAMS, 'a node that has no certificate does not start, and says what it lacks', async () => {
    all = await Daemons.start({ nodes: ['alone'] });
    const r = await all.runAlone('server9', { listen: '10.99.7.9:7788', peers: { server1: `${ADDRESS.server1}:7788` } });
    expect(r.code).toBe(1);
    expect(r.stderr).toContain('etc/tls/node-cert.pem is missing');
    expect(r.stderr).toContain('tls: off');
  });
});
