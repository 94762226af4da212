import { webcrypto as crypto, X509Certificate } from 'node:crypto';
import { expect, it } from 'vitest';
import { decodePem } from '../../../src/pki/pem.ts';
import { makeAuthority, makeRevocationList, randomSerial, readRevocationList, readSigner, revocationReasons } from '../../../src/pki/x509.ts';

const from = Date.UTC(2026, 0);

const authority = () => makeAuthority(crypto, { commonName: 'CA', fromMs: from, untilMs: from + 1e10 });
const der = (pem: Uint8Array) => decodePem('CERTIFICATE', pem, 'f');

it('serials are 16 bytes, positive, and no two alike', () => {
  const serials = Array.from({ length: 200 }, () => randomSerial(crypto));
  expect(serials.every((s) => /^[4-7][0-9a-f]{31}$/.test(s))).toBe(true);
  expect(new Set(serials).size).toBe(200);
});

it.each([0, 1, 127, 128, 255, 256, 65_535, 65_536, 2 ** 40])('a list of number %d is read as it was made', async (number) => {
  const { certificate, signer } = await authority();
  const revoked = new Map([
    [randomSerial(crypto), { atMs: from + 5000, reason: revocationReasons.superseded }],
    [randomSerial(crypto), { atMs: from + 7000, reason: revocationReasons.cessationOfOperation }],
  ]);
  const pem = await makeRevocationList(crypto, signer, { number, revoked }, from);
  expect(await readRevocationList(crypto, der(certificate), pem, 'f')).toEqual({ number, revoked });
});

it('a long list is read too', async () => {
  const { certificate, signer } = await authority();
  const revoked = new Map(Array.from({ length: 2000 }, () => [randomSerial(crypto), { atMs: from, reason: revocationReasons.superseded }]));
  const pem = await makeRevocationList(crypto, signer, { number: 1, revoked }, from);
  expect((await readRevocationList(crypto, der(certificate), pem, 'f')).revoked).toEqual(revoked);
});

it('the key of a certificate is told from another, and from what is no key', async () => {
  const [one, other] = [await authority(), await authority()];
  expect((await readSigner(crypto, der(one.certificate), one.key, 'f')).certificate.serialNumber).toBe(
    new X509Certificate(one.certificate).serialNumber.toLowerCase(),
  );
  await expect(readSigner(crypto, der(one.certificate), other.key, 'f')).rejects.toThrow("f is not the key of the CA's certificate");
  const rsa = await crypto.subtle.generateKey(
    { name: 'RSASSA-PKCS1-v1_5', modulusLength: 2048, publicExponent: Uint8Array.of(1, 0, 1), hash: 'SHA-256' },
    true,
    ['sign', 'verify'],
  );
  const base64 = Buffer.from(await crypto.subtle.exportKey('pkcs8', rsa.privateKey)).toString('base64');
  const pem = Buffer.from(`-----BEGIN PRIVATE KEY-----\n${base64}\n-----END PRIVATE KEY-----\n`);
  await expect(readSigner(crypto, der(one.certificate), pem, 'f')).rejects.toThrow('f is damaged, or not an ECDSA key on P-256');
});
