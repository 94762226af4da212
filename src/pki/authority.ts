/**
 * The folder of a CA:
 *
 *   ca-cert.pem                its certificate, which everybody has
 *   ca-key.pem                 its key, which never leaves the folder
 *   ca-crl.pem                 what it has revoked, which every node should have
 *   issued/NAME.SERIAL.pem     each certificate that it has issued, never a key
 *
 * Invariants: a certificate is recorded before anybody gets it, so that all can be revoked; a missing list is never taken for
 * an empty one, or what was revoked would be valid again.
 */
import type { X509Certificate } from 'node:crypto';
import { join } from 'node:path';
import { exists, replaceFile } from '../io/atomic-file.ts';
import { DAY_MS, parseOpensslDate } from '../io/calendar.ts';
import { Errno, IoError } from '../io/types.ts';
import { describeCertificate, readCertificate } from './certificate.ts';
import { CERTIFICATE_MAX_BYTES, makeFolder, readIfThere, withLock, writeNewFiles } from './disk.ts';
import { type Issued, PkiError, type PkiWorld } from './types.ts';
import {
  makeAuthority,
  makeRevocationList,
  readRevocationList,
  readSigner,
  REVOKED_MAX,
  revocationReasons,
  type RevocationList,
  type RevocationReason,
  type Signer,
} from './x509.ts';

/** Clocks differ: what begins now has begun already for one that is behind. */
export const BACKDATE_MS = 5 * 60_000;
export const ISSUED_MAX = 10_000;
/** Of a revocation list in PEM, which grows by 67 bytes with each certificate. */
const LIST_MAX_BYTES = 1024 * 1024;

const RECORD = /^(.+)\.([0-9a-f]{32})\.pem$/;

export interface CaFiles {
  certificate: string;
  key: string;
  list: string;
  issued: string;
  lock: string;
}

export function caFiles(dir: string): CaFiles {
  return {
    certificate: join(dir, 'ca-cert.pem'),
    key: join(dir, 'ca-key.pem'),
    list: join(dir, 'ca-crl.pem'),
    issued: join(dir, 'issued'),
    lock: join(dir, '.lock'),
  };
}

/** A CA as it is found. */
export interface Authority {
  paths: CaFiles;
  certificate: X509Certificate;
  /** PEM. */
  certificatePem: Uint8Array;
  name: string;
  untilMs: number;
  list: RevocationList;
  /** PEM. */
  listPem: Uint8Array;
}

/** Which file in `issued/` is whose, by its name alone. */
export interface RecordName {
  file: string;
  name: string;
  serial: string;
}

export interface Listed {
  authority: Authority;
  issued: Issued[];
  /** Records that can not be read, and why. */
  damaged: string[];
}

/** Makes a CA in `dir`, which is made where it is absent. Throws PkiError when there is one, or part of one. */
export async function initAuthority(w: PkiWorld, o: { dir: string; cluster?: string; days: number }): Promise<{ name: string; untilMs: number }> {
  const { files, clock, crypto } = w;
  const paths = caFiles(o.dir);
  await makeFolder(files, o.dir);
  return await withLock(files, paths.lock, async () => {
    for (const path of [paths.certificate, paths.key, paths.list]) {
      if (await exists(files, path)) throw new PkiError(`${o.dir} holds a CA already (${path}), which is left alone`);
    }
    const name = o.cluster === undefined ? 'NetRAID CA' : `NetRAID CA of ${o.cluster}`;
    const fromMs = clock.wallNow() - BACKDATE_MS;
    const untilMs = clock.wallNow() + o.days * DAY_MS;
    const { certificate, key, signer } = await makeAuthority(crypto, { commonName: name, fromMs, untilMs });
    const list = await makeRevocationList(crypto, signer, { number: 1, revoked: new Map() }, fromMs);
    await makeFolder(files, paths.issued);
    await writeNewFiles(files, [
      { path: paths.key, bytes: key, private: true },
      { path: paths.list, bytes: list },
      // Last: without it the folder is none of a CA.
      { path: paths.certificate, bytes: certificate },
    ]);
    return { name, untilMs };
  });
}

/** Opens the CA for one who changes it, alone. Throws PkiError. */
export async function withAuthority<T>(w: PkiWorld, dir: string, work: (authority: Authority) => Promise<T>): Promise<T> {
  const paths = caFiles(dir);
  // Before the lock, whose file is made: a folder that was named by mistake is left as it is.
  await openAuthority(w, dir);
  return await withLock(w.files, paths.lock, async () => await work(await openAuthority(w, dir)));
}

