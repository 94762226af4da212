/** Commands that make, change and forget mirrors, and take them in and out of service. */
import { arbiters } from '../choices.ts';
import { type CommandSpec, yes } from '../spec.ts';
import { failoverOptions, leg, tag, target, wait } from './parts.ts';

const load = () => import('../commands/membership.ts');
const loadSwitchover = () => import('../commands/switchover.ts');
const loadService = () => import('../commands/service.ts');

export const membershipCommands: readonly CommandSpec[] = [
  {
    name: 'create',
    summary: 'makes a mirror whose first leg is on this node',
    positionals: [tag, { ...leg, describe: `${leg.describe} on this node; a file is made when it is absent and --size is given` }],
    options: [
      { name: 'size', value: 'SIZE', describe: "such as 64MiB; default: the leg's size" },
      { name: 'region', value: 'SIZE', describe: 'what one bit of the bitmap stands for; default: LKDR_CHUNK_SIZE, or 16KiB to 256KiB by the size' },
      {
        name: 'sector-size',
        value: 'BYTES',
        describe: "smallest unit that is written, from 512 to 4096; default: the leg's. 4096 where any node may get a disk of such sectors",
      },
      { name: 'priority', value: 'N', describe: 'lower goes first; default: 1' },
      { name: 'failure-timeout', value: 'DURATION', describe: "silence after which a node counts as lost; default: the node's configuration" },
      ...failoverOptions,
      { name: 'arbiter', value: 'KIND', describe: 'whose word a takeover needs', choices: arbiters },
      {
        name: 'wait-for-previous-source',
        value: 'SECONDS',
        describe: 'how long others wait for the bitmap of a lost source; 0: not at all, -1: without end',
      },
      { name: 'takeover-after-clean-stop', describe: 'a target takes over although its source was stopped in order' },
      { name: 'zeroed', describe: 'your word that the leg holds zeroes only' },
    ],
    examples: [
      ['netraid create datarep-ext3 /dev/sdb1', 'a mirror as large as the partition'],
      ['netraid create datarep-ext3 /srv/leg --size 64MiB --zeroed', 'on a file, which is made'],
    ],
    load: async () => (await load()).create,
  },
  {
    name: 'extend',
    summary: 'adds a target to a mirror in service here',
    detail: 'The target receives a full resync, which overwrites its leg, unless both legs are known to be zeroes.',
    positionals: [tag, target, { ...leg, required: false, describe: `${leg.describe} on that node` }],
    options: [
      {
        name: 'foreign',
        value: 'URI',
        describe: 'instead of LEG: any NBD server, as nbd://HOST:PORT/EXPORT, or nbds for TLS; NODE is the name it gets',
      },
      { name: 'async', describe: 'answer writes without waiting for this target' },
      { name: 'priority', value: 'N', describe: 'lower goes first; default: the next free multiple of ten' },
      { name: 'zeroed', describe: 'your word that the leg holds zeroes only' },
      wait,
      yes,
    ],
    examples: [
      ['netraid extend datarep-ext3 server2 /dev/sdb1', 'a synchronous target'],
      ['netraid extend datarep-ext3 far /dev/sdb1 --async --yes --wait 1h', 'an asynchronous one, from a script, until it is in sync'],
      ['netraid extend datarep-ext3 copy --foreign nbd://10.0.0.9:10809/disk', 'a foreign one'],
    ],
    load: async () => (await load()).extend,
  },
  {
    name: 'unextend',
    summary: 'removes a target; its leg keeps its data',
    positionals: [tag, target],
    options: [yes],
    examples: [['netraid unextend datarep-ext3 server2', 'server2 is no longer part of it']],
    load: async () => (await load()).unextend,
  },
  {
    name: 'replace',
    summary: 'gives a target a new leg, which is resynced fully',
    positionals: [tag, target, { ...leg, describe: `${leg.describe} on that node` }],
    options: [wait, yes],
    examples: [['netraid replace datarep-ext3 server2 /dev/sdc1 --wait 1h', 'a new disk in server2']],
    load: async () => (await load()).replace,
  },
  {
    name: 'delete',
    summary: 'forgets a mirror on every node that can be reached; legs keep their data',
    positionals: [tag],
    options: [yes],
    examples: [['netraid delete datarep-ext3', 'records, bitmaps and flags go']],
    load: async () => (await load()).remove,
  },
  {
    name: 'in-service',
    summary: 'takes a mirror in service on this node',
    detail: 'While another node is in service, or where the data may not be the newest, it is refused, and says why.',
    positionals: [tag],
    options: [{ name: 'without-last-owner', describe: 'where it equals a force: your word that losing newer data is meant' }, yes],
    examples: [['netraid in-service datarep-ext3', 'this node becomes the source']],
    load: async () => (await loadService()).inService,
  },
  {
    name: 'confirm',
    summary: 'answers this node, which asks whether it shall take over',
    detail: 'Under failover `confirm`. A no holds until the lost source returns, or in-service is said.',
    positionals: [tag],
    options: [{ name: 'no', describe: 'it stays out of service' }],
    examples: [
      ['netraid confirm datarep-ext3', 'it goes in service now'],
      ['netraid confirm datarep-ext3 --no', 'it does not, and does not ask again'],
    ],
    load: async () => (await loadService()).confirmFailover,
  },
  {
    name: 'set',
    summary: 'changes settings of a mirror in service here, on all its nodes',
    positionals: [tag],
    options: failoverOptions,
    examples: [
      ['netraid set datarep-ext3 --failover off', 'nobody takes over by himself'],
      ['netraid set datarep-ext3 --failover confirm --confirm-timeout 5m --confirm-default go', 'an operator has five minutes to say no'],
    ],
    load: async () => (await load()).set,
  },
  {
    name: 'out-of-service',
    summary: 'takes a mirror out of service on this node, cleanly',
    positionals: [tag],
    options: [],
    examples: [['netraid out-of-service datarep-ext3', 'nobody takes over by himself afterwards']],
    load: async () => (await loadService()).outOfService,
  },
  {
    name: 'switchover',
    summary: 'moves the source to another node, which is in sync',
    detail:
      'On any node of the mirror. Requests in hand are answered, every leg is flushed, clients of the old source are cut off, and the new one ' +
      'goes in service; the old source becomes a target without a resync. Nothing that was acknowledged is lost.',
    positionals: [tag, { ...target, describe: 'the node that becomes the source' }],
    options: [{ name: 'detach', describe: 'on the source: unmount and detach the block device first' }, yes],
    examples: [
      ['netraid switchover datarep-ext3 server2', 'server2 becomes the source'],
      ['netraid switchover datarep-ext3 server2 --detach --yes', 'on the source, from a script, also while it is mounted there'],
    ],
    load: async () => (await loadSwitchover()).switchover,
  },
  {
    name: 'resolve',
    summary: "ends a split brain: the victim's data is given up and overwritten",
    detail: 'The node in service keeps its data. Refused where there is no split brain, and while the victim is in service.',
    positionals: [tag],
    options: [{ name: 'victim', value: 'NODE', describe: 'the node whose data is given up' }, wait, yes],
    examples: [['netraid resolve datarep-ext3 --victim server1', 'server1 is resynced fully from the node in service']],
    load: async () => (await loadSwitchover()).resolve,
  },
];
