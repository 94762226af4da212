/**
 * Foreign targets by nbds://: servers that nobody here wrote, with certificates of openssl and with keys. Each holds what an application
 * wrote; who has not proved what the URI asks for is refused, with the reason, and is not written to.
 */
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { CertificateMaker, type CertificateOptions, writeKeys } from '../support/certificates.ts';
import { type Daemons, storedBytes } from '../support/daemons.ts';
import { ENGINES, MIB, PATIENT_MS, SIZE, Stage, startEngines } from '../support/foreign-stage.ts';
import { findProgram, temporaryFolder, testWith } from '../support/programs.ts';

const ENOUGH = 60;
const KEYS = { alice: 'a1'.repeat(32), native: 'b2'.repeat(32) };

const lacking = findProgram('openssl') === undefined;
if (lacking) process.stderr.write('\nWARNING: SKIPPED test/interop/foreign-tls.test.ts: not installed here: openssl\n\n');

describe.skipIf(lacking)(`foreign targets by TLS${lacking ? ' (lacks openssl)' : ''}`, () => {
  const folder = temporaryFolder();
  const at = (name: string): string => join(folder, name);
  let daemons: Daemons;

  /** As each of these programs looks for it. */
  async function server(ca: CertificateMaker, name: string, o: CertificateOptions = {}): Promise<void> {
    await ca.node(at(name), 'disks', o);
    for (const kind of ['cert', 'key']) copyFileSync(join(at(name), `node-${kind}.pem`), join(at(name), `server-${kind}.pem`));
  }

  beforeAll(async () => {
    const ca = await CertificateMaker.make(at('ca'));
    // Of the same name, or nobody would look for it.
    const other = await CertificateMaker.make(at('other'), 'ca');
    await server(ca, 'disks');
    await server(ca, 'old', { expired: true });
    await server(other, 'strange');
    await ca.client(at('backup'), 'backup');
    mkdirSync(at('keys'));
    writeKeys(at('keys/keys.psk'), KEYS);
    writeKeys(at('wrong'), { alice: KEYS.native });
    daemons = await startEngines({ failureTimeoutMs: PATIENT_MS, prepare: (node, root) => ca.node(join(root, 'etc/tls'), node) });
  });

  afterAll(async () => {
    await daemons.close();
  });

  const nbdkit =
    (tls: readonly string[], uri: (port: string) => string) =>
    (s: Stage): Promise<void> =>
      s.tcp('nbdkit', (port, pid) => ['-f', '-P', pid, '-i', '127.0.0.1', '-p', port, ...tls, 'file', s.image], uri);
  const qemuNbd =
    (creds: string, uri: (port: string) => string) =>
    (s: Stage): Promise<void> =>
      s.tcp(
        'qemu-nbd',
        (port, pid) => [
          ...['-t', '--pid-file', pid, '-b', '127.0.0.1', '-p', port, '-f', 'raw', '-e', '8', '-x', 'disk'],
          ...['--object', creds, '--tls-creds', 'c', s.image],
        ],
        uri,
      );
  const x509 = (name = 'disks'): string[] => ['--tls=require', `--tls-certificates=${at(name)}`];
  const psk = (): string[] => ['--tls=require', `--tls-psk=${at('keys/keys.psk')}`];
  const own = (port: string): string => `nbds://127.0.0.1:${port}/`;
  const said = (port: string): string => `nbds://localhost:${port}/?tls-certificates=${at('backup')}`;
  const alice = (port: string): string => `nbds://alice@127.0.0.1:${port}/?tls-psk-file=${at('keys/keys.psk')}`;

  const servers: { title: string; program: string; open: (s: Stage) => Promise<void>; both?: true }[] = [
    {
      title: "nbdkit that asks for a certificate, and gets the node's own",
      program: 'nbdkit',
      open: nbdkit([...x509(), '--tls-verify-peer'], own),
      both: true,
    },
    { title: 'nbdkit, by the certificates in another folder', program: 'nbdkit', open: nbdkit([...x509(), '--tls-verify-peer'], said) },
    { title: 'nbdkit, by the key of a user', program: 'nbdkit', open: nbdkit(psk(), alice), both: true },
    {
      title: 'nbdkit, by the key of the user that is called as the node is',
      program: 'nbdkit',
      open: nbdkit(psk(), (port) => `nbds://127.0.0.1:${port}/?tls-psk-file=${at('keys/keys.psk')}`),
    },
    {
      title: 'qemu-nbd, by certificates',
      program: 'qemu-nbd',
      open: qemuNbd(`tls-creds-x509,id=c,endpoint=server,dir=${at('disks')},verify-peer=yes`, (port) => `nbds://localhost:${port}/disk`),
    },
    {
      title: 'qemu-nbd, by the key of a user',
      program: 'qemu-nbd',
      open: qemuNbd(
        `tls-creds-psk,id=c,endpoint=server,dir=${at('keys')}`,
        (port) => `nbds://127.0.0.1:${port}/disk?tls-psk-file=${at('keys/keys.psk')}&tls-username=alice`,
      ),
    },
    {
      title: 'nbd-server, by certificates',
      program: 'nbd-server',
      open: (s) =>
        s.tcp(
          'nbd-server',
          (port, pid) => {
            const tls = [
              `certfile = ${at('disks/server-cert.pem')}`,
              `keyfile = ${at('disks/server-key.pem')}`,
              `cacertfile = ${at('disks/ca-cert.pem')}`,
            ];
            const lines = ['[generic]', 'listenaddr = 127.0.0.1', `port = ${port}`, ...tls, 'force_tls = true', '[disk]', `exportname = ${s.image}`];
            writeFileSync(s.file('conf'), `${[...lines, 'flush = true', 'fua = true'].join('\n')}\n`);
            return ['-C', s.file('conf'), '-p', pid];
          },
          (port) => `nbds://localhost:${port}/disk`,
        ),
    },
  ];

  describe.concurrent.each(ENGINES)('in the %s engine', (engine) => {
    for (const c of servers) {
      if (engine === 'portable' && c.both !== true) continue;
      testWith([c.program, 'qemu-img', 'truncate'], c.title, () =>
        Stage.run(daemons, engine, async (s) => {
          await c.open(s);
          await s.open();
          await s.answers(ENOUGH);
          s.app.within(2 * MIB);
          await s.answers(ENOUGH);
          await s.restart();
          await s.untilTarget('has been away, and is in sync', (t) => t.state === 'Target' && t.lastResync?.kind === 'partial');
          expect((await s.end()).lastResync?.bytes).toBeLessThan(SIZE);
        }),
      );
    }
  });

  const refused: { title: string; open: (s: Stage) => Promise<void>; why: RegExp }[] = [
    {
      title: 'a server whose certificate is for another host',
      open: nbdkit(x509(), (port) => `${own(port)}?tls-hostname=elsewhere.example`),
      why: /its certificate is not for that host: it is that of disks, localhost/,
    },
    { title: 'a server with a certificate of another CA', open: nbdkit(x509('strange'), own), why: /its certificate was not issued by our CA/ },
    { title: 'a server whose certificate has expired', open: nbdkit(x509('old'), own), why: /its certificate has expired/ },
    { title: 'a server that does not speak TLS', open: nbdkit(['--tls=off'], own), why: /it refused to speak TLS: its policy forbids it/ },
    {
      title: 'a server that speaks nothing else, asked in clear',
      open: nbdkit(x509(), (port) => `nbd://127.0.0.1:${port}/`),
      why: /it requires TLS/,
    },
    {
      title: 'a server that knows another key of the user',
      open: nbdkit(psk(), (port) => `nbds://alice@127.0.0.1:${port}/?tls-psk-file=${at('wrong')}`),
      why: /TLS with 127\.0\.0\.1:\d+: (the other end refused|the user is not known|it closed the connection during the handshake)/,
    },
    {
      title: 'a server that speaks TLS by certificates alone, asked by a key',
      open: nbdkit(x509(), alice),
      why: /TLS with 127\.0\.0\.1:\d+: (the other end refused|it closed the connection during the handshake)/,
    },
    {
      title: 'a server for which there is no file of keys',
      open: nbdkit(psk(), (port) => `nbds://alice@127.0.0.1:${port}/?tls-psk-file=${at('none')}`),
      why: /none, the file of keys, is missing/,
    },
    {
      title: 'a server for which there is no folder of certificates',
      open: nbdkit(x509(), (port) => `${own(port)}?tls-certificates=${at('none')}`),
      why: /none\/ca-cert\.pem is missing/,
    },
  ];

  describe.concurrent('is refused, with the reason, and not written to:', () => {
    for (const c of refused) {
      testWith(['nbdkit', 'truncate'], c.title, () =>
        Stage.run(daemons, 'native', async (s) => {
          await c.open(s);
          await s.create();
          const answer: unknown = await s.extend().catch((e: unknown) => e);
          expect(String(answer)).toMatch(/elsewhere can not be a target of t\d+: /);
          expect(String(answer)).toMatch(c.why);
          expect((await s.status()).targets).toEqual([]);
          expect(storedBytes(s.image)).toBe(0);
        }),
      );
    }
  });
});
