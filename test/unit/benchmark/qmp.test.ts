import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { Qmp } from '../../../scripts/benchmark/qmp.ts';

const greeting = '{"QMP": {"version": {}, "capabilities": []}}\n';

let folder: string;
let server: Server | undefined;
let sockets: Socket[];

beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'netraid-qmp-'));
  sockets = [];
});

afterEach(() => {
  for (const s of sockets) s.destroy();
  server?.close();
  rmSync(folder, { recursive: true, force: true });
});

/** A QEMU that greets, accepts the capabilities, and then says `answer` to each command. */
async function qemu(answer: (s: Socket) => void): Promise<Qmp> {
  const at = path.join(folder, 'qmp');
  server = createServer((s) => {
    sockets.push(s);
    s.write(greeting);
    s.once('data', () => {
      s.write('{"return": {}}\n');
      s.on('data', () => {
        answer(s);
      });
    });
  });
  await new Promise<void>((resolve) => server?.listen(at, resolve));
  return await Qmp.connect(at);
}

it('waits for an event that comes before the answer, and in pieces', async () => {
  const qmp = await qemu((s) => {
    s.write('{"event": "BLOCK_JOB_READY", "data": {}}\n{"ret');
    s.write('urn": {}}\n');
  });
  await qmp.command('blockdev-mirror', {});
  await qmp.event('BLOCK_JOB_READY');
  qmp.close();
});

it('rejects with what QEMU says when it refuses', async () => {
  const qmp = await qemu((s) => s.write('{"error": {"class": "GenericError", "desc": "Cannot find device"}}\n'));
  await expect(qmp.command('blockdev-mirror', {})).rejects.toThrow('refuses blockdev-mirror: Cannot find device');
  qmp.close();
});

it('rejects when QEMU ends before the event', async () => {
  const qmp = await qemu((s) => s.end());
  await expect(qmp.command('quit', {})).rejects.toThrow('the connection ended');
});

it('rejects when what QEMU says can not be read', async () => {
  const qmp = await qemu((s) => s.write('{"return"\n'));
  await expect(qmp.command('quit', {})).rejects.toThrow('can not be read');
});

it('rejects when nobody listens', async () => {
  await expect(Qmp.connect(path.join(folder, 'nobody'))).rejects.toThrow('ENOENT');
});
