/** NBD servers that nobody here wrote, started for one test and killed after it. */
import { readFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { onTestFinished } from 'vitest';
import { nodeNet } from '../../src/io/node/net.ts';
import { type Address, IoError } from '../../src/io/types.ts';
import { runs } from './processes.ts';
import { runOk, start, until } from './programs.ts';

export interface Peer {
  address: Address;
  /** SIGKILL; resolves when the process has ended. */
  kill(): Promise<void>;
  /** What it has printed. */
  output(): string;
}

/** Starts a server and waits until it accepts connections at `address`. */
export async function startPeer(program: string, args: readonly string[], address: Address): Promise<Peer> {
  const child = start(program, args);
  let output = '';
  let ended: string | undefined;
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  }
  child.on('error', (e) => {
    ended = e.message;
  });
  child.on('exit', (code, signal) => {
    ended ??= signal ?? `exit code ${String(code)}`;
  });
  const kill = async (): Promise<void> => {
    child.kill('SIGKILL');
    await until(`${program} has ended`, () => ended !== undefined);
  };
  onTestFinished(kill);
  await accepts(program, address, () => ended);
  if (ended !== undefined) throw new Error(`${program} ${args.join(' ')}: ${ended}\n${output}`);
  return { address, kill, output: () => output };
}

/** As `startPeer`, for a server that puts itself in the background and writes its process id to `pidFile`. */
export async function startDaemon(program: string, args: readonly string[], pidFile: string, address: Address): Promise<Peer> {
  const output = await runOk(program, args);
  let pid: number | undefined;
  const kill = async (): Promise<void> => {
    pid ??= Number(await readFile(pidFile, 'utf8'));
    if (runs(pid)) process.kill(pid, 'SIGKILL');
    const killed = pid;
    await until(`${program} has ended`, () => !runs(killed));
  };
  onTestFinished(kill);
  await accepts(program, address, () => undefined);
  return { address, kill, output: () => output };
}

/** Waits until somebody accepts connections there, or the server has ended. */
async function accepts(program: string, address: Address, ended: () => string | undefined): Promise<void> {
  const end = performance.now() + 10_000;
  for (let last = ''; ended() === undefined; ) {
    try {
      (await nodeNet.connect(address, 1000)).destroy();
      return;
    } catch (e: unknown) {
      if (!(e instanceof IoError)) throw e;
      last = e.message;
    }
    if (performance.now() > end) throw new Error(`${program} does not accept connections: ${last}`);
    await new Promise((resolve) => {
      setTimeout(resolve, 10);
    });
  }
}

/** A port that was free a moment ago. */
export async function freePort(): Promise<number> {
  return await new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen({ host: '127.0.0.1', port: 0 }, () => {
      const at = server.address();
      server.close(() => {
        if (typeof at === 'object' && at !== null) resolve(at.port);
        else reject(new Error('a listening server has no port'));
      });
    });
  });
}
