/**
 * A leg that is being closed while long reads of it wait for their turn: it becomes idle in the midst of what the engine was asked, and what is
 * asked when that is told is done once, and so is what was asked before.
 */
import { describe, expect, it } from 'vitest';
import { NativeEngine } from '../../src/io/node/native-engine.ts';
import { loadNativeEngine } from '../../src/io/node/native-shim.ts';
import { EventKind } from '../../src/io/types.ts';
import { Rig } from '../unit/io/engine-rig.ts';
import { makeNodeWorld } from '../unit/io/node-world.ts';

const READ_BYTES = 256 * 1024;
/** More than are read in one turn, and then in the next. */
const READS = [1, 2, 3, 4, 5];
const AT_IDLE = 100;
const AFTER_READ = 200;

describe.skipIf(loadNativeEngine() === undefined)('a leg that is being closed', () => {
  it('becomes idle with the last of its long reads, and nothing that is asked meanwhile is done twice, or not at all', async () => {
    const shim = loadNativeEngine();
    if (shim === undefined) throw new Error('it was there before');
    const rig = new Rig(await makeNodeWorld('unix', 'native'));
    const ends = new Map<number, number>();
    let other = 0;
    const look = (op: number): void => {
      engine.sync(op, other);
    };
    const engine = new NativeEngine({
      createEngine: (onLegIdle, ...rest) =>
        shim.createEngine(
          (native) => {
            onLegIdle(native);
            look(AT_IDLE);
          },
          ...rest,
        ),
    });
    engine.onEvents((e) => {
      for (let i = 0; i < e.count; i += 1) {
        if (e.kind[i] !== EventKind.DONE) continue;
        const op = e.id[i] ?? 0;
        ends.set(op, (ends.get(op) ?? 0) + 1);
        if (!READS.includes(op)) continue;
        engine.release(e.handle[i] ?? 0);
        look(AFTER_READ + op);
      }
    });
    const open = async (name: string): Promise<number> => {
      const path = rig.world.path(name);
      const file = await rig.io.files.open(path, { write: true, create: true });
      await file.write(new Uint8Array(READ_BYTES).fill(7), 0);
      await file.close();
      return (await engine.openLeg(path, { write: true, lock: true })).leg;
    };
    other = await open('other');
    const leg = await open('leg');
    for (const op of READS) engine.read(op, leg, 0, READ_BYTES);
    await engine.closeLeg(leg);
    const all = [...READS, AT_IDLE, ...READS.map((op) => AFTER_READ + op)];
    await rig.until(() => all.every((op) => ends.has(op)));
    await rig.settle();
    expect([...ends].sort(([a], [b]) => a - b)).toEqual(all.map((op) => [op, 1]));
    await engine.shutdown();
    await rig.finish();
  });
});
