/**
 * TLS against programs that nobody here wrote, on real daemons in both engines: a mirror whose two nodes speak TLS to each other, and
 * that clients reach over TCP by TLS alone.
 */
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { revoke } from '../../src/pki/issue.ts';
import { addPreSharedKey } from '../../src/pki/psk.ts';
import { Daemons, freePort } from '../support/daemons.ts';
import { type Ran, run, runOk, temporaryFolder, testWith } from '../support/programs.ts';
import { DAY_MS, type TestCa, testCa } from '../unit/pki/ca-world.ts';

const MIB = 1024 * 1024;
const SIZE = 16 * MIB;
const NODES = ['server1', 'server2'];

describe.each(['native', 'portable'])('TLS in the %s engine', (engine) => {
  const folder = temporaryFolder();
  const image = join(folder, 'image');
  let ca: TestCa;
  let all: Daemons;
  let port: number;

  const client = (name: string): string => join(folder, name);
  const x509 = (name: string, tag = 't'): string => `nbds://localhost:${String(port)}/${tag}?tls-certificates=${client(name)}`;
  const psk = (user: string): string => `nbds://${user}@localhost:${String(port)}/t?tls-psk-file=${join(folder, 'keys', 'keys.psk')}`;
  const leg = (node: string): string => all.path(`${node}.img`);

  beforeAll(async () => {
    ca = await testCa(folder);
    port = await freePort();
    const keys = join(folder, 'keys', 'keys.psk');
    mkdirSync(join(folder, 'keys'));
    for (const user of ['alice', 'mallory']) await addPreSharedKey(ca.w, keys, user);
    for (const name of ['backup', 'nobody', 'gone']) await ca.issue({ name, kind: 'client', out: client(name) });
    ca.clock.ms -= 10 * DAY_MS;
    await ca.issue({ name: 'late', kind: 'client', days: 1, out: client('late') });
    ca.clock.ms += 10 * DAY_MS;
    await revoke(ca.w, { dir: ca.dir, name: 'gone' });
    // As of another CA, which trusts ours.
    const other = await testCa(join(folder, 'other'));
    await other.issue({ name: 'backup', kind: 'client', out: client('foreign') });
    mkdirSync(client('bare'));
    for (const d of ['foreign', 'bare']) cpSync(join(ca.dir, 'ca-cert.pem'), join(client(d), 'ca-cert.pem'));
    rmSync(join(client('foreign'), 'ca-crl.pem'));
    const mirrors = { t: { clients: ['backup', 'alice'] } };
    all = await Daemons.start({
      nodes: NODES,
      env: Object.fromEntries(NODES.map((n) => [n, { NETRAID_ENGINE: engine }])),
      config: {
        server1: { tls: 'required', exports: { listen: `127.0.0.1:${String(port)}`, tls: 'required', mirrors } },
        server2: { tls: 'required' },
      },
      prepare: async (node, root) => {
        await ca.issue({ name: node, hosts: ['localhost', '127.0.0.1'], out: join(root, 'etc', 'tls') });
        if (node === 'server1') cpSync(keys, join(root, 'etc', 'tls', 'psk'));
      },
    });
    await all.createMirror({ tag: 't', sizeBytes: SIZE, legs: Object.fromEntries(NODES.map((n) => [n, leg(n)])) });
    const noise = Buffer.alloc(SIZE);
    for (let i = 0; i < SIZE; i += 4) noise.writeUInt32LE(Math.imul(i + 1, 0x9e3779b1) >>> 0, i);
    writeFileSync(image, noise);
  }, 60_000);

  afterAll(async () => {
    await all.close();
  });

  const sameAsImage = (path: string): boolean => readFileSync(image).equals(readFileSync(path));

  testWith(['nbdinfo', 'nbdcopy'], 'libnbd copies there and back, by certificate and by key, and both legs have it', async () => {
    expect(await runOk('nbdinfo', [x509('backup')])).toContain('with TLS');
    await runOk('nbdcopy', ['--flush', image, x509('backup')]);
    await runOk('nbdcopy', [psk('alice'), join(folder, 'back')]);
    expect([sameAsImage(join(folder, 'back')), sameAsImage(leg('server1')), sameAsImage(leg('server2'))]).toEqual([true, true, true]);
    expect(await all.verify('server1', 't')).toMatchObject({ running: false, differingBytes: 0 });
  });

  testWith(['qemu-img'], 'qemu-img finds it by certificate and by key', async () => {
    const drive = `driver=nbd,host=localhost,port=${String(port)},export=t,tls-creds=t0`;
    const byCertificate = `tls-creds-x509,id=t0,endpoint=client,dir=${client('backup')}`;
    const byKey = `tls-creds-psk,id=t0,endpoint=client,username=alice,dir=${join(folder, 'keys')}`;
    for (const object of [byCertificate, byKey]) {
      expect(await runOk('qemu-img', ['info', '--object', object, '--image-opts', drive])).toContain(`(${String(SIZE)} bytes)`);
    }
  });

  testWith(['nbd-client'], 'nbd-client lists it by certificate', async () => {
    const dir = client('backup');
    const tls = ['-cacertfile', join(dir, 'ca-cert.pem'), '-certfile', join(dir, 'client-cert.pem'), '-keyfile', join(dir, 'client-key.pem')];
    const r = await run('nbd-client', ['-l', 'localhost', String(port), ...tls]);
    expect(r.stdout + r.stderr).toContain('t: NetRAID mirror t');
  });

  testWith(['nbdinfo'], 'who may not is refused, logged once and counted', async () => {
    const { control } = all.node('server1');
    const refused = async (): Promise<number> => (await control.call('info', {})).refused.clients;
    const failed = async (uri: string): Promise<Ran> => {
      const r = await run('nbdinfo', [uri]);
      expect(r.code).not.toBe(0);
      return r;
    };
    // It is told what it lacks, and has proved nothing wrong.
    expect((await failed(`nbd://localhost:${String(port)}/t`)).stderr).toContain('Operation not supported');
    const before = await refused();
    const wrong = [x509('late'), x509('gone'), x509('foreign'), x509('bare'), x509('nobody'), psk('mallory')];
    for (const uri of wrong) await failed(uri);
    expect(await refused()).toBe(before + wrong.length);
    const lines = all
      .node('server1')
      .log(1000)
      .split('\n')
      .filter((l) => l.includes('nbd connection refused'));
    expect(lines).toHaveLength(1);
    expect(lines[0]).toContain('its certificate has expired');
  });
});
