import { expect, it } from 'vitest';
import { ConfigError, shown } from '../../../src/control/config-error.ts';

it('names file, line and field, as far as there are any', () => {
  expect(new ConfigError('/f', 3, 'listen', 'is bad').message).toBe('/f:3: listen: is bad');
  expect(new ConfigError('environment', null, 'LKDR_X', 'is bad').message).toBe('environment: LKDR_X: is bad');
  expect(new ConfigError('/f', null, '', 'is bad').message).toBe('/f: is bad');
});

it('shows a value in one line, and not all of a long one', () => {
  expect(shown('a\nb')).toBe('"a\\nb"');
  expect(shown(undefined)).toBe('nothing');
  expect(shown('x'.repeat(1000)).length).toBeLessThan(70);
});
