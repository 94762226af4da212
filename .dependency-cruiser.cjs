/**
 * The import graph as a table: each room, and the rooms that it may import. What is not listed is forbidden.
 *
 *   cli -> pki -> io
 *   cli, console -> scenario, attach, control -> failover -> cluster, mirror -> bitmap, nbd, nbd-client-js -> io -> nbd/wire
 *
 * main imports all and is imported by none.
 */
const low = ['io', 'nbd/wire'];
const middle = ['bitmap', 'nbd', 'nbd-client-js', ...low];
const decided = ['failover', 'cluster', 'mirror', ...middle];
const upper = ['control', 'scenario', 'attach', ...decided];

/** @type {Record<string, string[]>} */
const mayImport = {
  'nbd/wire': [],
  io: ['nbd/wire'],
  bitmap: low,
  nbd: low,
  'nbd-client-js': low,
  mirror: middle,
  cluster: middle,
  failover: ['cluster', 'mirror', ...middle],
  control: decided,
  attach: ['io'],
  scenario: ['control', ...decided],
  pki: ['io'],
  cli: ['pki', ...upper],
  console: upper,
};

/** Rooms nested in other rooms: `src/nbd/wire` is not part of `nbd`. */
const folder = (room) => (room === 'nbd' ? '^src/nbd/(?!wire/)' : `^src/${room}/`);

/** Words that both know, as types alone. */
const typesOnly = { mirror: ['^src/failover/types\\.ts$'], cluster: ['^src/failover/types\\.ts$'] };

/** What scripts/build.mjs puts into the programs. The package depends on what is loaded from elsewhere. */
const packed = ['@peculiar/x509', 'cli-table3', 'fastify', 'picocolors', 'reflect-metadata', 'sparse-bitfield', 'winston', 'yaml', 'zod'];

const layers = Object.entries(mayImport).map(([room, rooms]) => ({
  name: `layer-${room.replace('/', '-')}`,
  comment: `${room} may import ${rooms.length === 0 ? 'nothing' : rooms.join(', ')}`,
  severity: 'error',
  from: { path: folder(room) },
  to: { path: '^src/', pathNot: [folder(room), ...rooms.map(folder), ...(typesOnly[room] ?? [])] },
}));

module.exports = {
  forbidden: [
    ...layers,
    {
      name: 'leaf-imports-nothing',
      comment: 'nbd/wire is a leaf: no package and no builtin either',
      severity: 'error',
      from: { path: folder('nbd/wire') },
      to: { pathNot: folder('nbd/wire') },
    },
    {
      name: 'failover-words-as-types',
      comment: 'mirror and cluster may know the words of failover/types.ts, not its code',
      severity: 'error',
      from: { path: [folder('mirror'), folder('cluster')] },
      to: { path: '^src/failover/', dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'rooms-are-named',
      comment: 'a file below src belongs to a room of the table',
      severity: 'error',
      from: { path: '^src/', pathNot: ['^src/main/', ...Object.keys(mayImport).map(folder)] },
      to: {},
    },
    {
      name: 'main-is-the-root',
      comment: 'nothing imports main',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/main/' },
      to: { path: '^src/main/' },
    },
    {
      name: 'src-stands-alone',
      comment: 'src imports neither tests nor scripts',
      severity: 'error',
      from: { path: '^src/' },
      to: { path: '^(test|scripts)/' },
    },
    { name: 'no-cycles', comment: 'modules that need each other are one module', severity: 'error', from: {}, to: { circular: true } },
    { name: 'resolvable', comment: 'an import that leads nowhere', severity: 'error', from: {}, to: { couldNotResolve: true } },
    {
      name: 'shipped-packages',
      comment: 'src imports only what an installation has, and what is packed into its programs',
      severity: 'error',
      from: { path: '^src/' },
      to: {
        dependencyTypes: ['npm-dev', 'npm-no-pkg', 'npm-unknown'],
        dependencyTypesNot: ['type-only'],
        pathNot: `^node_modules/(${packed.join('|')})/`,
      },
    },
    {
      name: 'optional-packages',
      comment: 'what an installation may lack is loaded by who does without it',
      severity: 'error',
      from: { path: '^src/', pathNot: '^src/io/node/descriptors[.]ts$' },
      to: { dependencyTypes: ['npm-optional'] },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'require', 'node', 'default', 'types'],
      extensions: ['.ts', '.js', '.mjs', '.cjs'],
    },
  },
};
