import { PassThrough } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { RealTerminal } from '../../../src/cli/real-terminal.ts';

function terminal(tty: boolean, columns?: number) {
  const stream = () => Object.assign(new PassThrough(), { isTTY: tty, ...(columns === undefined ? {} : { columns }) });
  const [input, out, err] = [stream(), stream(), stream()] as const;
  const text = (s: PassThrough): string => {
    const bytes: unknown = s.read();
    return bytes instanceof Buffer ? bytes.toString() : '';
  };
  return { t: new RealTerminal(input, out, err), input, out: () => text(out), err: () => text(err) };
}

describe('the terminal', () => {
  it('parts answers and complaints', () => {
    const { t, out, err } = terminal(false);
    t.line('a');
    t.error('b');
    expect([out(), err()]).toEqual(['a\n', 'b\n']);
  });

  it('draws over what it drew, cut to the width, and wipes it before a line', () => {
    const { t, out } = terminal(true, 6);
    t.redraw(['12345678', 'b']);
    expect(out()).toBe('12345\nb\n');
    t.redraw(['\u001b[31mabcdefgh\u001b[39m']);
    expect(out()).toBe('\r\u001b[2A\u001b[J\u001b[31mabcde\u001b[39m\n');
    t.line('done');
    expect(out()).toBe('\r\u001b[1A\u001b[Jdone\n');
    t.line('more');
    expect(out()).toBe('more\n');
  });

  it('draws nothing, is not coloured and does not ask where there is no terminal', () => {
    const { t, out } = terminal(false);
    t.redraw(['x']);
    expect([out(), t.colour, t.canAsk, t.isTTY, t.columns]).toEqual(['', false, false, false, 100]);
  });

  it('asks on standard error, and takes the end of input for no answer', async () => {
    const { t, input, err } = terminal(true, 80);
    const first = t.ask('sure? ');
    input.write('yes\n');
    expect(await first).toBe('yes');
    expect(err()).toContain('sure? ');
    const second = t.ask('again? ');
    input.end();
    expect(await second).toBe('');
  });
});
