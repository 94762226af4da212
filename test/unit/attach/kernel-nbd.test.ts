import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { connectNbd, disconnectNbd, freeNbdDevice, heldBy, kernelNbdAvailable } from '../../../src/attach/kernel-nbd.ts';
import { FakeSys } from './fake-sys.ts';
import { temporaryFolders } from './temporary-folder.ts';

const folder = temporaryFolders();
const realPath = process.env['PATH'] ?? '';
let bin = '';

beforeEach(() => {
  bin = folder();
  process.env['PATH'] = `${bin}:${realPath}`;
});
afterEach(() => {
  process.env['PATH'] = realPath;
});

/** Stands in for a program of the system: this kernel need not have nbd. */
function program(name: string, script: string): void {
  const file = path.join(bin, name);
  writeFileSync(file, `#!/bin/sh\n${script}\n`);
  chmodSync(file, 0o755);
}

describe('whether the kernel has nbd', () => {
  it('is yes when a device is there, without loading anything', async () => {
    const sys = new FakeSys(folder());
    sys.nbd('nbd0');
    program('modprobe', 'exit 1');
    expect(await kernelNbdAvailable(sys.roots)).toEqual({ available: true, why: 'the kernel has nbd' });
  });

  it('is yes after the module was loaded', async () => {
    const sys = new FakeSys(folder());
    const dir = path.dirname(sys.attribute('nbd0', 'size'));
    program('modprobe', `mkdir ${dir}; echo 0 >${dir}/size; touch ${sys.device('nbd0')}`);
    expect(await kernelNbdAvailable(sys.roots)).toMatchObject({ available: true });
  });

  it('is no with the reason, when the module can not be loaded', async () => {
    program('modprobe', 'echo "FATAL: Module nbd not found" >&2; exit 1');
    const answer = await kernelNbdAvailable(new FakeSys(folder()).roots);
    expect(answer.available).toBe(false);
    expect(answer.why).toMatch(/^this kernel has no nbd: modprobe nbd: status 1: FATAL: Module nbd not found$/);
  });
});

describe('choosing a device', () => {
  it('takes the first that nobody holds', async () => {
    const sys = new FakeSys(folder());
    sys.nbd('nbd0', 5, 8);
    sys.nbd('nbd1');
    sys.nbd('nbd2');
    expect(await freeNbdDevice(sys.roots)).toBe(sys.device('nbd1'));
  });

  it('refuses when all are held, and says how to get more', async () => {
    const sys = new FakeSys(folder());
    sys.nbd('nbd0', 5, 8);
    await expect(freeNbdDevice(sys.roots)).rejects.toMatchObject({ kind: 'refused', message: /nbds_max/ });
  });
});

describe('connecting', () => {
  const connect = (sys: FakeSys, timeoutMs = 5000, sectorBytes = 512) =>
    connectNbd(
      {
        device: sys.device('nbd0'),
        socketPath: '/run/a.sock',
        exportName: 'data',
        sectorBytes,
        mark: bin,
        logPath: path.join(bin, 'log'),
        timeoutMs,
      },
      sys.roots,
    );

  it('is done when the device shows the client and a size; disconnecting ends both', async () => {
    const sys = new FakeSys(folder());
    sys.nbd('nbd0');
    const [pid, size, args] = [sys.attribute('nbd0', 'pid'), sys.attribute('nbd0', 'size'), path.join(bin, 'args')];
    program(
      'nbd-client',
      `[ "$2" = -d ] && { kill $(cat ${pid}); rm ${pid}; exit; }; echo "$@" >${args}; echo 8 >${size}; echo $$ >${pid}; while sleep 0.01; do :; done`,
    );
    const client = await connect(sys);
    expect(readFileSync(args, 'utf8')).toBe(`-L -n -unix /run/a.sock -N data ${sys.device('nbd0')}\n`);
    expect(await heldBy(sys.device('nbd0'), [client.pid], sys.roots)).toBe(true);
    expect(await heldBy(sys.device('nbd0'), [client.pid + 1], sys.roots)).toBe(false);
    await disconnectNbd(sys.device('nbd0'), [client.pid], 5000, sys.roots);
    expect(await heldBy(sys.device('nbd0'), [client.pid], sys.roots)).toBe(false);
  });

  it('tells the client of larger sectors', async () => {
    program('nbd-client', 'echo "$@" >&2; exit 1');
    await expect(connect(new FakeSys(folder()), 5000, 4096)).rejects.toMatchObject({ message: /: -L -n -b 4096 -unix \/run\/a\.sock -N data / });
  });

  it('says what the client said when it ends', async () => {
    const sys = new FakeSys(folder());
    sys.nbd('nbd0');
    program('nbd-client', 'echo "E: negotiation failed" >&2; exit 1');
    await expect(connect(sys)).rejects.toMatchObject({
      kind: 'failed',
      message: /nbd-client for export 'data' at .* ended \(status 1\): E: negotiation failed/,
    });
  });

  it('does not wait for ever', async () => {
    const sys = new FakeSys(folder());
    sys.nbd('nbd0');
    program('nbd-client', 'exec sleep 1');
    await expect(connect(sys, 50)).rejects.toMatchObject({ kind: 'timeout' });
  });
});
