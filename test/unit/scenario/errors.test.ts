import { expect, it } from 'vitest';
import { Errno, IoError } from '../../../src/io/types.ts';
import { ScenarioSyntaxError, StepFailure, tellsOfConnection } from '../../../src/scenario/errors.ts';

it('says of a file that is no scenario where, which field, and what', () => {
  expect(new ScenarioSyntaxError('f.yaml', 3, 'steps[1].up', 'is wrong').message).toBe('f.yaml:3: steps[1].up: is wrong');
  expect(new ScenarioSyntaxError('f.yaml', null, '', 'is absent').message).toBe('f.yaml: is absent');
});

it('says of a step that does not hold each value expected and seen', () => {
  const differences = [
    { field: 'a', expected: '1', seen: '2' },
    { field: 'b', expected: '3', seen: '4' },
  ];
  expect(new StepFailure('on x', differences).message).toBe('on x; a: expected 1, last seen 2; b: expected 3, last seen 4');
  expect(new StepFailure('on x', differences.slice(1), 'it printed:\na\nb').message).toBe('on x; b: expected 3, last seen 4; it printed:\na\nb');
  expect(new StepFailure('', differences.slice(1)).message).toBe('b: expected 3, last seen 4');
});

it('tells errors of the connection, after which a request is sent again, from answers', () => {
  expect(tellsOfConnection(new IoError(Errno.ECONNRESET, ''))).toBe(true);
  expect(tellsOfConnection(new IoError(Errno.ESHUTDOWN, ''))).toBe(true);
  expect(tellsOfConnection(new IoError(Errno.EIO, ''))).toBe(false);
  expect(tellsOfConnection(new IoError(Errno.ENOSPC, ''))).toBe(false);
});
