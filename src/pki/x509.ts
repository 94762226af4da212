/**
 * Making certificates and revocation lists (RFC 5280). Signatures are ECDSA on P-256 with SHA-256. Bytes in, bytes out: no file is
 * touched here. The library below is large; whoever does not need it does not load this module.
 */
import 'reflect-metadata';
import type { webcrypto } from 'node:crypto';
import * as x509 from '@peculiar/x509';
import { dateOf } from '../io/calendar.ts';
import { isAddress } from '../io/address-ranges.ts';
import { decodePem, encodePem } from './pem.ts';
import { type Certificate, PkiError } from './types.ts';

const KEY = { name: 'ECDSA', namedCurve: 'P-256' };
const SIGNATURE = { name: 'ECDSA', hash: 'SHA-256' };
const CRL_NUMBER = '2.5.29.20';
/** Certificates on one list. */
export const REVOKED_MAX = 10_000;
/** The library's own limit is reached by some 1,300 certificates, of seven nodes each. */
const LIST_NODES_MAX = 10 * REVOKED_MAX;

export type RevocationReason = 'superseded' | 'cessationOfOperation';

/** Of one certificate. */
export interface Revocation {
  /** Milliseconds since 1970. */
  atMs: number;
  reason: x509.X509CrlReason;
}

export interface RevocationList {
  /** Rises with each list of a CA. */
  number: number;
  /** By serial, in lower case. */
  revoked: ReadonlyMap<string, Revocation>;
}

/** What signs: the CA's certificate and its key. */
export interface Signer {
  certificate: x509.X509Certificate;
  key: webcrypto.CryptoKey;
}

/** PEM of a certificate and of its key (PKCS#8). */
export interface Pair {
  certificate: Uint8Array;
  key: Uint8Array;
}

export const revocationReasons: Readonly<Record<RevocationReason, x509.X509CrlReason>> = {
  superseded: x509.X509CrlReason.superseded,
  cessationOfOperation: x509.X509CrlReason.cessationOfOperation,
};

/** 16 random bytes as hex, but for the first two bits: it is positive, and always of this length. */
export function randomSerial(crypto: webcrypto.Crypto): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[0] = ((bytes[0] ?? 0) & 0x3f) | 0x40;
  return Buffer.from(bytes).toString('hex');
}