/** Throws PkiError when `dir` holds no CA, or a damaged one. */
export async function openAuthority(w: PkiWorld, dir: string): Promise<Authority> {
  const { files, crypto } = w;
  const paths = caFiles(dir);
  const certificatePem = await readIfThere(files, paths.certificate);
  if (certificatePem === undefined) throw new PkiError(`${dir} holds no CA: there is no ca-cert.pem; netraid pki init makes one`);
  const certificate = readCertificate(certificatePem, paths.certificate);
  const name = /^CN=([^\n]+)$/.exec(certificate.subject)?.[1];
  const untilMs = parseOpensslDate(certificate.validTo);
  if (!certificate.ca || name === undefined || untilMs === undefined)
    throw new PkiError(`${paths.certificate} is no CA's certificate as netraid pki init makes it`);
  const listPem = await readIfThere(files, paths.list, LIST_MAX_BYTES);
  if (listPem === undefined)
    throw new PkiError(`${paths.list} is missing; bring it back from a copy: without it what was revoked would be valid again`);
  const list = await readRevocationList(crypto, Uint8Array.from(certificate.raw), listPem, paths.list);
  return { paths, certificate, certificatePem, name, untilMs, list, listPem };
}

/** Throws PkiError when the key is absent, damaged, or of another CA, and when the CA has ended. */
export async function signerOf(w: PkiWorld, a: Authority): Promise<Signer> {
  if (a.untilMs <= w.clock.wallNow()) throw new PkiError(`${a.name} has expired: make a new one in another folder`);
  const key = await readIfThere(w.files, a.paths.key);
  if (key === undefined) throw new PkiError(`${a.paths.key} is missing: without it nothing can be signed`);
  return await readSigner(w.crypto, Uint8Array.from(a.certificate.raw), key, a.paths.key);
}

/** Throws PkiError when there are too many. */
export async function recordNames(w: PkiWorld, a: Authority): Promise<RecordName[]> {
  const names = await w.files.list(a.paths.issued).catch((e: unknown) => {
    if (e instanceof IoError && e.errno === Errno.ENOENT) throw new PkiError(`${a.paths.issued} is missing; bring it back from a copy`);
    throw e;
  });
  const found = names.flatMap((file) => {
    const m = RECORD.exec(file);
    return m?.[1] === undefined || m[2] === undefined ? [] : [{ file, name: m[1], serial: m[2] }];
  });
  if (found.length > ISSUED_MAX)
    throw new PkiError(`${a.paths.issued} holds more than ${String(ISSUED_MAX)} certificates; remove those that have expired`);
  return found;
}

/** Throws PkiError when it is damaged, from another CA, or not what its name says. */
export async function readRecord(w: PkiWorld, a: Authority, r: RecordName): Promise<Issued> {
  const path = join(a.paths.issued, r.file);
  const certificate = readCertificate(await w.files.readFile(path, CERTIFICATE_MAX_BYTES), path);
  const c = describeCertificate(certificate, a.certificate, path);
  if (c.name !== r.name || c.serial !== r.serial) throw new PkiError(`${path} holds a certificate of ${c.name} with the serial ${c.serial}`);
  return { ...c, state: a.list.revoked.has(c.serial) ? 'revoked' : c.untilMs < w.clock.wallNow() ? 'expired' : 'valid' };
}

/** All that it has issued, by name and age. Throws PkiError when `dir` holds no CA. */
export async function listIssued(w: PkiWorld, dir: string): Promise<Listed> {
  const authority = await openAuthority(w, dir);
  const issued: Issued[] = [];
  const damaged: string[] = [];
  for (const r of await recordNames(w, authority)) {
    try {
      issued.push(await readRecord(w, authority, r));
    } catch (e: unknown) {
      if (!(e instanceof PkiError || e instanceof IoError)) throw e;
      damaged.push(e.message);
    }
  }
  issued.sort((x, y) => (x.name < y.name ? -1 : x.name > y.name ? 1 : x.fromMs - y.fromMs));
  return { authority, issued, damaged };
}

/** Puts these serials on the list, which is replaced when one is new. Answers the list's PEM, and which were new. Throws PkiError when it is full. */
export async function revokeSerials(
  w: PkiWorld,
  a: Authority,
  signer: Signer,
  serials: readonly string[],
  reason: RevocationReason,
): Promise<{ listPem: Uint8Array; added: string[] }> {
  const added = serials.filter((s) => !a.list.revoked.has(s));
  if (added.length === 0) return { listPem: a.listPem, added };
  const now = w.clock.wallNow();
  const revoked = new Map([...a.list.revoked, ...added.map((s) => [s, { atMs: now, reason: revocationReasons[reason] }] as const)]);
  if (revoked.size > REVOKED_MAX) throw new PkiError(`${a.paths.list} can not hold more than ${String(REVOKED_MAX)} certificates: make a new CA`);
  const listPem = await makeRevocationList(w.crypto, signer, { number: a.list.number + 1, revoked }, now - BACKDATE_MS);
  await replaceFile(w.files, a.paths.list, listPem);
  return { listPem, added };
}

/** The newest; of several that began in the same second one that is valid. */
export function newestOf(all: readonly Issued[]): Issued | undefined {
  const rank = (c: Issued): number => (c.state === 'valid' ? 1 : 0);
  return all.toSorted((x, y) => y.fromMs - x.fromMs || rank(y) - rank(x))[0];
}
