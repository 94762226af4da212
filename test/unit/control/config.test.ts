import { describe, expect, it } from 'vitest';
import { ConfigError } from '../../../src/control/config-error.ts';
import { loadConfig, parseConfig } from '../../../src/control/config.ts';
import { writeAll } from '../../../src/io/atomic-file.ts';
import { DEFAULT_SETTINGS } from '../../../src/mirror/settings.ts';
import { Errno } from '../../../src/io/types.ts';
import { MemoryFiles } from '../../support/memory-files.ts';

const parse = (text: string) => parseConfig(text, '/r/etc/netraid.yaml');
const least = 'version: 1\ncluster: c\nnode: server1\n';

async function filesWith(content: Record<string, string | Uint8Array>): Promise<MemoryFiles> {
  const files = new MemoryFiles();
  for (const [path, text] of Object.entries(content)) {
    const file = await files.open(path, { write: true, create: true });
    await writeAll(file, path, typeof text === 'string' ? new TextEncoder().encode(text) : text);
    await file.close();
  }
  return files;
}

describe('the configuration', () => {
  it('needs version, cluster and node, and has a default for all else', () => {
    expect(parse(least)).toEqual({
      cluster: 'c',
      node: 'server1',
      listen: null,
      peers: {},
      allow: null,
      exportListen: [],
      exportRules: { allow: null, mirrors: {} },
      exportLimits: { connectionsMax: 256, connectionsPerAddressMax: 64, idleMs: 0 },
      tls: 'auto',
      exportTlsMode: 'off',
      failureTimeoutMs: 2000,
      connectionsPerTarget: 4,
      checksums: true,
      resyncsMax: 1,
      hookTimeoutMs: 60_000,
      localErrors: 'leave',
      skipEqual: false,
      keepDirtyMax: null,
      keepDirtyMs: 600_000,
      dirtyMax: null,
      asyncQueueMaxBytes: 64 * 2 ** 20,
      payloadMaxBytes: 32 * 2 ** 20,
      resyncCopyBytes: 256 * 1024,
      resyncCopiesMax: 8,
    });
  });

  it('takes a mirror for what it is called, also one that looks like a number', () => {
    const c = parse(`${least}exports:\n  mirrors:\n    01: { readOnly: true }\n    1.10: { allow: 10.0.0.0/8 }\n`);
    expect(c.exportRules.mirrors).toEqual({
      '01': { allow: null, clients: null, readOnly: true },
      '1.10': { allow: ['10.0.0.0/8'], clients: null, readOnly: false },
    });
  });

  it('takes limits of clients, and off for what has none', () => {
    const limits = (text: string) => parse(`${least}exports:\n${text}`).exportLimits;
    expect(limits('  connections: 2048\n  connectionsPerAddress: 1\n  idleTimeout: 1h\n')).toEqual({
      connectionsMax: 2048,
      connectionsPerAddressMax: 1,
      idleMs: 3_600_000,
    });
    expect(limits('  idleTimeout: off\n').idleMs).toBe(0);
  });

  it('says everything', () => {
    const c = parse(`# this node
version: 1
cluster: lab
node: server1
listen: 0.0.0.0:7800
peers:
  server2: [10.0.0.2:7800, "[fe80::2%eth1]:7800"]
  server3: server3.example.org:7800
exports:
  listen: 127.0.0.1:10809
failureTimeout: 500ms
connectionsPerTarget: 2
checksums: false
resyncsMax: 3
hookTimeout: 90s
localErrors: pass-on
skipEqual: true
keepDirtyMax: 10
keepDirtyFor: 2h
dirtyMax: 20
asyncQueueMax: 1GiB
payloadMax: 1048576
resyncCopy: 1MiB
resyncCopiesMax: 1
`);
    expect(c.listen).toEqual({ kind: 'tcp', host: '0.0.0.0', port: 7800 });
    expect(c.peers).toEqual({
      server2: [
        { kind: 'tcp', host: '10.0.0.2', port: 7800 },
        { kind: 'tcp', host: 'fe80::2%eth1', port: 7800 },
      ],
      server3: [{ kind: 'tcp', host: 'server3.example.org', port: 7800 }],
    });
    expect(c.exportListen).toEqual([{ kind: 'tcp', host: '127.0.0.1', port: 10809 }]);
    expect([c.failureTimeoutMs, c.connectionsPerTarget, c.checksums, c.resyncsMax, c.localErrors, c.skipEqual]).toEqual([
      500,
      2,
      false,
      3,
      'pass-on',
      true,
    ]);
    expect(c.hookTimeoutMs).toBe(90_000);
    expect(c.keepDirtyMs).toBe(7_200_000);
    expect([c.keepDirtyMax, c.dirtyMax, c.asyncQueueMaxBytes, c.payloadMaxBytes, c.resyncCopyBytes, c.resyncCopiesMax]).toEqual([
      10,
      20,
      2 ** 30,
      2 ** 20,
      2 ** 20,
      1,
    ]);
  });

  it.each([
    ['', 1, '', 'must be fields with values'],
    ['- a\n', 1, '', 'must be fields with values'],
    ['version: 1\ncluster: c\n', 1, 'node', 'is missing; allowed: 1 to 64 letters'],
    ['cluster: c\nnode: n\n', 1, 'version', 'is missing; allowed: 1'],
    ['version: 2\nfuture: yes\n', 1, 'version', '2 was written for a newer NetRAID; this one reads version 1'],
    ['version: "1"\ncluster: c\nnode: n\n', 1, 'version', '"1" is not allowed; allowed: 1'],
    [`${least}node: server2\n`, 4, '', 'unique'],
    [`${least}a: [1\n`, 5, '', ''],
    [`${least}\nfailuretimeout: 2s\n`, 5, 'failuretimeout', 'is not known; allowed: version, cluster, node, listen'],
    ['version: 1\ncluster: c\nnode: ../x\n', 3, 'node', '"../x" is not allowed'],
    ['version: 1\ncluster: c\nnode: 7\n', 3, 'node', '7 is not allowed'],
    [`${least}listen: 7800\n`, 4, 'listen', '7800 is not allowed; allowed: HOST:PORT'],
    [`${least}listen: h:65536\n`, 4, 'listen', '"h:65536" is not allowed'],
    [`${least}listen: [::1]:7800\n`, 4, '', ''],
    [`${least}listen: h:1\npeers:\n  server2: h:1\n  server3: [h:1, h]\n`, 7, 'peers.server3', '["h:1","h"] is not allowed; allowed: HOST:PORT'],
    [`${least}listen: h:1\npeers:\n  server2: []\n`, 6, 'peers.server2', '[] is not allowed'],
    [`${least}listen: h:1\npeers:\n  server1: h:1\n`, 6, 'peers.server1', 'is this node itself'],
    [`${least}listen: h:1\npeers:\n  "a b": h:1\n`, 6, 'peers.a b', "not a node's name"],
    [`${least}listen: h:1\npeers: server2\n`, 5, 'peers', 'must be fields with values'],
    [`${least}peers:\n  server2: h:1\n`, 4, 'listen', 'with peers, listen is needed too'],
    [
      `${least}exports:\n  listn: h:1\n`,
      5,
      'exports.listn',
      'is not known; allowed: listen, allow, tls, connections, connectionsPerAddress, idleTimeout, mirrors',
    ],
    [
      `${least}failureTimeout: 50ms\n`,
      4,
      'failureTimeout',
      '"50ms" is not allowed; allowed: a number with ms, s, m or h, such as 500ms or 2s, from 100ms to 1h; 2s when',
    ],
    [`${least}failureTimeout: 2\n`, 4, 'failureTimeout', '2 is not allowed'],
    [
      `${least}hookTimeout: 3m\n`,
      4,
      'hookTimeout',
      '"3m" is not allowed; allowed: a number with ms, s, m or h, such as 500ms or 2s, from 1s to 2m; 1m when it is left out',
    ],
    [`${least}resyncsMax: 0\n`, 4, 'resyncsMax', '0 is not allowed; allowed: a whole number from 1 to 7; 1 when it is left out'],
    [`${least}localErrors: ignore\n`, 4, 'localErrors', '"ignore" is not allowed; allowed: leave or pass-on'],
    [`${least}skipEqual: yes\n`, 4, 'skipEqual', '"yes" is not allowed; allowed: true or false'],
    [`${least}skipEqual:\n`, 4, 'skipEqual', 'null is not allowed'],
    [`${least}payloadMax: 33MiB\n`, 4, 'payloadMax', 'from 1 MiB to 32 MiB; 32 MiB when it is left out'],
    [`${least}keepDirtyMax: 9\ndirtyMax: 8\n`, 4, 'keepDirtyMax', '9 is above dirtyMax, which is 8'],
    [
      `${least}dirtyMax: 0\n`,
      4,
      'dirtyMax',
      '0 is not allowed; allowed: a whole number from 1 to 10000000; as many regions as hold 4 GiB when it is left out',
    ],
    [`${least}allow: 10.0.0.0/33\n`, 4, 'allow', '"10.0.0.0/33" is not allowed; allowed: ADDRESS or ADDRESS/BITS, such as 10.0.0.0/24'],
    [`${least}allow: []\n`, 4, 'allow', '[] is not allowed'],
    [
      `${least}exports:\n  connections: 0\n`,
      5,
      'exports.connections',
      '0 is not allowed; allowed: a whole number from 1 to 2048; 256 when it is left out',
    ],
    [`${least}exports:\n  connectionsPerAddress: 4096\n`, 5, 'exports.connectionsPerAddress', 'from 1 to 2048; 64 when it is left out'],
    [`${least}exports:\n  idleTimeout: never\n`, 5, 'exports.idleTimeout', 'allowed: off, or '],
    [`${least}exports:\n  allow: [10.0.0.0/8, server2]\n`, 5, 'exports.allow', '["10.0.0.0/8","server2"] is not allowed'],
    [
      `${least}exports:\n  mirrors:\n    data:\n      readonly: true\n`,
      7,
      'exports.mirrors.data.readonly',
      'is not known; allowed: allow, clients, readOnly',
    ],
    [`${least}exports:\n  mirrors:\n    data: { readOnly: 1 }\n`, 6, 'exports.mirrors.data.readOnly', '1 is not allowed; allowed: true or false'],
    [`${least}exports:\n  mirrors:\n    ../x: {}\n`, 6, 'exports.mirrors.../x', "not a mirror's tag"],
    [
      `${least}listen: 10.0.0.1:1\nallow: 10.0.0.0/24\npeers:\n  server2: [10.0.0.2:1, 10.0.1.2:1]\n`,
      5,
      'allow',
      'has no range with 10.0.1.2, which is server2',
    ],
    [`${least}localErrors: &x leave\nskipEqual: *x\n`, 5, '', '*x is an alias'],
  ])('refuses %j', (text, line, field, what) => {
    let thrown: unknown;
    try {
      parse(text);
    } catch (e: unknown) {
      thrown = e;
    }
    expect(thrown).toBeInstanceOf(ConfigError);
    if (!(thrown instanceof ConfigError)) return;
    expect([thrown.line, thrown.field]).toEqual([line, field]);
    expect(thrown.message).toContain(what);
    expect(thrown.message).toContain(`/r/etc/netraid.yaml:${String(line)}: `);
    expect(thrown.message).not.toContain('\n');
  });
});

