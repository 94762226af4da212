import { expect, it } from 'vitest';
import { parseHost } from '../../../src/pki/hosts.ts';

it.each([
  ['server1', 'server1'],
  ['Node_1.Example.COM', 'node_1.example.com'],
  ['3com.example', '3com.example'],
  ['10.0.0.1', '10.0.0.1'],
  ['2001:DB8:0:0:0:0:0:1', '2001:db8::1'],
  ['::1', '::1'],
  ['', undefined],
  ['10.0.0', undefined],
  ['10.0.0.300', undefined],
  ['10.0.0.0/8', undefined],
  ['fe80::1%eth0', undefined],
  ['[::1]', undefined],
  ['*.example', undefined],
  ['-a.example', undefined],
  ['a..b', undefined],
  ['a b', undefined],
  ['a,DNS:b', undefined],
  ['x'.repeat(64), undefined],
  [`${'x'.repeat(60)}.`.repeat(5) + 'y', undefined],
])('%j is the host %j', (text, host) => {
  expect(parseHost(text)).toBe(host);
});
