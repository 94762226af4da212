import { describe, expect, it } from 'vitest';
import { DaemonUnreachableError } from '../../../../src/control/http-client.ts';
import type { Actions } from '../../../../src/control/types.ts';
import { FakeDaemon, mirror, resyncing, run, target } from '../fake-daemon.ts';

const info = (): Actions['info']['result'] => ({
  node: 'server1',
  cluster: 'lab',
  version: '0.1.0',
  peers: {
    server2: {
      reachable: true,
      links: [
        { path: '10.0.0.2:7788', tls: true },
        { path: 'from 10.0.0.2:41000', tls: false },
      ],
    },
    server3: { reachable: false, links: [] },
  },
  mirrors: ['a', 'b'],
  broken: [],
  refused: { clients: 0, nodes: 0, sessions: 0 },
  tls: null,
});

const golden = `[-] server1 -> server2
    Status: Resynchronizing
      [=====>          ]  38% (1.2 GiB of 3.1 GiB), 00:00:12 left
    Resync Speed: 161793K/sec
    Type: Synchronous
    Bitmap: 16384 bits (chunks), 9921 dirty (60.6%)`;

describe('mirror_status and netraid status TAG', () => {
  it.each(['mirror_status', 'netraid status'])('%s shows the same', async (command) => {
    const d = new FakeDaemon({ status: () => mirror({ targets: [resyncing] }) });
    const { code, out } = await run(`${command} datarep-ext3`, d);
    expect([code, out.slice(0, 6).join('\n')]).toEqual([0, golden]);
    expect(d.calls).toEqual([['status', { tag: 'datarep-ext3' }]]);
  });

  it('answer JSON with everything', async () => {
    const s = mirror({ targets: [resyncing] });
    const { out } = await run('mirror_status datarep-ext3 --json', new FakeDaemon({ status: () => s }));
    expect(JSON.parse(out.join('\n'))).toEqual(s);
  });

  it('--watch draws over itself on a terminal, until the daemon ends', async () => {
    let looks = 0;
    const d = new FakeDaemon({
      status: () => {
        looks += 1;
        if (looks > 3) throw new DaemonUnreachableError('gone');
        return mirror({ targets: [looks === 1 ? resyncing : target('server2')] });
      },
    });
    const { code, out, errors, terminal } = await run('mirror_status datarep-ext3 --watch', d, { isTTY: true });
    expect([code, out, errors]).toEqual([3, [], ['mirror_status: gone']]);
    expect(terminal.drawn).toHaveLength(4);
    expect(terminal.drawn[0]?.slice(0, 6).join('\n')).toBe(golden);
  });

  it('--watch says elsewhere only what has changed', async () => {
    let looks = 0;
    const list = () => {
      looks += 1;
      if (looks > 4) throw new DaemonUnreachableError('gone');
      return [mirror({ targets: looks < 3 ? [resyncing] : [target('server2')] })];
    };
    const { out } = await run('netraid status --watch --json', new FakeDaemon({ list, info }));
    expect(out).toHaveLength(2);
    expect(JSON.parse(out[1] ?? '')).toEqual([mirror()]);
  });

  it.each(['mirror_status', 'mirror_status a/b', 'mirror_status a b', 'netraid status a b', 'netraid status a --watch=1'])(
    'refuses %s',
    async (words) => {
      const d = new FakeDaemon();
      const { code, errors } = await run(words, d);
      expect([code, errors.length, d.calls]).toEqual([2, 1, []]);
    },
  );

  it('--watch does not draw JSON', async () => {
    expect((await run('netraid status --watch --json', new FakeDaemon(), { isTTY: true })).code).toBe(2);
  });
});

describe('netraid status and info', () => {
  it('show all mirrors, or that there are none', async () => {
    const d = new FakeDaemon({ list: () => [mirror()], info });
    expect((await run('netraid status', d)).out[1]).toBe('datarep-ext3  Source  yes         server1  1 GiB  server2: Target');
    d.handlers.list = () => [];
    expect((await run('netraid status', d)).out).toEqual(['no mirrors on this node']);
  });

  it('show a mirror whose state can not be used, and why (M13)', async () => {
    const broken = [{ tag: 'old', why: 'the state record is damaged:\nx', maybeSound: false }];
    const d = new FakeDaemon({ list: () => [mirror()], info: () => ({ ...info(), broken }) });
    expect((await run('netraid status', d)).out.slice(2)).toEqual([
      'old           Broken  no          unknown  -      -',
      'old: the state record is damaged: x',
    ]);
    const json: unknown = JSON.parse((await run('netraid status --json', d)).out.join('\n'));
    expect(json).toEqual([
      mirror(),
      { tag: 'old', node: 'server1', state: 'Broken', inService: false, why: 'the state record is damaged:\nx', maybeSound: false },
    ]);
    d.handlers.list = () => [];
    expect((await run('netraid status', d)).out).toHaveLength(3);
    expect((await run('netraid info', d)).out).toContain('Broken: old; netraid status says why');
  });

  it('show the node and who can be reached', async () => {
    const d = new FakeDaemon({ info });
    expect((await run('netraid info --root /r', d)).out).toEqual([
      'Node: server1',
      'Cluster: lab',
      'Version: 0.1.0',
      'Root: /r',
      'Mirrors: a, b',
      'TLS: none',
      'Peers:',
      '  NODE     STATE      CONNECTIONS',
      '  server2  reachable  10.0.0.2:7788 TLS, from 10.0.0.2:41000 in clear',
      '  server3  silent',
    ]);
  });

  it('say what is secured, and until when', async () => {
    const d = new FakeDaemon({
      info: () => ({
        ...info(),
        tls: {
          nodes: 'beyond-loopback' as const,
          clients: 'required' as const,
          by: ['certificate' as const],
          expires: '2027-02-03T00:00:00.000Z',
          kernel: true,
        },
      }),
    });
    expect((await run('netraid info', d)).out).toContain(
      'TLS: between nodes (but for loopback), by the kernel, for clients; the certificate of this node ends on 2027-02-03',
    );
    expect((await run('netraid info', new FakeDaemon({ info: () => info() }))).out).toContain('TLS: none');
  });

  it('say how many connections were not taken, when some were not', async () => {
    const d = new FakeDaemon({ info: () => ({ ...info(), refused: { clients: 3, nodes: 1, sessions: 2 } }) });
    expect((await run('netraid info', d)).out).toContain(
      'Refused for their address, for who they are or for want of proof: 3 connections of clients, 1 of nodes; of sources whose time is over: 2 sessions; the log of the daemon says which',
    );
  });
});
