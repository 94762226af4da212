/** The part of QEMU's QMP that the benchmark needs: commands one after the other, and waiting for an event. */
import { connect, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';

const ANSWER_MAX_MS = 30_000;

const message = z.looseObject({
  event: z.string().optional(),
  error: z.object({ class: z.string(), desc: z.string() }).optional(),
  return: z.unknown().optional(),
  QMP: z.unknown().optional(),
});
type Message = z.infer<typeof message>;

export class Qmp {
  readonly #socket: Socket;
  readonly #messages: Message[] = [];
  #closed: string | undefined;
  #wake: (() => void) | undefined;
  /** Of a line that has not come to its end. */
  #begun = '';

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setEncoding('utf8').on('data', (text: string) => {
      this.#keep(text);
    });
    socket.on('error', (e) => {
      this.#closed = e.message;
    });
    socket.on('close', () => {
      this.#closed ??= 'the connection ended';
      this.#wake?.();
    });
  }

  static async connect(socketPath: string): Promise<Qmp> {
    const qmp = new Qmp(connect(socketPath));
    await qmp.#take('a greeting', (m) => m.QMP !== undefined);
    await qmp.command('qmp_capabilities', {});
    return qmp;
  }

  /** Rejects with what QEMU says when it refuses. */
  async command(execute: string, args: Readonly<Record<string, unknown>>): Promise<void> {
    this.#socket.write(`${JSON.stringify({ execute, arguments: args })}\n`);
    const m = await this.#take(`an answer to ${execute}`, (a) => a.event === undefined && (a.error !== undefined || 'return' in a));
    if (m.error !== undefined) throw new Error(`qemu-storage-daemon refuses ${execute}: ${m.error.desc}`);
  }

  async event(name: string): Promise<void> {
    await this.#take(`the event ${name}`, (m) => m.event === name);
  }

  close(): void {
    this.#socket.destroy();
  }

  #keep(text: string): void {
    const lines = `${this.#begun}${text}`.split('\n');
    this.#begun = lines.pop() ?? '';
    try {
      this.#messages.push(...lines.filter((l) => l.trim() !== '').map((l) => message.parse(JSON.parse(l))));
    } catch (e: unknown) {
      this.#closed = `what it says can not be read: ${e instanceof Error ? e.message : String(e)}`;
      this.#socket.destroy();
    }
    this.#wake?.();
  }

  async #take(what: string, is: (m: Message) => boolean): Promise<Message> {
    const late = new AbortController();
    const timeout = sleep(ANSWER_MAX_MS, 'late' as const, { signal: late.signal });
    // Aborted when the message has come; nobody waits for it then.
    timeout.catch((e: unknown) => {
      if (!late.signal.aborted) throw e;
    });
    try {
      for (;;) {
        const i = this.#messages.findIndex(is);
        const [found] = i < 0 ? [] : this.#messages.splice(i, 1);
        if (found !== undefined) return found;
        if (this.#closed !== undefined) throw new Error(`qemu-storage-daemon: waited for ${what}: ${this.#closed}`);
        const woken = new Promise<'woken'>((resolve) => {
          this.#wake = () => {
            resolve('woken');
          };
        });
        if ((await Promise.race([woken, timeout])) === 'late') throw new Error(`qemu-storage-daemon: waited ${String(ANSWER_MAX_MS)} ms for ${what}`);
      }
    } finally {
      late.abort();
    }
  }
}
