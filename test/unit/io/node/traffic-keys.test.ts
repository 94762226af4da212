/** Keys of a connection that goes on elsewhere: against the RFC's own example, and against connections that Node has made. */
import { createCipheriv } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { Records } from '../../../../src/io/node/tls-records.ts';
import { expandLabel, noteSecret, type Secrets, trafficKeys } from '../../../../src/io/node/traffic-keys.ts';

const hex = (s: string): Buffer => Buffer.from(s.replaceAll(' ', ''), 'hex');
const CLIENT = Buffer.alloc(32, 1);
const SERVER = Buffer.alloc(32, 2);
const OTHER = Buffer.alloc(32, 9);
const DATA = 23;
const HANDSHAKE = 22;
const KEY_UPDATE = 24;
const TICKET = 4;

/** A record of RFC 8446, 5.2, as the side with that secret would send it. */
function sealed(secret: Buffer, number: number, content: readonly number[], type = DATA, padding = 0): Buffer {
  const key = expandLabel('sha256', secret, 'key', 16);
  const nonce = Buffer.from(expandLabel('sha256', secret, 'iv', 12));
  nonce.writeUInt32BE((nonce.readUInt32BE(8) ^ number) >>> 0, 8);
  const header = Buffer.from([DATA, 3, 3, 0, content.length + 1 + padding + 16]);
  const c = createCipheriv('aes-128-gcm', key, nonce).setAAD(header);
  return Buffer.concat([header, c.update(Buffer.from([...content, type, ...Buffer.alloc(padding)])), c.final(), c.getAuthTag()]);
}

function records(...of: Buffer[]): Records {
  const r = new Records();
  for (const b of of) r.add(b);
  return r;
}

const SUITE = 'TLS_AES_128_GCM_SHA256';
const bothSecrets: Secrets = { client: CLIENT, server: SERVER };
const keysOf = (sent: Records, received = records(sealed(SERVER, 0, [1]))): ReturnType<typeof trafficKeys> =>
  trafficKeys({ isServer: false, suite: SUITE, secrets: bothSecrets, sent, received });

describe('expandLabel', () => {
  it('gives the key and the IV of RFC 8448, 3 (server handshake traffic)', () => {
    const secret = hex('b67b7d690cc16c4e75e54213cb2d37b4e9c912bcded9105d42befd59d391ad38');
    expect(expandLabel('sha256', secret, 'key', 16)).toEqual(hex('3fce516009c21727d0f2e4e86ee403bc'));
    expect(expandLabel('sha256', secret, 'iv', 12)).toEqual(hex('5d313eb2671276ee13000b30'));
  });
});

describe('noteSecret', () => {
  it('takes the first traffic secrets of both sides, and passes over what else a key log says', () => {
    const to: Secrets = {};
    const lines = [`CLIENT_HANDSHAKE_TRAFFIC_SECRET ab ${OTHER.toString('hex')}`, 'EXPORTER_SECRET ab cd', 'rubbish', ''];
    for (const l of lines) noteSecret(Buffer.from(l), to);
    expect(to).toEqual({});
    noteSecret(Buffer.from(`CLIENT_TRAFFIC_SECRET_0 00ff ${CLIENT.toString('hex')}\n`), to);
    noteSecret(Buffer.from(`SERVER_TRAFFIC_SECRET_0 00ff ${SERVER.toString('hex')}`), to);
    expect(to).toEqual(bothSecrets);
  });
});

describe('trafficKeys', () => {
  it('counts the records under the key from the first that it opens', () => {
    const keys = keysOf(
      records(sealed(OTHER, 0, [1, 2]), sealed(OTHER, 1, [3]), sealed(CLIENT, 0, [4]), sealed(CLIENT, 1, [5], DATA, 3), sealed(CLIENT, 2, [6])),
    );
    if (typeof keys === 'string') throw new Error(keys);
    expect(keys.cipher).toBe(0);
    const [key, iv] = [expandLabel('sha256', CLIENT, 'key', 16), expandLabel('sha256', CLIENT, 'iv', 12)];
    expect(keys.sending).toEqual(Buffer.concat([key, iv, hex('0000000000000003')]));
    expect(keys.receiving.subarray(-8)).toEqual(hex('0000000000000001'));
  });

  it('has the ways the other way round on the server', () => {
    const ways = { sent: records(sealed(SERVER, 0, [1])), received: records(sealed(CLIENT, 0, [1]), sealed(CLIENT, 1, [1])) };
    const keys = trafficKeys({ isServer: true, suite: SUITE, secrets: bothSecrets, ...ways });
    expect(typeof keys === 'string' ? keys : [keys.sending.at(-1), keys.receiving.at(-1)]).toEqual([1, 2]);
  });

  it('passes tickets over', () => {
    expect(typeof keysOf(records(sealed(CLIENT, 0, [1])), records(sealed(SERVER, 0, [TICKET, 0, 0, 0], HANDSHAKE), sealed(SERVER, 1, [1])))).toBe(
      'object',
    );
  });

  const unseen = 'not every record was seen, or keys were changed';
  it.each<[string, Records]>([
    ['no record of a way yet', records()],
    ['only records of the handshake', records(sealed(OTHER, 0, [1]))],
    ['a record between that does not open', records(sealed(CLIENT, 0, [1]), sealed(OTHER, 1, [1]), sealed(CLIENT, 1, [1]))],
    ['a number that was passed over', records(sealed(CLIENT, 0, [1]), sealed(CLIENT, 2, [1]))],
    ['new keys announced', records(sealed(CLIENT, 0, [1]), sealed(CLIENT, 1, [KEY_UPDATE, 0, 0, 1, 0], HANDSHAKE))],
    ['new keys announced, behind padding', records(sealed(CLIENT, 0, [1]), sealed(CLIENT, 1, [KEY_UPDATE, 0, 0, 1, 0], HANDSHAKE, 7))],
    [
      'new keys announced, behind a ticket',
      records(sealed(CLIENT, 0, [1]), sealed(CLIENT, 1, [TICKET, 0, 0, 1, 7, KEY_UPDATE, 0, 0, 1, 0], HANDSHAKE)),
    ],
    ['a ticket that is not whole', records(sealed(CLIENT, 0, [1]), sealed(CLIENT, 1, [TICKET, 0, 0, 9, 7], HANDSHAKE))],
    ['the last record not whole', records(sealed(CLIENT, 0, [1]), sealed(CLIENT, 1, [1]).subarray(0, 9))],
    ['a header that is not whole', records(sealed(CLIENT, 0, [1]), Buffer.from([DATA, 3]))],
    ['a record too short for a tag', records(Buffer.from([DATA, 3, 3, 0, 3, 1, 2, 3]))],
  ])('gives none with %s', (_what, sent) => {
    expect(keysOf(sent)).toBe(unseen);
  });

  it('gives none for a suite that kernels have not, or without the secrets', () => {
    const ways = { sent: records(sealed(CLIENT, 0, [1])), received: records(sealed(SERVER, 0, [1])) };
    const of = (suite: string, secrets: Secrets): unknown => trafficKeys({ isServer: false, suite, secrets, ...ways });
    expect(of('TLS_AES_128_CCM_SHA256', bothSecrets)).toBe('the kernel has no TLS_AES_128_CCM_SHA256');
    expect(of(SUITE, { client: CLIENT })).toBe('Node has not told the secrets');
  });
});
