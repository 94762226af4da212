/** A mirror that is made larger while it is in use: what is found out or still on its way meanwhile is neither lost nor held for good. */
import { describe, expect, it } from 'vitest';
import type { DaemonOptions } from '../../../src/control/daemon.ts';
import type { SourceRole } from '../../../src/failover/source.ts';
import type { Io } from '../../../src/io/types.ts';
import { MIB, REGION, Sim } from './sim.ts';

const larger = { tag: 't', sizeBytes: 2 * MIB, force: false };

/** Stands still where the bitmap file of the larger size is about to be written: what it will hold is decided. */
class Gate {
  #opens: (() => void) | undefined;
  reached = false;
  wanted = false;

  /** Closing the file of the old size makes one, too, in the same place. */
  readonly more = (_node: string, io: Io): Partial<DaemonOptions> => {
    let made = 0;
    const open = io.files.open.bind(io.files);
    io.files.open = async (path, o) => {
      if (this.wanted && path === '/var/bitmap_t.tmp') {
        made += 1;
        if (made === 2) {
          this.reached = true;
          await new Promise<void>((resolve) => {
            this.#opens = resolve;
          });
        }
      }
      return await open(path, o);
    };
    return {};
  };

  open(): void {
    this.#opens?.();
  }
}

function sourceOf(sim: Sim): SourceRole {
  const source = sim.daemon('server1').mirrors.get('t')?.source;
  if (source === undefined) throw new Error('server1 does not serve');
  return source;
}

/** Behind the mirror's back. */
async function spoil(sim: Sim, node: string, offset: number): Promise<void> {
  const f = await sim.world.client(node).files.open('/leg', { write: true });
  await f.write(new Uint8Array([1]), offset);
  await f.close();
}

describe('while the bitmap file is made anew for a larger mirror', () => {
  it('a difference that verify finds stays marked, and is healed', async () => {
    const gate = new Gate();
    await Sim.run({ more: gate.more }, async (sim) => {
      await sim.mirror();
      await sim.write('server1', 0, MIB, 6);
      const source = sourceOf(sim);
      gate.wanted = true;
      const done = sim.call('server1', 'resize', larger);
      await sim.until('the file is being made', () => gate.reached);
      await spoil(sim, 'server2', 5 * REGION + 5);
      await sim.call('server1', 'verify', { tag: 't' });
      await sim.until('the difference is found', async () => ((await sim.call('server1', 'verify-result', { tag: 't' }))?.differingBytes ?? 0) > 0);
      expect(source.marks.outOfSync('server2').get(5)).toBe(true);
      gate.open();
      await done;
      expect(source.marks.regions.deviceBytes).toBe(2 * MIB);
      await sim.inSync('server1', 'server2');
      expect(sim.legsDiffer('server1', 'server2')).toBe(-1);
    });
  });

  it('a checkpoint that is deleted leaves no map behind, and one that is made has its map', async () => {
    const gate = new Gate();
    await Sim.run({ more: gate.more }, async (sim) => {
      await sim.mirror();
      await sim.call('server1', 'checkpoint-create', { tag: 't', name: 'old' });
      const source = sourceOf(sim);
      gate.wanted = true;
      const done = sim.call('server1', 'resize', larger);
      await sim.until('the file is being made', () => gate.reached);
      source.marks.dropCheckpoint('old');
      source.marks.addCheckpoint('new');
      gate.open();
      await done;
      expect(source.marks.checkpoint('old')).toBeUndefined();
      expect(source.marks.checkpoint('new')?.count).toBe(0);
    });
  });
});

describe('with an async target', () => {
  it('what was in its queue when the mirror grew is marked no longer than until it is proven', async () => {
    await Sim.run({}, async (sim) => {
      await sim.call('server1', 'create', sim.createParams());
      await sim.call('server1', 'in-service', { tag: 't' });
      await sim.call('server1', 'extend', sim.extendParams('server2', 10, { mode: 'async' }));
      await sim.inSync('server1', 'server2');
      const source = sourceOf(sim);
      const c = await sim.client('server1');
      sim.world.node('server2').setDisk({ latencies: { write: { fromMs: 20, toMs: 50 } } });
      let queued = 0;
      const closes = source.device.closeEntrance.bind(source.device);
      source.device.closeEntrance = async (reason) => {
        await closes(reason);
        queued = source.device.targets.get('server2')?.queue?.outstandingWrites ?? 0;
      };
      const done = sim.call('server1', 'resize', larger);
      for (let i = 0; queued === 0 && i < 1000; i += 1) await c.writeBytes((i % 8) * REGION, new Uint8Array(REGION).fill(7));
      await done;
      expect(queued).toBeGreaterThan(0);
      // A held mark would stay. One more write may have waited until the mirror had grown: its own goes when it is proven.
      expect(source.marks.intent.heldRegions).toBe(0);
      await c.disconnect();
      await sim.inSync('server1', 'server2');
      expect(await source.prover.proveAll()).toBe(true);
      expect(source.marks.intent.markedRegions).toBe(0);
      expect(sim.legsDiffer('server1', 'server2')).toBe(-1);
    });
  });
});
