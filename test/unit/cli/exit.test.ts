import { expect, it } from 'vitest';
import { ExitCode, EXIT_CODES_HELP, oneLine } from '../../../src/cli/exit.ts';

it('text of others can neither break the line nor drive the terminal', () => {
  expect(oneLine(' a\r\nb\u001b]0;title\u0007c\u009b2J ')).toBe('a b ]0;title c 2J');
});

it('help tells every exit code', () => {
  for (const code of Object.values(ExitCode)) expect(EXIT_CODES_HELP).toContain(` ${String(code)} `);
});
