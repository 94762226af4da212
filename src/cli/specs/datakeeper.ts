/** Programs that DataKeeper's users know. */
import { mirrorActions } from '../choices.ts';
import { type CommandSpec, yes } from '../spec.ts';
import { tag, wait, watch } from './parts.ts';

export const mirrorActionSpec: CommandSpec = {
  name: 'mirror_action',
  summary: 'pauses, resumes, resyncs or forces a mirror',
  detail:
    'The first of NODES is the source, when it is the current one; the others are targets, and without any it is all targets. ' +
    'force takes one NODE, this one, which may be left out, and puts it in service whatever the evidence says.',
  positionals: [
    tag,
    { name: 'ACTION', describe: 'what to do', required: true, choices: mirrorActions },
    { name: 'NODES', describe: 'SOURCE and TARGETs', required: false, many: true },
  ],
  options: [
    { name: 'without-last-owner', describe: 'with force: your word that losing newer data of another node is meant' },
    { ...wait, describe: `with resume and fullresync: ${wait.describe}` },
    yes,
  ],
  examples: [
    ['mirror_action datarep-ext3 pause server1 server2', 'server2 gets nothing more until it is resumed'],
    ['mirror_action datarep-ext3 resume', 'all targets'],
    ['mirror_action datarep-ext3 fullresync server2 server3', 'server3 is overwritten with the data of server2'],
    ['mirror_action datarep-ext3 force server1', 'on server1, when nobody else comes back'],
  ],
  load: async () => (await import('../commands/mirror-action.ts')).mirrorAction,
};

export const mirrorStatusSpec: CommandSpec = {
  name: 'mirror_status',
  summary: 'shows a mirror and each of its targets',
  positionals: [tag],
  options: [watch],
  examples: [
    ['mirror_status datarep-ext3', 'as it is now'],
    ['mirror_status datarep-ext3 --watch', 'follow a resync'],
  ],
  load: async () => (await import('../commands/status.ts')).mirrorStatus,
};

export const mirrorResizeSpec: CommandSpec = {
  name: 'mirror_resize',
  summary: 'changes the size of a mirror on all its nodes',
  detail:
    'A larger size needs larger legs on all nodes first. A smaller one is for a mirror out of service; it needs --force, unless a filesystem is found that ends before the cut.',
  positionals: [tag, { name: 'SIZE', describe: 'such as 64MiB', required: true }],
  options: [{ name: 'force', alias: 'f', describe: 'cut off what lies behind the new end, also of a filesystem' }, yes],
  examples: [['mirror_resize datarep-ext3 2GiB', 'larger']],
  load: async () => (await import('../commands/resize.ts')).resize,
};

export const bitmapSpec: CommandSpec = {
  name: 'bitmap',
  summary: 'shows what a bitmap file says, or clears the marks for a target',
  detail: 'With -c: your recorded word that the target holds the same data already, as when it was seeded by a shipped disk.',
  positionals: [{ name: 'FILE', describe: 'bitmap file, ROOT/bitmap_TAG', required: true }],
  options: [
    { name: 'clear', alias: 'c', describe: 'clear the marks for a target' },
    { name: 'node', value: 'NODE', describe: 'with -c: the target; may be left out where there is one' },
    yes,
  ],
  examples: [
    ['bitmap /var/lib/netraid/bitmap_datarep-ext3', 'each map with its dirty regions; changes nothing'],
    ['bitmap -c /var/lib/netraid/bitmap_datarep-ext3 --node server2', 'after server2 got a copy of the disk'],
  ],
  load: async () => (await import('../commands/bitmap.ts')).bitmap,
};
