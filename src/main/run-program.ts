/** Runs one of the command line's programs in the world as it is, and sets the exit code. */
import { webcrypto } from 'node:crypto';
import { HttpControlClient } from '../control/http-client.ts';
import { nodeClock } from '../io/node/clock.ts';
import { nodeFiles } from '../io/node/files.ts';
import { packageVersion } from '../io/node/package-folder.ts';
import { RealTerminal } from '../cli/real-terminal.ts';
import { runCommandLine } from '../cli/run.ts';
import type { BlockDevices, World } from '../cli/world.ts';

const HOUR_MS = 3_600_000;
const OUTPUT_GONE = 141;

async function blockDevices(): Promise<BlockDevices> {
  const [{ attach, detach }, { mountFilesystem, unmount }, { status }] = await Promise.all([
    import('../attach/attach.ts'),
    import('../attach/filesystem.ts'),
    import('../attach/status.ts'),
  ]);
  return { attach, detach, mount: mountFilesystem, unmount, status };
}

export async function runProgram(program: string): Promise<void> {
  // Whoever read the output has seen enough, as `head` has.
  process.stdout.on('error', () => {
    process.exit(OUTPUT_GONE);
  });
  const root = process.env['NETRAID_ROOT'];
  const world: World = {
    client: (place) => new HttpControlClient(place),
    terminal: new RealTerminal(process.stdin, process.stdout, process.stderr),
    clock: nodeClock,
    files: nodeFiles,
    devices: blockDevices,
    crypto: webcrypto,
    version: packageVersion(),
    ...(root === undefined || root === '' ? {} : { defaultRoot: root }),
  };
  // The clock's timers do not keep a process alive; a command that waits must.
  const hold = setInterval(() => undefined, HOUR_MS);
  process.exitCode = await runCommandLine([program, ...process.argv.slice(2)], world);
  clearInterval(hold);
}
