/**
 * The native shim, when the package is installed: the one in the package, where it loads; or else built, where that can be; or
 * else none, for the shim is the fast path and not a need: the portable engine serves then, and this says so and succeeds.
 * In a checkout it is always built, from the sources that are there.
 *
 * With NETRAID_NATIVE=required an installation without a shim fails; with NETRAID_NATIVE=off there is none.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, rmSync } from 'node:fs';
import path from 'node:path';

const root = path.dirname(import.meta.dirname);
const shims = path.join(root, 'native-shims');
const packed = path.join(shims, 'prebuilds');
const wish = process.env.NETRAID_NATIVE ?? 'wanted';
const here = `${process.platform}-${process.arch}`;
const TRY_MAX_MS = 30_000;
const BUILD_MAX_MS = 300_000;
const say = (line) => process.stderr.write(`netraid: ${line}\n`);

/** In a process of its own, since one for another libc or processor may end it. Answers why not, or undefined. */
function whyNotPacked() {
  if (!existsSync(packed)) return 'the package holds none';
  const program = `if (typeof require('node-gyp-build')(process.argv[1]).createEngine !== 'function') throw new Error('it is another one')`;
  const env = { ...process.env, PREBUILDS_ONLY: '1' };
  const r = spawnSync(process.execPath, ['-e', program, shims], { cwd: root, encoding: 'utf8', timeout: TRY_MAX_MS, env });
  if (r.status === 0) return undefined;
  // What ends the process that tries it, or never comes back, would do that to the daemon as well.
  if (r.status === null) rmSync(packed, { recursive: true, force: true });
  return r.error?.message ?? /^(?:\w*Error): (.*)$/m.exec(r.stderr)?.[1] ?? `it ended the process that tried it: ${r.signal ?? r.status}`;
}

function build() {
  const r = spawnSync('node-gyp', ['rebuild', '--directory', 'native-shims', '--loglevel', 'warn'], {
    cwd: root,
    encoding: 'utf8',
    timeout: BUILD_MAX_MS,
    env: { ...process.env, PATH: `${path.join(root, 'node_modules', '.bin')}:${process.env.PATH ?? ''}` },
  });
  if (r.status === 0) return true;
  const said = (r.stderr ?? '').trim().split('\n');
  if (wish === 'required') process.stderr.write(`${said.slice(-8).join('\n')}\n`);
  const why = r.error?.message ?? said.find((l) => /error:|ERR! stack/.test(l)) ?? said.at(-1);
  say(
    `the native shim was not built (${why}); the portable engine serves, more slowly. To build it: apt-get install build-essential python3, then npm rebuild netraid`,
  );
  return false;
}

function install() {
  if (wish === 'off') {
    // What is there would be loaded.
    rmSync(packed, { recursive: true, force: true });
    return say('NETRAID_NATIVE=off: there is no native shim; the portable engine serves.');
  }
  if (!existsSync(path.join(shims, 'binding.gyp'))) return say('no native shim in this tree; the portable engine serves.');
  if (!existsSync(path.join(root, 'src'))) {
    const why = whyNotPacked();
    if (why === undefined) return say(`the packed native shim for ${here} serves.`);
    say(`no packed native shim serves on ${here} (${why}); building it`);
  }
  if (!build() && wish === 'required') process.exitCode = 1;
  return undefined;
}

install();
