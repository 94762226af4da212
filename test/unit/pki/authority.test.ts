import { createPrivateKey } from 'node:crypto';
import { mkdirSync, readFileSync, renameSync, rmSync, unlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { nodeFiles } from '../../../src/io/node/files.ts';
import { Errno, type Files, IoError } from '../../../src/io/types.ts';
import { caFiles, initAuthority, ISSUED_MAX, listIssued, newestOf, openAuthority, recordNames } from '../../../src/pki/authority.ts';
import type { Issued } from '../../../src/pki/types.ts';
import { temporaryFolders } from '../io/node/temporary-folder.ts';
import { certificateIn, contents, DAY_MS, modeOf, testCa, testWorld } from './ca-world.ts';

const folder = temporaryFolders();

describe('a new CA', () => {
  it('signs itself, may sign nothing but certificates and lists, and keeps its key to its owner', async () => {
    const { dir, clock } = await testCa(await folder());
    const paths = caFiles(dir);
    const c = certificateIn(paths.certificate);
    expect([c.subject, c.issuer, c.ca]).toEqual(['CN=NetRAID CA of test', 'CN=NetRAID CA of test', true]);
    expect(c.verify(c.publicKey)).toBe(true);
    expect(c.checkPrivateKey(createPrivateKey(readFileSync(paths.key)))).toBe(true);
    expect(c.publicKey.asymmetricKeyDetails).toEqual({ namedCurve: 'prime256v1' });
    expect(Date.parse(c.validFrom)).toBe(Math.floor(clock.ms / 1000) * 1000 - 5 * 60_000);
    expect(Date.parse(c.validTo)).toBe(Math.floor((clock.ms + 3650 * DAY_MS) / 1000) * 1000);
    expect([modeOf(paths.key), modeOf(paths.certificate)]).toEqual([0o600, 0o644]);
    expect(readFileSync(paths.key, 'utf8')).toMatch(/^-----BEGIN PRIVATE KEY-----\n/);
    expect(readFileSync(paths.list, 'utf8')).toMatch(/^-----BEGIN X509 CRL-----\n/);
  });

  it('has a list of nothing, and has issued nothing', async () => {
    const { w, dir } = await testCa(await folder());
    const { authority, issued, damaged } = await listIssued(w, dir);
    expect([authority.name, authority.list.number, authority.list.revoked.size, issued, damaged]).toEqual(['NetRAID CA of test', 1, 0, [], []]);
  });

  it('needs no cluster for its name, and may outlive 2050, when dates are written in another way', async () => {
    const { w } = testWorld();
    const dir = join(await folder(), 'a/b/ca');
    expect(await initAuthority(w, { dir, days: 36_500 })).toMatchObject({ name: 'NetRAID CA' });
    expect((await openAuthority(w, dir)).untilMs).toBeGreaterThan(Date.UTC(2120, 0));
  });

  it.each(['ca-cert.pem', 'ca-key.pem', 'ca-crl.pem'])('is not made where %s is already', async (name) => {
    const { w } = testWorld();
    const dir = await folder();
    writeFileSync(join(dir, name), 'precious');
    await expect(initAuthority(w, { dir, days: 1 })).rejects.toThrow(`holds a CA already (${join(dir, name)}), which is left alone`);
    expect(contents(dir)).toEqual({ [join(dir, name)]: 'precious', [join(dir, '.lock')]: '' });
  });

  it.each(['ca-key.pem', 'ca-crl.pem', 'ca-cert.pem'])('leaves nothing behind when %s can not be written', async (name) => {
    const dir = await folder();
    const full: Files = {
      ...nodeFiles,
      rename: (from, to) => (to.endsWith(name) ? Promise.reject(new IoError(Errno.ENOSPC, 'no space')) : nodeFiles.rename(from, to)),
    };
    await expect(initAuthority(testWorld(full).w, { dir, days: 1 })).rejects.toThrow('no space');
    expect(Object.keys(contents(dir))).toEqual([join(dir, '.lock')]);
  });

  it('is made by one at a time', async () => {
    const dir = await folder();
    const lock = await nodeFiles.open(join(dir, '.lock'), { write: true, create: true });
    expect(await lock.tryLock()).toBe(true);
    await expect(initAuthority(testWorld().w, { dir, days: 1 })).rejects.toThrow('another netraid pki is at work');
    await lock.close();
    await initAuthority(testWorld().w, { dir, days: 1 });
  });
});

describe('a folder that is not, or no longer, a CA is told apart', () => {
  it.each<[string, (dir: string) => void, string]>([
    [
      'without a certificate',
      (d) => {
        unlinkSync(join(d, 'ca-cert.pem'));
      },
      'holds no CA: there is no ca-cert.pem',
    ],
    [
      'with a damaged certificate',
      (d) => {
        writeFileSync(join(d, 'ca-cert.pem'), '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n');
      },
      'ca-cert.pem is damaged',
    ],
    [
      'with something else for a certificate',
      (d) => {
        writeFileSync(join(d, 'ca-cert.pem'), 'hello');
      },
      'ca-cert.pem is damaged: it must hold one PEM block',
    ],
    [
      'with a certificate that is too large',
      (d) => {
        writeFileSync(join(d, 'ca-cert.pem'), 'x'.repeat(70_000));
      },
      'longer than 65536 bytes',
    ],
    [
      'without its list',
      (d) => {
        unlinkSync(join(d, 'ca-crl.pem'));
      },
      'without it what was revoked would be valid again',
    ],
    [
      'with a damaged list',
      (d) => {
        writeFileSync(join(d, 'ca-crl.pem'), readFileSync(join(d, 'ca-crl.pem'), 'utf8').replace(/\n..../, '\nAAAA'));
      },
      'ca-crl.pem is damaged',
    ],
    [
      'without its records',
      (d) => {
        rmSync(join(d, 'issued'), { recursive: true });
      },
      'issued is missing',
    ],
  ])('%s', async (_, spoil, message) => {
    const { w, dir } = await testCa(await folder());
    spoil(dir);
    await expect(listIssued(w, dir)).rejects.toThrow(message);
  });

  it('with the list of another CA', async () => {
    const { w, dir } = await testCa(await folder());
    const other = await testCa(await folder());
    renameSync(join(other.dir, 'ca-crl.pem'), join(dir, 'ca-crl.pem'));
    await expect(openAuthority(w, dir)).rejects.toThrow('ca-crl.pem is damaged, or from another CA');
  });

  it("with a node's certificate for its own", async () => {
    const ca = await testCa(await folder());
    await ca.issue();
    renameSync(join(ca.out, 'node-cert.pem'), join(ca.dir, 'ca-cert.pem'));
    await expect(openAuthority(ca.w, ca.dir)).rejects.toThrow("no CA's certificate");
  });
});

describe('what a CA has issued', () => {
  it('is listed by name and age, each as valid, expired or revoked', async () => {
    const ca = await testCa(await folder());
    await ca.issue({ name: 'b', days: 1, out: join(ca.root, '1') });
    ca.clock.ms += 2 * DAY_MS;
    await ca.issue({ name: 'b', hosts: ['10.0.0.1', '2001:db8::1', 'b.example'], out: join(ca.root, '2') });
    await ca.issue({ name: 'a', kind: 'client', out: join(ca.root, '3') });
    const { issued } = await listIssued(ca.w, ca.dir);
    expect(issued.map((c) => [c.name, c.kind, c.hosts, c.state])).toEqual([
      ['a', 'client', [], 'valid'],
      ['b', 'node', [], 'expired'],
      ['b', 'node', ['10.0.0.1', '2001:db8::1', 'b.example'], 'valid'],
    ]);
  });

  it('is listed although one of it is damaged, misnamed or from another CA, which is said', async () => {
    const ca = await testCa(await folder());
    const other = await testCa(await folder());
    await ca.issue();
    const issued = caFiles(ca.dir).issued;
    const made = await other.issue({ name: 'foreign' });
    const serial = (n: number): string => String(n).padStart(32, '0');
    writeFileSync(join(issued, `broken.${serial(1)}.pem`), 'nothing');
    writeFileSync(join(issued, `foreign.${made.certificate.serial}.pem`), readFileSync(join(other.out, 'node-cert.pem')));
    writeFileSync(join(issued, `renamed.${serial(2)}.pem`), readFileSync(join(ca.out, 'node-cert.pem')));
    mkdirSync(join(issued, `folder.${serial(3)}.pem`));
    writeFileSync(join(issued, 'README'), 'not a record');
    const { issued: found, damaged } = await listIssued(ca.w, ca.dir);
    expect(found.map((c) => c.name)).toEqual(['server1']);
    expect(damaged).toEqual([
      expect.stringContaining('is damaged'),
      expect.stringContaining('folder'),
      expect.stringContaining('is from another CA'),
      expect.stringContaining('holds a certificate of server1'),
    ]);
  });

  it('is looked at up to a limit', async () => {
    const ca = await testCa(await folder());
    const many = Array.from({ length: ISSUED_MAX + 1 }, (_, i) => `n.${String(i).padStart(32, '0')}.pem`);
    const files: Files = { ...nodeFiles, list: () => Promise.resolve(many) };
    const w = { ...ca.w, files };
    await expect(recordNames(w, await openAuthority(w, ca.dir))).rejects.toThrow('more than 10000 certificates');
  });

  it('has a newest one, which is a valid one where several began in the same second', () => {
    const issued = (serial: string, fromMs: number, state: Issued['state']): Issued => ({
      name: 'n',
      kind: 'node',
      hosts: [],
      serial,
      fromMs,
      untilMs: 9,
      state,
    });
    expect(newestOf([])).toBeUndefined();
    expect(newestOf([issued('1', 1, 'valid'), issued('2', 2, 'revoked')])?.serial).toBe('2');
    expect(newestOf([issued('1', 2, 'revoked'), issued('2', 2, 'valid'), issued('3', 1, 'valid')])?.serial).toBe('2');
  });
});
