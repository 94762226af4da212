/**
 * Nodes on two networks, which have certificates and no word of TLS in their configuration: what goes over the wire between them is
 * heard in full, and can not be read. And who is not taken there.
 */
import { randomBytes } from 'node:crypto';
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { CertificateMaker } from '../support/certificates.ts';
import { Cleanup } from '../support/cleanup.ts';
import { Daemons } from '../support/daemons.ts';
import { lackingForNetworks, type Heard, TwoNetworks } from '../support/networks.ts';
import { NodeProcess } from '../support/node-process.ts';
import { runOk, temporaryFolder } from '../support/programs.ts';

const MIB = 1024 * 1024;
const SIZE = 16 * MIB;
const PORT = 7788;
const NODES = ['server1', 'server2'] as const;
const TAG = 'data';

const lacking = lackingForNetworks() ?? '';
if (lacking !== '') process.stderr.write(`\nWARNING: SKIPPED test/interop/tls-network.test.ts: not here: ${lacking}\n\n`);

describe.skipIf(lacking !== '')(`nodes on two networks${lacking === '' ? '' : ` (lacks ${lacking})`}`, () => {
  const folder = temporaryFolder();
  const cleanup = new Cleanup();
  const marker = randomBytes(32);
  const image = join(folder, 'image');
  let networks: TwoNetworks;
  let ca: CertificateMaker;

  beforeAll(async () => {
    networks = await TwoNetworks.make(cleanup);
    ca = await CertificateMaker.make(join(folder, 'ca'));
    for (const node of NODES) await ca.node(join(folder, node), node);
    const data = randomBytes(SIZE);
    for (let at = 0; at < SIZE; at += 512) marker.copy(data, at);
    writeFileSync(image, data);
  });

  afterAll(async () => {
    await cleanup.run();
  });

  const other = (side: 0 | 1): 0 | 1 => (side === 0 ? 1 : 0);
  const addresses = (side: 0 | 1, port = PORT): Record<string, unknown> => ({
    listen: `${networks.hosts[side]}:${String(port)}`,
    peers: { [NODES[other(side)]]: `${networks.hosts[other(side)]}:${String(port)}` },
  });

  describe('what is heard on the wire', () => {
    /** While a mirror is made, written and in sync, and read back from its other node. */
    async function heardOf(fields: Readonly<Record<string, unknown>>): Promise<Heard & { tls: string }> {
      const listened = await networks.hear(marker, cleanup);
      const all = await Daemons.start({
        nodes: NODES,
        config: { server1: { ...addresses(0), ...fields }, server2: { ...addresses(1), ...fields } },
        within: { server1: networks.within(0), server2: networks.within(1) },
        prepare: (node, root) => {
          cpSync(join(folder, node), join(root, 'etc', 'tls'), { recursive: true });
          return Promise.resolve();
        },
      });
      try {
        const legs = { server1: all.path('leg1'), server2: all.path('leg2') };
        await all.createMirror({ tag: TAG, sizeBytes: SIZE, legs });
        await runOk('nbdcopy', ['--flush', image, all.node('server1').uri(TAG)]);
        await all.untilInSync('server1', TAG);
        const written = readFileSync(image);
        for (const leg of Object.values(legs)) expect(written.equals(readFileSync(leg))).toBe(true);
        expect(await all.verify('server1', TAG)).toMatchObject({ differingBytes: 0 });
        const { tls, refused } = await all.node('server1').control.call('info', {});
        expect(refused).toEqual({ clients: 0, nodes: 0, sessions: 0 });
        return { ...(await listened()), tls: tls?.nodes ?? 'none' };
      } finally {
        await all.close();
      }
    }

    it('is all of the data, and not a word of it', async () => {
      const heard = await heardOf({});
      expect(heard).toMatchObject({ seen: 0, lost: 0, tls: 'beyond-loopback' });
      expect(heard.bytes).toBeGreaterThan(SIZE);
    });

    it('is the data itself where TLS is off, or this test could hear nothing', async () => {
      const heard = await heardOf({ tls: 'off' });
      expect(heard).toMatchObject({ lost: 0, tls: 'none' });
      expect(heard.bytes).toBeGreaterThan(SIZE);
      expect(heard.seen).toBeGreaterThan(SIZE / 512 / 2);
    });
  });

  describe('nodes that are moved to TLS', () => {
    it('one at a time replicate at each step, and show which connections are not in TLS yet', async () => {
      const all = await Daemons.start({
        nodes: NODES,
        config: { server1: { ...addresses(0), tls: 'off' }, server2: { ...addresses(1), tls: 'allowed' } },
        within: { server1: networks.within(0), server2: networks.within(1) },
        prepare: (node, root) => {
          cpSync(join(folder, node), join(root, 'etc', 'tls'), { recursive: true });
          return Promise.resolve();
        },
      });
      const config = (node: NodeProcess): string => join(node.root, 'etc', 'netraid.yaml');
      const move = async (name: (typeof NODES)[number], to: string): Promise<void> => {
        const n = all.node(name);
        await n.stop();
        writeFileSync(config(n), readFileSync(config(n), 'utf8').replace(/^tls: .*$/m, `tls: ${to}`));
        await n.start();
        await all.until('both hear each other', async () => {
          const infos = await Promise.all(all.nodes().map((x) => x.control.call('info', {})));
          return infos.every((i) => Object.values(i.peers).every((p) => p.reachable));
        });
        await all.untilInSync('server1', TAG);
      };
      /** Whether each connection of that node is in TLS: those that carry data, and the others. */
      const secured = async (name: (typeof NODES)[number]): Promise<{ data: boolean[]; others: boolean[] }> => {
        const info = await all.node(name).control.call('info', {});
        const links = Object.values(info.peers).flatMap((p) => p.links);
        const of = (data: boolean): boolean[] => links.filter((l) => (l.path === `replication of ${TAG}`) === data).map((l) => l.tls);
        return { data: of(true), others: of(false) };
      };
      const written = async (): Promise<void> => {
        writeFileSync(image, randomBytes(SIZE));
        await runOk('nbdcopy', ['--flush', image, all.node('server1').uri(TAG)]);
        expect(await all.verify('server1', TAG)).toMatchObject({ differingBytes: 0 });
      };
      try {
        await all.createMirror({ tag: TAG, sizeBytes: SIZE, legs: { server1: all.path('leg1'), server2: all.path('leg2') } });
        await written();
        expect(await secured('server1')).toEqual({ data: [false], others: [false, false] });
        expect(await secured('server2')).toEqual({ data: [], others: [false, false] });
        const told = all.node('server2').logged(/a connection between nodes is not secured/);
        expect(told).toHaveLength(2);
        await move('server1', 'allowed');
        await written();
        for (const n of NODES) expect((await secured(n)).others).toEqual([true, true]);
        expect((await secured('server1')).data).toEqual([true]);
        await move('server2', 'required');
        await written();
        await move('server1', 'required');
        await written();
        expect(await secured('server1')).toEqual({ data: [true], others: [true, true] });
        const shown = await all.node('server1').cli('netraid', ['info']);
        expect(shown.stdout).toMatch(/server2 {2}reachable {2}10\.77\.0\.2:7788 TLS, from 10\.77\.0\.2:\d+ TLS, replication of data TLS/);
        expect(shown.stdout).not.toContain('in clear');
        expect(all.node('server1').logged(/a connection between nodes is not secured/)).toEqual([]);
      } finally {
        await all.close();
      }
    });
  });

  // Beside each other, each at a port of its own: who is refused waits before it tries again.
  describe.concurrent('who is not taken', () => {
    let nextPort = PORT;
    const freshPort = (): number => {
      nextPort += 1;
      return nextPort;
    };

    /** A node's own root, with these fields and what `tls` has, or nothing. */
    function prepared(port: number, side: 0 | 1, tls: string | undefined, fields: Readonly<Record<string, unknown>>): NodeProcess {
      const name = NODES[side];
      const at = join(folder, `${name}-${String(port)}`);
      const root = join(at, name);
      mkdirSync(join(root, 'etc'), { recursive: true });
      writeFileSync(
        join(root, 'etc', 'netraid.yaml'),
        stringify({ version: 1, cluster: 'interop', node: name, ...addresses(side, port), ...fields }),
      );
      if (tls !== undefined) cpSync(tls, join(root, 'etc', 'tls'), { recursive: true });
      return new NodeProcess(name, at, port, root, {}, undefined, networks.within(side));
    }

    const refusedNodes = async (n: NodeProcess): Promise<number> => (await n.control.call('info', {})).refused.nodes;
    /** As people are told. */
    const toldRefused = async (n: NodeProcess): Promise<Record<string, number>> => {
      const told = await n.cli('netraid', ['info', '--json']);
      return (JSON.parse(told.stdout) as { refused: Record<string, number> }).refused;
    };

    it('a node without certificates does not start, and says which file is missing', async ({ expect }) => {
      for (const [gone, said] of [
        ['node-cert.pem', /node-cert\.pem is missing/],
        ['ca-cert.pem', /ca-cert\.pem is missing/],
      ] as const) {
        const lame = join(folder, `without-${gone}`);
        cpSync(join(folder, 'server1'), lame, { recursive: true });
        rmSync(join(lame, gone));
        const n = prepared(freshPort(), 0, gone === 'node-cert.pem' ? undefined : lame, {});
        await expect(n.start()).rejects.toThrow('did not start');
        expect(n.log()).toMatch(said);
        expect(n.log()).toMatch(/tls: off.* in netraid\.yaml does without/);
      }
    });

    const strangers: [string, (into: string) => Promise<Readonly<Record<string, unknown>>>, RegExp][] = [
      [
        'whose certificate has expired',
        async (into) => {
          await ca.node(into, 'server2', { expired: true });
          return {};
        },
        /TLS from server2: its certificate has expired/,
      ],
      [
        'of another cluster, with a CA of its own',
        async (into) => {
          const another = await CertificateMaker.make(join(folder, 'another'));
          await another.node(into, 'server2');
          // It takes us: only we do not take it.
          cpSync(ca.caCert, join(into, 'ca-cert.pem'));
          return { cluster: 'another' };
        },
        /TLS from server2: its certificate was not issued by our CA/,
      ],
      [
        'of another cluster, with a certificate of our CA',
        async (into) => {
          await ca.node(into, 'server2');
          return { cluster: 'another' };
        },
        /code="wrong-cluster" why="node server2 is of cluster another/,
      ],
      [
        'that speaks no TLS',
        async (into) => {
          await ca.node(into, 'server2');
          return { tls: 'off' };
        },
        /a connection without TLS, which server1 takes from/,
      ],
    ];

    it.for(strangers)('a node %s is not heard, is logged once and counted', async ([, prepare, why], { expect }) => {
      const port = freshPort();
      const into = join(folder, `stranger${String(port)}`);
      const fields = await prepare(into);
      const near = prepared(port, 0, join(folder, 'server1'), {});
      const far = prepared(port, 1, into, fields);
      try {
        await near.start();
        await far.start();
        await expect.poll(() => refusedNodes(near), { timeout: 20_000 }).toBeGreaterThan(2);
        const lines = near.logged(/a connection was not taken/);
        expect(lines).toEqual([expect.stringMatching(why)]);
        const { clients, nodes, sessions } = await toldRefused(near);
        expect([clients, sessions]).toEqual([0, 0]);
        expect(nodes).toBeGreaterThan(2);
        for (const n of [near, far]) expect(Object.values((await n.control.call('info', {})).peers)).toEqual([{ reachable: false, links: [] }]);
      } finally {
        await Promise.all([near.kill(), far.kill()]);
      }
    });

    it('an address outside of `allow` is hung up on before a word, logged once and counted', async ({ expect }) => {
      await networks.address(0, '10.88.0.1/24');
      await networks.address(1, '10.88.0.2/24');
      const port = freshPort();
      const near = prepared(port, 0, join(folder, 'server1'), { allow: '10.77.0.0/24' });
      try {
        await near.start();
        for (let i = 0; i < 3; i += 1) expect(await networks.dial(1, '10.88.0.2', networks.hosts[0], port)).toBe('');
        expect(await refusedNodes(near)).toBe(3);
        expect(near.logged(/a connection was not taken/)).toEqual([expect.stringContaining('10.88.0.2')]);
        expect(await toldRefused(near)).toEqual({ clients: 0, nodes: 3, sessions: 0 });
      } finally {
        await near.kill();
      }
    });
  });
});
