/**
 * Builds the programs of src/main into dist/main: each with what it needs of src and of the libraries that are packed with it, in a
 * few files that load fast. A daemon of six hundred files spends half a second on finding and compiling them before it serves.
 *
 * What stays a dependency: what is native or looks for files of its own beside itself (KEPT_OUT). Of all the rest the licences
 * are gathered in dist/THIRD-PARTY-NOTICES.txt, as they ask.
 */
import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { build } from 'esbuild';
import { sources } from '../native-shims/sources.cjs';

const root = dirname(import.meta.dirname);
const out = join(root, 'dist');
const KEPT_OUT = ['yargs', 'fs-ext', 'node-gyp-build'];

const { bin } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'));

const { metafile } = await build({
  absWorkingDir: root,
  entryPoints: Object.values(bin).map((f) => f.replace(/^dist\/(.+)\.js$/, 'src/$1.ts')),
  outdir: 'dist/main',
  bundle: true,
  splitting: true,
  chunkNames: 'part-[hash]',
  format: 'esm',
  platform: 'node',
  target: 'node20.19',
  external: KEPT_OUT,
  // Libraries that are CommonJS ask for Node's own modules by this.
  banner: { js: "import { createRequire as packedRequire } from 'node:module'; const require = packedRequire(import.meta.url);" },
  // A shim that was built from others is not used.
  define: { NETRAID_SOURCES: JSON.stringify(sources) },
  sourcemap: true,
  legalComments: 'none',
  metafile: true,
  logLevel: 'warning',
});

await writeFile(join(out, 'THIRD-PARTY-NOTICES.txt'), await notices(Object.keys(metafile.inputs)));

// What an earlier build left, and no program loads any more.
const built = new Set([...Object.keys(metafile.outputs), 'dist/THIRD-PARTY-NOTICES.txt'].map((f) => join(root, f)));
for (const f of await readdir(out, { recursive: true, withFileTypes: true })) {
  const path = join(f.parentPath, f.name);
  if (f.isFile() && !built.has(path)) await rm(path);
}

/** Of every library that is packed: name, version and the text of its licence. */
async function notices(inputs) {
  const folders = new Set();
  for (const input of inputs) {
    const inside = /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(input);
    if (inside !== null) folders.add(inside[1]);
  }
  const parts = [];
  for (const folder of [...folders].sort()) parts.push(await notice(join(root, folder)));
  return `NetRAID's programs contain these libraries.\n\n${parts.join('\n')}`;
}

async function notice(folder) {
  const { name, version, license, homepage } = JSON.parse(await readFile(join(folder, 'package.json'), 'utf8'));
  if (typeof license !== 'string') throw new Error(`${relative(root, folder)}/package.json names no licence`);
  const files = (await readdir(folder)).filter((f) => /^(licen[cs]e|copying|notice)/i.test(f)).sort();
  const texts = await Promise.all(files.map((f) => readFile(join(folder, f), 'utf8')));
  if (texts.length === 0) texts.push(`Its package holds no text of the licence${homepage === undefined ? '' : `; see ${homepage}`}.`);
  return `${'-'.repeat(80)}\n${name} ${version} (${license})\n\n${texts.map((t) => t.trim()).join('\n\n')}\n`;
}
