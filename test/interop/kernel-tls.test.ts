/**
 * TLS by the kernel, which this machine's may not have: in a virtual machine with Debian's, both ends of data connections between two
 * nodes run there, by the engine that ships (test/support/kernel-tls-child.ts).
 */
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { build } from 'esbuild';
import { afterAll, describe, expect, it } from 'vitest';
import { CertificateMaker } from '../support/certificates.ts';
import { Cleanup } from '../support/cleanup.ts';
import { guestPackages, lackingForGuests, makeGuestImage } from '../support/guest-image.ts';
import { KernelGuest } from '../support/kernel-guest.ts';

const TEST_MAX_MS = 240_000;
const PROGRAM_MAX_MS = 150_000;
const ROOT = path.join(import.meta.dirname, '..', '..');

const SHIM = path.join(ROOT, 'native-shims', 'build', 'Release', 'netraid.node');
const lacks = existsSync(SHIM) ? lackingForGuests([]) : `the native shim (${SHIM})`;
const packages = lacks === undefined ? await guestPackages() : [];
const lacking = lacks ?? (typeof packages === 'string' ? packages : '');
if (lacking !== '') process.stderr.write(`\nWARNING: SKIPPED test/interop/kernel-tls.test.ts: not here: ${lacking}\n\n`);

/** Every file below a folder, by its place below another. */
function filesBelow(folder: string, place: string): [string, string][] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((f): [string, string] => [path.join(place, f), path.join(folder, f)])
    .filter(([, from]) => statSync(from).isFile());
}

describe.skipIf(lacking !== '')(`TLS by the kernel${lacking === '' ? '' : ` (lacks ${lacking})`}`, () => {
  const cleanup = new Cleanup();
  afterAll(() => cleanup.run());

  it(
    'carries what two nodes send each other, ends in order also where one of them has Node for it, and takes nothing that was changed on the way',
    async () => {
      const folder = mkdtempSync(path.join(tmpdir(), 'kernel-tls-'));
      cleanup.add('the folder', () => {
        rmSync(folder, { recursive: true, force: true });
        return Promise.resolve();
      });
      const ca = await CertificateMaker.make(path.join(folder, 'ca'));
      for (const n of ['server1', 'server2']) await ca.node(path.join(folder, 'nodes', n), n);
      const program = path.join(folder, 'program.mjs');
      await build({
        entryPoints: [path.join(ROOT, 'test/support/kernel-tls-child.ts')],
        outfile: program,
        bundle: true,
        format: 'esm',
        platform: 'node',
        target: 'node20.19',
        external: ['fs-ext', 'node-gyp-build'],
        banner: { js: "import { createRequire as packedRequire } from 'node:module'; const require = packedRequire(import.meta.url);" },
        logLevel: 'error',
      });
      const gypBuild = path.dirname(createRequire(import.meta.url).resolve('node-gyp-build/package.json'));
      const shim = path.join(folder, 'shim');
      mkdirSync(shim);
      cpSync(SHIM, path.join(shim, 'build', 'Release', 'netraid.node'));
      const image = await makeGuestImage(folder, packages as readonly string[], {
        programs: [process.execPath],
        modules: ['tls', 'gcm', 'ghash_generic', 'ctr'],
        files: new Map([
          ['netraid/program.mjs', program],
          ...filesBelow(path.join(folder, 'nodes'), 'netraid/nodes'),
          ...filesBelow(shim, 'netraid/native-shims'),
          ...filesBelow(gypBuild, 'netraid/node_modules/node-gyp-build'),
        ]),
      });
      const booted = performance.now();
      const guest = await KernelGuest.boot(image, folder);
      cleanup.add('the guest', () => guest.kill());
      const begun = performance.now();
      const said = await guest.run('cd /netraid; NETRAID_TEST_SHIM=/netraid/native-shims node program.mjs /netraid/nodes', PROGRAM_MAX_MS);
      const seconds = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;
      process.stderr.write(`kernel TLS: boot ${seconds(begun - booted)}, program ${seconds(performance.now() - begun)}; ${said}`);
      expect(JSON.parse(said)).toMatchObject({ CurrTxSw: 0, CurrRxSw: 0 });
    },
    TEST_MAX_MS,
  );
});
