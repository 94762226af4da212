/**
 * The native engine against the conformance suite of all engines, over unix sockets and over TCP. Where the shim was not built
 * there is nothing to test, and this says so.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { NativeEngine } from '../../src/io/node/native-engine.ts';
import { createNodeIo, engineChoice } from '../../src/io/node/node-io.ts';
import { loadNativeEngine } from '../../src/io/node/native-shim.ts';
import { describeEngine } from '../unit/io/engine-conformance.ts';
import { makeNodeWorld } from '../unit/io/node-world.ts';
import { processors } from './support/processors.ts';

if (loadNativeEngine() === undefined) {
  describe('the native engine', () => {
    it('was not built for this machine: NOT TESTED', (t) => {
      t.skip('the native shim is missing: npm run install');
    });
  });
} else {
  describe('the native engine', () => {
    it('is made where it is asked for', async () => {
      expect(engineChoice('native')).toEqual({ engine: 'native' });
      const engine = createNodeIo({ engine: { engine: 'native' } }).createEngine();
      expect(engine).toBeInstanceOf(NativeEngine);
      await engine.shutdown();
    });
  });
  describeEngine('native engine, unix sockets', () => makeNodeWorld('unix', 'native'), 'in order');
  describeEngine('native engine, TCP', () => makeNodeWorld('tcp', 'native'), 'in order');
  describe('the native engine', () => {
    it('had all that tested with threads that send for it, where there are processors for them', () => {
      const names = readdirSync('/proc/self/task').map((id) => readFileSync(`/proc/self/task/${id}/comm`, 'utf8').trim());
      expect(names.includes('netraid-send')).toBe(processors() > 1);
    });
  });
}
