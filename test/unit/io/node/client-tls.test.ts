/** TLS towards servers that are none of our nodes, over real sockets: what is taken for a proof, and each refusal. */
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { nullLog } from '../../../../src/io/log.ts';
import { NodeClientTls } from '../../../../src/io/node/client-tls.ts';
import { nodeClock } from '../../../../src/io/node/clock.ts';
import { nodeFiles } from '../../../../src/io/node/files.ts';
import { nodeNet } from '../../../../src/io/node/net.ts';
import { NodeTls } from '../../../../src/io/node/tls.ts';
import type { SecureSocket, ServerProof } from '../../../../src/io/tls.ts';
import { Errno, IoError, type IoSocket, type Listener } from '../../../../src/io/types.ts';
import { addPreSharedKey } from '../../../../src/pki/psk.ts';
import { revoke } from '../../../../src/pki/issue.ts';
import { type TestCa, testCa } from '../../pki/ca-world.ts';

const SOON_MS = 5000;
const NOTHING_SAID: ServerProof = { host: 'disks.example', certificates: null, pskFile: null, user: null };

let root: string;
let ca: TestCa;
let ends: (() => Promise<void> | void)[] = [];

beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), 'client-tls-'));
  ca = await testCa(root);
  await ca.issue({ name: 'disks', hosts: ['disks.example', '127.0.0.1', '::1'], out: at('disks') });
  await ca.issue({ name: 'server1', out: at('server1') });
  await ca.issue({ name: 'backup', kind: 'client', out: at('backup') });
});

afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
  ends = [];
  rmSync(root, { recursive: true, force: true });
});

const at = (name: string): string => join(root, name);

/** What both ends make of each other; `folder` is what the node server1 has itself. */
async function met(
  said: Partial<ServerProof>,
  o: { folder?: string; server?: string } = {},
): Promise<{ client: unknown; server: SecureSocket | undefined }> {
  const there = await NodeTls.open({ files: nodeFiles, folder: o.server ?? at('disks'), node: 'disks', clock: nodeClock, log: nullLog });
  let server: Promise<SecureSocket | undefined> = Promise.resolve(undefined);
  const listener: Listener = await nodeNet.listen({ kind: 'tcp', host: '127.0.0.1', port: 0 }, (s) => {
    server = there.accept(s, new Uint8Array(0), SOON_MS, 'client').catch((e: unknown) => {
      if (e instanceof IoError) return undefined;
      throw e;
    });
  });
  ends.push(() => listener.close());
  const near: IoSocket = await nodeNet.connect(listener.address, SOON_MS);
  const tls = new NodeClientTls({ files: nodeFiles, clock: nodeClock, folder: o.folder ?? at('server1'), node: 'server1' });
  const client: unknown = await tls.connect(near, { ...NOTHING_SAID, ...said }, SOON_MS).catch((e: unknown) => e);
  if (client instanceof Error) near.destroy();
  const made = await server;
  near.destroy();
  return { client, server: made };
}

async function refusal(said: Partial<ServerProof>, o: { folder?: string; server?: string } = {}): Promise<string> {
  const { client } = await met(said, o);
  if (!(client instanceof IoError)) throw new Error('it was taken');
  expect(client.errno).toBe(Errno.EACCES);
  expect(client.message).not.toMatch(/[\n\r]/);
  return client.message;
}

