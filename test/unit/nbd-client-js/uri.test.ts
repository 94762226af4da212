import * as fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Errno, IoError } from '../../../src/io/types.ts';
import { formatNbdUri, parseNbdUri } from '../../../src/nbd-client-js/uri.ts';

function refusal(uri: string): IoError {
  try {
    parseNbdUri(uri);
  } catch (e: unknown) {
    if (e instanceof IoError) return e;
    throw e;
  }
  throw new Error(`${uri} was accepted`);
}

describe('an NBD URI', () => {
  it('names host, port and export', () => {
    expect(parseNbdUri('nbd://example.com:1234/disk')).toEqual({
      address: { kind: 'tcp', host: 'example.com', port: 1234 },
      exportName: 'disk',
    });
  });

  it.each([
    ['nbd://example.com', ''],
    ['nbd://example.com/', ''],
    ['nbd://example.com//disk', '/disk'],
    ['nbd://example.com/hello%20world', 'hello world'],
    ['nbd://example.com/a/b', 'a/b'],
    ['NBD://example.com/disk', 'disk'],
    ['nbd://example.com:/disk', 'disk'],
  ])('%s has the default port and export "%s"', (uri, exportName) => {
    expect(parseNbdUri(uri)).toEqual({ address: { kind: 'tcp', host: 'example.com', port: 10809 }, exportName });
  });

  it('takes an IPv6 address in brackets, with a zone', () => {
    expect(parseNbdUri('nbd://[::1]:99/').address).toEqual({ kind: 'tcp', host: '::1', port: 99 });
    expect(parseNbdUri('nbd://[fe80::1%25eth0]/').address).toEqual({ kind: 'tcp', host: 'fe80::1%eth0', port: 10809 });
  });

  it('names a unix socket in a parameter', () => {
    expect(parseNbdUri('nbd+unix:///disk?socket=/run/a%20b.sock')).toEqual({
      address: { kind: 'unix', path: '/run/a b.sock' },
      exportName: 'disk',
    });
    expect(parseNbdUri('nbd+unix://?socket=x').exportName).toBe('');
  });

  it.each([
    ['nbds://h/e', { host: 'h' }],
    ['nbds://h/e?tls-certificates=/etc/a%20b', { host: 'h', certificates: '/etc/a b' }],
    ['nbds://[::1]/e?tls-psk-file=/k', { host: '::1', pskFile: '/k' }],
    ['nbds://alice@h/e?tls-psk-file=/k', { host: 'h', pskFile: '/k', user: 'alice' }],
    ['nbds://h/e?tls-psk-file=/k&tls-username=alice', { host: 'h', pskFile: '/k', user: 'alice' }],
    ['nbds://alice@h/e', { host: 'h', user: 'alice' }],
    ['nbds://10.0.0.9/e?tls-hostname=disks.example&tls-verify-peer=true', { host: 'disks.example' }],
    ['nbds+unix:///e?socket=/s&tls-certificates=/c', { host: 'localhost', certificates: '/c' }],
    ['nbds+unix://alice@/e?socket=/s', { host: 'localhost', user: 'alice' }],
  ])('%s asks for TLS', (uri, proof) => {
    const u = parseNbdUri(uri);
    expect(u.tls).toEqual({ certificates: null, pskFile: null, user: null, ...proof });
    expect(u.exportName).toBe('e');
    expect(parseNbdUri(formatNbdUri(u))).toEqual(u);
  });

  it.each([
    ['', /no scheme/],
    ['example.com', /no scheme/],
    ['http://example.com/', /http is not NBD/],
    ['nbd:example.com', /comes \/\//],
    ['nbd:///disk', /host is missing/],
    ['nbd://user@host/', /user name/],
    ['nbd://host:0/', /port 0/],
    ['nbd://host:65536/', /port 65536/],
    ['nbd://host:1x/', /host and port/],
    ['nbd://::1/', /IPv6 address stands in/],
    ['nbd://[host]/', /not an IPv6 address/],
    ['nbd://a b/', /not a host name/],
    ['nbd://host/%zz', /export name/],
    ['nbd://host/a%00b', /NUL/],
    ['nbd://host/x#y', /fragment/],
    ['nbd://host/x?tls-type=psk', /parameter/],
    ['nbd://host/x?tls-certificates=/c', /"tls-certificates" is not known/],
    ['nbds://host/x?tls-type=psk', /"tls-type" is not known/],
    ['nbds://host/x?tls-certificates=c', /no path from the root/],
    ['nbds://host/x?tls-psk-file=', /no path from the root/],
    ['nbds://host/x?tls-certificates=/c&tls-psk-file=/k', /two ways of proof/],
    ['nbds://host/x?tls-verify-peer=false', /need not prove/],
    ['nbds://a@host/x?tls-username=b', /names two users/],
    ['nbds://a@host/x?tls-certificates=/c', /no meaning with certificates/],
    ['nbds://a%20b@host/x', /no user of a file of keys/],
    [`nbds://${'u'.repeat(129)}@host/x`, /longer than 128/],
    ['nbds://host/x?tls-hostname=a/b', /not a host name/],
    ['nbds://host/x?tls-hostname=a&tls-hostname=b', /twice/],
    ['nbds+unix:///x', /socket=PATH is missing/],
    [`nbd://host/${'x'.repeat(4097)}`, /longer than 4096/],
    ['nbd+unix:///x', /socket=PATH is missing/],
    ['nbd+unix:///x?socket=', /socket=PATH is missing/],
    ['nbd+unix:///x?socket=a&socket=b', /twice/],
    ['nbd+unix:///x?sock=a', /"sock" is not known/],
    ['nbd+unix://host/x?socket=a', /no host/],
    ['nbd+unix:///x?socket=%00a', /abstract/],
    [`nbd+unix:///x?socket=${'s'.repeat(108)}`, /longer than 107/],
  ])('%s is refused', (uri, why) => {
    const e = refusal(uri);
    expect(e.errno).toBe(Errno.EINVAL);
    expect(e.message).toMatch(why);
    expect(e.message).toContain('allowed are nbd://HOST[:PORT]/EXPORT and nbd+unix:///EXPORT?socket=PATH');
    expect(e.message).not.toContain('\n');
  });

  it('comes back the same from its written form', () => {
    const name = fc.string({ unit: 'grapheme', maxLength: 50 }).filter((s) => !s.includes('\0'));
    const tcp = fc.record({
      kind: fc.constant('tcp' as const),
      host: fc.constantFrom('localhost', '127.0.0.1', '::1', 'fe80::1%eth0', 'a-b.example'),
      port: fc.integer({ min: 1, max: 65535 }),
    });
    const unix = fc.record({
      kind: fc.constant('unix' as const),
      path: fc.string({ unit: 'grapheme', minLength: 1, maxLength: 10 }).filter((s) => !s.includes('\0') && Buffer.byteLength(s) < 100),
    });
    fc.assert(
      fc.property(fc.oneof(tcp, unix), name, (address, exportName) => {
        expect(parseNbdUri(formatNbdUri({ address, exportName }))).toEqual({ address, exportName });
      }),
    );
  });

  it('is either read or refused with an IoError, whatever it is', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.string().map((s) => `nbd://${s}`),
          fc.string().map((s) => `nbds://${s}`),
          fc.string().map((s) => `nbd+unix:///${s}`),
        ),
        (uri) => {
          try {
            parseNbdUri(uri);
          } catch (e: unknown) {
            expect(e).toBeInstanceOf(IoError);
          }
        },
      ),
      { numRuns: 500 },
    );
  });
});
