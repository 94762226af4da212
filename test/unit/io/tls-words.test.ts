import { describe, expect, it } from 'vitest';
import { refusalOf, tlsErrorText } from '../../../src/io/node/tls-words.ts';

const DATES = { validFrom: 'Jan  1 00:00:00 2030 GMT', validTo: 'Jan  1 00:00:00 2020 GMT' };

const coded = (code: string, message = 'said by OpenSSL'): Error => Object.assign(new Error(message), { code });

describe('why a certificate is not taken', () => {
  const words: [string, string][] = [
    ['CERT_HAS_EXPIRED', 'its certificate has expired (Jan  1 00:00:00 2020 GMT)'],
    ['CERT_NOT_YET_VALID', 'its certificate is not valid yet (from Jan  1 00:00:00 2030 GMT): is a clock wrong?'],
    ['CERT_REVOKED', 'its certificate has been revoked'],
    ['CRL_HAS_EXPIRED', 'our list of revoked certificates, ca-crl.pem, is out of date'],
    ['CRL_NOT_YET_VALID', 'our list of revoked certificates, ca-crl.pem, is out of date'],
    ['UNABLE_TO_GET_CRL', 'our list of revoked certificates, ca-crl.pem, is not of the CA that issued its certificate'],
    ['DEPTH_ZERO_SELF_SIGNED_CERT', 'its certificate was not issued by our CA'],
    ['SELF_SIGNED_CERT_IN_CHAIN', 'its certificate was not issued by our CA'],
    ['UNABLE_TO_GET_ISSUER_CERT', 'its certificate was not issued by our CA'],
    ['UNABLE_TO_GET_ISSUER_CERT_LOCALLY', 'its certificate was not issued by our CA'],
    ['UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'its certificate was not issued by our CA'],
    ['CERT_SIGNATURE_FAILURE', 'its certificate was not issued by our CA'],
    ['INVALID_PURPOSE', 'its certificate is for another use'],
    ['PATH_LENGTH_EXCEEDED', 'its certificate is not taken (PATH_LENGTH_EXCEEDED)'],
  ];

  it.each(words)('%s', (code, said) => {
    expect(refusalOf(code, DATES)).toBe(said);
    expect(refusalOf(coded(code), DATES)).toBe(said);
  });

  it('is never nothing, whatever there is to go by', () => {
    for (const error of [undefined, null, '', new Error(''), 7]) expect(refusalOf(error, DATES)).toMatch(/^its certificate is not taken \(/);
    expect(refusalOf(new Error('no code here'), DATES)).toBe('its certificate is not taken (no code here)');
  });
});

describe('why a handshake ended', () => {
  const words: [string, string][] = [
    ['ERR_SSL_SSLV3_ALERT_CERTIFICATE_EXPIRED', 'the other end refused: certificate expired'],
    ['ERR_SSL_SSL/TLS_ALERT_UNKNOWN_CA', 'the other end refused: unknown ca'],
    ['ERR_SSL_TLSV1_ALERT_UNKNOWN_CA', 'the other end refused: unknown ca'],
    ['ERR_SSL_TLSV13_ALERT_CERTIFICATE_REQUIRED', 'the other end refused: certificate required'],
    ['ERR_SSL_WRONG_VERSION_NUMBER', 'the other end does not speak TLS'],
    ['ERR_SSL_PACKET_LENGTH_TOO_LONG', 'the other end does not speak TLS'],
    ['ERR_SSL_HTTP_REQUEST', 'the other end does not speak TLS'],
    ['ERR_SSL_UNSUPPORTED_PROTOCOL', 'there is no version or cipher that both ends take'],
    ['ERR_SSL_NO_SHARED_CIPHER', 'there is no version or cipher that both ends take'],
    ['ERR_SSL_PSK_IDENTITY_NOT_FOUND', 'the user is not known, or the key is another'],
    ['ERR_SSL_DECRYPTION_FAILED_OR_BAD_RECORD_MAC', 'the user is not known, or the key is another'],
    ['ECONNRESET', 'it closed the connection during the handshake'],
    ['EPIPE', 'EPIPE: said by OpenSSL'],
  ];

  it.each(words)('%s', (code, said) => {
    expect(tlsErrorText(coded(code))).toBe(said);
  });

  it('of what is no error is what it is', () => {
    expect(tlsErrorText('broken')).toBe('broken');
    expect(tlsErrorText(new Error('bare'))).toBe('bare: bare');
  });
});
