import { expect, it } from 'vitest';
import { decodePem, encodePem } from '../../../src/pki/pem.ts';

const bytes = Uint8Array.from({ length: 100 }, (_, i) => i);
const pem = Buffer.from(encodePem('CERTIFICATE', bytes.buffer)).toString();
const decode = (text: string): Uint8Array => decodePem('CERTIFICATE', Buffer.from(text), 'the file');

it('is written in lines of 64 and read back, also with comments around and another block', () => {
  expect(pem.split('\n').map((l) => l.length)).toEqual([27, 64, 64, 8, 25, 0]);
  const key = Buffer.from(encodePem('PRIVATE KEY', bytes.buffer)).toString();
  for (const text of [pem, `Subject: x\n${pem}tail`, pem.replaceAll('\n', '\r\n'), key + pem]) expect(decode(text)).toEqual(bytes);
});

it.each([
  ['nothing', ''],
  ['half a block', pem.slice(0, 60)],
  ['two blocks', pem + pem],
  ['an empty block', '-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n'],
  ['what is not base64', pem.replace('A', '!')],
  ['another end', pem.replace('END CERTIFICATE', 'END PRIVATE KEY')],
  ['another label', pem.replaceAll('CERTIFICATE', 'X509 CRL')],
])('refuses %s, and says in which file', (_, text) => {
  expect(() => decode(text)).toThrow('the file is damaged: it must hold one PEM block "CERTIFICATE"');
});
