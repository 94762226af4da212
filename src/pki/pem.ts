/** PEM (RFC 7468): base64 of DER between two lines that name what it is. */
import { PkiError } from './types.ts';

const LINE_CHARACTERS = 64;

export type PemLabel = 'CERTIFICATE' | 'PRIVATE KEY' | 'X509 CRL';

export function encodePem(label: PemLabel, der: ArrayBuffer): Uint8Array {
  const lines =
    Buffer.from(der)
      .toString('base64')
      .match(new RegExp(`.{1,${String(LINE_CHARACTERS)}}`, 'g')) ?? [];
  return Buffer.from(`${[`-----BEGIN ${label}-----`, ...lines, `-----END ${label}-----`].join('\n')}\n`);
}

/** The one block of this label in `text`; lines around it are comments. Throws PkiError, which names `file`. */
export function decodePem(label: PemLabel, text: Uint8Array, file: string): Uint8Array<ArrayBuffer> {
  const blocks = [
    ...Buffer.from(text)
      .toString('latin1')
      .matchAll(/^-----BEGIN ([A-Z0-9 ]+)-----\s*$([^-]*)^-----END \1-----\s*$/gm),
  ];
  const [block, ...more] = blocks.filter((b) => b[1] === label);
  const base64 = (block?.[2] ?? '').replace(/\s+/g, '');
  if (more.length > 0 || !/^[A-Za-z0-9+/]+={0,2}$/.test(base64)) throw new PkiError(`${file} is damaged: it must hold one PEM block "${label}"`);
  return Uint8Array.from(Buffer.from(base64, 'base64'));
}
