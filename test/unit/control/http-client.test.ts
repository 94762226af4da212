import { createServer, type Server, type Socket } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it, vi } from 'vitest';
import { DaemonUnreachableError, HttpControlClient } from '../../../src/control/http-client.ts';
import { ControlError, type ControlEvent } from '../../../src/control/types.ts';
import { folder, later, serve } from './http-pair.ts';

/** Answers every connection as `f` does. */
async function rawServer(f: (s: Socket) => void): Promise<string> {
  const socketPath = join(folder(), 'c.sock');
  const sockets = new Set<Socket>();
  const server: Server = createServer((s) => {
    sockets.add(s);
    s.on('error', () => s.destroy());
    f(s);
  });
  await new Promise<void>((resolve) => {
    server.listen(socketPath, resolve);
  });
  later(async () => {
    for (const s of sockets) s.destroy();
    await new Promise<void>((resolve) =>
      server.close(() => {
        resolve();
      }),
    );
  });
  return socketPath;
}

const answering = (body: string): Promise<string> =>
  rawServer((s) => {
    s.once('data', () => {
      s.end(`HTTP/1.1 200 OK\r\ncontent-length: ${String(Buffer.byteLength(body))}\r\n\r\n${body}`);
    });
  });

describe('calls over the socket', () => {
  it('bring parameters there and results back', async () => {
    const { backend, root, socketPath } = await serve();
    backend.answer = () => ({ started: true });
    const client = new HttpControlClient({ socketPath, root });
    expect(await client.call('verify', { tag: 'datarep-ext3' })).toEqual({ started: true });
    expect(backend.calls).toEqual([['verify', { tag: 'datarep-ext3' }]]);
  });

  it('bring a result that is nothing', async () => {
    const { root, socketPath } = await serve();
    expect(await new HttpControlClient({ socketPath, root }).call('verify-result', { tag: 'a' })).toBeNull();
  });

  it('bring refusals with their code and line', async () => {
    const { backend, root, socketPath } = await serve();
    backend.answer = () => {
      throw new ControlError('conflict', 'mirror a exists already');
    };
    const refusal = new HttpControlClient({ socketPath, root }).call('delete', { tag: 'a' });
    await expect(refusal).rejects.toMatchObject({ name: 'ControlError', code: 'conflict', message: 'mirror a exists already' });
  });

  it('bring what the schema refuses', async () => {
    const { root, socketPath } = await serve();
    await expect(new HttpControlClient({ socketPath, root }).call('status', { tag: 'a/b' })).rejects.toMatchObject({ code: 'bad-request' });
  });

  it('run side by side', async () => {
    const { backend, root, socketPath } = await serve();
    backend.answer = (action) => action;
    const client = new HttpControlClient({ socketPath, root });
    const answers = await Promise.all([client.call('info', {}), client.call('list', {}), client.call('status', { tag: 'a' })]);
    expect(answers).toEqual(['info', 'list', 'status']);
  });

  it('name the socket, and how to start the daemon, when there is none', async () => {
    const root = folder();
    const socketPath = join(root, 'run', 'control.sock');
    const call = new HttpControlClient({ socketPath, root }).call('info', {});
    await expect(call).rejects.toBeInstanceOf(DaemonUnreachableError);
    await expect(call).rejects.toThrow(`netraidd is not running: nothing answers on ${socketPath}; start it with: netraidd --root ${root}`);
  });

  it('end by their deadline when the daemon stands still', async () => {
    const socketPath = await rawServer(() => undefined);
    const call = new HttpControlClient({ socketPath, root: '/r', timeoutMs: 30 }).call('info', {});
    await expect(call).rejects.toThrow('netraidd did not answer /v1/info within 0.03 s');
    await expect(call).rejects.toBeInstanceOf(DaemonUnreachableError);
  });

  it('end by their deadline when it stands still in the middle of an answer', async () => {
    const socketPath = await rawServer((s) => {
      s.once('data', () => s.write('HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{"resu'));
    });
    await expect(new HttpControlClient({ socketPath, root: '/r', timeoutMs: 30 }).call('info', {})).rejects.toThrow('did not answer');
  });

  it('say when the daemon dies meanwhile', async () => {
    const socketPath = await rawServer((s) => {
      s.once('data', () => {
        s.write('HTTP/1.1 200 OK\r\ncontent-length: 99\r\n\r\n{"resu', () => s.destroy());
      });
    });
    const call = new HttpControlClient({ socketPath, root: '/r' }).call('info', {});
    await expect(call).rejects.toThrow('netraidd went away during the call');
    await expect(call).rejects.toBeInstanceOf(DaemonUnreachableError);
  });

  it.each(['hello', '{}', 'null', '{"error":7}', '[]'])('say when something else answers: %s', async (body) => {
    const socketPath = await answering(body);
    await expect(new HttpControlClient({ socketPath, root: '/r' }).call('info', {})).rejects.toThrow('does not speak as netraidd does');
  });

  it('take a code that they do not know for internal', async () => {
    const socketPath = await answering('{"error":{"code":"toString"}}');
    await expect(new HttpControlClient({ socketPath, root: '/r' }).call('info', {})).rejects.toMatchObject({
      code: 'internal',
      message: 'no reason given',
    });
  });
});

