/** Reading certificates: what those of our CA say, and that they are its. */
import { X509Certificate } from 'node:crypto';
import { parseOpensslDate } from '../io/calendar.ts';
import { parseHost } from './hosts.ts';
import { decodePem } from './pem.ts';
import { type Certificate, type Kind, PkiError } from './types.ts';

const SERVER_AUTH = '1.3.6.1.5.5.7.3.1';
const CLIENT_AUTH = '1.3.6.1.5.5.7.3.2';

/** Throws PkiError, which names `file`. */
export function readCertificate(pem: Uint8Array, file: string): X509Certificate {
  const der = decodePem('CERTIFICATE', pem, file);
  try {
    return new X509Certificate(der);
  } catch (e: unknown) {
    throw new PkiError(`${file} is damaged: ${e instanceof Error ? e.message : String(e)}`);
  }
}

/** Throws PkiError, which names `file`, when it is not a certificate as this CA issues them. */
export function describeCertificate(certificate: X509Certificate, authority: X509Certificate, file: string): Certificate {
  if (!certificate.checkIssued(authority) || !certificate.verify(authority.publicKey)) throw new PkiError(`${file} is from another CA`);
  const name = /^CN=([^\n]+)$/.exec(certificate.subject)?.[1];
  const kind = kindOf(certificate.keyUsage);
  const fromMs = parseOpensslDate(certificate.validFrom);
  const untilMs = parseOpensslDate(certificate.validTo);
  if (name === undefined || kind === undefined || fromMs === undefined || untilMs === undefined)
    throw new PkiError(`${file} is not a certificate of a node or client`);
  return { name, kind, hosts: hostsOf(certificate, name, file), serial: certificate.serialNumber.toLowerCase(), fromMs, untilMs };
}

/** From what Node calls the key's usage, which is the extended one; undefined where the certificate has none, whatever Node declares. */
function kindOf(usage: readonly string[] | undefined): Kind | undefined {
  if (usage?.includes(CLIENT_AUTH) !== true) return undefined;
  return usage.includes(SERVER_AUTH) ? 'node' : 'client';
}

/** Without the name, which is the first. */
function hostsOf(certificate: X509Certificate, name: string, file: string): string[] {
  const [first, ...others] = (certificate.subjectAltName ?? '').split(', ');
  const hosts = others.map((entry) => parseHost(/^(?:DNS|IP Address):(.+)$/.exec(entry)?.[1] ?? ''));
  const known = hosts.filter((h) => h !== undefined);
  if (first !== `DNS:${name}` || known.length < hosts.length) throw new PkiError(`${file} names hosts in a way that is not known`);
  return known;
}
