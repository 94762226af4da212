/**
 * What a node proves with who it is, out of a folder (ROOT/etc/tls), by the names that `netraid pki` gives:
 *
 *   ca-cert.pem                     whose certificates are taken; needed with the next two
 *   node-cert.pem, node-key.pem     this node's own
 *   ca-crl.pem                      may be absent: certificates that are not taken any more; a list of each CA
 *   psk                             may be absent: lines of USER:KEY, the key in hex digits (as GnuTLS's psktool writes them)
 */
import { X509Certificate } from 'node:crypto';
import { join } from 'node:path';
import { createSecureContext } from 'node:tls';
import { Errno, type Files, IoError } from '../types.ts';

const PEM_MAX_BYTES = 256 * 1024;
const CRL_MAX_BYTES = 4 * 1024 * 1024;
const PSK_MAX_BYTES = 1024 * 1024;
const KEY_MIN_BYTES = 16;
const KEY_MAX_BYTES = 64;

const NAMES = { ca: 'ca-cert.pem', cert: 'node-cert.pem', key: 'node-key.pem', crl: 'ca-crl.pem', psk: 'psk' } as const;

export interface TlsMaterial {
  /** Null: PSK alone. */
  x509: { ca: Uint8Array; cert: Uint8Array; key: Uint8Array; crl: readonly Uint8Array[]; expires: number } | null;
  /** Users and their keys. */
  psk: ReadonlyMap<string, Uint8Array> | null;
}

/** The bytes of the files, and null for each that is absent. */
export interface TlsFileBytes {
  ca: Uint8Array | null;
  cert: Uint8Array | null;
  key: Uint8Array | null;
  crl: Uint8Array | null;
  psk: Uint8Array | null;
}

/** Rejects with IoError when one can not be read. */
export async function readTlsFiles(files: Files, folder: string): Promise<TlsFileBytes> {
  const read = (name: string, maxBytes: number): Promise<Uint8Array | null> => readIfThere(files, join(folder, name), maxBytes);
  return {
    ca: await read(NAMES.ca, PEM_MAX_BYTES),
    cert: await read(NAMES.cert, PEM_MAX_BYTES),
    key: await read(NAMES.key, PEM_MAX_BYTES),
    crl: await read(NAMES.crl, CRL_MAX_BYTES),
    psk: await read(NAMES.psk, PSK_MAX_BYTES),
  };
}

/** As a client of other servers has them: its own certificate by the name that libnbd and qemu look for, or as a node's. */
export async function readClientFiles(files: Files, folder: string): Promise<TlsFileBytes> {
  const b = await readTlsFiles(files, folder);
  const cert = await readIfThere(files, join(folder, 'client-cert.pem'), PEM_MAX_BYTES);
  return cert === null ? b : { ...b, cert, key: await readIfThere(files, join(folder, 'client-key.pem'), PEM_MAX_BYTES) };
}

/** Null when it is absent. */
async function readIfThere(files: Files, path: string, maxBytes: number): Promise<Uint8Array | null> {
  try {
    return await files.readFile(path, maxBytes);
  } catch (e: unknown) {
    if (e instanceof IoError && (e.errno === Errno.ENOENT || e.errno === Errno.ENOTDIR)) return null;
    throw e;
  }
}

/** Rejects with Error, one line, when there is no such file, or it is not of users and keys. */
export async function readPsk(files: Files, path: string): Promise<Map<string, Uint8Array>> {
  const bytes = await readIfThere(files, path, PSK_MAX_BYTES);
  if (bytes === null) throw new Error(`${path}, the file of keys, is missing`);
  return parsePsk(bytes, path);
}

export function sameFiles(a: TlsFileBytes, b: TlsFileBytes): boolean {
  const same = (x: Uint8Array | null, y: Uint8Array | null): boolean => x === y || (x !== null && y !== null && Buffer.compare(x, y) === 0);
  return same(a.ca, b.ca) && same(a.cert, b.cert) && same(a.key, b.key) && same(a.crl, b.crl) && same(a.psk, b.psk);
}

const TO_MAKE = 'netraid pki makes it';

