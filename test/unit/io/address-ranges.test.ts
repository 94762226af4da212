import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { AddressRanges, hostOf, isAddress, isAddressRange } from '../../../src/io/address-ranges.ts';

const quad = (n: number): string => [24, 16, 8, 0].map((s) => String((n >>> s) & 255)).join('.');

describe('ranges of addresses', () => {
  it.each([
    [['10.0.0.0/24'], '10.0.0.255:40000', true],
    [['10.0.0.0/24'], '10.0.1.0:40000', false],
    [['10.0.0.7/24'], '10.0.0.1:40000', true],
    [['10.0.0.7'], '10.0.0.7:1', true],
    [['10.0.0.7'], '10.0.0.8:1', false],
    [['0.0.0.0/0'], '203.0.113.9:1', true],
    [['0.0.0.0/0'], '2001:db8::1:40000', false],
    [['fd00::/8'], 'fd12:3456::1:40000', true],
    [['fd00::/8'], 'fe80::1:40000', false],
    [['::/0'], '203.0.113.9:1', false],
    [['::1'], '::1:40000', true],
    [['192.0.2.1', 'fe80::/10'], 'fe80::1%eth0:40000', true],
    [['10.0.0.0/8'], '::ffff:10.1.2.3:40000', true],
    [['10.0.0.0/8'], '::FFFF:11.1.2.3:40000', false],
    [['0.0.0.0/0', '::/0'], '/run/nbd.sock', false],
    [['0.0.0.0/0', '::/0'], 'unix:/run/nbd.sock', false],
    [['0.0.0.0/0', '::/0'], 'server1:40000', false],
    [['0.0.0.0/0', '::/0'], '', false],
  ])('%j: %s is in it: %s', (ranges, remote, expected) => {
    expect(new AddressRanges(ranges).has(remote)).toBe(expected);
  });

  it('have what shares their first bits, and nothing else', () => {
    fc.assert(
      fc.property(fc.nat(2 ** 32 - 1), fc.nat(2 ** 32 - 1), fc.nat(32), fc.boolean(), (a, other, bits, near) => {
        const size = 2 ** (32 - bits);
        const b = near ? Math.floor(a / size) * size + (other % size) : other;
        const same = Math.floor(a / size) === Math.floor(b / size);
        expect(new AddressRanges([`${quad(a)}/${String(bits)}`]).has(`${quad(b)}:1`)).toBe(same);
      }),
    );
  });

  it.each([
    '',
    '10.0.0',
    '10.0.0.0/33',
    '10.0.0.0/-1',
    '10.0.0.0/8/8',
    '::1/129',
    'fe80::1%eth0',
    'server1',
    '10.0.0.0/ 8',
    '1.2.3.4.5',
    '/8',
    '10.0.0.0/',
  ])('do not take %j', (text) => {
    expect(isAddressRange(text)).toBe(false);
    expect(() => new AddressRanges([text])).toThrow(RangeError);
  });

  it('leave the port off', () => {
    expect([hostOf('10.0.0.1:7'), hostOf('fd00::1:7'), hostOf('/run/x')]).toEqual(['10.0.0.1', 'fd00::1', '/run/x']);
  });
});

it.each([
  ['10.0.0.1', true],
  ['2001:DB8::1', true],
  ['10.0.0.0/8', false],
  ['fe80::1%eth0', false],
  ['server1', false],
  ['', false],
])('%j is a single address: %s', (text, expected) => {
  expect(isAddress(text)).toBe(expected);
});
