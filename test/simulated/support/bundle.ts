/**
 * The simulator as one plain file: loaded through tsx, each closure would be given its name at run time, which costs an
 * eighth of all that the simulator does.
 *
 * Left out is what runs the scenario of a shrunk history: it needs all the product's commands, with their native parts, and
 * whoever shrinks a history does so with `scripts/simulate`.
 */
import path from 'node:path';
import { build } from 'esbuild';

/** Bundles `scripts/simulate.ts` of the tree, and all that it imports, into a program in the folder; resolves with its path. */
export async function bundleSimulator(tree: string, folder: string): Promise<string> {
  const outfile = path.join(folder, 'simulate.mjs');
  await build({
    absWorkingDir: tree,
    entryPoints: ['scripts/simulate.ts'],
    outfile,
    bundle: true,
    external: ['*/scenario-trial.ts'],
    platform: 'node',
    format: 'esm',
    target: 'node20',
    // Packages that are not modules themselves ask for node's own by `require`.
    banner: { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);" },
    logLevel: 'error',
  });
  return outfile;
}
