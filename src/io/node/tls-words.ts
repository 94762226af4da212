/** What OpenSSL says of certificates and handshakes, for people. */
import type { X509Certificate } from 'node:crypto';

/** `authorizationError` of a TLSSocket: a code of X509_verify_cert_error_string(3), or an Error that has one. */
export function refusalOf(error: unknown, c: Pick<X509Certificate, 'validFrom' | 'validTo'>): string {
  const code = codeOf(error);
  switch (code) {
    case 'CERT_HAS_EXPIRED':
      return `its certificate has expired (${c.validTo})`;
    case 'CERT_NOT_YET_VALID':
      return `its certificate is not valid yet (from ${c.validFrom}): is a clock wrong?`;
    case 'CERT_REVOKED':
      return 'its certificate has been revoked';
    case 'CRL_HAS_EXPIRED':
    case 'CRL_NOT_YET_VALID':
      return 'our list of revoked certificates, ca-crl.pem, is out of date';
    case 'UNABLE_TO_GET_CRL':
      return 'our list of revoked certificates, ca-crl.pem, is not of the CA that issued its certificate';
    case 'DEPTH_ZERO_SELF_SIGNED_CERT':
    case 'SELF_SIGNED_CERT_IN_CHAIN':
    case 'UNABLE_TO_GET_ISSUER_CERT':
    case 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY':
    case 'UNABLE_TO_VERIFY_LEAF_SIGNATURE':
    case 'CERT_SIGNATURE_FAILURE':
      return 'its certificate was not issued by our CA';
    case 'INVALID_PURPOSE':
      return 'its certificate is for another use';
    default:
      return `its certificate is not taken (${code})`;
  }
}

/** Why a handshake ended: for an alert, what the other end means by it. */
export function tlsErrorText(error: unknown): string {
  const code = codeOf(error);
  const alert = /^ERR_SSL_(?:SSL\/TLS|SSL|TLS)V?\d*_ALERT_(.+)$/.exec(code)?.[1];
  if (alert !== undefined) return `the other end refused: ${alert.toLowerCase().replaceAll('_', ' ')}`;
  switch (code) {
    case 'ECONNRESET':
      return 'it closed the connection during the handshake';
    case 'ERR_SSL_WRONG_VERSION_NUMBER':
    case 'ERR_SSL_PACKET_LENGTH_TOO_LONG':
    case 'ERR_SSL_HTTP_REQUEST':
      return 'the other end does not speak TLS';
    case 'ERR_SSL_UNSUPPORTED_PROTOCOL':
    case 'ERR_SSL_NO_SHARED_CIPHER':
    case 'ERR_SSL_NO_SUITABLE_SIGNATURE_ALGORITHM':
      return 'there is no version or cipher that both ends take';
    case 'ERR_SSL_DECRYPTION_FAILED_OR_BAD_RECORD_MAC':
    case 'ERR_SSL_PSK_IDENTITY_NOT_FOUND':
      return 'the user is not known, or the key is another';
    default:
      return error instanceof Error ? `${code}: ${error.message}` : String(error);
  }
}

function codeOf(error: unknown): string {
  if (typeof error === 'string') return error;
  if (error instanceof Error && 'code' in error && typeof error.code === 'string') return error.code;
  return error instanceof Error ? error.message : String(error);
}
