/**
 * The folder that a node or client gets: its certificate and key, the CA's certificate, and what the CA has revoked. The names
 * are those that GnuTLS's NBD clients look for in their folder of certificates; a node's own differ in their first word.
 */
import { join } from 'node:path';
import { exists, replaceFile } from '../io/atomic-file.ts';
import type { Authority } from './authority.ts';
import { describeCertificate, readCertificate } from './certificate.ts';
import { makeFolder, type NewFile, readIfThere } from './disk.ts';
import { type Kind, PkiError, type PkiWorld } from './types.ts';
import type { Pair } from './x509.ts';

interface FolderFiles {
  certificate: string;
  key: string;
  authority: string;
  list: string;
}

export function folderFiles(folder: string, kind: Kind): FolderFiles {
  return {
    certificate: join(folder, `${kind}-cert.pem`),
    key: join(folder, `${kind}-key.pem`),
    authority: join(folder, 'ca-cert.pem'),
    list: join(folder, 'ca-crl.pem'),
  };
}

/** Throws PkiError when the folder is for something else, which is left alone: the CA's own, or another CA's. */
async function checkFolder(w: PkiWorld, a: Authority, folder: string): Promise<void> {
  if (await exists(w.files, join(folder, 'ca-key.pem'))) {
    throw new PkiError(`${folder} holds the key of a CA, which must stay where it is: nodes and clients need a folder of their own`);
  }
  const paths = folderFiles(folder, 'node');
  const there = await readIfThere(w.files, paths.authority);
  if (there !== undefined && !Buffer.from(there).equals(a.certificatePem))
    throw new PkiError(`${paths.authority} is from another CA; it is left alone`);
  if (there === undefined && (await exists(w.files, paths.list))) throw new PkiError(`${paths.list} exists already; it is left alone`);
}

/** Throws PkiError when a certificate or key is there already. What else this CA has put there is no obstacle. */
export async function checkNewFolder(w: PkiWorld, a: Authority, folder: string, kind: Kind): Promise<void> {
  await checkFolder(w, a, folder);
  const { certificate, key } = folderFiles(folder, kind);
  for (const path of [certificate, key]) {
    if (await exists(w.files, path)) throw new PkiError(`${path} exists already; it is left alone: choose another folder, or renew`);
  }
}

/** Throws PkiError when the certificate there is not one of `name`. None is no obstacle. */
export async function checkOldFolder(w: PkiWorld, a: Authority, folder: string, kind: Kind, name: string): Promise<void> {
  await checkFolder(w, a, folder);
  const { certificate, key } = folderFiles(folder, kind);
  const pem = await readIfThere(w.files, certificate);
  if (pem === undefined) {
    if (await exists(w.files, key)) throw new PkiError(`${key} is there without its certificate, so that nobody knows whose it is; it is left alone`);
    return;
  }
  const there = describeCertificate(readCertificate(pem, certificate), a.certificate, certificate);
  if (there.name !== name) throw new PkiError(`${certificate} is a certificate of ${there.name}, not of ${name}; it is left alone`);
}

/** A certificate and its key, as new files. */
export function pairFiles(folder: string, kind: Kind, pair: Pair): NewFile[] {
  const { certificate, key } = folderFiles(folder, kind);
  return [
    { path: key, bytes: pair.key, private: true },
    { path: certificate, bytes: pair.certificate },
  ];
}

/** What the folder holds of the CA, up to date. */
export async function writeAuthority(w: PkiWorld, a: Authority, folder: string, listPem: Uint8Array): Promise<void> {
  const { authority, list } = folderFiles(folder, 'node');
  await makeFolder(w.files, folder);
  // Without it the list belongs to nobody, and the folder would be refused the next time.
  await replaceFile(w.files, authority, a.certificatePem);
  await replaceFile(w.files, list, listPem);
}