describe('events over the socket', () => {
  it('come in order from the moment of subscribing, until stopped', async () => {
    const { backend, root, socketPath } = await serve();
    const seen: ControlEvent[] = [];
    const onEnd = vi.fn();
    const subscription = await new HttpControlClient({ socketPath, root }).events((e) => seen.push(e), onEnd);
    backend.emit('first\nline');
    backend.emit('\u00fc'.repeat(1000));
    await vi.waitUntil(() => seen.length === 2);
    expect(seen[0]).toEqual({ at: 1, tag: 'a', kind: 'in-sync', message: 'first\nline', fields: { node: 'b' } });
    expect(seen[1]?.message).toBe('\u00fc'.repeat(1000));
    subscription.stop();
    await vi.waitUntil(() => backend.listeners.size === 0);
    expect(onEnd).not.toHaveBeenCalled();
  });

  it('say when the daemon stops', async () => {
    const { root, socketPath, close } = await serve();
    const onEnd = vi.fn();
    await new HttpControlClient({ socketPath, root }).events(() => undefined, onEnd);
    await close();
    await vi.waitUntil(() => onEnd.mock.calls.length === 1);
    expect(onEnd.mock.calls[0]?.[0]).toBeInstanceOf(DaemonUnreachableError);
  });

  it('say when the daemon is silent for too long', async () => {
    const { root, socketPath } = await serve();
    const onEnd = vi.fn();
    await new HttpControlClient({ socketPath, root, streamSilenceMs: 20 }).events(() => undefined, onEnd);
    await vi.waitUntil(() => onEnd.mock.calls.length === 1);
    expect(String(onEnd.mock.calls[0]?.[0])).toContain('has been silent for 0.02 s');
  });

  it('are refused with the line of the server', async () => {
    const { root, socketPath } = await serve({ eventStreamsMax: 0 });
    await expect(new HttpControlClient({ socketPath, root }).events(() => undefined)).rejects.toThrow('no more are allowed');
  });

  it('end when what comes is none', async () => {
    const socketPath = await rawServer((s) => {
      s.once('data', () => s.write('HTTP/1.1 200 OK\r\n\r\ndata: {\n\n'));
    });
    const onEnd = vi.fn();
    await new HttpControlClient({ socketPath, root: '/r' }).events(() => undefined, onEnd);
    await vi.waitUntil(() => onEnd.mock.calls.length === 1);
    expect(String(onEnd.mock.calls[0]?.[0])).toContain('an event that is no JSON');
  });

  it('can not be followed without a daemon', async () => {
    const client = new HttpControlClient({ socketPath: join(folder(), 'c.sock'), root: '/r' });
    await expect(client.events(() => undefined)).rejects.toBeInstanceOf(DaemonUnreachableError);
  });
});
