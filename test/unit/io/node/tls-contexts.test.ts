/** What is kept of a set of certificates and keys, over real sockets. */
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect as connectTcp, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, type ConnectionOptions, type TLSSocket } from 'node:tls';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { nodeFiles } from '../../../../src/io/node/files.ts';
import { TlsContexts } from '../../../../src/io/node/tls-contexts.ts';
import { readTlsFiles, tlsMaterial } from '../../../../src/io/node/tls-files.ts';
import { addPreSharedKey } from '../../../../src/pki/psk.ts';
import { type TestCa, testCa } from '../../pki/ca-world.ts';

let root: string;
let ca: TestCa;
let listener: Server;
let open: Socket[] = [];

beforeEach(async () => {
  root = mkdtempSync(join(tmpdir(), 'tls-contexts-'));
  ca = await testCa(root);
  listener = createServer({ pauseOnConnect: true });
  listener.listen(0, '127.0.0.1');
  await once(listener, 'listening');
});

afterEach(() => {
  for (const s of open) s.destroy();
  open = [];
  listener.close();
  rmSync(root, { recursive: true, force: true });
});

async function contextsOf(node: string, keyOf?: string): Promise<TlsContexts> {
  const out = join(root, node);
  await ca.issue({ name: node, kind: 'node', out });
  if (keyOf !== undefined) await addPreSharedKey(ca.w, join(out, 'psk'), keyOf);
  return new TlsContexts(tlsMaterial(await readTlsFiles(nodeFiles, out), out, node));
}

/** Both ends of a connection over loopback. */
async function pair(): Promise<{ near: Socket; far: Socket }> {
  const accepted = once(listener, 'connection') as Promise<[Socket]>;
  const near = connectTcp((listener.address() as { port: number }).port, '127.0.0.1');
  const [far] = await accepted;
  far.on('error', () => far.destroy());
  near.on('error', () => near.destroy());
  open.push(near, far);
  return { near, far };
}

const accepted = (contexts: TlsContexts, raw: Socket): Promise<{ t: TLSSocket; user: string }> =>
  new Promise((resolve, reject) => {
    contexts.accept(raw, {
      done: (t, user) => {
        t.on('error', () => t.destroy());
        resolve({ t, user });
      },
      secret: () => undefined,
      failed: (e) => {
        reject(e instanceof Error ? e : new Error(String(e)));
      },
    });
    raw.resume();
  });

function secured(raw: Socket, o: ConnectionOptions): TLSSocket {
  const t = connect({ socket: raw, rejectUnauthorized: false, checkServerIdentity: () => undefined, ...o });
  t.on('error', () => t.destroy());
  return t;
}

describe('handshakes with one set of certificates', () => {
  it('one after the other parse it once as the client and once as the server', async () => {
    const [server, client] = [await contextsOf('server1'), await contextsOf('server2')];
    for (let i = 0; i < 5; i += 1) {
      const { near, far } = await pair();
      secured(near, { secureContext: client.client() });
      const { t } = await accepted(server, far);
      expect([t.authorized, t.getPeerX509Certificate()?.subject]).toEqual([true, expect.stringContaining('CN=server2')]);
    }
    expect([server.made, client.made]).toEqual([1, 1]);
  });

  it('at the same time are each told of their own connection', async () => {
    const server = await contextsOf('server1');
    const clients: TlsContexts[] = [];
    for (const n of ['server2', 'server3', 'server4']) clients.push(await contextsOf(n));
    const pairs = [await pair(), await pair(), await pair()];
    const all = pairs.map(({ far }) => accepted(server, far));
    // The last that came in is the first to go on.
    for (const [i, { near }] of [...pairs.entries()].reverse()) secured(near, { secureContext: clients[i]?.client() });
    const names = (await Promise.all(all)).map(({ t }) =>
      t
        .getPeerX509Certificate()
        ?.subject.split('\n')
        .find((l) => l.startsWith('CN=')),
    );
    expect(names).toEqual(['CN=server2', 'CN=server3', 'CN=server4']);
    expect(server.made).toBe(3);
  });

  it('one that is cut off is nobody else’s failure, and what it used is used again', async () => {
    const [server, client] = [await contextsOf('server1'), await contextsOf('server2')];
    const first = await pair();
    const failed = accepted(server, first.far).then(
      () => 'done',
      (e: unknown) => String(e),
    );
    first.near.write(Buffer.of(0x16, 3, 1));
    await new Promise((resolve) => setImmediate(resolve));
    // As at the end of its time: its server hears of it later.
    first.far.destroy();
    for (let i = 0; i < 4; i += 1) {
      const { near, far } = await pair();
      secured(near, { secureContext: client.client() });
      expect((await accepted(server, far)).t.authorized).toBe(true);
    }
    expect(await failed).toContain('Error');
    expect(server.made).toBeLessThanOrEqual(2);
  });

  it('that fails leaves nothing of it to the next', async () => {
    const [server, client] = [await contextsOf('server1'), await contextsOf('server2')];
    for (let i = 0; i < 3; i += 1) {
      const bad = await pair();
      bad.near.write('this is no TLS at all, and long enough to be seen as such');
      await expect(accepted(server, bad.far)).rejects.toThrow();
      const { near, far } = await pair();
      secured(near, { secureContext: client.client() });
      expect((await accepted(server, far)).t.authorized).toBe(true);
    }
    expect(server.made).toBe(1);
  });

  it('by a key are known by the user that each of them named', async () => {
    const server = await contextsOf('server1', 'alice');
    const key = [...(server.material.psk?.values() ?? [])][0] ?? new Uint8Array(0);
    for (let i = 0; i < 2; i += 1) {
      const { near, far } = await pair();
      secured(near, { ciphers: 'PSK', maxVersion: 'TLSv1.2', minDHSize: 1024, pskCallback: () => ({ psk: key, identity: 'alice' }) });
      expect((await accepted(server, far)).user).toBe('alice');
      const other = await pair();
      secured(other.near, { secureContext: (await contextsOf(`server${String(3 + i)}`)).client() });
      expect((await accepted(server, other.far)).user).toBe('');
    }
    expect(server.made).toBe(1);
  });
});
