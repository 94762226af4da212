import { expect, it } from 'vitest';
import { configPath, controlSocketPath, DEFAULT_ROOT } from '../../../src/control/places.ts';

it('lies below the root of the node', () => {
  expect(configPath('/r')).toBe('/r/etc/netraid.yaml');
  expect(controlSocketPath('/r')).toBe('/r/run/control.sock');
  expect(DEFAULT_ROOT).toBe('/var/lib/netraid');
});
