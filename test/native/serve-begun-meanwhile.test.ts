/** A connection that begins to be served while the engine says that a leg is idle: the thread of another one has just ended. */
import { describe, expect, it } from 'vitest';
import { NativeEngine } from '../../src/io/node/native-engine.ts';
import { loadNativeEngine, type NativeEngineShim } from '../../src/io/node/native-shim.ts';
import { BLOCK, read, served, unserve, write } from '../unit/io/conformance-serve-marks.ts';
import { Rig } from '../unit/io/engine-rig.ts';
import { makeNodeWorld } from '../unit/io/node-world.ts';

describe.skipIf(loadNativeEngine() === undefined)('a connection that begins to be served when a leg goes idle', () => {
  it('is served, and said to be, until it is unserved', async () => {
    const shim = loadNativeEngine();
    if (shim === undefined) throw new Error('it was there before');
    let onIdle = (): void => undefined;
    const hooked: NativeEngineShim = {
      createEngine: (idle, ...rest) =>
        shim.createEngine(
          (leg) => {
            onIdle();
            idle(leg);
          },
          ...rest,
        ),
    };
    const rig = new Rig(await makeNodeWorld('unix', 'native'));
    const hub = rig.hub(new NativeEngine(hooked));
    const next = await served(rig, { hub });
    await unserve(next);
    const last = await served(rig, { hub });
    let begun = false;
    onIdle = () => {
      begun = hub.engine.serve(next.conn.id, next.rules);
    };
    await Promise.all([unserve(last), hub.engine.closeLeg(last.leg)]);
    onIdle = () => undefined;
    expect(begun).toBe(true);
    next.conn.onRequest = () => {
      throw new Error('it was told, though it is served');
    };
    next.client.ask(write(0, BLOCK, 7), read(BLOCK, BLOCK));
    await next.client.answersFrom(next.model, 2);
    expect(hub.engine.served(next.conn.id)).toBe(2);
    expect(await unserve(next)).toBe(2);
    await rig.finish();
  });
});
