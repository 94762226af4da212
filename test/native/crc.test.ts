/** CRC-32 of the shim, by the processor's instructions and by tables, held against zlib's. */
import { crc32 } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { loadShim } from '../../src/io/node/native-shim.ts';
import { pattern } from '../unit/io/engine-rig.ts';

interface Crc {
  crc32(bytes: Uint8Array, byTable: boolean): number;
}

function hasCrc(shim: object | undefined): shim is Crc {
  return shim !== undefined && 'crc32' in shim && typeof shim.crc32 === 'function';
}

describe('the shim’s CRC-32', () => {
  it('is zlib’s for every length around what is taken at a time, wherever the bytes begin', (t) => {
    const shim = loadShim();
    if (!hasCrc(shim)) {
      t.skip('the native shim is missing: npm run install');
      return;
    }
    const all = pattern(20_000, 5);
    for (const byTable of [false, true]) {
      for (let from = 0; from < 17; from += 1) {
        for (const length of [...Array(300).keys(), 4096, 4099, 16_383]) {
          const bytes = all.subarray(from, from + length);
          if (shim.crc32(bytes, byTable) !== crc32(bytes))
            expect.fail(`differs for ${String(length)} bytes from ${String(from)}, by table: ${String(byTable)}`);
        }
      }
    }
  });
});
