/** TLS by Node, with certificates that openssl made, and with peers that are not ours. */
import { appendFileSync, copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect as connectRaw } from 'node:net';
import { join } from 'node:path';
import { type ConnectionOptions, connect as connectTls, createServer as createTlsServer, type Server, type TLSSocket } from 'node:tls';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Log } from '../../../src/io/log.ts';
import { nodeClock } from '../../../src/io/node/clock.ts';
import { nodeFiles } from '../../../src/io/node/files.ts';
import { nodeNet } from '../../../src/io/node/net.ts';
import { NodeTls } from '../../../src/io/node/tls.ts';
import type { SecureSocket } from '../../../src/io/tls.ts';
import { type Address, type Clock, Errno, type IoSocket, type Listener } from '../../../src/io/types.ts';
import { CertificateMaker, writeKeys } from '../../support/certificates.ts';
import { findProgram, temporaryFolder } from '../../support/programs.ts';

const NONE = new Uint8Array(0);
const MIB = 1024 * 1024;
const SOON_MS = 5000;
const KEY = '0123456789abcdef'.repeat(4);

const lacking = findProgram('openssl') === undefined;
if (lacking) process.stderr.write('\nWARNING: SKIPPED test/unit/io/node-tls.test.ts: not installed here: openssl\n\n');

/** Stands until it is moved; its timers are the machine's. */
class SetClock implements Clock {
  ms = 0;
  now(): number {
    return this.ms;
  }
  wallNow(): number {
    return nodeClock.wallNow();
  }
  after(ms: number, f: () => void): { cancel(): void } {
    return nodeClock.after(ms, f);
  }
  soon(f: () => void): void {
    nodeClock.soon(f);
  }
}