/** A CA that signs itself, and what signs with it. */
export async function makeAuthority(
  crypto: webcrypto.Crypto,
  o: { commonName: string; fromMs: number; untilMs: number },
): Promise<Pair & { signer: Signer }> {
  const keys = await crypto.subtle.generateKey(KEY, true, ['sign', 'verify']);
  const name = commonName(o.commonName);
  const certificate = await x509.X509CertificateGenerator.create(
    {
      serialNumber: randomSerial(crypto),
      subject: name,
      issuer: name,
      notBefore: dateOf(o.fromMs),
      notAfter: dateOf(o.untilMs),
      publicKey: keys.publicKey,
      signingKey: keys.privateKey,
      signingAlgorithm: SIGNATURE,
      extensions: [
        new x509.BasicConstraintsExtension(true, 0, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
        await x509.SubjectKeyIdentifierExtension.create(keys.publicKey, false, crypto),
      ],
    },
    crypto,
  );
  return { ...(await pairOf(crypto, certificate, keys.privateKey)), signer: { certificate, key: keys.privateKey } };
}

/** A new key, and the certificate of it that `c` describes. */
export async function makeCertificate(crypto: webcrypto.Crypto, signer: Signer, c: Certificate): Promise<Pair> {
  const keys = await crypto.subtle.generateKey(KEY, true, ['sign', 'verify']);
  const usages = c.kind === 'node' ? [x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth] : [x509.ExtendedKeyUsage.clientAuth];
  const certificate = await x509.X509CertificateGenerator.create(
    {
      serialNumber: c.serial,
      subject: commonName(c.name),
      issuer: signer.certificate.subjectName,
      notBefore: dateOf(c.fromMs),
      notAfter: dateOf(c.untilMs),
      publicKey: keys.publicKey,
      signingKey: signer.key,
      signingAlgorithm: SIGNATURE,
      extensions: [
        new x509.BasicConstraintsExtension(false, undefined, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
        new x509.ExtendedKeyUsageExtension(usages),
        new x509.SubjectAlternativeNameExtension([
          { type: 'dns', value: c.name },
          ...c.hosts.map((value) => ({ type: isAddress(value) ? ('ip' as const) : ('dns' as const), value })),
        ]),
        await x509.SubjectKeyIdentifierExtension.create(keys.publicKey, false, crypto),
        await x509.AuthorityKeyIdentifierExtension.create(signer.certificate, false, crypto),
      ],
    },
    crypto,
  );
  return await pairOf(crypto, certificate, keys.privateKey);
}

/** PEM of a list that holds from `fromMs` to the end of the CA. */
export async function makeRevocationList(crypto: webcrypto.Crypto, signer: Signer, list: RevocationList, fromMs: number): Promise<Uint8Array> {
  const made = await x509.X509CrlGenerator.create(
    {
      issuer: signer.certificate.subjectName,
      thisUpdate: dateOf(fromMs),
      nextUpdate: signer.certificate.notAfter,
      signingKey: signer.key,
      signingAlgorithm: SIGNATURE,
      entries: [...list.revoked].map(([serialNumber, r]) => ({ serialNumber, revocationDate: dateOf(r.atMs), reason: r.reason })),
      extensions: [
        await x509.AuthorityKeyIdentifierExtension.create(signer.certificate, false, crypto),
        new x509.Extension(CRL_NUMBER, false, derInteger(list.number)),
      ],
    },
    crypto,
  );
  return encodePem('X509 CRL', made.rawData);
}

/** Throws PkiError, which names `file`, when it is damaged or from another CA. */
export async function readRevocationList(
  crypto: webcrypto.Crypto,
  authority: Uint8Array<ArrayBuffer>,
  pem: Uint8Array,
  file: string,
): Promise<RevocationList> {
  const der = decodePem('X509 CRL', pem, file);
  const list = parsed(() => new x509.X509Crl(der, { berOptions: { maxNodes: LIST_NODES_MAX } }), file);
  const { publicKey } = new x509.X509Certificate(authority);
  if (!(await list.verify({ publicKey }, crypto))) throw new PkiError(`${file} is damaged, or from another CA`);
  return parsed(() => {
    const number = Buffer.from(list.getExtension(CRL_NUMBER)?.value ?? new ArrayBuffer(0)).subarray(2);
    const revoked = list.entries.map((e): [string, Revocation] => [
      e.serialNumber,
      { atMs: e.revocationDate.getTime(), reason: e.reason ?? x509.X509CrlReason.cessationOfOperation },
    ]);
    return { number: number.length === 0 ? 0 : number.readUIntBE(0, number.length), revoked: new Map(revoked) };
  }, file);
}

/** Throws PkiError, which names `file`, when it is damaged, or not the key of the certificate. */
export async function readSigner(crypto: webcrypto.Crypto, authority: Uint8Array<ArrayBuffer>, keyPem: Uint8Array, file: string): Promise<Signer> {
  const der = decodePem('PRIVATE KEY', keyPem, file);
  const certificate = new x509.X509Certificate(authority);
  let key: webcrypto.CryptoKey;
  try {
    key = await crypto.subtle.importKey('pkcs8', der, KEY, false, ['sign']);
  } catch (e: unknown) {
    throw new PkiError(`${file} is damaged, or not an ECDSA key on P-256: ${e instanceof Error ? e.message : String(e)}`);
  }
  const publicKey = await crypto.subtle.importKey('spki', certificate.publicKey.rawData, KEY, false, ['verify']);
  const probe = crypto.getRandomValues(new Uint8Array(32));
  if (!(await crypto.subtle.verify(SIGNATURE, publicKey, await crypto.subtle.sign(SIGNATURE, key, probe), probe)))
    throw new PkiError(`${file} is not the key of the CA's certificate`);
  return { certificate, key };
}

async function pairOf(crypto: webcrypto.Crypto, certificate: x509.X509Certificate, key: webcrypto.CryptoKey): Promise<Pair> {
  return {
    certificate: encodePem('CERTIFICATE', certificate.rawData),
    key: encodePem('PRIVATE KEY', await crypto.subtle.exportKey('pkcs8', key)),
  };
}

function commonName(name: string): x509.Name {
  return new x509.Name([{ CN: [name] }]);
}

/** DER of a number that is not negative. */
function derInteger(n: number): Uint8Array {
  const bytes: number[] = [];
  for (let rest = n; rest > 0 || bytes.length === 0 || (bytes[0] ?? 0) > 0x7f; rest = Math.floor(rest / 256)) bytes.unshift(rest % 256);
  return Uint8Array.of(0x02, bytes.length, ...bytes);
}

function parsed<T>(parse: () => T, file: string): T {
  try {
    return parse();
  } catch (e: unknown) {
    throw new PkiError(`${file} is damaged: ${e instanceof Error ? e.message : String(e)}`);
  }
}
