/**
 * The keys of a TLS 1.3 connection after its handshake, for somebody else to go on with it: out of the secrets that Node tells
 * (the format of NSS key logs), and the records of both ways so far.
 *
 * Nobody says how many records each way had under these keys, and each record's number is part of its nonce. So they are opened:
 * the first that the key opens as number 0 is where they begin, and every one behind it must open with the next number.
 */
import { createDecipheriv, createHmac } from 'node:crypto';
import { type Records, RECORD_HEADER_BYTES } from './tls-records.ts';

const IV_BYTES = 12;
const TAG_BYTES = 16;
/** RFC 8446, 5.2: what a record really is stands behind its content, and zeroes may follow. */
const TYPE_HANDSHAKE = 22;
const HANDSHAKE_NEW_SESSION_TICKET = 4;
const HANDSHAKE_HEAD_BYTES = 4;

interface Cipher {
  /** As native-shims/ktls.c counts them. */
  readonly number: number;
  readonly node: 'aes-128-gcm' | 'aes-256-gcm' | 'chacha20-poly1305';
  readonly hash: 'sha256' | 'sha384';
  readonly keyBytes: number;
}

/** RFC 8446, B.4: those of TLS 1.3 that kernels have too. */
const CIPHERS: ReadonlyMap<string, Cipher> = new Map([
  ['TLS_AES_128_GCM_SHA256', { number: 0, node: 'aes-128-gcm', hash: 'sha256', keyBytes: 16 }],
  ['TLS_AES_256_GCM_SHA384', { number: 1, node: 'aes-256-gcm', hash: 'sha384', keyBytes: 32 }],
  ['TLS_CHACHA20_POLY1305_SHA256', { number: 2, node: 'chacha20-poly1305', hash: 'sha256', keyBytes: 32 }],
]);

export interface TrafficKeys {
  /** As native-shims/ktls.c counts them. */
  readonly cipher: number;
  /** Key, IV, and the number of the next record (8 bytes, big-endian), one after the other. */
  readonly receiving: Buffer;
  /** The same. */
  readonly sending: Buffer;
}

export interface Secrets {
  client?: Buffer;
  server?: Buffer;
}

/** Takes what a line of a key log says, when it is about these. Others are passed over. */
export function noteSecret(line: Buffer, to: Secrets): void {
  const said = /^(CLIENT|SERVER)_TRAFFIC_SECRET_0 [0-9a-f]+ ((?:[0-9a-f]{2})+)\s*$/i.exec(line.toString('latin1'));
  if (said === null) return;
  const secret = Buffer.from(said[2] ?? '', 'hex');
  if (said[1]?.toUpperCase() === 'CLIENT') to.client = secret;
  else to.server = secret;
}

/** RFC 8446, 7.1 and 7.3: HKDF-Expand-Label with an empty context, of no more than one hash. */
export function expandLabel(hash: Cipher['hash'], secret: Buffer, label: string, length: number): Buffer {
  const name = Buffer.from(`tls13 ${label}`);
  const info = Buffer.concat([Buffer.from([length >> 8, length & 0xff, name.length]), name, Buffer.from([0, 1])]);
  return createHmac(hash, secret).update(info).digest().subarray(0, length);
}

/**
 * `suite`: as RFC 8446 calls it. A text: why there are none, and then the connection stays with Node. It is so for TLS 1.2, when a
 * way has not had a record yet, and when one does not open: keys have been changed since (4.6.3), or we have not seen all.
 */
export function trafficKeys(o: { isServer: boolean; suite: string; secrets: Secrets; received: Records; sent: Records }): TrafficKeys | string {
  const cipher = CIPHERS.get(o.suite);
  if (cipher === undefined) return `the kernel has no ${o.suite}`;
  const { client, server } = o.secrets;
  if (client === undefined || server === undefined) return 'Node has not told the secrets';
  const receiving = way(cipher, o.isServer ? client : server, o.received);
  const sending = way(cipher, o.isServer ? server : client, o.sent);
  if (receiving === undefined || sending === undefined) return 'not every record was seen, or keys were changed';
  return { cipher: cipher.number, receiving, sending };
}

function way(cipher: Cipher, secret: Buffer, records: Records): Buffer | undefined {
  const key = expandLabel(cipher.hash, secret, 'key', cipher.keyBytes);
  const iv = expandLabel(cipher.hash, secret, 'iv', IV_BYTES);
  const all = records.whole();
  if (all === undefined) return undefined;
  let next = 0;
  for (const r of all) {
    const opened = open(cipher, key, iv, next, r);
    if (opened === undefined) {
      if (next > 0) return undefined;
      // Of the handshake, under its own keys.
      continue;
    }
    next += 1;
    if (changesKeys(opened)) return undefined;
  }
  if (next === 0) return undefined;
  const number = Buffer.alloc(8);
  number.writeBigUInt64BE(BigInt(next));
  return Buffer.concat([key, iv, number]);
}

/** Undefined: it is not under this key, or not that number. */
function open(c: Cipher, key: Buffer, iv: Buffer, number: number, record: Buffer): Buffer | undefined {
  const end = record.length - TAG_BYTES;
  if (end <= RECORD_HEADER_BYTES) return undefined;
  const nonce = Buffer.from(iv);
  // 5.3; no connection has 2^32 records before it is handed over.
  nonce.writeUInt32BE((nonce.readUInt32BE(IV_BYTES - 4) ^ number) >>> 0, IV_BYTES - 4);
  const d =
    c.node === 'chacha20-poly1305' ? createDecipheriv(c.node, key, nonce, { authTagLength: TAG_BYTES }) : createDecipheriv(c.node, key, nonce);
  d.setAAD(record.subarray(0, RECORD_HEADER_BYTES), { plaintextLength: end - RECORD_HEADER_BYTES });
  d.setAuthTag(record.subarray(end));
  const opened = d.update(record.subarray(RECORD_HEADER_BYTES, end));
  try {
    d.final();
    return opened;
  } catch (e: unknown) {
    // Node says so where the tag is another.
    if (e instanceof Error) return undefined;
    throw e;
  }
}

/** A handshake message other than a ticket: of those that come after the handshake only a KeyUpdate is left (4.6). */
function changesKeys(opened: Buffer): boolean {
  let end = opened.length;
  while (end > 0 && opened[end - 1] === 0) end -= 1;
  if (opened[end - 1] !== TYPE_HANDSHAKE) return false;
  const messages = opened.subarray(0, end - 1);
  let at = 0;
  while (at + HANDSHAKE_HEAD_BYTES <= messages.length && messages[at] === HANDSHAKE_NEW_SESSION_TICKET) {
    at += HANDSHAKE_HEAD_BYTES + messages.readUIntBE(at + 1, 3);
  }
  return at !== messages.length;
}