describe.skipIf(lacking)('TLS by Node', () => {
  const folder = temporaryFolder();
  const at = (name: string): string => join(folder, name);
  let ca: CertificateMaker;
  let other: CertificateMaker;
  const ends: (() => Promise<void> | void)[] = [];
  let logged: string[] = [];
  const log: Log = {
    info: (m) => logged.push(`info ${m}`),
    warn: (m) => logged.push(`warn ${m}`),
    error: (m, f) => logged.push(`error ${m}: ${String(f?.['why'])}`),
  };

  beforeAll(async () => {
    ca = await CertificateMaker.make(at('ca'));
    // Of the same name, as a CA that was set up anew.
    other = await CertificateMaker.make(at('other'), 'ca');
    for (const name of ['server1', 'server2', 'gone']) await ca.node(at(name), name);
    await ca.client(at('backup'), 'backup');
  });

  afterEach(async () => {
    for (const end of ends.splice(0).reverse()) await end();
    logged = [];
  });

  const opened = (dir: string, node: string, clock: Clock = nodeClock): Promise<NodeTls> =>
    NodeTls.open({ files: nodeFiles, folder: dir, node, clock, log });

  /** A copy of a folder, to be spoilt. */
  function copied(name: string): string {
    const dir = at(`${name}-${String(Math.random()).slice(2)}`);
    mkdirSync(dir);
    for (const f of ['ca-cert.pem', 'node-cert.pem', 'node-key.pem']) copyFileSync(join(at(name), f), join(dir, f));
    return dir;
  }

  /** Listens on loopback; the next connection is answered. */
  async function listening(): Promise<{ port: number; address: Address; next: Promise<IoSocket> }> {
    let came: (s: IoSocket) => void = () => undefined;
    const next = new Promise<IoSocket>((resolve) => {
      came = resolve;
    });
    const l: Listener = await nodeNet.listen({ kind: 'tcp', host: '127.0.0.1', port: 0 }, (s) => {
      came(s);
    });
    ends.push(() => l.close());
    if (l.address.kind !== 'tcp') throw new Error('no port');
    return { port: l.address.port, address: l.address, next };
  }

  async function agreed(client: NodeTls, server: NodeTls): Promise<{ client: SecureSocket; server: SecureSocket }> {
    const l = await listening();
    const near = await nodeNet.connect(l.address, SOON_MS);
    const [c, s] = await Promise.all([client.connect(near, 'server1', SOON_MS), server.accept(await l.next, NONE, SOON_MS, 'node')]);
    for (const x of [c, s])
      ends.push(() => {
        x.destroy();
      });
    return { client: c, server: s };
  }

  /** What the server makes of a client that is not ours. */
  async function judged(server: NodeTls, o: ConnectionOptions): Promise<SecureSocket> {
    const l = await listening();
    const client = connectTls({ port: l.port, host: '127.0.0.1', rejectUnauthorized: false, checkServerIdentity: () => undefined, ...o });
    client.on('error', () => client.destroy());
    ends.push(() => {
      client.destroy();
    });
    const s = await server.accept(await l.next, NONE, SOON_MS, 'node');
    ends.push(() => {
      s.destroy();
    });
    return s;
  }

  const identity = (dir: string, kind = 'node'): Pick<ConnectionOptions, 'cert' | 'key'> => ({
    cert: readFileSync(join(dir, `${kind}-cert.pem`)),
    key: readFileSync(join(dir, `${kind}-key.pem`)),
  });

  /** What our client makes of a server that is not ours. */
  async function served(client: NodeTls, dir: string): Promise<unknown> {
    const server: Server = createTlsServer({ ...identity(dir), requestCert: true, rejectUnauthorized: false }, (s: TLSSocket) => {
      s.on('error', () => s.destroy());
    });
    server.on('tlsClientError', () => undefined);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    ends.push(() => {
      server.close();
    });
    const a = server.address();
    if (a === null || typeof a === 'string') throw new Error('no port');
    const near = await nodeNet.connect({ kind: 'tcp', host: '127.0.0.1', port: a.port }, SOON_MS);
    return await client.connect(near, 'server1', SOON_MS).then(
      (s) => {
        s.destroy();
        return s.peer;
      },
      (e: unknown) => e,
    );
  }

  it('carries much both ways at once, to ends that read when they can, and remembers who is who', async () => {
    const { client, server } = await agreed(await opened(at('server2'), 'server2'), await opened(at('server1'), 'server1'));
    expect([server.peer?.names, client.peer?.names]).toEqual([
      ['server2', 'localhost'],
      ['server1', 'localhost'],
    ]);
    const pieces = 64;
    const piece = (i: number, seed: number): Buffer => Buffer.alloc(128 * 1024, (i * 31 + seed) & 255);
    const got = await Promise.all(
      ([client, server] as const).map(
        (s, seed) =>
          new Promise<Buffer>((resolve) => {
            const chunks: Buffer[] = [];
            let turns = 0;
            s.start({
              onData: (b) => {
                chunks.push(Buffer.from(b));
                turns += 1;
                if (turns % 8 !== 0) return;
                s.pause();
                setImmediate(() => {
                  s.resume();
                });
              },
              onClose: () => {
                resolve(Buffer.concat(chunks));
              },
            });
            for (let i = 0; i < pieces; i += 1) s.write(piece(i, seed));
            s.end();
          }),
      ),
    );
    for (const [mine, theirs] of [
      [0, 1],
      [1, 0],
    ] as const) {
      const sent = Buffer.concat(Array.from({ length: pieces }, (_, i) => piece(i, theirs)));
      expect(got[mine]?.length).toBe(sent.length);
      expect(got[mine]?.equals(sent)).toBe(true);
    }
  });

  it('holds what an end that does not read is sent, and says how much', async () => {
    const { client, server } = await agreed(await opened(at('server2'), 'server2'), await opened(at('server1'), 'server1'));
    let heard = 0;
    server.start({
      onData: (b) => {
        heard += b.length;
      },
      onClose: () => undefined,
    });
    server.pause();
    let more = true;
    for (let i = 0; i < 64 && more; i += 1) more = client.write(new Uint8Array(MIB));
    expect(more).toBe(false);
    const sent = new Promise<void>((resolve) => {
      client.write(Uint8Array.of(1), resolve);
    });
    expect(client.unsentBytes()).toBeGreaterThan(0);
    server.resume();
    await sent;
    await expect.poll(() => heard % MIB, { timeout: SOON_MS }).toBe(1);
    expect(client.unsentBytes()).toBe(0);
  });

  describe('a client that is not taken', () => {
    it('showed no certificate, or one that has expired, is not of our CA, or is a server’s alone', async () => {
      const server = await opened(at('server1'), 'server1');
      await ca.node(at('late'), 'server2', { expired: true });
      await other.node(at('foreign'), 'server2');
      await ca.node(at('serves'), 'server2', { extensions: ['extendedKeyUsage = serverAuth'] });
      const cases: [ConnectionOptions, RegExp][] = [
        [{}, /^it showed no certificate$/],
        [identity(at('late')), /^its certificate has expired \(/],
        [identity(at('foreign')), /^its certificate was not issued by our CA$/],
        [identity(at('serves')), /^its certificate is for another use$/],
      ];
      for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
        for (const [o, why] of cases) {
          const s = await judged(server, { ...o, maxVersion });
          expect([s.peer, s.refusal], String(why)).toEqual([null, expect.stringMatching(why)]);
        }
      }
    });

    it('was revoked since we started; a list that is damaged or gone keeps it out, and one that is out of date keeps out all', async () => {
      const dir = copied('server1');
      await ca.crl(dir);
      const clock = new SetClock();
      const server = await opened(dir, 'server1', clock);
      expect((await judged(server, identity(at('gone')))).refusal).toBe('');
      await ca.revoke(join(at('gone'), 'node-cert.pem'));
      await ca.crl(dir);
      expect((await judged(server, identity(at('gone')))).refusal).toBe('');
      const later = async (name: string): Promise<string> => {
        clock.ms += 1000;
        return (await judged(server, identity(at(name)))).refusal;
      };
      expect([await later('gone'), await later('server2')]).toEqual(['its certificate has been revoked', '']);
      writeFileSync(join(dir, 'ca-crl.pem'), '-----BEGIN X509 CRL-----\n');
      expect(await later('gone')).toBe('its certificate has been revoked');
      rmSync(join(dir, 'ca-crl.pem'));
      expect(await later('gone')).toBe('its certificate has been revoked');
      expect(logged.filter((l) => l.startsWith('error')).map((l) => /ca-crl\.pem (can not be used|is gone)/.exec(l)?.[1])).toEqual([
        'can not be used',
        'is gone',
      ]);
      await ca.crl(dir, { expired: true });
      expect(await later('server2')).toBe('our list of revoked certificates, ca-crl.pem, is out of date');
      await ca.crl(dir);
      expect([await later('gone'), await later('server2')]).toEqual(['its certificate has been revoked', '']);
    });

    it('of a version before 1.2, or with an earlier session, comes to nothing', async () => {
      const server = await opened(at('server1'), 'server1');
      await expect(
        judged(server, { ...identity(at('server2')), minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' }),
      ).rejects.toThrow('no version or cipher that both ends take');
      for (const maxVersion of ['TLSv1.2', 'TLSv1.3'] as const) {
        const l = await listening();
        const sessions: Buffer[] = [];
        const first = connectTls({ port: l.port, host: '127.0.0.1', rejectUnauthorized: false, ...identity(at('server2')), maxVersion });
        first.on('session', (session) => sessions.push(session));
        const s = await server.accept(await l.next, NONE, SOON_MS, 'node');
        const byItself = new Promise((resolve) => first.once('close', resolve));
        s.write(Uint8Array.of(1));
        s.end();
        first.resume();
        first.end();
        await byItself;
        const session = sessions.at(-1) ?? first.getSession();
        const again = await judged(server, { ...identity(at('server2')), maxVersion, ...(session === undefined ? {} : { session }) });
        // Whole handshakes, or none: never one that is trusted for what was proved before.
        expect(again.peer?.names ?? again.refusal).toEqual(['server2', 'localhost']);
      }
    });

    it('goes in the middle of its first words', async () => {
      const server = await opened(at('server1'), 'server1');
      const l = await listening();
      const raw = connectRaw(l.port, '127.0.0.1');
      raw.on('error', () => raw.destroy());
      // The head of a handshake record of 512 bytes, of which these come.
      raw.write(Buffer.concat([Buffer.from([0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3]), Buffer.alloc(100, 7)]));
      const accepting = server.accept(await l.next, NONE, SOON_MS, 'node');
      raw.end();
      await expect(accepting).rejects.toMatchObject({ errno: Errno.ECONNRESET });
    });
  });

  describe('a server that is not taken', () => {
    it('has a certificate that has expired, is not of our CA, is a client’s, or is of another node', async () => {
      const client = await opened(at('server2'), 'server2');
      await ca.node(at('stale'), 'server1', { expired: true });
      await other.node(at('strange'), 'server1');
      await ca.node(at('asks'), 'server1', { extensions: ['extendedKeyUsage = clientAuth', 'subjectAltName = DNS:server1'] });
      expect(await served(client, at('server1'))).toMatchObject({ names: ['server1', 'localhost'] });
      for (const [dir, why] of [
        ['stale', 'its certificate has expired'],
        ['strange', 'its certificate was not issued by our CA'],
        ['asks', 'its certificate is for another use'],
        ['gone', 'its certificate is that of gone'],
      ] as const) {
        expect(await served(client, at(dir)), dir).toMatchObject({
          errno: Errno.EACCES,
          message: expect.stringContaining(`TLS to server1: ${why}`) as string,
        });
      }
    });

    it('has our name only within another name', async () => {
      const client = await opened(at('server2'), 'server2');
      const tricks = ['DNS.1 = "a, DNS:server1, DNS:b"', 'URI.1 = "http://a/, DNS:server1, DNS:b"', 'DNS.1 = *', 'DNS.1 = server1.example'];
      for (const [i, trick] of tricks.entries()) {
        const dir = at(`trick${String(i)}`);
        await ca.node(dir, 'mallory', { extensions: ['extendedKeyUsage = serverAuth,clientAuth', 'subjectAltName = @names', '[names]', trick] });
        expect(await served(client, dir), trick).toMatchObject({ message: expect.stringContaining('its certificate is that of mallory') as string });
      }
    });

    it('says nothing, or something else', async () => {
      const client = await opened(at('server2'), 'server2');
      const silent = await listening();
      const near = await nodeNet.connect(silent.address, SOON_MS);
      await expect(client.connect(near, 'server1', 100)).rejects.toMatchObject({ errno: Errno.ETIMEDOUT });
      const l = await listening();
      const nearer = await nodeNet.connect(l.address, SOON_MS);
      (await l.next).write(Buffer.from('NBDMAGIC IHAVEOPT and so on'));
      await expect(client.connect(nearer, 'server1', SOON_MS)).rejects.toThrow('does not speak TLS');
    });
  });

  it('by keys takes its users alone, whatever else they show, and a renewed key at the next connection', async () => {
    const dir = copied('server1');
    writeKeys(join(dir, 'psk'), { alice: KEY, server2: KEY });
    const clock = new SetClock();
    const server = await opened(dir, 'server1', clock);
    const by = (user: string, key: string): ConnectionOptions => ({
      ciphers: 'PSK',
      maxVersion: 'TLSv1.2',
      pskCallback: () => ({ psk: Buffer.from(key, 'hex'), identity: user }),
    });
    expect((await judged(server, by('alice', KEY))).peer).toEqual({ by: 'psk', names: ['alice'], mayServe: true });
    const refused = 'the user is not known, or the key is another';
    await expect(judged(server, by('alice', KEY.replaceAll('a', 'b')))).rejects.toThrow(refused);
    await expect(judged(server, by('nobody', KEY))).rejects.toThrow(refused);
    // Who merely could speak of a user, and takes a suite of certificates alone, has proved nothing.
    const named = await judged(server, { ...by('alice', KEY), ciphers: 'ECDHE-ECDSA-AES128-GCM-SHA256' });
    expect([named.peer, named.refusal]).toEqual([null, 'it showed no certificate']);
    appendFileSync(join(dir, 'psk'), `bob:${KEY}\n`);
    await expect(judged(server, by('bob', KEY))).rejects.toThrow(refused);
    clock.ms += 1000;
    expect((await judged(server, by('bob', KEY))).peer?.names).toEqual(['bob']);
  });

  it('takes certificates of two CAs while one takes over from the other', async () => {
    const dir = copied('server1');
    const next = await CertificateMaker.make(at('next'));
    await next.node(at('new'), 'server2');
    const clock = new SetClock();
    const server = await opened(dir, 'server1', clock);
    expect((await judged(server, identity(at('new')))).refusal).toContain('not issued by our CA');
    writeFileSync(join(dir, 'ca-cert.pem'), readFileSync(ca.caCert, 'utf8') + readFileSync(next.caCert, 'utf8'));
    clock.ms += 1000;
    for (const name of ['new', 'server2']) expect((await judged(server, identity(at(name)))).refusal, name).toBe('');
  });

  it.each<[string, string, string, RegExp]>([
    ['a certificate cut short', 'node-cert.pem', '-----BEGIN CERTIFICATE-----\nMIIB\n', /node-cert\.pem can not be used/],
    ['an empty certificate', 'node-cert.pem', '', /node-cert\.pem can not be used/],
    ['a key that is none', 'node-key.pem', 'key\n', /node-key\.pem with node-cert\.pem can not be used/],
    ['a damaged CA', 'ca-cert.pem', '-----BEGIN CERTIFICATE-----\n!\n', /ca-cert\.pem can not be used/],
    ['a key of odd digits', 'psk', `alice:${KEY}0\n`, /psk: line 1 is no USER:KEY/],
    ['a key too long', 'psk', `bob:${KEY}\nalice:${KEY.repeat(3)}\n`, /psk: line 2 is no USER:KEY/],
    ['a user without a name', 'psk', `:${KEY}\n`, /psk: line 1 is no USER:KEY/],
  ])('%s is said, with the file, and nothing of a key', async (_what, file, text, said) => {
    const dir = copied('server1');
    writeFileSync(join(dir, file), text);
    const e: unknown = await opened(dir, 'server1').catch((x: unknown) => x);
    expect(String(e)).toMatch(said);
    expect(String(e)).not.toContain(KEY);
    expect(String(e)).not.toContain('\n');
  });
});
