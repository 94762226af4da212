import { chmodSync, existsSync, statSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { connect, createServer } from 'node:net';
import { join } from 'node:path';
import { spawn } from 'node:child_process';
import { describe, expect, it, vi } from 'vitest';
import { startControlServer } from '../../../src/control/http-server.ts';
import { ControlError } from '../../../src/control/types.ts';
import { nullLog } from '../../../src/io/log.ts';
import { Backend, folder, later, serve } from './http-pair.ts';

interface Answer {
  status: number;
  body: unknown;
}

function ask(socketPath: string, method: string, path: string, body?: string, type = 'application/json'): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const req = request({ socketPath, method, path, agent: false, headers: body === undefined ? {} : { 'content-type': type } }, (res) => {
      let text = '';
      res.setEncoding('utf8');
      res.on('data', (t: string) => (text += t));
      res.on('end', () => {
        resolve({ status: res.statusCode ?? 0, body: JSON.parse(text) as unknown });
      });
    });
    req.on('error', reject);
    req.end(body);
  });
}

const errorOf = (a: Answer): unknown => (a.body as { error: unknown }).error;

describe('the control server', () => {
  it('carries an action to the daemon and its result back', async () => {
    const { backend, socketPath } = await serve();
    backend.answer = () => ({ clearedBytes: 7 });
    expect(await ask(socketPath, 'POST', '/v1/clear-bitmap', '{"tag":"a","node":"b"}')).toEqual({
      status: 200,
      body: { result: { clearedBytes: 7 } },
    });
    expect(backend.calls).toEqual([['clear-bitmap', { tag: 'a', node: 'b' }]]);
  });

  it('takes no body for no parameters', async () => {
    const { backend, socketPath } = await serve();
    expect(await ask(socketPath, 'POST', '/v1/info')).toEqual({ status: 200, body: { result: null } });
    expect(backend.calls).toEqual([['info', {}]]);
  });

  it.each<[string, string, string | undefined, number, string]>([
    ['POST', '/v1/status', '{"tag":"../x"}', 400, 'bad-request'],
    ['POST', '/v1/status', '{', 400, 'bad-request'],
    ['POST', '/v1/status', '[]', 400, 'bad-request'],
    ['POST', '/v1/toString', '{}', 404, 'not-found'],
    ['POST', '/v1/__proto__', '{}', 404, 'not-found'],
    ['GET', '/v1/status', undefined, 404, 'not-found'],
    ['GET', '/', undefined, 404, 'not-found'],
  ])('refuses %s %s %s before the daemon hears of it', async (method, path, body, status, code) => {
    const { backend, socketPath } = await serve();
    const answer = await ask(socketPath, method, path, body);
    expect(answer.status).toBe(status);
    expect(errorOf(answer)).toMatchObject({ code });
    expect(backend.calls).toEqual([]);
  });

  it('takes JSON and nothing else', async () => {
    const { socketPath } = await serve();
    expect((await ask(socketPath, 'POST', '/v1/info', 'a=b', 'application/x-www-form-urlencoded')).status).toBe(415);
    expect((await ask(socketPath, 'POST', '/v1/info', 'a=b', 'text/plain')).status).toBe(400);
  });

  it('takes a body of 64 KiB, and none that is longer', async () => {
    const { socketPath } = await serve();
    const body = (length: number): string => `{"tag":"a"}`.padEnd(length);
    expect((await ask(socketPath, 'POST', '/v1/status', body(65536))).status).toBe(200);
    expect((await ask(socketPath, 'POST', '/v1/status', body(65537))).status).toBe(413);
  });

  it.each([
    ['bad-request', 400],
    ['not-found', 404],
    ['refused', 403],
    ['conflict', 409],
    ['unreachable', 503],
    ['io', 500],
    ['internal', 500],
  ] as const)('says %s with status %d and the line of the daemon', async (code, status) => {
    const { backend, socketPath } = await serve();
    backend.answer = () => {
      throw new ControlError(code, 'because');
    };
    expect(await ask(socketPath, 'POST', '/v1/info')).toEqual({ status, body: { error: { code, message: 'because' } } });
  });

  it('says what was not expected, and logs it', async () => {
    const root = folder();
    const error = vi.fn();
    const backend = new Backend();
    backend.answer = () => {
      throw new TypeError('x is not a function');
    };
    const socketPath = join(root, 'c.sock');
    const server = await startControlServer({ client: backend, socketPath, log: { ...nullLog, error } });
    later(() => server.close());
    expect(errorOf(await ask(socketPath, 'POST', '/v1/info'))).toEqual({ code: 'internal', message: 'x is not a function' });
    expect(error).toHaveBeenCalledOnce();
  });
});

