/**
 * The package as it is packed, installed where there is no compiler: the shim in it serves; without one the portable engine
 * does, and it is said.
 *
 *   scripts/prebuild, npm pack -> FOLDER/node_modules/netraid, beside copies of what it depends on -> npm rebuild -> netraidd
 */
import { createRequire } from 'node:module';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { stringify } from 'yaml';
import { freePort } from '../support/daemons.ts';
import { NodeProcess } from '../support/node-process.ts';
import { findProgram, type Ran, run, runOk } from '../support/programs.ts';

const root = path.join(import.meta.dirname, '..', '..');
const prebuild = path.join(root, 'scripts', 'prebuild');
const absent = ['gcc', 'make', 'python3', 'strip'].filter((p) => findProgram(p) === undefined).map((p) => `${p} is not installed`);
const lacking = ['x64', 'arm64'].includes(process.arch) ? absent.join(', ') : `no shim is packed for ${process.arch}`;
if (lacking !== '') process.stderr.write(`\nWARNING: SKIPPED test/interop/packed.test.ts: ${lacking}\n\n`);

describe.skipIf(lacking !== '')(`the package on a machine without a compiler${lacking === '' ? '' : ` (${lacking})`}`, () => {
  let folder = '';
  let installed = '';
  const inside = (...names: string[]): string => path.join(installed, ...names);
  const prebuilds = (): string => inside('native-shims', 'prebuilds');

  beforeAll(async () => {
    folder = realpathSync(mkdtempSync(path.join(tmpdir(), 'netraid-packed-')));
    const tree = path.join(folder, 'tree');
    mkdirSync(tree);
    // Packed from a copy: the daemons of other tests run from dist, which packing makes anew.
    for (const name of ['package.json', 'README.md', 'dist', 'scripts', 'native-shims'])
      cpSync(path.join(root, name), path.join(tree, name), { recursive: true });
    // For this machine alone, so that no cross compiler is needed.
    await runOk(prebuild, ['--arch', process.arch, '--out', path.join(tree, 'native-shims', 'prebuilds')]);
    await runOk('npm', ['pack', '--ignore-scripts', '--silent'], { cwd: tree });
    installed = path.join(folder, 'node_modules', 'netraid');
    mkdirSync(installed, { recursive: true });
    const packed = readdirSync(tree).find((f) => f.endsWith('.tgz'));
    await runOk('tar', ['-xzf', path.join(tree, packed ?? 'none'), '-C', installed, '--strip-components=1']);
    // What it depends on comes from here and not from the registry.
    const needed = await runOk('npm', ['ls', '--omit=dev', '--all', '--parseable'], { cwd: root });
    for (const from of needed.split('\n')) {
      const name = path.relative(root, from);
      if (name.startsWith('node_modules/')) cpSync(from, path.join(folder, name), { recursive: true });
    }
    writeFileSync(path.join(folder, 'package.json'), JSON.stringify({ name: 'empty', version: '1.0.0', private: true }));
    // Nothing but these in PATH: no compiler, no make, no Python. flock and setpriv are on every system.
    mkdirSync(path.join(folder, 'bin'));
    for (const program of ['node', 'npm', 'sh', 'env', 'flock', 'setpriv']) {
      const found = program === 'node' ? process.execPath : findProgram(program);
      if (found === undefined) throw new Error(`${program} is not here`);
      symlinkSync(realpathSync(found), path.join(folder, 'bin', program));
    }
  });

  afterAll(() => {
    rmSync(folder, { recursive: true, force: true });
  });

  const bare = (native = 'wanted'): Record<string, string> => ({ PATH: path.join(folder, 'bin'), NETRAID_NATIVE: native });

  function install(native?: string): Promise<Ran> {
    return run(process.execPath, [inside('scripts', 'install-native.mjs')], { cwd: installed, env: bare(native) });
  }

  /** Runs the installed daemon, and looks at it. */
  async function withDaemon(look: (node: NodeProcess) => void): Promise<void> {
    const node = new NodeProcess('server1', mkdtempSync(path.join(folder, 'root-')), await freePort(), undefined, bare(), inside('dist'));
    mkdirSync(path.join(node.root, 'etc'), { recursive: true });
    const config = { version: 1, cluster: 'packed', node: 'server1', listen: `127.0.0.1:${String(node.port)}` };
    writeFileSync(path.join(node.root, 'etc', 'netraid.yaml'), stringify(config));
    try {
      await node.start();
      look(node);
      await node.stop();
    } finally {
      await node.kill();
    }
  }

  function threads(node: NodeProcess): string[] {
    const tasks = `/proc/${String(node.pid)}/task`;
    return readdirSync(tasks).map((t) => readFileSync(path.join(tasks, t, 'comm'), 'utf8').trim());
  }

  it('is used with the shim in it, and the daemon runs the native engine', async () => {
    // As npm runs it.
    const r = await run('npm', ['rebuild', '--foreground-scripts', '--offline', 'netraid'], { cwd: folder, env: bare() });
    expect(r).toMatchObject({ code: 0 });
    expect(r.stderr + r.stdout).toMatch(new RegExp(`netraid: the packed native shim for linux-${process.arch} serves\\.`));
    expect(existsSync(inside('native-shims', 'build'))).toBe(false);
    await withDaemon((node) => {
      expect(threads(node)).toContain('netraid-io');
      expect(readFileSync(`/proc/${String(node.pid)}/maps`, 'utf8')).toContain(prebuilds());
      expect(node.logged(/portable engine/)).toEqual([]);
    });
    expect(await install('required')).toMatchObject({ code: 0 });
  });

  it('leaves a shim alone that was built from other sources than its programs, which the daemon says once', async () => {
    const [file = 'none'] = readdirSync(prebuilds(), { recursive: true, encoding: 'utf8' }).filter((f) => f.endsWith('.node'));
    const shim = path.join(prebuilds(), file);
    const built = readFileSync(shim);
    const { sources } = createRequire(import.meta.url)(path.join(root, 'native-shims', 'sources.cjs')) as { sources: string };
    const at = built.indexOf(sources);
    expect(at).toBeGreaterThan(0);
    const other = Buffer.from(built);
    other.write(
      sources.replace(/^./, (c) => (c === '0' ? '1' : '0')),
      at,
      'latin1',
    );
    try {
      writeFileSync(shim, other);
      await withDaemon((node) => {
        expect(threads(node)).not.toContain('netraid-io');
        expect(node.logged(/WARN the native shim was built from other sources than this program.*the portable engine serves/)).toHaveLength(1);
      });
    } finally {
      writeFileSync(shim, built);
    }
  });

  it('has the licences of the libraries that are in its programs', () => {
    const { dependencies } = JSON.parse(readFileSync(inside('package.json'), 'utf8')) as { dependencies: Record<string, string> };
    const notices = readFileSync(inside('dist', 'THIRD-PARTY-NOTICES.txt'), 'utf8');
    for (const library of ['@peculiar/x509', 'fastify', 'sparse-bitfield', 'winston', 'zod']) {
      expect(dependencies[library]).toBeUndefined();
      expect(notices).toMatch(new RegExp(`^${library} [0-9.]+ \\((MIT|ISC)\\)$`, 'm'));
    }
  });

  it('says in one line each that a shim for another system does not load, and that none can be built', async () => {
    const own = path.join(prebuilds(), `linux-${process.arch}`);
    for (const file of readdirSync(own)) writeFileSync(path.join(own, file), 'for another system');
    const r = await install();
    expect(r.code).toBe(0);
    expect(r.stderr.trimEnd().split('\n')).toEqual([
      expect.stringMatching(/^netraid: no packed native shim serves on linux-\w+ \(.+\); building it$/),
      expect.stringMatching(/^netraid: the native shim was not built \(.+\); the portable engine serves, more slowly\. To build it: /),
    ]);
    expect(await install('required')).toMatchObject({ code: 1 });
  });

  it('has no shim where none is wanted', async () => {
    const r = await install('off');
    expect(r.code).toBe(0);
    expect(r.stderr).toBe('netraid: NETRAID_NATIVE=off: there is no native shim; the portable engine serves.\n');
    expect(existsSync(prebuilds())).toBe(false);
  });

  it('is used without a shim, by the portable engine, which the daemon says once', async () => {
    rmSync(prebuilds(), { recursive: true, force: true });
    expect((await install()).stderr).toMatch(/\(the package holds none\); building it\n.*the portable engine serves/);
    await withDaemon((node) => {
      expect(threads(node)).not.toContain('netraid-io');
      expect(node.logged(/WARN there is no native shim for this machine.*the portable engine serves/)).toHaveLength(1);
    });
  });

  it('is not packed where the compiler for the other architecture is absent: nothing is left half done', async () => {
    const other = process.arch === 'x64' ? 'arm64' : 'x64';
    const out = path.join(folder, 'half');
    mkdirSync(out);
    // Without dpkg-query and apt-get nothing can be installed.
    const without = path.join(folder, 'no-compiler');
    mkdirSync(without);
    for (const p of ['bash', 'node', 'npx', 'dirname', 'sort', 'tr', 'mktemp', 'rm', 'cp', 'mkdir', 'timeout', 'env'])
      symlinkSync(findProgram(p) ?? '', path.join(without, p));
    const r = await run(prebuild, ['--arch', other, '--out', out], { env: { PATH: without } });
    expect(r.code).toBe(1);
    expect(r.stderr).toMatch(new RegExp(`^scripts/prebuild: \\S+-linux-gnu-gcc is missing, which linux-${other} is built with$`, 'm'));
    expect(readdirSync(out)).toEqual([]);
  });
});
