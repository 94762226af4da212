/** The terminal that a command was started from. */
import { createInterface } from 'node:readline/promises';
import pico from 'picocolors';
import type { Terminal } from './world.ts';

type Input = NodeJS.ReadableStream & { isTTY?: boolean };
type Output = NodeJS.WritableStream & { isTTY?: boolean; columns?: number };

const COLUMNS_DEFAULT = 100;

export class RealTerminal implements Terminal {
  readonly #in: Input;
  readonly #out: Output;
  readonly #err: Output;
  #drawn = 0;

  constructor(input: Input, out: Output, err: Output) {
    this.#in = input;
    this.#out = out;
    this.#err = err;
  }

  get isTTY(): boolean {
    return this.#out.isTTY === true;
  }

  get columns(): number {
    const { columns = 0 } = this.#out;
    return columns < 1 ? COLUMNS_DEFAULT : columns;
  }

  /** Only on a terminal, and as NO_COLOR and FORCE_COLOR wish. */
  get colour(): boolean {
    return this.isTTY && pico.isColorSupported;
  }

  get canAsk(): boolean {
    return this.#in.isTTY === true && this.#err.isTTY === true;
  }

  line(text: string): void {
    this.redraw([]);
    this.#out.write(`${text}\n`);
  }

  error(text: string): void {
    this.redraw([]);
    this.#err.write(`${text}\n`);
  }

  redraw(lines: readonly string[]): void {
    if (!this.isTTY) return;
    // To the start of the line, up over what was drawn, and everything below it away.
    const wipe = this.#drawn === 0 ? '' : `\r\u001b[${String(this.#drawn)}A\u001b[J`;
    const text = lines.map((l) => `${cut(l, this.columns)}\n`).join('');
    if (wipe !== '' || text !== '') this.#out.write(wipe + text);
    this.#drawn = lines.length;
  }

  async ask(question: string): Promise<string> {
    this.redraw([]);
    const reader = createInterface({ input: this.#in, output: this.#err });
    const ended = new Promise<string>((resolve) => {
      reader.once('close', () => {
        resolve('');
      });
    });
    try {
      return await Promise.race([reader.question(question), ended]);
    } finally {
      reader.close();
    }
  }
}

/** A line that wraps would be wiped only in part. Escape sequences take no room. */
function cut(line: string, columns: number): string {
  let room = columns - 1;
  let kept = '';
  for (const [part] of line.matchAll(/\u001b\[[0-9;]*m|[^]/gu)) {
    if (part.startsWith('\u001b')) kept += part;
    else if (room-- > 0) kept += part;
  }
  return kept;
}
