/** Issuing, renewing and revoking certificates. */
import { join } from 'node:path';
import { replaceFile } from '../io/atomic-file.ts';
import { DAY_MS, dateOf } from '../io/calendar.ts';
import {
  type Authority,
  BACKDATE_MS,
  ISSUED_MAX,
  newestOf,
  type RecordName,
  readRecord,
  recordNames,
  revokeSerials,
  signerOf,
  withAuthority,
} from './authority.ts';
import { describeCertificate, readCertificate } from './certificate.ts';
import { makeFolder, type NewFile, writeNewFiles } from './disk.ts';
import { checkNewFolder, checkOldFolder, pairFiles, writeAuthority } from './folder.ts';
import { type Certificate, type Issued, type Kind, PkiError, type PkiWorld } from './types.ts';
import { makeCertificate, type Pair, randomSerial, type Signer } from './x509.ts';

export interface IssueOptions {
  dir: string;
  name: string;
  kind: Kind;
  /** As `parseHost` gives them. */
  hosts: readonly string[];
  days: number;
  out: string;
}

export interface RenewOptions {
  dir: string;
  name: string;
  days: number;
  out: string;
  /** Those before it are revoked. */
  revokeOld: boolean;
}

export interface NewCertificate {
  certificate: Certificate;
  /** It ends before the days asked for, with the CA. */
  cutShort: boolean;
}

/**
 * The first certificate of a name, or the first after all earlier ones ended. Throws PkiError, and then neither the CA nor the folder
 * has changed; after an IoError the folder may hold the CA's own certificate and list, which are in the way of nothing.
 */
export async function issue(w: PkiWorld, o: IssueOptions): Promise<NewCertificate> {
  return await withAuthority(w, o.dir, async (a) => {
    const records = await recordNames(w, a);
    const valid = (await readAll(w, a, ofName(records, o.name))).find((c) => c.state === 'valid');
    if (valid !== undefined) {
      throw new PkiError(`${o.name} has a certificate already, a ${valid.kind}'s with the serial ${valid.serial}: renew it, or revoke it first`);
    }
    await checkNewFolder(w, a, o.out, o.kind);
    const made = await make(w, a, await signerOf(w, a), records, o);
    await writeAuthority(w, a, o.out, a.listPem);
    await writeNewFiles(w.files, [recordFile(a, made), ...pairFiles(o.out, o.kind, made.pair)]);
    return made;
  });
}

/**
 * A new key and certificate for the name, kind and hosts of its newest one, in place of the files in the folder; where it fails between
 * those two, the next renewal heals it. Throws PkiError.
 */
export async function renew(w: PkiWorld, o: RenewOptions): Promise<NewCertificate & { revoked: string[] }> {
  return await withAuthority(w, o.dir, async (a) => {
    const records = await recordNames(w, a);
    const own = ofName(records, o.name);
    const newest = newestOf(await readAll(w, a, own));
    if (newest === undefined) throw new PkiError(`${o.name} has no certificate that could be renewed; issue one`);
    if (newest.state === 'revoked') throw new PkiError(`the newest certificate of ${o.name} is revoked; issue a new one if it is to connect again`);
    await checkOldFolder(w, a, o.out, newest.kind, o.name);
    const signer = await signerOf(w, a);
    const made = await make(w, a, signer, records, { ...newest, days: o.days });
    await writeNewFiles(w.files, [recordFile(a, made)]);
    await makeFolder(w.files, o.out);
    for (const { path, bytes, ...how } of pairFiles(o.out, newest.kind, made.pair)) await replaceFile(w.files, path, bytes, how);
    const old = o.revokeOld ? own.map((r) => r.serial) : [];
    const { listPem, added } = await revokeSerials(w, a, signer, old, 'superseded');
    await writeAuthority(w, a, o.out, listPem);
    return { ...made, revoked: added };
  });
}

/**
 * Puts every certificate of the name on the list, the expired ones too: clocks differ. Answers which were not there yet. A record counts
 * by its file's name, so that a damaged one can be revoked. Throws PkiError.
 */
export async function revoke(w: PkiWorld, o: { dir: string; name: string }): Promise<string[]> {
  return await withAuthority(w, o.dir, async (a) => {
    const own = serialsOf(await recordNames(w, a), o.name);
    return (await revokeSerials(w, a, await signerOf(w, a), own, 'cessationOfOperation')).added;
  });
}

/** Serials of the name's certificates. Throws PkiError when there is none. */
export function serialsOf(records: readonly RecordName[], name: string): string[] {
  const own = ofName(records, name).map((r) => r.serial);
  if (own.length === 0) throw new PkiError(`${name} has no certificate of this CA`);
  return own;
}

function ofName(records: readonly RecordName[], name: string): RecordName[] {
  return records.filter((r) => r.name === name);
}

async function readAll(w: PkiWorld, a: Authority, records: readonly RecordName[]): Promise<Issued[]> {
  return await Promise.all(records.map((r) => readRecord(w, a, r)));
}

interface Made extends NewCertificate {
  pair: Pair;
}

/** Nothing is written yet. */
async function make(
  w: PkiWorld,
  a: Authority,
  signer: Signer,
  records: readonly RecordName[],
  o: Pick<IssueOptions, 'name' | 'kind' | 'hosts' | 'days'>,
): Promise<Made> {
  if (records.length >= ISSUED_MAX) {
    throw new PkiError(`${a.paths.issued} holds ${String(ISSUED_MAX)} certificates, which is the most; remove those that have expired`);
  }
  const now = w.clock.wallNow();
  const wished = now + o.days * DAY_MS;
  const asked: Certificate = {
    name: o.name,
    kind: o.kind,
    hosts: o.hosts,
    serial: randomSerial(w.crypto),
    fromMs: dateOf(now - BACKDATE_MS).getTime(),
    untilMs: dateOf(Math.min(wished, a.untilMs)).getTime(),
  };
  const pair = await makeCertificate(w.crypto, signer, asked);
  // As others will read it: what can not be read back must not be given to anybody.
  const certificate = describeCertificate(readCertificate(pair.certificate, 'the new certificate'), a.certificate, 'the new certificate');
  return { certificate, cutShort: wished > a.untilMs, pair };
}

function recordFile(a: Authority, made: Made): NewFile {
  const { name, serial } = made.certificate;
  return { path: join(a.paths.issued, `${name}.${serial}.pem`), bytes: made.pair.certificate };
}
