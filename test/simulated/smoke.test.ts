import { it, expect } from 'vitest';
import { SimWorld } from '/work/main/src/io/simulated/world.ts';
import { Daemon } from '/work/main/src/control/daemon.ts';
import { DaemonControl } from '/work/main/src/control/actions.ts';
import { DEFAULT_SETTINGS } from '/work/main/src/mirror/settings.ts';
import { EngineHub } from '/work/main/src/io/hub.ts';
import { NbdClient } from '/work/main/src/nbd-client-js/client.ts';

const names = ['server1', 'server2', 'server3'];
function makeDaemon(w: SimWorld, n: string, all: string[]) {
  const io = w.node(n).boot();
  const log = (lvl: string) => (m: string, f?: unknown) => { if (process.env.V) console.log(w.now().toFixed(1), n, lvl, m, JSON.stringify(f)); };
  return new Daemon({
    io, root: '/var', node: n, cluster: 'c', listen: { kind: 'tcp', host: n, port: 7000 },
    peers: Object.fromEntries(all.filter((x) => x !== n).map((x) => [x, [{ kind: 'tcp' as const, host: x, port: 7000 }]])),
    exportListen: [], failureTimeoutMs: 2000, settings: DEFAULT_SETTINGS,
    tunables: { connectionsPerTarget: 1, resyncsMax: 1, noFullSync: false, waitToResync: false, connectBeforeServing: true },
    log: { info: log('I'), warn: log('W'), error: log('E') },
  });
}
const ctl = (d: Daemon) => new DaemonControl(d, { version: '0', regionBytes: 65536, waitForPreviousSourceSec: -1 });

it('smoke', async () => {
  const w = new SimWorld(Number(process.env.SEED ?? 1));
  for (const n of names) { w.node(n).createFile('/leg', 8 << 20, 'file'); }
  const d: Record<string, Daemon> = {};
  const until = async (what: string, f: () => boolean, ms = 20000) => { const end = w.now() + ms; while (!f()) { if (w.now() > end) { for (const [n, x] of Object.entries(d)) for (const m of x.mirrors.values()) console.log(n, JSON.stringify(m.view().state), m.decision?.rule, m.decision?.why, m.source && [...m.source.links.values()].map(l => [l.node, l.leg.phase, l.problem, l.answer?.rule])); throw new Error('timeout: ' + what); } await w.sleep(20); } };
  await w.run((async () => {
    const all = names.slice(0, Number(process.env.N ?? 2));
    for (const n of all) { d[n] = makeDaemon(w, n, all); await d[n]!.start(); }
    const c1 = ctl(d.server1!);
    await w.sleep(1000);
    await c1.call('create', { tag: 't', leg: '/leg', sizeBytes: 8 << 20, regionBytes: null, priority: 1, failureTimeoutMs: 2000, failover: null, arbiter: null, waitForPreviousSourceSec: null, zeroed: true });
    await c1.call('in-service', { tag: 't' });
    for (const [i, n] of all.slice(1).entries()) await c1.call('extend', { tag: 't', node: n, leg: '/leg', foreignUri: null, mode: 'sync', priority: 10 * (i + 1), zeroed: true });
    const sees = (s: string, t: string) => { const m = d[s]!.mirrors.get('t')!; return m.source?.links.get(t)?.leg.phase; };
    for (const n of all.slice(1)) await until(n + ' in sync', () => sees('server1', n) === 'in-sync');
    const io = w.client('server1');
    const hub = new EngineHub(io.createEngine());
    const cl = await NbdClient.connect({ io, hub, exportName: 't', address: { kind: 'unix', path: '/var/run/nbd.sock' } });
    await cl.writeBytes(1 << 20, new Uint8Array(300000).fill(7));
    await cl.flushNow();
    console.log('written; crash server1', w.now());
    w.node('server1').crash(); delete d.server1;
    await until("server2 in service", () => d.server2!.mirrors.get("t")!.inService); await w.sleep(300);
    console.log('took over', w.now());
    const io2 = w.client('server2'); const hub2 = new EngineHub(io2.createEngine());
    const cl2 = await NbdClient.connect({ io: io2, hub: hub2, exportName: 't', address: { kind: 'unix', path: '/var/run/nbd.sock' } });
    const b = await cl2.readBytes(1 << 20, 300000);
    expect(b.every((x) => x === 7)).toBe(true);
    await cl2.writeBytes(2 << 20, new Uint8Array(100000).fill(9));
    await cl2.flushNow();
    console.log('wrote on server2', w.now());
    d.server1 = makeDaemon(w, 'server1', all); await d.server1.start();
    for (const n of all.filter(x => x !== 'server2')) await until(n + ' back in sync', () => sees('server2', n) === 'in-sync');
    console.log('back in sync', w.now(), JSON.stringify([...d.server2!.mirrors.get('t')!.source!.links.values()].map(l => l.lastResync)));
    await w.sleep(500);
    for (const n of all) expect(w.node(n).firstDifference('/leg', w.node('server2'), '/leg')).toBe(-1);
    for (const n of all) console.log(n, d[n]!.mirrors.get('t')!.view().state, JSON.stringify(d[n]!.mirrors.get('t')!.flags.flags));
    for (const n of all) { await d[n]!.stop(); }
    console.log('stopped', w.now(), w.events);
  })());
}, 60000);
