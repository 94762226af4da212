/** Commands of snapshots, for backups of a mirror in service. */
import type { CommandSpec, Positional } from '../spec.ts';
import { tag } from './parts.ts';

const load = () => import('../commands/snapshots.ts');
const name: Positional = { name: 'NAME', describe: 'what it is called among those of the mirror', required: true };

export const snapshotCommands: readonly CommandSpec[] = [
  {
    name: 'snapshot create',
    summary: 'holds what a mirror in service here contains now, for a backup, while writes go on',
    detail:
      'It is read as the NBD export TAG@NAME, by whom TAG is open to. What is overwritten from now on is copied first, into a file below ROOT/snapshots. ' +
      'When that may grow no more, its disk fails, or a copy takes too long, the snapshot is lost and its readers get errors; no write is lost. ' +
      'It ends when the mirror goes out of service, the source moves, or the daemon stops.',
    positionals: [tag, name],
    options: [
      { name: 'checkpoint', value: 'NAME', describe: 'make a checkpoint of that name, of the same moment, for the next incremental backup' },
      {
        name: 'space',
        value: 'SPACE',
        describe: "what it may keep: a size such as 10GiB, or a share of the mirror's size such as 20%; default: 10%",
      },
    ],
    examples: [
      [
        'netraid snapshot create datarep-ext3 monday',
        'then for example: nbdcopy "nbd+unix:///datarep-ext3@monday?socket=/var/lib/netraid/run/nbd.sock" /backup/monday.img',
      ],
      ['netraid snapshot create datarep-ext3 busy --space 50%', 'while much is written'],
      ['netraid snapshot create datarep-ext3 full --checkpoint monday', 'for a full backup that an incremental one may follow'],
    ],
    load: async () => (await load()).create,
  },
  {
    name: 'snapshot list',
    summary: 'shows the snapshots of a mirror in service here, and what they keep',
    positionals: [tag],
    options: [],
    examples: [['netraid snapshot list datarep-ext3 --json', 'with the moment of each']],
    load: async () => (await load()).list,
  },
  {
    name: 'snapshot delete',
    summary: 'ends a snapshot: its readers are disconnected, its room is given back',
    positionals: [tag, name],
    options: [],
    examples: [['netraid snapshot delete datarep-ext3 monday', 'after the backup']],
    load: async () => (await load()).remove,
  },
];