describe('loading the configuration', () => {
  it('puts file, tunables and environment together into what the daemon takes', async () => {
    const files = await filesWith({
      '/r/etc/netraid.yaml': `${least}localErrors: pass-on\nskipEqual: true\nkeepDirtyMax: 5\nresyncsMax: 2\n`,
      '/r/etc/default/LifeKeeper': 'LKDR_ASYNC_LIMIT=9\nLKDR_SPEED_LIMIT=30000\n',
    });
    const { settings, nodeTunables, tunables } = await loadConfig(files, '/r', { LKDR_SPEED_LIMIT: '40000', LKDR_NO_FULL_SYNC: '1' });
    expect(settings).toEqual({
      ...DEFAULT_SETTINGS,
      localErrors: 'pass-on',
      async: { ...DEFAULT_SETTINGS.async, writesMax: 9 },
      intent: { ...DEFAULT_SETTINGS.intent, keepMax: 5 },
      resync: { ...DEFAULT_SETTINGS.resync, skipEqual: true, rateMaxBytesPerSec: 40_000 * 1024 },
    });
    expect(nodeTunables).toEqual({
      connectionsPerTarget: 4,
      resyncsMax: 2,
      noFullSync: true,
      waitToResync: false,
      connectBeforeServing: true,
      checksums: true,
    });
    expect(tunables.regionBytes).toBeNull();
  });

  it('has the settings of the mirror themselves where nothing is said', async () => {
    const { settings } = await loadConfig(await filesWith({ '/r/etc/netraid.yaml': least }), '/r', {});
    expect(settings).toEqual(DEFAULT_SETTINGS);
  });

  it('takes the file that it is told to', async () => {
    const { config } = await loadConfig(await filesWith({ '/else.yaml': least }), '/r', {}, '/else.yaml');
    expect(config.node).toBe('server1');
  });

  it('says what to write when there is no file', async () => {
    await expect(loadConfig(new MemoryFiles(), '/r', {})).rejects.toThrow(
      '/r/etc/netraid.yaml: there is no configuration; write one with at least version: 1',
    );
  });

  it('names a file that is no text, or can not be read', async () => {
    await expect(loadConfig(await filesWith({ '/r/etc/netraid.yaml': Uint8Array.of(0xff, 0xfe) }), '/r', {})).rejects.toThrow(
      '/r/etc/netraid.yaml: is not UTF-8 text',
    );
    const files = await filesWith({ '/r/etc/netraid.yaml': least });
    files.fault = (operation) => (operation === 'open' || operation === 'read' ? { errno: Errno.EIO } : undefined);
    await expect(loadConfig(files, '/r', {})).rejects.toThrow("/r/etc/netraid.yaml: can't be read: ");
  });
});
