/**
 * Clients with certificates of openssl and keys, each from an address of its own, on real daemons in both engines: what passes, who is
 * refused and with which words, and what changes while the daemon runs.
 */
import { randomBytes } from 'node:crypto';
import { copyFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { CertificateMaker, writeKeys } from '../support/certificates.ts';
import { Daemons, freePort } from '../support/daemons.ts';
import { FlippingRelay } from '../support/flipping-relay.ts';
import { findProgram, nbdsh, type Ran, run, runOk, temporaryFolder, testWith } from '../support/programs.ts';

const MIB = 1024 * 1024;
const SIZE = 32 * MIB;
const NODES = ['server1', 'server2'];
const KEYS = { alice: 'a1'.repeat(32), mallory: 'b2'.repeat(32) };

const lacking = findProgram('openssl') === undefined;
if (lacking) process.stderr.write('\nWARNING: SKIPPED test/interop/tls-clients.test.ts: not installed here: openssl\n\n');

describe.skipIf(lacking).each(['native', 'portable'])(`clients by TLS, in the %s engine${lacking ? ' (lacks openssl)' : ''}`, (engine) => {
  const folder = temporaryFolder();
  const relay = new FlippingRelay();
  const at = (name: string): string => join(folder, name);
  let ca: CertificateMaker;
  let all: Daemons;
  let port: number;
  let data: Buffer;

  const x509 = (name: string, to = port): string => `nbds://localhost:${String(to)}/t?tls-certificates=${at(name)}`;
  const psk = (user: string, file: string, to = port): string => `nbds://${user}@localhost:${String(to)}/t?tls-psk-file=${at(file)}`;

  beforeAll(async () => {
    ca = await CertificateMaker.make(at('ca'));
    // Of the same name, or a client would not show what it has of it.
    const other = await CertificateMaker.make(at('other'), 'ca');
    port = await freePort();
    for (const name of ['backup', 'gone', 'stranger']) await ca.client(at(name), name);
    await ca.client(at('late'), 'backup', { expired: true });
    await other.client(at('foreign'), 'backup');
    mkdirSync(at('bare'));
    // All of them trust our server: it is for the server to say no.
    for (const d of ['foreign', 'bare']) copyFileSync(ca.caCert, join(at(d), 'ca-cert.pem'));
    await ca.revoke(join(at('gone'), 'client-cert.pem'));
    mkdirSync(at('keys'));
    writeKeys(at('keys/keys.psk'), KEYS);
    writeKeys(at('keys/wrong.psk'), { alice: KEYS.mallory });
    const mirrors = { t: { clients: ['backup', 'alice'] } };
    const exports = { listen: `127.0.0.1:${String(port)}`, tls: 'required', allow: '127.0.0.0/27', mirrors };
    all = await Daemons.start({
      nodes: NODES,
      env: Object.fromEntries(NODES.map((n) => [n, { NETRAID_ENGINE: engine }])),
      config: { server1: { tls: 'required', exports }, server2: { tls: 'required' } },
      prepare: async (node, root) => {
        await ca.node(join(root, 'etc/tls'), node);
        await ca.crl(join(root, 'etc/tls'));
        if (node === 'server1') writeKeys(join(root, 'etc/tls/psk'), KEYS);
      },
    });
    const legs = { server1: all.path('leg1'), server2: all.path('leg2') };
    await all.createMirror({ tag: 't', sizeBytes: SIZE, legs });
    data = randomBytes(SIZE);
    writeFileSync(at('image'), data);
  });

  afterAll(async () => {
    await relay.close();
    await all.close();
  });

  const has = (path: string, what = data): boolean => what.equals(readFileSync(path));
  const refused = async (): Promise<number> => {
    const r = await all.node('server1').cli('netraid', ['info', '--json']);
    return (JSON.parse(r.stdout) as { refused: { clients: number } }).refused.clients;
  };

  testWith(['nbdcopy'], 'copy there by certificate and back by key, over four connections; both legs are what was copied', async () => {
    const options = ['--connections=4', '--requests=64'];
    await runOk('nbdcopy', [...options, '--flush', at('image'), x509('backup')]);
    expect([has(all.path('leg1')), has(all.path('leg2'))]).toEqual([true, true]);
    await runOk('nbdcopy', [...options, psk('alice', 'keys/keys.psk'), at('out')]);
    expect(has(at('out'))).toBe(true);
    expect(all.node('server1').logged(/has left the mirror/)).toEqual([]);
  });

  testWith(['qemu-img'], 'qemu-img writes and reads, by certificate and by key', async () => {
    const drive = `driver=nbd,host=localhost,port=${String(port)},export=t,tls-creds=c`;
    const creds = [`tls-creds-x509,id=c,endpoint=client,dir=${at('backup')}`, `tls-creds-psk,id=c,endpoint=client,username=alice,dir=${at('keys')}`];
    for (const [i, object] of creds.entries()) {
      const image = Buffer.alloc(SIZE);
      randomBytes(4 * MIB).copy(image, (i + 1) * 8 * MIB);
      writeFileSync(at('qemu'), image);
      await runOk('qemu-img', ['convert', '--object', object, '-n', '-f', 'raw', '--target-image-opts', at('qemu'), drive]);
      await runOk('qemu-img', ['convert', '--object', object, '--image-opts', drive, '-O', 'raw', at('qemu-out')]);
      expect([has(at('qemu-out'), image), has(all.path('leg2'), image)], object).toEqual([true, true]);
    }
  });

  testWith(['nbdinfo'], 'nbdinfo reads size and flags, by certificate and by key', async () => {
    for (const uri of [x509('backup'), psk('alice', 'keys/keys.psk')]) {
      const told = JSON.parse(await runOk('nbdinfo', ['--json', uri])) as { TLS: boolean; exports: Record<string, unknown>[] };
      expect(told.TLS, uri).toBe(true);
      expect(told.exports[0], uri).toMatchObject({ 'export-size': SIZE, can_multi_conn: true, can_fua: true, is_read_only: false });
    }
  });

  testWith(['nbd-client'], 'nbd-client lists the mirror by certificate, and nothing without', async () => {
    const list = (...more: string[]): Promise<Ran> => run('nbd-client', ['-l', 'localhost', String(port), ...more]);
    const file = (f: string): string => join(at('backup'), f);
    const shown = await list('-cacertfile', file('ca-cert.pem'), '-certfile', file('client-cert.pem'), '-keyfile', file('client-key.pem'));
    expect(shown.stdout + shown.stderr).toContain('t: NetRAID mirror t');
    const bare = await list();
    expect(bare.stdout + bare.stderr).not.toContain('NetRAID mirror');
  });

  testWith(['nbdinfo'], 'who may not is refused, with the reason, logged once and counted each time', async () => {
    const cases: [string, (to: number) => string, RegExp][] = [
      ['127.0.0.10', (to) => x509('late', to), /its certificate has expired/],
      ['127.0.0.11', (to) => x509('gone', to), /its certificate has been revoked/],
      ['127.0.0.12', (to) => x509('foreign', to), /its certificate was not issued by our CA/],
      ['127.0.0.13', (to) => x509('bare', to), /it showed no certificate/],
      ['127.0.0.14', (to) => x509('stranger', to), /it is not for that client/],
      ['127.0.0.15', (to) => psk('mallory', 'keys/keys.psk', to), /it is not for that client/],
      // Hung up on before it names an export.
      ['127.0.0.32', (to) => x509('backup', to), /exportName="" why="it is not for that client"/],
    ];
    const before = await refused();
    for (const [from, uri, why] of cases) {
      const to = await relay.open(port, from);
      for (let i = 0; i < 2; i += 1) expect((await run('nbdinfo', [uri(to)])).code, from).not.toBe(0);
      // What a client meets may be on its way before the line is.
      const lines = (): string[] => all.node('server1').logged(new RegExp(`${from.replaceAll('.', '\\.')}[":]`));
      await all.until(`${from} is logged`, () => Promise.resolve(lines().length > 0));
      expect(lines(), from).toEqual([expect.stringMatching(why)]);
    }
    await all.until('all are counted', async () => (await refused()) === before + 2 * cases.length);
    const to = await relay.open(port, '127.0.0.16');
    const plain = await run('nbdinfo', [`nbd://localhost:${String(to)}/t`]);
    expect([plain.code === 0, plain.stdout.includes('export='), /TLS|not supported/.test(plain.stderr)], plain.stderr).toEqual([false, false, true]);
    expect((await run('nbdinfo', [psk('alice', 'keys/wrong.psk', to)])).code).not.toBe(0);
    const wrongKey = (): string[] => all.node('server1').logged(/127\.0\.0\.16.*the user is not known, or the key is another/);
    await all.until('the wrong key is logged', () => Promise.resolve(wrongKey().length === 1));
    // The others have not suffered.
    expect(await runOk('nbdinfo', ['--size', x509('backup', to)])).toBe(`${String(SIZE)}\n`);
  });

  testWith(['nbdsh', 'nbdinfo'], 'renewed and revoked while the daemon runs: who comes next meets it, who is there goes on', async () => {
    const tls = join(all.node('server1').root, 'etc/tls');
    const go = at('go');
    const script = `
import os, time
h.set_uri_allow_local_file(True)
h.connect_uri(os.environ["URI"])
h.pwrite(b"before".ljust(512), 0)
open(os.environ["GO"] + ".there", "w").close()
while not os.path.exists(os.environ["GO"]): time.sleep(0.01)
h.pwrite(b"after!".ljust(512), 512)
h.flush()
print(h.pread(512, 0)[:6].decode(), h.pread(512, 512)[:6].decode())
h.shutdown()
`;
    const staying = nbdsh(x509('backup'), script.replaceAll('os.environ["GO"]', JSON.stringify(go)));
    let early = '';
    staying.catch((e: unknown) => {
      early = String(e);
    });
    await expect.poll(() => existsSync(`${go}.there`) || early !== '', { timeout: 20_000 }).toBe(true);
    expect(early).toBe('');
    await ca.node(tls, 'server1', { extensions: ['subjectAltName = DNS:localhost', 'extendedKeyUsage = serverAuth,clientAuth'] });
    await ca.revoke(join(at('backup'), 'client-cert.pem'));
    await ca.crl(tls);
    // It looks again when somebody comes, a second after it last did.
    await expect.poll(async () => (await run('nbdinfo', [x509('backup')])).code, { timeout: 20_000, interval: 200 }).not.toBe(0);
    expect(all.node('server1').logged(/new certificates or keys are in use/).length).toBeGreaterThan(0);
    writeFileSync(go, '');
    expect((await staying).trim()).toBe('before after!');
    await ca.client(at('backup2'), 'backup');
    expect(await runOk('nbdinfo', ['--size', x509('backup2')])).toBe(`${String(SIZE)}\n`);
    expect(all.node('server1').logged(/has left the mirror/)).toEqual([]);
    expect(await all.verify('server1', 't')).toMatchObject({ differingBytes: 0 });
  });
});