describe('a server is taken', () => {
  it('by the certificates of the node itself, for its name or address, and learns who we are', async () => {
    for (const host of ['disks.example', 'DISKS.example', '127.0.0.1', '::1']) {
      const { client, server } = await met({ host });
      expect(client, host).not.toBeInstanceOf(Error);
      expect(server?.peer?.names).toContain('server1');
    }
  });

  it('by certificates in another folder, which may have none of our own', async () => {
    expect((await met({ certificates: at('backup') })).server?.peer?.names).toContain('backup');
    mkdirSync(at('bare'));
    copyFileSync(join(at('backup'), 'ca-cert.pem'), at('bare/ca-cert.pem'));
    const { client, server } = await met({ certificates: at('bare') });
    expect(client).not.toBeInstanceOf(Error);
    expect([server?.peer, server?.refusal]).toEqual([null, 'it showed no certificate']);
  });

  it('by the key of a user: of a file, of the file of the node, and of the one that is called as the node is', async () => {
    for (const user of ['alice', 'server1']) await addPreSharedKey(ca.w, at('keys'), user);
    mkdirSync(at('alone'));
    for (const folder of ['alone', 'disks', 'server1']) copyFileSync(at('keys'), join(at(folder), 'psk'));
    expect((await met({ pskFile: at('keys'), user: 'alice' })).server?.peer).toMatchObject({ by: 'psk', names: ['alice'] });
    expect((await met({ pskFile: at('keys') })).server?.peer?.names).toEqual(['server1']);
    expect((await met({ user: 'alice' })).server?.peer?.names).toEqual(['alice']);
    expect((await met({}, { folder: at('alone') })).server?.peer).toMatchObject({ by: 'psk', names: ['server1'] });
    // With certificates at hand keys are not meant.
    expect((await met({})).server?.peer?.by).toBe('certificate');
  });
});

describe('a server is refused', () => {
  it('when its certificate is for another host', async () => {
    for (const host of ['elsewhere.example', 'example', '127.0.0.2'])
      expect(await refusal({ host })).toMatch(/^TLS to .*: its certificate is not for that host: it is that of disks, disks\.example/);
  });

  it('when its certificate is of another CA, has been revoked, or is a client that listens', async () => {
    mkdirSync(at('elsewhere'));
    const other = await testCa(at('elsewhere'));
    await other.issue({ name: 'disks', hosts: ['disks.example'], out: at('strange') });
    expect(await refusal({}, { server: at('strange') })).toMatch(/not of the CA that issued its certificate/);
    await revoke(ca.w, { dir: ca.dir, name: 'disks' });
    copyFileSync(join(ca.dir, 'ca-crl.pem'), join(at('server1'), 'ca-crl.pem'));
    expect(await refusal({})).toMatch(/has been revoked/);
    await ca.issue({ name: 'disks', kind: 'client', out: at('listening') });
    for (const kind of ['cert', 'key']) copyFileSync(join(at('listening'), `client-${kind}.pem`), join(at('listening'), `node-${kind}.pem`));
    rmSync(join(at('server1'), 'ca-crl.pem'));
    expect(await refusal({ host: 'disks' }, { server: at('listening') })).toMatch(/is for another use/);
  });

  it('when what we need to know it by is missing, or can not be used', async () => {
    mkdirSync(at('empty'));
    expect(await refusal({}, { folder: at('empty') })).toMatch(/empty\/ca-cert\.pem is missing/);
    expect(await refusal({ pskFile: at('none') })).toMatch(/none, the file of keys, is missing/);
    expect(await refusal({ user: 'alice' })).toMatch(/there is no key of alice/);
    writeFileSync(at('keys'), 'alice:xyz\n');
    expect(await refusal({ pskFile: at('keys'), user: 'alice' })).toMatch(/keys: line 1 is no USER:KEY/);
    await addPreSharedKey(ca.w, at('good'), 'bob');
    expect(await refusal({ pskFile: at('good'), user: 'alice' })).toMatch(/good has no key of alice/);
    rmSync(join(at('server1'), 'node-key.pem'));
    expect(await refusal({})).toMatch(/a certificate without its key/);
    writeFileSync(join(at('backup'), 'client-cert.pem'), 'nonsense');
    expect(await refusal({ certificates: at('backup') })).toMatch(/what is in .*backup can not be used/);
  });

  it('when it does not answer in time, and the socket is closed then', async () => {
    const silent: IoSocket[] = [];
    const listener = await nodeNet.listen({ kind: 'tcp', host: '127.0.0.1', port: 0 }, (s) => {
      silent.push(s);
    });
    ends.push(
      () => listener.close(),
      () => {
        for (const s of silent) s.destroy();
      },
    );
    const tls = new NodeClientTls({ files: nodeFiles, clock: nodeClock, folder: at('server1'), node: 'server1' });
    const late = tls.connect(await nodeNet.connect(listener.address, SOON_MS), NOTHING_SAID, 50);
    await expect(late).rejects.toMatchObject({ errno: Errno.ETIMEDOUT, message: expect.stringContaining('no agreement within 50 ms') as unknown });
  });
});
