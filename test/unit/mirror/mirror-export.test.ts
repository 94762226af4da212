import { describe, expect, it } from 'vitest';
import { Errno } from '../../../src/io/types.ts';
import { MirrorExport } from '../../../src/mirror/mirror-export.ts';
import { settle } from '../../support/manual-clock.ts';
import { type Answer, REGION, Rig } from './rig.ts';

async function exported(o: Parameters<typeof Rig.make>[0] = {}): Promise<{ rig: Rig; e: MirrorExport; ask: (f: (id: number) => void) => Answer }> {
  const rig = await Rig.inSync({ targets: { b: 'sync' }, ...o });
  const e = new MirrorExport(rig.device, 'a mirror');
  return {
    rig,
    e,
    ask: (f) => {
      const { id, answer } = rig.request();
      f(id);
      return answer;
    },
  };
}

describe('a mirror as an export', () => {
  it('says what it can: flushes cover every connection (M3)', async () => {
    const { e, rig } = await exported();
    expect(e.info()).toMatchObject({
      sizeBytes: rig.sizeBytes,
      readOnly: false,
      canFua: true,
      canTrim: true,
      canWriteZeroes: true,
      multiConn: true,
      description: 'a mirror',
    });
  });

  it('passes every kind of request on to the device', async () => {
    const { rig, e, ask } = await exported();
    const h = rig.engine.allocate(512);
    const all = [
      ask((id) => {
        e.write(rig, id, 0, 512, h, true);
      }),
      ask((id) => {
        e.read(rig, id, REGION, 512);
      }),
      ask((id) => {
        e.trim(rig, id, 2 * REGION, 512, false);
      }),
      ask((id) => {
        e.writeZeroes(rig, id, 3 * REGION, 512, false, true, false);
      }),
      ask((id) => {
        e.flush(rig, id);
      }),
      ask((id) => {
        e.cache(rig, id);
      }),
    ];
    await rig.endAll();
    expect(all.map((a) => a.errno)).toEqual([0, 0, 0, 0, 0, 0]);
    expect(rig.copy('b').told).toEqual(
      ['write 0+512 fua', `trim ${String(2 * REGION)}+512`, `zero ${String(3 * REGION)}+512`, 'sync'].sort((x, y) => order(x) - order(y)),
    );
  });

  it('refuses a zero that must be fast where only writing zeroes out would do', async () => {
    const { rig, e, ask } = await exported();
    const slow = ask((id) => {
      e.writeZeroes(rig, id, 0, 512, false, false, true);
    });
    const fast = ask((id) => {
      e.writeZeroes(rig, id, 0, 512, false, true, true);
    });
    await rig.endAll();
    expect([slow.errno, fast.errno]).toEqual([Errno.ENOTSUP, 0]);
  });

  it('tells of holes on its own leg', async () => {
    const { rig, e, ask } = await exported();
    rig.engine.holes = [{ offset: 0, length: REGION }];
    const a = ask((id) => {
      e.blockStatus(rig, id, 0, 2 * REGION);
    });
    await rig.endAll();
    expect(a.errno).toBe(0);
    expect(rig.extentsAnswered).toEqual([
      { offset: 0, length: REGION, hole: true, zero: true },
      { offset: REGION, length: REGION, hole: false, zero: false },
    ]);
  });

  const noHole = [{ offset: 0, length: REGION, hole: false, zero: false }];

  it('calls nothing a hole that it can not be sure of: own leg out, suspended', async () => {
    const { rig, e, ask } = await exported();
    rig.engine.holes = [{ offset: 0, length: REGION }];
    rig.device.suspend('claim');
    ask((id) => {
      e.blockStatus(rig, id, 0, REGION);
    });
    await rig.endAll();
    expect(rig.extentsAnswered).toEqual(noHole);
    rig.device.unsuspend('claim');
    rig.local.state = 'out';
    ask((id) => {
      e.blockStatus(rig, id, 0, REGION);
    });
    expect(rig.extentsAnswered).toEqual(noHole);
  });

  it('calls nothing a hole after it stood still: another may have written there (M9)', async () => {
    const { rig, e, ask } = await exported({ stallLimitMs: 1000 });
    rig.engine.holes = [{ offset: 0, length: REGION }];
    rig.clock.advance(1000);
    ask((id) => {
      e.blockStatus(rig, id, 0, REGION);
    });
    await rig.endAll();
    expect(rig.extentsAnswered).toEqual(noHole);
  });

  it('calls nothing a hole that its leg reported before the process stood still (M9)', async () => {
    const { rig, e, ask } = await exported({ stallLimitMs: 1000 });
    rig.engine.holes = [{ offset: 0, length: REGION }];
    ask((id) => {
      e.blockStatus(rig, id, 0, REGION);
    });
    await settle();
    rig.clock.advance(1000);
    await rig.endAll();
    expect(rig.extentsAnswered).toEqual(noHole);
  });

  it('answers ESHUTDOWN when stopped, also what the leg still reports', async () => {
    const { rig, e, ask } = await exported();
    const before = ask((id) => {
      e.blockStatus(rig, id, 0, REGION);
    });
    rig.device.stop(Errno.ESHUTDOWN);
    const after = [
      ask((id) => {
        e.blockStatus(rig, id, 0, REGION);
      }),
      ask((id) => {
        e.cache(rig, id);
      }),
      ask((id) => {
        e.read(rig, id, 0, 512);
      }),
    ];
    await rig.endAll();
    expect([before, ...after].map((a) => a.errno)).toEqual([108, 108, 108, 108]);
  });
});

/** Writes wait for their marks; a flush does not. */
function order(told: string): number {
  return told === 'sync' ? 0 : 1;
}
