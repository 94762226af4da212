/** A server on a real unix socket in a folder of its own, and what clients of it need. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach } from 'vitest';
import { type HttpLimits, startControlServer } from '../../../src/control/http-server.ts';
import { type ActionName, type Actions, type ControlClient, type ControlError, type ControlEvent } from '../../../src/control/types.ts';
import { nullLog } from '../../../src/io/log.ts';

const cleanups: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const f of cleanups.splice(0).reverse()) await f();
});

export function folder(): string {
  const dir = mkdtempSync(join(tmpdir(), 'netraid-http-'));
  cleanups.push(() => {
    rmSync(dir, { recursive: true });
  });
  return dir;
}

/** What stands behind the server. */
export class Backend implements ControlClient {
  readonly calls: [ActionName, unknown][] = [];
  readonly listeners = new Set<(e: ControlEvent) => void>();
  answer: (action: ActionName) => unknown = () => null;
  refuseEvents: ControlError | undefined;

  call<A extends ActionName>(action: A, params: Actions[A]['params']): Promise<Actions[A]['result']> {
    this.calls.push([action, params]);
    return new Promise((resolve) => {
      resolve(this.answer(action) as Actions[A]['result']);
    });
  }

  events(onEvent: (e: ControlEvent) => void): Promise<{ stop(): void }> {
    if (this.refuseEvents !== undefined) return Promise.reject(this.refuseEvents);
    this.listeners.add(onEvent);
    return Promise.resolve({
      stop: () => {
        this.listeners.delete(onEvent);
      },
    });
  }

  emit(message: string): void {
    const e: ControlEvent = { at: 1, tag: 'a', kind: 'in-sync', message, fields: { node: 'b' } };
    for (const f of this.listeners) f(e);
  }
}

export async function serve(
  limits: Partial<HttpLimits> = {},
): Promise<{ backend: Backend; root: string; socketPath: string; close: () => Promise<void> }> {
  const root = folder();
  const socketPath = join(root, 'run', 'control.sock');
  const backend = new Backend();
  const server = await startControlServer({ client: backend, socketPath, log: nullLog, limits });
  let closed: Promise<void> | undefined;
  const close = (): Promise<void> => (closed ??= server.close());
  cleanups.push(close);
  return { backend, root, socketPath, close };
}

/** Runs `f` at the end of the test. */
export function later(f: () => Promise<void> | void): void {
  cleanups.push(f);
}
