import { createPrivateKey } from 'node:crypto';
import { cpSync, readdirSync, readFileSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { nodeFiles } from '../../../src/io/node/files.ts';
import { Errno, type Files, IoError } from '../../../src/io/types.ts';
import { caFiles, ISSUED_MAX, listIssued, openAuthority, revokeSerials, signerOf } from '../../../src/pki/authority.ts';
import { renew, revoke } from '../../../src/pki/issue.ts';
import { REVOKED_MAX, revocationReasons } from '../../../src/pki/x509.ts';
import { temporaryFolders } from '../io/node/temporary-folder.ts';
import { certificateIn, contents, DAY_MS, hasOpenssl, modeOf, opensslVerify, testCa, type TestCa } from './ca-world.ts';

const folder = temporaryFolders();
const SERVER_AUTH = '1.3.6.1.5.5.7.3.1';
const CLIENT_AUTH = '1.3.6.1.5.5.7.3.2';

/** Files that can not be put under a name that `ends` so. */
const failing = (ends: string): Files => ({
  ...nodeFiles,
  rename: (from, to) => (to.endsWith(ends) ? Promise.reject(new IoError(Errno.ENOSPC, 'no space')) : nodeFiles.rename(from, to)),
});

const renewed = (ca: TestCa, over: Partial<Parameters<typeof renew>[1]> = {}) =>
  renew(ca.w, { dir: ca.dir, name: 'server1', days: 825, out: ca.out, revokeOld: false, ...over });

describe('issuing', () => {
  it.each([
    ['node', [SERVER_AUTH, CLIENT_AUTH]],
    ['client', [CLIENT_AUTH]],
  ] as const)('gives a %s its certificate, its key, and what it needs to know of the CA', async (kind, usages) => {
    const ca = await testCa(await folder());
    const { certificate } = await ca.issue({ kind, hosts: ['10.0.0.1', 'fd00::1', 'one.example'] });
    const c = certificateIn(join(ca.out, `${kind}-cert.pem`));
    expect([c.subject, c.issuer, c.ca]).toEqual(['CN=server1', 'CN=NetRAID CA of test', false]);
    expect(c.verify(certificateIn(caFiles(ca.dir).certificate).publicKey)).toBe(true);
    expect(c.checkPrivateKey(createPrivateKey(readFileSync(join(ca.out, `${kind}-key.pem`))))).toBe(true);
    expect(c.keyUsage).toEqual(usages);
    expect([c.checkHost('server1'), c.checkHost('one.example'), c.checkIP('10.0.0.1'), c.checkIP('fd00::1')]).not.toContain(undefined);
    expect([c.checkHost('two.example'), c.checkIP('10.0.0.2')]).toEqual([undefined, undefined]);
    expect(c.serialNumber.toLowerCase()).toBe(certificate.serial);
    expect(certificate.serial).toMatch(/^[4-7][0-9a-f]{31}$/);
    expect(Date.parse(c.validFrom)).toBe(Math.floor(ca.clock.ms / 1000) * 1000 - 5 * 60_000);
    expect(Date.parse(c.validTo)).toBe(Math.floor((ca.clock.ms + 825 * DAY_MS) / 1000) * 1000);
    expect(readdirSync(ca.out)).toEqual(['ca-cert.pem', 'ca-crl.pem', `${kind}-cert.pem`, `${kind}-key.pem`]);
    expect(modeOf(join(ca.out, `${kind}-key.pem`))).toBe(0o600);
    const record = join(caFiles(ca.dir).issued, `server1.${certificate.serial}.pem`);
    expect(readFileSync(record)).toEqual(readFileSync(join(ca.out, `${kind}-cert.pem`)));
    expect(Object.values(contents(ca.dir)).filter((text) => text.includes('PRIVATE KEY'))).toHaveLength(1);
  });

  it.runIf(hasOpenssl())('is to the content of openssl, which takes none that is revoked', async () => {
    const ca = await testCa(await folder());
    await ca.issue({ hosts: ['10.0.0.1'] });
    await ca.issue({ name: 'odd_one.', kind: 'client' });
    expect(opensslVerify(ca.dir, join(ca.out, 'node-cert.pem'))).toBe('OK');
    expect(opensslVerify(ca.dir, join(ca.out, 'client-cert.pem'))).toBe('OK');
    await revoke(ca.w, { dir: ca.dir, name: 'server1' });
    expect(opensslVerify(ca.dir, join(ca.out, 'node-cert.pem'))).toBe('certificate revoked');
    expect(opensslVerify(ca.dir, join(ca.out, 'client-cert.pem'))).toBe('OK');
    // The folder has the list as it was.
    expect(opensslVerify(ca.out, join(ca.out, 'node-cert.pem'))).toBe('OK');
  });

  it('never lets a certificate outlive its CA', async () => {
    const ca = await testCa(await folder(), { days: 100 });
    const { certificate, cutShort } = await ca.issue();
    expect([cutShort, certificate.untilMs]).toEqual([true, (await openAuthority(ca.w, ca.dir)).untilMs]);
    expect(await ca.issue({ name: 'short', days: 99, out: join(ca.root, 'b') })).toMatchObject({ cutShort: false });
  });

  it('refuses a name that has a valid certificate, and takes it again once that has expired or is revoked', async () => {
    const ca = await testCa(await folder());
    const { certificate } = await ca.issue({ days: 10 });
    const before = contents(ca.root);
    const again = { kind: 'client' as const, out: join(ca.root, 'again') };
    await expect(ca.issue(again)).rejects.toThrow(
      `server1 has a certificate already, a node's with the serial ${certificate.serial}: renew it, or revoke it first`,
    );
    expect(contents(ca.root)).toEqual({ ...before, [join(ca.dir, '.lock')]: '' });
    ca.clock.ms += 11 * DAY_MS;
    await ca.issue(again);
    await revoke(ca.w, { dir: ca.dir, name: 'server1' });
    await ca.issue({ out: join(ca.root, 'third') });
  });

  it('takes a name that begins as another does for its own', async () => {
    const ca = await testCa(await folder());
    await ca.issue({ name: 'a.b' });
    await ca.issue({ name: 'a', out: join(ca.root, 'a') });
    expect(await revoke(ca.w, { dir: ca.dir, name: 'a' })).toHaveLength(1);
    expect((await listIssued(ca.w, ca.dir)).issued.map((c) => [c.name, c.state])).toEqual([
      ['a', 'revoked'],
      ['a.b', 'valid'],
    ]);
  });

  it('puts node and client into one folder when asked', async () => {
    const ca = await testCa(await folder());
    await ca.issue();
    await ca.issue({ name: 'c', kind: 'client' });
    expect(readdirSync(ca.out)).toHaveLength(6);
  });

  it.each<[string, (ca: TestCa) => unknown, string]>([
    [
      'has a key',
      (ca) => {
        writeFileSync(join(ca.out, 'node-key.pem'), 'x');
      },
      'node-key.pem exists already; it is left alone',
    ],
    [
      'has a certificate',
      (ca) => {
        writeFileSync(join(ca.out, 'node-cert.pem'), 'x');
      },
      'node-cert.pem exists already; it is left alone',
    ],
    [
      "has another CA's certificate",
      (ca) => {
        writeFileSync(join(ca.out, 'ca-cert.pem'), 'x');
      },
      'ca-cert.pem is from another CA; it is left alone',
    ],
    [
      'has a list of nobody',
      (ca) => {
        writeFileSync(join(ca.out, 'ca-crl.pem'), 'x');
      },
      'ca-crl.pem exists already; it is left alone',
    ],
    [
      'holds a key of a CA',
      (ca) => {
        cpSync(ca.dir, ca.out, { recursive: true });
      },
      'holds the key of a CA, which must stay where it is',
    ],
  ])('refuses a folder that %s', async (_, prepare, message) => {
    const ca = await testCa(await folder());
    await nodeFiles.mkdir(ca.out);
    prepare(ca);
    const before = contents(ca.root);
    await expect(ca.issue()).rejects.toThrow(message);
    expect(contents(ca.root)).toEqual(before);
  });

  it.each<[string, (ca: TestCa) => unknown, string]>([
    [
      'has lost its key',
      (ca) => {
        unlinkSync(caFiles(ca.dir).key);
      },
      'ca-key.pem is missing',
    ],
    [
      'has a damaged key',
      (ca) => {
        writeFileSync(caFiles(ca.dir).key, readFileSync(caFiles(ca.dir).key, 'utf8').replace(/\n.{20}/, '\n'));
      },
      'ca-key.pem is damaged',
    ],
    [
      'has the key of another',
      async (ca) => {
        cpSync(caFiles((await testCa(join(ca.root, 'other'))).dir).key, caFiles(ca.dir).key);
      },
      "ca-key.pem is not the key of the CA's certificate",
    ],
    [
      'has expired',
      (ca) => {
        ca.clock.ms += 3651 * DAY_MS;
      },
      'has expired',
    ],
    [
      'has a damaged record of the name',
      (ca) => {
        writeFileSync(join(caFiles(ca.dir).issued, `server1.${'0'.repeat(32)}.pem`), 'x');
      },
      'is damaged',
    ],
  ])('refuses when the CA %s, and nobody gets anything', async (_, prepare, message) => {
    const ca = await testCa(await folder());
    await prepare(ca);
    const before = contents(ca.root);
    await expect(ca.issue()).rejects.toThrow(message);
    expect(contents(ca.root)).toEqual(before);
  });

  it('refuses when the CA has issued as many as it may', async () => {
    const ca = await testCa(await folder());
    const many = Array.from({ length: ISSUED_MAX }, (_, i) => `n.${String(i).padStart(32, '0')}.pem`);
    const w = { ...ca.w, files: { ...nodeFiles, list: () => Promise.resolve(many) } };
    Object.assign(ca.w, w);
    await expect(ca.issue()).rejects.toThrow('holds 10000 certificates, which is the most');
  });

  it.each(['node-key.pem', 'node-cert.pem'])('is as if it had not been when %s can not be written', async (ends) => {
    const ca = await testCa(await folder());
    Object.assign(ca.w, { files: failing(ends) });
    await expect(ca.issue()).rejects.toThrow('no space');
    expect([readdirSync(caFiles(ca.dir).issued), readdirSync(ca.out)]).toEqual([[], ['ca-cert.pem', 'ca-crl.pem']]);
    Object.assign(ca.w, { files: nodeFiles });
    await ca.issue();
  });
});

describe('renewing', () => {
  it('gives a new key and certificate for the same name, kind and hosts, and lets the old one live', async () => {
    const ca = await testCa(await folder());
    const first = await ca.issue({ hosts: ['10.0.0.1', 'one.example'] });
    const oldKey = readFileSync(join(ca.out, 'node-key.pem'));
    ca.clock.ms += 800 * DAY_MS;
    const second = await renewed(ca);
    expect(second.certificate).toMatchObject({ name: 'server1', kind: 'node', hosts: ['10.0.0.1', 'one.example'] });
    expect(second.certificate.serial).not.toBe(first.certificate.serial);
    expect(second.revoked).toEqual([]);
    const c = certificateIn(join(ca.out, 'node-cert.pem'));
    expect(c.serialNumber.toLowerCase()).toBe(second.certificate.serial);
    expect(c.checkPrivateKey(createPrivateKey(oldKey))).toBe(false);
    expect(c.checkPrivateKey(createPrivateKey(readFileSync(join(ca.out, 'node-key.pem'))))).toBe(true);
    expect(modeOf(join(ca.out, 'node-key.pem'))).toBe(0o600);
    expect((await listIssued(ca.w, ca.dir)).issued.map((x) => x.state)).toEqual(['valid', 'valid']);
  });

  it('revokes those before it when asked, and its folder gets the list that says so', async () => {
    const ca = await testCa(await folder());
    const first = await ca.issue();
    const second = await renewed(ca);
    const third = await renewed(ca, { revokeOld: true });
    expect(third.revoked.toSorted()).toEqual([first.certificate.serial, second.certificate.serial].toSorted());
    const { authority, issued } = await listIssued(ca.w, ca.dir);
    expect(issued.filter((c) => c.state === 'valid').map((c) => c.serial)).toEqual([third.certificate.serial]);
    expect(authority.list.number).toBe(2);
    expect(readFileSync(join(ca.out, 'ca-crl.pem'))).toEqual(readFileSync(caFiles(ca.dir).list));
  });

  it('takes one that has expired, and a folder that is still empty', async () => {
    const ca = await testCa(await folder());
    await ca.issue({ days: 1 });
    ca.clock.ms += 2 * DAY_MS;
    await renewed(ca, { out: join(ca.root, 'new') });
    expect(readdirSync(join(ca.root, 'new'))).toHaveLength(4);
  });

  it('heals a pair that does not fit, as one that was cut off between its two files leaves it', async () => {
    const ca = await testCa(await folder());
    await ca.issue();
    Object.assign(ca.w, { files: failing('node-cert.pem') });
    await expect(renewed(ca)).rejects.toThrow('no space');
    const fits = (): boolean =>
      certificateIn(join(ca.out, 'node-cert.pem')).checkPrivateKey(createPrivateKey(readFileSync(join(ca.out, 'node-key.pem'))));
    expect(fits()).toBe(false);
    Object.assign(ca.w, { files: nodeFiles });
    await renewed(ca);
    expect(fits()).toBe(true);
  });

  it.each<[string, (ca: TestCa) => unknown, string]>([
    [
      'a name that has none',
      (ca) => {
        unlinkSync(join(caFiles(ca.dir).issued, readdirSync(caFiles(ca.dir).issued)[0] ?? ''));
      },
      'server1 has no certificate that could be renewed',
    ],
    ['one that is revoked', (ca) => revoke(ca.w, { dir: ca.dir, name: 'server1' }), 'the newest certificate of server1 is revoked'],
    [
      'into the folder of another',
      async (ca) => {
        await ca.issue({ name: 'server2', out: join(ca.root, 'b') });
        cpSync(join(ca.root, 'b'), ca.out, { recursive: true, force: true });
      },
      'is a certificate of server2, not of server1',
    ],
    [
      'into a folder of another CA',
      (ca) => {
        writeFileSync(join(ca.out, 'ca-cert.pem'), 'x');
      },
      'is from another CA',
    ],
    [
      'over what can not be read',
      (ca) => {
        writeFileSync(join(ca.out, 'node-cert.pem'), 'x');
      },
      'node-cert.pem is damaged',
    ],
    [
      'over a key of which nobody knows whose it is',
      (ca) => {
        unlinkSync(join(ca.out, 'node-cert.pem'));
      },
      'is there without its certificate',
    ],
  ])('refuses %s', async (_, prepare, message) => {
    const ca = await testCa(await folder());
    await ca.issue();
    await prepare(ca);
    const before = contents(ca.root);
    await expect(renewed(ca)).rejects.toThrow(message);
    expect(contents(ca.root)).toEqual(before);
  });
});

describe('revoking', () => {
  it('puts every certificate of the name on the list, once', async () => {
    const ca = await testCa(await folder());
    await ca.issue();
    await renewed(ca);
    await ca.issue({ name: 'server2', out: join(ca.root, 'b') });
    expect(await revoke(ca.w, { dir: ca.dir, name: 'server1' })).toHaveLength(2);
    const list = readFileSync(caFiles(ca.dir).list);
    expect(await revoke(ca.w, { dir: ca.dir, name: 'server1' })).toEqual([]);
    expect(readFileSync(caFiles(ca.dir).list)).toEqual(list);
    expect((await listIssued(ca.w, ca.dir)).issued.map((c) => c.state)).toEqual(['revoked', 'revoked', 'valid']);
    await revoke(ca.w, { dir: ca.dir, name: 'server2' });
    const { authority } = await listIssued(ca.w, ca.dir);
    expect([authority.list.number, authority.list.revoked.size]).toEqual([3, 3]);
  });

  it('is possible although the record is damaged', async () => {
    const ca = await testCa(await folder());
    const { certificate } = await ca.issue();
    writeFileSync(join(caFiles(ca.dir).issued, `server1.${certificate.serial}.pem`), 'x');
    expect(await revoke(ca.w, { dir: ca.dir, name: 'server1' })).toEqual([certificate.serial]);
  });

  it('refuses more than a list may hold', async () => {
    const ca = await testCa(await folder());
    const many = Array.from({ length: REVOKED_MAX }, (_, i) => String(i).padStart(32, '0'));
    const a = await openAuthority(ca.w, ca.dir);
    const full = { ...a, list: { number: 1, revoked: new Map(many.map((serial) => [serial, { atMs: 0, reason: revocationReasons.superseded }])) } };
    await expect(revokeSerials(ca.w, full, await signerOf(ca.w, a), ['f'.repeat(32)], 'superseded')).rejects.toThrow('can not hold more than 10000');
  });

  it('refuses a name that it does not know', async () => {
    const ca = await testCa(await folder());
    await expect(revoke(ca.w, { dir: ca.dir, name: 'nobody' })).rejects.toThrow('nobody has no certificate of this CA');
  });
});
