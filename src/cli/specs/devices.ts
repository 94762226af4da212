/** Commands that make block devices of mirrors in service, and mount them. */
import { attachMethods, filesystems } from '../choices.ts';
import { type CommandSpec, type Option, yes } from '../spec.ts';
import { tag } from './parts.ts';

const load = () => import('../commands/devices.ts');
const method: Option = { name: 'method', value: 'METHOD', describe: "default: the kernel's nbd where it is, else fuse", choices: attachMethods };

export const devicesCommands: readonly CommandSpec[] = [
  {
    name: 'attach',
    summary: 'makes a block device of a mirror that is in service here',
    positionals: [tag],
    options: [method],
    examples: [['netraid attach datarep-ext3', 'prints the device, such as /dev/nbd0']],
    load: async () => (await load()).attach,
  },
  {
    name: 'detach',
    summary: 'takes the block device away again',
    positionals: [tag],
    options: [{ name: 'unmount', describe: 'unmount what is mounted from it first' }],
    examples: [['netraid detach datarep-ext3 --unmount', 'also when a filesystem is still mounted']],
    load: async () => (await load()).detach,
  },
  {
    name: 'mount',
    summary: 'mounts the filesystem on a mirror, attaching it first where needed',
    positionals: [tag, { name: 'DIR', describe: 'absolute path of the folder, which is made when absent', required: true }],
    options: [
      { name: 'mkfs', value: 'TYPE', describe: 'make a filesystem first; refused when the device holds data', choices: filesystems },
      { name: 'force', describe: 'with --mkfs: overwrite whatever the device holds' },
      { name: 'check', describe: 'check the filesystem first' },
      { name: 'options', value: 'LIST', describe: 'options of mount, such as noatime' },
      method,
      yes,
    ],
    examples: [
      ['netraid mount datarep-ext3 /mnt --mkfs ext4', 'for the first time'],
      ['netraid mount datarep-ext3 /mnt --check', 'after a failover'],
    ],
    load: async () => (await load()).mount,
  },
  {
    name: 'umount',
    summary: 'unmounts the filesystems on a mirror',
    positionals: [tag],
    options: [{ name: 'detach', describe: 'take the block device away too' }],
    examples: [['netraid umount datarep-ext3 --detach', 'before going out of service']],
    load: async () => (await load()).umount,
  },
];
