/** Commands of checkpoints: what incremental backups go by. */
import type { CommandSpec, Positional } from '../spec.ts';
import { tag } from './parts.ts';

const load = () => import('../commands/checkpoint.ts');
const name: Positional = { name: 'NAME', describe: 'name of the checkpoint', required: true };

export const checkpointCommands: readonly CommandSpec[] = [
  {
    name: 'checkpoint create',
    summary: 'makes a checkpoint: from now on it is kept which regions are written',
    detail:
      "On the node in service. The mirror's NBD export shows what was written since as the meta context qemu:dirty-bitmap:NAME. It outlives a " +
      'restart and a crash of this node, and is void once another node has served.',
    positionals: [tag, name],
    options: [],
    examples: [['netraid checkpoint create data monday', 'before a full backup, or an incremental one that others will follow']],
    load: async () => (await load()).createCheckpoint,
  },
  {
    name: 'checkpoint list',
    summary: 'shows the checkpoints that were made on this node, how much was written since, and which are void',
    positionals: [tag],
    options: [],
    examples: [['netraid checkpoint list data --json', 'state is valid, kept (out of service) or void, with the reason']],
    load: async () => (await load()).listCheckpoints,
  },
  {
    name: 'checkpoint delete',
    summary: 'deletes a checkpoint; no data is touched',
    positionals: [tag, name],
    options: [],
    examples: [['netraid checkpoint delete data monday', 'once a later one has taken its place']],
    load: async () => (await load()).deleteCheckpoint,
  },
];