describe('event streams', () => {
  it('are bounded, and a place is free again when one ends', async () => {
    const { backend, socketPath } = await serve({ eventStreamsMax: 1 });
    const first = connect(socketPath);
    later(() => {
      first.destroy();
    });
    first.write('GET /v1/events HTTP/1.1\r\nhost: x\r\n\r\n');
    await vi.waitUntil(() => backend.listeners.size === 1);
    expect(await ask(socketPath, 'GET', '/v1/events')).toMatchObject({ status: 403, body: { error: { code: 'refused' } } });
    first.destroy();
    await vi.waitUntil(() => backend.listeners.size === 0);
    backend.refuseEvents = new ControlError('conflict', 'later');
    expect(await ask(socketPath, 'GET', '/v1/events')).toEqual({ status: 409, body: { error: { code: 'conflict', message: 'later' } } });
  });

  it('are cut off when nobody reads them', async () => {
    const { backend, socketPath } = await serve({ streamUnreadMaxBytes: 100_000 });
    const reader = connect(socketPath);
    later(() => {
      reader.destroy();
    });
    reader.on('error', () => reader.destroy());
    reader.write('GET /v1/events HTTP/1.1\r\nhost: x\r\n\r\n');
    await vi.waitUntil(() => backend.listeners.size === 1);
    reader.pause();
    await vi.waitUntil(
      () => {
        backend.emit('x'.repeat(100_000));
        return backend.listeners.size === 0;
      },
      { timeout: 5000, interval: 1 },
    );
  });

  it('give a sign of life while nothing happens', async () => {
    const { socketPath } = await serve({ streamSignEveryMs: 5 });
    const reader = connect(socketPath);
    later(() => {
      reader.destroy();
    });
    reader.write('GET /v1/events HTTP/1.1\r\nhost: x\r\n\r\n');
    let text = '';
    reader.on('data', (b) => (text += b.toString()));
    await vi.waitUntil(() => text.split(': still here').length > 2);
  });
});

describe('the socket file', () => {
  it('is open to its owner alone, and gone afterwards', async () => {
    const { socketPath, close } = await serve();
    expect(statSync(socketPath).mode & 0o777).toBe(0o600);
    await close();
    expect(existsSync(socketPath)).toBe(false);
  });

  it('is not taken from a daemon that lives', async () => {
    const { socketPath } = await serve();
    await expect(startControlServer({ client: new Backend(), socketPath, log: nullLog })).rejects.toThrow(
      `another netraidd is running on this root: it answers on ${socketPath}`,
    );
    expect((await ask(socketPath, 'POST', '/v1/info')).status).toBe(200);
  });

  it('of a daemon that was killed is replaced', async () => {
    const socketPath = join(folder(), 'c.sock');
    const child = spawn(process.execPath, [
      '-e',
      `require('net').createServer().listen(${JSON.stringify(socketPath)}, () => process.kill(process.pid, 'SIGKILL'))`,
    ]);
    await new Promise((resolve) => child.once('exit', resolve));
    expect(existsSync(socketPath)).toBe(true);
    const server = await startControlServer({ client: new Backend(), socketPath, log: nullLog });
    later(() => server.close());
    expect((await ask(socketPath, 'POST', '/v1/info')).status).toBe(200);
  });

  it('that is none is left alone', async () => {
    const socketPath = join(folder(), 'c.sock');
    writeFileSync(socketPath, 'precious');
    await expect(startControlServer({ client: new Backend(), socketPath, log: nullLog })).rejects.toThrow('is there and is no socket');
    expect(existsSync(socketPath)).toBe(true);
  });

  it('needs a path that fits', async () => {
    const socketPath = join(folder(), 'x'.repeat(100), 'c.sock');
    await expect(startControlServer({ client: new Backend(), socketPath, log: nullLog })).rejects.toThrow('choose a shorter root');
  });

  it('of somebody who accepts and says nothing counts as alive', async () => {
    const socketPath = join(folder(), 'c.sock');
    const silent = createServer();
    await new Promise<void>((resolve) => {
      silent.listen(socketPath, resolve);
    });
    later(
      () =>
        new Promise<void>((resolve) =>
          silent.close(() => {
            resolve();
          }),
        ),
    );
    chmodSync(socketPath, 0o600);
    await expect(startControlServer({ client: new Backend(), socketPath, log: nullLog })).rejects.toThrow('another netraidd');
  });
});
