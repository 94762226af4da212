import { describe, expect, it } from 'vitest';
import { PeerViews } from '../../../src/failover/peer-views.ts';
import { view } from './build.ts';

const said = (saidAtMs: number | undefined, over: { inService?: boolean; daemonStart?: string } = {}) => ({
  ...view('server2', ['server1', 'server2']),
  ...over,
  ...(saidAtMs === undefined ? {} : { saidAtMs }),
});

describe('what a peer said', () => {
  const views = (): PeerViews => new PeerViews({ now: () => 0, silentForMs: () => 0 });

  it('is replaced by what it said later, and not by a heartbeat that comes late', () => {
    const v = views();
    expect(v.heard('server2', said(10, { inService: true }))).toBe(true);
    expect(v.heard('server2', said(20, { inService: false }))).toBe(true);
    expect(v.heard('server2', said(10, { inService: true }))).toBe(false);
    expect(v.get('server2')).toMatchObject({ inService: false, saidAtMs: 20 });
  });

  it('late is no sign that it speaks of the mirror again', () => {
    let now = 0;
    const v = new PeerViews({ now: () => now, silentForMs: () => 0 });
    v.heard('server2', said(20));
    v.heard('server2', undefined);
    now = 5000;
    expect(v.heard('server2', said(10))).toBe(false);
    expect(v.silentForMs('server2')).toBe(5000);
  });

  it('is as old as it is, though its daemon was heard since, until it says something again', () => {
    let now = 0;
    const v = new PeerViews({ now: () => now, silentForMs: () => 0 });
    v.heard('server2', said(20));
    now = 5000;
    expect(v.facts(['server2']).server2).toMatchObject({ silentForMs: 0, saidForMs: 5000 });
    v.heard('server2', said(10));
    expect(v.facts(['server2']).server2).toMatchObject({ saidForMs: 5000 });
    v.heard('server2', said(5020));
    expect(v.facts(['server2']).server2).toMatchObject({ saidForMs: 0 });
  });

  it('by another start of its daemon, or an older version of it, is taken as it comes', () => {
    const v = views();
    v.heard('server2', said(20));
    expect(v.heard('server2', said(1, { daemonStart: 'another' }))).toBe(true);
    expect(v.heard('server2', said(undefined))).toBe(true);
    expect(v.heard('server2', said(1))).toBe(true);
  });

  it('that looks older for longer than a message can be late comes of a machine that was set back, and is taken', () => {
    let now = 0;
    const v = new PeerViews({ now: () => now, silentForMs: () => 0 });
    v.heard('server2', said(60_000, { inService: true }));
    now = 9999;
    expect(v.heard('server2', said(100))).toBe(false);
    now = 10_000;
    expect(v.heard('server2', said(101))).toBe(true);
    expect(v.get('server2')).toMatchObject({ inService: false, saidAtMs: 101 });
    expect(v.heard('server2', said(102))).toBe(true);
  });
});
