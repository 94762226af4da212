import { describe, expect, it } from 'vitest';
import { parseConfig } from '../../../src/control/config.ts';
import { securedParts, tlsNeeds } from '../../../src/control/tls-needs.ts';
import { ManualClock } from '../../support/manual-clock.ts';
import { FakeTls } from '../../support/fake-tls.ts';

const config = (more: string) => parseConfig(`version: 1\ncluster: c\nnode: a\n${more}`, 'f');
const HERE = 'listen: 127.0.0.1:7000\npeers: {b: "[::1]:7001", c: localhost:7002}\n';
const AWAY = 'listen: 10.0.0.1:7000\npeers: {b: 10.0.0.2:7000}\n';

describe('what is to be secured', () => {
  it.each([
    ['a node by itself', '', false, false],
    ['nodes on one machine', HERE, false, false],
    ['nodes on one machine, where it is required', `${HERE}tls: required\n`, true, false],
    ['nodes on one machine, where it is allowed', `${HERE}tls: allowed\n`, true, false],
    ['nodes on several', AWAY, true, false],
    ['nodes on several, where it is off', `${AWAY}tls: off\n`, false, false],
    ['one peer elsewhere', 'listen: 127.0.0.1:7000\npeers: {b: other.example.org:7000}\n', true, false],
    ['clients', 'exports: {listen: 10.0.0.1:10809, tls: allowed}\n', false, true],
    ['clients that nobody asked to be', 'exports: {listen: 10.0.0.1:10809}\n', false, false],
    ['no address for clients', 'exports: {tls: required}\n', false, false],
  ])('%s', (_what, more, links, exports) => {
    expect(tlsNeeds(config(more))).toEqual({ links, exports });
  });

  it('is what the parts of the daemon get', () => {
    const tls = new FakeTls({ names: ['a'] }, new ManualClock());
    const required = `${AWAY}tls: required\nexports: {listen: 10.0.0.1:10809, tls: required}\n`;
    expect(securedParts(config(required), tls)).toEqual({
      linkTls: { tls, mode: 'required', peersHere: false },
      exportTls: { tls, mode: 'required' },
    });
    expect(securedParts(config(`${AWAY}tls: allowed\n`), tls).linkTls).toEqual({ tls, mode: 'allowed', peersHere: false });
    expect(securedParts(config(AWAY), tls)).toEqual({ linkTls: { tls, mode: 'auto', peersHere: false }, exportTls: null });
    expect(securedParts(config('listen: 10.0.0.1:7000\npeers: {b: 10.0.0.2:7000, c: localhost:7002}\n'), tls).linkTls?.peersHere).toBe(true);
    expect(securedParts(config(`${HERE}exports: {listen: 127.0.0.1:10809, tls: allowed}\n`), tls)).toEqual({
      linkTls: null,
      exportTls: { tls, mode: 'allowed' },
    });
    expect(securedParts(config(''), null)).toEqual({ linkTls: null, exportTls: null });
  });
});
