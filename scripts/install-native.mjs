/**
 * Builds the native shim when the package is installed. The shim is the fast path, not a need: where no compiler is
 * found the portable engine serves, and this says so and succeeds.
 * With NETRAID_NATIVE=required a failed build fails the installation; NETRAID_NATIVE=off builds nothing.
 */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';

const root = path.dirname(import.meta.dirname);
const wish = process.env.NETRAID_NATIVE ?? 'wanted';
const say = (line) => process.stderr.write(`netraid: ${line}\n`);

function build() {
  if (wish === 'off') return say('NETRAID_NATIVE=off: the native shim is not built; the portable engine serves.');
  if (!existsSync(path.join(root, 'native-shims', 'binding.gyp'))) return say('no native shim in this tree; the portable engine serves.');
  const r = spawnSync('node-gyp', ['rebuild', '--directory', 'native-shims', '--loglevel', 'warn'], {
    cwd: root,
    encoding: 'utf8',
    timeout: 300_000,
    env: { ...process.env, PATH: `${path.join(root, 'node_modules', '.bin')}:${process.env.PATH ?? ''}` },
  });
  if (r.status === 0) return undefined;
  const why = r.error?.message ?? r.stderr.trim().split('\n').slice(-8).join('\n');
  say(`the native shim was not built:\n${why}`);
  say('the portable engine serves instead, more slowly. To build it: apt-get install build-essential python3, then npm run install');
  if (wish === 'required') process.exitCode = 1;
  return undefined;
}

build();
