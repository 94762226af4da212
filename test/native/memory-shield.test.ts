/** The memory shield of a process with a native engine: what the kernel then says of it, and that V8 goes on giving memory back. */
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { loadNativeEngine } from '../../src/io/node/native-shim.ts';

const source = (name: string): string => JSON.stringify(fileURLToPath(new URL(`../../src/io/node/${name}`, import.meta.url)));
const tsx = fileURLToPath(new URL('../../node_modules/tsx/dist/loader.mjs', import.meta.url));

/** PF_MEMALLOC_NOIO and PF_LOCAL_THROTTLE, as /proc/PID/task/TID/stat shows them. */
const FLUSHER = 0x180000;

/** The signal that threads hear of it by, as a bit of SigBlk: SIGRTMIN + 7 of native-shims/pressure.c. */
const TELL = 2n ** 40n;

const PROGRAM = `
  import { readdirSync, readFileSync } from 'node:fs';
  import { memoryShield } from ${source('memory-shield.ts')};
  import { createNodeIo } from ${source('node-io.ts')};
  memoryShield().raise();
  const engine = createNodeIo({ engine: { engine: 'native' } }).createEngine();
  engine.onEvents(() => {});
  const look = () => readdirSync('/proc/self/task').map((id) => {
    const of = (file) => readFileSync('/proc/self/task/' + id + '/' + file, 'utf8');
    const blocked = BigInt('0x' + /SigBlk:\\s+(\\w+)/.exec(of('status'))[1]);
    return { name: of('comm').trim(), flags: Number(of('stat').split(') ')[1].split(' ')[6]), deaf: (blocked & ${String(TELL)}n) !== 0n && !of('comm').startsWith('netraid') };
  });
  // A thread that has not run yet has not got its name.
  let threads = look();
  for (const end = Date.now() + 10_000; threads.filter((t) => t.deaf).length > 1 && Date.now() < end; threads = look()) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  // What V8 has no use for any more it gives back to the kernel, in each way that it has.
  for (let round = 0; round < 2; round += 1) {
    let much = Array.from({ length: 2e5 }, (_, i) => ({ i, text: 'number ' + i }));
    much = much.filter((m) => m.i % 100 === 0);
    for (const how of [{}, { type: 'minor' }, { type: 'major', flavor: 'last-resort' }]) globalThis.gc(how);
  }
  const locked = Number(/VmLck:\\s+(\\d+) kB/.exec(readFileSync('/proc/self/status', 'utf8'))[1]);
  console.log(JSON.stringify({ facts: memoryShield().facts, threads, locked }));
  await engine.shutdown();
`;

interface Seen {
  facts: { tried: boolean; shim: boolean; errnos: Record<string, number> };
  threads: { name: string; flags: number; deaf: boolean }[];
  locked: number;
}

describe.skipIf(loadNativeEngine() === undefined)('a process with a native engine and the memory shield', () => {
  it('is shielded as far as it may be, all threads of it, and ends as any other', () => {
    const args = ['--expose-gc', '--stress-compaction', '--import', tsx, '--input-type=module', '--eval', PROGRAM];
    const r = spawnSync(process.execPath, args, { timeout: 100_000, encoding: 'utf8' });
    expect({ status: r.status, signal: r.signal, stderr: r.stderr }).toEqual({ status: 0, signal: null, stderr: '' });
    const { facts, threads, locked } = JSON.parse(r.stdout) as Seen;
    expect(Object.keys(facts.errnos).sort()).toEqual(['io-flusher', 'locked-code', 'locked-engine', 'oom-score']);
    expect(locked).toBeGreaterThan(0);
    const threadsOfEngine = threads.filter((t) => t.name === 'netraid-io');
    expect(threadsOfEngine.length).toBeGreaterThan(0);
    const flusher = facts.errnos['io-flusher'] === 0 ? FLUSHER : 0;
    // One thread of Node's waits for debuggers, and hears no other signal.
    expect(threads.filter((t) => t.deaf).length).toBeLessThanOrEqual(1);
    for (const t of threads.filter((t) => !t.deaf)) expect([t.name, t.flags & FLUSHER]).toEqual([t.name, flusher]);
  });
});
