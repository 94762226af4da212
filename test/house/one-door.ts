/**
 * The rule of the one door: disk, network, clock and chance are reached through src/io, so that the simulator runs the
 * code that ships. A pure function of a file's text, so that the rule itself can be tested.
 */
import { factsOf, type Source } from './sources.ts';

/** Builtins that touch nothing outside the process. */
const harmlessBuiltins = new Set(['assert', 'buffer', 'crypto', 'events', 'path', 'string_decoder', 'url', 'util', 'zlib']);
/** What of node:crypto is chance rather than arithmetic. */
const chanceOfCrypto = /^(random|webcrypto|getRandomValues|generate|createSecret|createDiffieHellman|\*$)/;
const harmlessCrypto = new Set(['createHash', 'createHmac', 'timingSafeEqual', 'hash', 'X509Certificate']);

/** Packages that reach the world themselves, and where they may be used. */
const worldlyPackages: Record<string, RegExp> = {
  'fs-ext': /^src\/io\//,
  'node-gyp-build': /^src\/io\//,
  fastify: /^src\/(control\/http|main\/)/,
  winston: /^src\/(io|main)\//,
};

const worldlyGlobals = new Set([
  'Date',
  'performance',
  'crypto',
  'fetch',
  'WebSocket',
  'process',
  'setTimeout',
  'setInterval',
  'setImmediate',
  'console',
]);

interface Exception {
  files: RegExp;
  why: string;
  /** Undefined: everything. */
  builtins?: readonly string[];
  globals?: readonly string[];
}

const exceptions: readonly Exception[] = [
  { files: /^src\/io\//, why: 'the door itself' },
  { files: /^src\/main\//, why: 'the composition root' },
  { files: /^src\/attach\//, why: 'attach helpers run programs of the system' },
  { files: /^src\/control\/http[^/]*\.ts$/, why: "the people's HTTP face" },
  { files: /^src\/control\/http\//, why: "the people's HTTP face" },
  { files: /^src\/scenario\/.*process[^/]*\.ts$/, why: 'the process runner of scenarios' },
  { files: /^src\/cli\//, why: 'argv and terminal handling', builtins: ['process', 'readline', 'tty'], globals: ['process'] },
];

/** One line for each breach, `path:line what`; empty when the file keeps the rule. */
export function breaches(source: Source): string[] {
  const exception = exceptions.find((e) => e.files.test(source.path));
  const facts = factsOf(source);
  const found: string[] = [];
  for (const i of facts.imports) {
    const where = `${source.path}:${String(i.line)}`;
    const allowed = worldlyPackages[i.module];
    if (allowed !== undefined && !i.typeOnly && !allowed.test(source.path)) found.push(`${where} imports ${i.module}`);
    if (!i.module.startsWith('node:') || i.typeOnly) continue;
    if (exception !== undefined && exception.builtins === undefined) continue;
    const builtin = i.module.slice('node:'.length).split('/')[0] ?? '';
    if (exception?.builtins?.includes(builtin) === true) continue;
    if (!harmlessBuiltins.has(builtin)) found.push(`${where} imports ${i.module}`);
    if (builtin !== 'crypto') continue;
    for (const name of i.names) {
      if (chanceOfCrypto.test(name) || !harmlessCrypto.has(name)) found.push(`${where} takes ${name} from node:crypto`);
    }
  }
  if (exception !== undefined && exception.globals === undefined) return found;
  for (const g of facts.globals) {
    const name = g.name.split('.')[0] ?? '';
    const worldly = worldlyGlobals.has(name) || g.name === 'Math.random';
    if (worldly && exception?.globals?.includes(name) !== true) found.push(`${source.path}:${String(g.line)} uses ${g.name}`);
  }
  return found;
}