/** Throws Error with one line: which file, what, and what is allowed. */
export function tlsMaterial(b: TlsFileBytes, folder: string, node: string): TlsMaterial {
  const at = (name: string): string => join(folder, name);
  const psk = b.psk === null ? null : parsePsk(b.psk, at(NAMES.psk));
  const { ca, cert, key, crl } = b;
  if (cert === null && key === null && psk !== null) return { x509: null, psk };
  if (cert === null) throw new Error(`${at(NAMES.cert)} is missing: it is what this node proves with who it is; ${TO_MAKE}`);
  if (key === null) throw new Error(`${at(NAMES.key)} is missing, the key of ${NAMES.cert}`);
  if (ca === null) throw new Error(`${at(NAMES.ca)} is missing: it says whose certificates are taken`);
  const own = checkedPart(at(NAMES.cert), () => new X509Certificate(cert));
  checkedPart(at(NAMES.ca), () => new X509Certificate(ca));
  if (!namesOf(own).includes(node)) {
    throw new Error(`${at(NAMES.cert)} is the certificate of ${namesOf(own)[0] ?? 'nobody'}; allowed: one of ${node}, which is this node's name`);
  }
  checkedPart(`${at(NAMES.key)} with ${NAMES.cert}`, () =>
    createSecureContext({ key: Buffer.from(key), cert: Buffer.from(cert), ca: Buffer.from(ca) }),
  );
  const lists = crl === null ? [] : listsIn(crl);
  if (crl !== null) checkedPart(at(NAMES.crl), () => createSecureContext({ crl: lists.length === 0 ? [Buffer.from(crl)] : lists }));
  return { x509: { ca, cert, key, crl: lists, expires: Date.parse(own.validTo) }, psk };
}

/** Each by itself: of several in one text OpenSSL would read the first, and nobody would be told. */
export function listsIn(pem: Uint8Array): Buffer[] {
  const text = Buffer.from(pem).toString('latin1');
  return (text.match(/-----BEGIN X509 CRL-----[^]*?-----END X509 CRL-----/g) ?? []).map((l) => Buffer.from(`${l}\n`, 'latin1'));
}

export function checkedPart<T>(what: string, f: () => T): T {
  try {
    return f();
  } catch (e: unknown) {
    if (!(e instanceof Error)) throw e;
    throw new Error(`${what} can not be used: ${e.message}`, { cause: e });
  }
}

export function parsePsk(bytes: Uint8Array, path: string): Map<string, Uint8Array> {
  const users = new Map<string, Uint8Array>();
  const lines = Buffer.from(bytes).toString('utf8').split('\n');
  for (const [i, line] of lines.entries()) {
    if (line.trim() === '' || line.startsWith('#')) continue;
    const m = /^([^:\s]{1,128}):((?:[0-9A-Fa-f]{2})+)\s*$/.exec(line);
    const key = Buffer.from(m?.[2] ?? '', 'hex');
    if (m?.[1] === undefined || key.length < KEY_MIN_BYTES || key.length > KEY_MAX_BYTES) {
      throw new Error(
        `${path}: line ${String(i + 1)} is no USER:KEY; allowed: a key of ${String(2 * KEY_MIN_BYTES)} to ${String(2 * KEY_MAX_BYTES)} hex digits`,
      );
    }
    if (users.has(m[1])) throw new Error(`${path}: line ${String(i + 1)} has user ${m[1]} once more`);
    users.set(m[1], key);
  }
  return users;
}

/** Its common name, then the host names of its subjectAltName. */
export function namesOf(c: X509Certificate): string[] {
  const cn = c.subject
    .split('\n')
    .filter((l) => l.startsWith('CN='))
    .map((l) => l.slice(3));
  const hosts = (c.subjectAltName ?? '')
    .split(', ')
    .filter((n) => n.startsWith('DNS:'))
    .map((n) => n.slice(4));
  return [...new Set([...cn, ...hosts])];
}

/** Extended key usage: of servers (RFC 5280, 4.2.1.12); a certificate that says nothing of its use is for all. */
const SERVER_AUTH = '1.3.6.1.5.5.7.3.1';

export function mayServe(c: X509Certificate): boolean {
  // Absent in a certificate that does not limit its use, whatever the type says.
  const uses = c.keyUsage as readonly string[] | undefined;
  return uses?.includes(SERVER_AUTH) ?? true;
}
