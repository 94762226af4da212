import { describe, expect, it } from 'vitest';
import { parseTunables } from '../../../src/control/tunables.ts';

const parse = (text: string, env: Record<string, string | undefined> = {}) => parseTunables(text, '/d/LifeKeeper', env);

describe('tunables', () => {
  it('have the documented defaults', () => {
    expect(parse('')).toEqual({
      regionBytes: null,
      rateMaxBytesPerSec: 500_000 * 1024,
      rateMinBytesPerSec: 20_000 * 1024,
      asyncWritesMax: 4096,
      noFullSync: false,
      connectBeforeServing: true,
      waitToResync: false,
      waitForPreviousSourceSec: -1,
      unknown: [],
    });
  });

  it('are read from lines as a shell would, and other programs keep theirs', () => {
    const text = `# LifeKeeper
PATH=/opt:$PATH
if something; then
LKDR_CHUNK_SIZE=64   # KiB
LKDR_SPEED_LIMIT="1000"
export LKDR_SPEED_LIMIT_MIN='10'
LKDR_ASYNC_LIMIT=1
LKDR_ASYNC_LIMIT=7
LKDR_NO_FULL_SYNC=1
LKDR_CONNECT_NBD_DURING_RESTORE=false
LKDR_WAIT_TO_RESYNC=Yes
LKDR_WAIT_FOR_PREVIOUS_SOURCE_TIMEOUT=
LKDR_SPED_LIMIT=3
`;
    expect(parse(text)).toEqual({
      regionBytes: 65536,
      rateMaxBytesPerSec: 1000 * 1024,
      rateMinBytesPerSec: 10 * 1024,
      asyncWritesMax: 7,
      noFullSync: true,
      connectBeforeServing: false,
      waitToResync: true,
      waitForPreviousSourceSec: -1,
      unknown: ['/d/LifeKeeper:13 LKDR_SPED_LIMIT'],
    });
  });

  it('are overruled by the environment, unless it is empty there', () => {
    const text = 'LKDR_CHUNK_SIZE=64\nLKDR_ASYNC_LIMIT=7';
    const t = parse(text, { LKDR_CHUNK_SIZE: '128', LKDR_ASYNC_LIMIT: '', LKDR_NO_FULL_SYNC: undefined, HOME: '/' });
    expect([t.regionBytes, t.asyncWritesMax]).toEqual([128 * 1024, 7]);
  });

  it('bring the usual minimum down with a low limit', () => {
    expect(parse('LKDR_SPEED_LIMIT=100').rateMinBytesPerSec).toBe(100 * 1024);
  });

  it.each([
    ['LKDR_CHUNK_SIZE=63', '/d/LifeKeeper:1: LKDR_CHUNK_SIZE: "63" is not allowed; allowed: a power of two from 4 to 65536 (KiB)'],
    ['\nLKDR_SPEED_LIMIT=-1', '/d/LifeKeeper:2: LKDR_SPEED_LIMIT: "-1" is not allowed; allowed: a whole number from 1 to 1000000000'],
    ['LKDR_NO_FULL_SYNC=maybe', '/d/LifeKeeper:1: LKDR_NO_FULL_SYNC: "maybe" is not allowed; allowed: 1, true or yes; 0, false or no'],
    ['LKDR_WAIT_FOR_PREVIOUS_SOURCE_TIMEOUT=-2', '/d/LifeKeeper:1: LKDR_WAIT_FOR_PREVIOUS_SOURCE_TIMEOUT: "-2" is not allowed'],
    ['LKDR_CHUNK_SIZE = 64', '/d/LifeKeeper:1: "LKDR_CHUNK_SIZE = 64" is no setting; allowed: KEY=VALUE'],
    ['LKDR_CHUNK_SIZE="64', '/d/LifeKeeper:1: LKDR_CHUNK_SIZE: '],
    ['LKDR_CHUNK_SIZE=$SIZE', '/d/LifeKeeper:1: LKDR_CHUNK_SIZE: "$SIZE" can\'t be read'],
    ['LKDR_SPEED_LIMIT=10\nLKDR_SPEED_LIMIT_MIN=20', '/d/LifeKeeper:2: LKDR_SPEED_LIMIT_MIN: 20 is above LKDR_SPEED_LIMIT, which is 10'],
  ])('refuses %j', (text, message) => {
    expect(() => parse(text)).toThrow(message);
  });

  it('say when it was the environment', () => {
    expect(() => parse('LKDR_CHUNK_SIZE=64', { LKDR_CHUNK_SIZE: '1' })).toThrow('environment: LKDR_CHUNK_SIZE: "1" is not allowed');
  });
});
