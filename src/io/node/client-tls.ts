/**
 * TLS towards NBD servers that are none of our nodes, by Node. Files are read for each connection, of which a target has few.
 *
 * Invariant: without a certificate of the CA, valid now and for that host, or the key of the user, no server is taken.
 */
import { isIP } from 'node:net';
import { join } from 'node:path';
import { connect, type ConnectionOptions, createSecureContext, type TLSSocket } from 'node:tls';
import type { ClientTls, SecureSocket, ServerProof } from '../tls.ts';
import { type Clock, Errno, type Files, IoError, type IoSocket } from '../types.ts';
import { contextOf, PSK_CIPHERS } from './tls-contexts.ts';
import { certificateVerdict, inTime, isPsk, NodeSecureSocket, released, shaken, type Verdict } from './tls.ts';
import { checkedPart, listsIn, parsePsk, readClientFiles, readPsk } from './tls-files.ts';

export interface ClientTlsOptions {
  files: Files;
  clock: Clock;
  /** What this node has itself. */
  folder: string;
  /** Its name, which is its user where none is said. */
  node: string;
}

type Proof = { by: 'certificate'; options: ConnectionOptions } | { by: 'psk'; user: string; key: Uint8Array };

export class NodeClientTls implements ClientTls {
  readonly #o: ClientTlsOptions;

  constructor(o: ClientTlsOptions) {
    this.#o = o;
  }

  connect(s: IoSocket, server: ServerProof, timeoutMs: number): Promise<SecureSocket> {
    return inTime(this.#o.clock, s, timeoutMs, async () => {
      let proof: Proof;
      try {
        proof = await this.#proof(server);
      } catch (e: unknown) {
        s.destroy();
        if (e instanceof IoError || !(e instanceof Error)) throw e;
        throw new IoError(Errno.EACCES, `TLS to ${server.host}: ${e.message}`);
      }
      return await secured(s, server.host, proof);
    });
  }

  /** Rejects with Error, one line: which file, and what. */
  async #proof({ certificates, pskFile, user }: ServerProof): Promise<Proof> {
    const { files, folder, node } = this.#o;
    if (pskFile !== null) return keyOf(await readPsk(files, pskFile), user ?? node, pskFile);
    const from = certificates ?? folder;
    const b = await readClientFiles(files, from);
    // As between nodes: where keys are all there is, they are meant.
    if (certificates === null && b.psk !== null && (user !== null || b.ca === null)) {
      const path = join(from, 'psk');
      return keyOf(parsePsk(b.psk, path), user ?? node, path);
    }
    if (user !== null) throw new Error(`there is no key of ${user}: ${join(from, 'psk')} is missing, and tls-psk-file is not said`);
    const { ca, cert, key, crl } = b;
    if (ca === null) throw new Error(`${join(from, 'ca-cert.pem')} is missing: it says whose certificates are taken`);
    if ((cert === null) !== (key === null)) throw new Error(`${from} has a certificate without its key, or a key without its certificate`);
    const lists = crl === null ? [] : listsIn(crl);
    const options = contextOf({ ca, cert, key, crl: lists.length === 0 && crl !== null ? [crl] : lists });
    checkedPart(`what is in ${from}`, () => createSecureContext(options));
    return { by: 'certificate', options };
  }
}

function keyOf(users: ReadonlyMap<string, Uint8Array>, user: string, path: string): Proof {
  const key = users.get(user);
  if (key === undefined) throw new Error(`${path} has no key of ${user}`);
  return { by: 'psk', user, key };
}

async function secured(s: IoSocket, host: string, proof: Proof): Promise<NodeSecureSocket> {
  const raw = await released(s, new Uint8Array(0));
  const options: ConnectionOptions =
    proof.by === 'certificate'
      ? { ...proof.options, ...(isIP(host) === 0 ? { servername: host } : {}) }
      : { ciphers: PSK_CIPHERS, maxVersion: 'TLSv1.2', minDHSize: 1024, pskCallback: () => ({ psk: proof.key, identity: proof.user }) };
  const secure = await shaken(raw, s.remote, raw, (done, failed) => {
    // The host is compared below, so that a refusal has our words.
    const t = connect({ socket: raw, ...options, minVersion: 'TLSv1.2', rejectUnauthorized: false, checkServerIdentity: () => undefined });
    t.on('secureConnect', () => {
      done(t);
    });
    t.on('error', failed);
  });
  const v = verdict(secure, host, proof);
  if (v.refusal === '') return new NodeSecureSocket(secure, s.remote, v);
  secure.destroy();
  throw new IoError(Errno.EACCES, `TLS to ${host}: ${v.refusal}`);
}

function verdict(t: TLSSocket, host: string, proof: Proof): Verdict {
  if (proof.by === 'psk') {
    if (!isPsk(t)) return { peer: null, refusal: 'it did not prove that it knows the key' };
    return { peer: { by: 'psk', names: [host], mayServe: true }, refusal: '' };
  }
  const c = t.getPeerX509Certificate();
  const v = certificateVerdict(t, c, 'it showed no certificate');
  if (v.peer === null || (isIP(host) === 0 ? c?.checkHost(host) : c?.checkIP(host)) !== undefined) return v;
  return { peer: null, refusal: `its certificate is not for that host: it is that of ${v.peer.names.join(', ')}` };
}
