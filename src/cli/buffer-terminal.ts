/** A terminal that keeps what was written and answers from a list: for scenarios and tests. */
import type { Terminal } from './world.ts';

export interface BufferTerminalOptions {
  answers?: readonly string[];
  isTTY?: boolean;
  colour?: boolean;
  columns?: number;
}

export class BufferTerminal implements Terminal {
  readonly out: string[] = [];
  readonly errors: string[] = [];
  readonly drawn: string[][] = [];
  readonly questions: string[] = [];
  readonly isTTY: boolean;
  readonly colour: boolean;
  readonly columns: number;
  readonly canAsk: boolean;
  readonly #answers: string[];

  constructor(o: BufferTerminalOptions = {}) {
    this.isTTY = o.isTTY ?? false;
    this.colour = o.colour ?? false;
    this.columns = o.columns ?? 100;
    this.canAsk = o.answers !== undefined;
    this.#answers = [...(o.answers ?? [])];
  }

  line(text: string): void {
    this.out.push(...text.split('\n'));
  }

  error(text: string): void {
    this.errors.push(text);
  }

  redraw(lines: readonly string[]): void {
    this.drawn.push([...lines]);
  }

  ask(question: string): Promise<string> {
    this.questions.push(question);
    return Promise.resolve(this.#answers.shift() ?? '');
  }
}
