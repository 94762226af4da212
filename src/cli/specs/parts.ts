/** What several commands have in common. */
import type { Option, Positional } from '../spec.ts';

export const tag: Positional = { name: 'TAG', describe: 'name of the mirror', required: true };
export const leg: Positional = { name: 'LEG', describe: 'absolute path of a file or block device', required: true };
export const target: Positional = { name: 'NODE', describe: 'name of the target node', required: true };
export const wait: Option = { name: 'wait', value: 'DURATION', describe: 'show progress until in sync, at most this long, such as 10m' };
export const watch: Option = { name: 'watch', alias: 'w', describe: 'show it again and again until the daemon or you end it' };
