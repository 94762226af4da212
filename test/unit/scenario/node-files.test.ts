import { expect, it } from 'vitest';
import { parseConfig } from '../../../src/control/config.ts';
import { parseTunables } from '../../../src/control/tunables.ts';
import { configText, tunablesText } from '../../../src/scenario/node-files.ts';
import type { ScenarioMirror } from '../../../src/scenario/types.ts';

const mirror: ScenarioMirror = {
  tag: 't',
  sizeBytes: 4096,
  regionBytes: null,
  async: [],
  nodes: [],
  settings: { LKDR_CHUNK_SIZE: '64', LKDR_WAIT_FOR_PREVIOUS_SOURCE_TIMEOUT: '-1' },
  failureTimeoutMs: 1500,
  arbiter: 'none',
  failover: 'auto',
};

it('writes a configuration that the daemon reads', () => {
  const text = configText('a', mirror, { listen: '127.0.0.1:1234', peers: { b: '127.0.0.1:1235' } });
  expect(parseConfig(text, 'netraid.yaml')).toMatchObject({
    node: 'a',
    listen: { host: '127.0.0.1', port: 1234 },
    peers: { b: [{ host: '127.0.0.1', port: 1235 }] },
    failureTimeoutMs: 1500,
  });
});

it('writes the tunables that the daemon reads', () => {
  expect(parseTunables(tunablesText(mirror), 'LifeKeeper', {})).toMatchObject({ regionBytes: 65536, waitForPreviousSourceSec: -1 });
});
