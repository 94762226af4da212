/** What several commands have in common. */
import { confirmDefaults, failoverModes } from '../choices.ts';
import type { Option, Positional } from '../spec.ts';

export const tag: Positional = { name: 'TAG', describe: 'name of the mirror', required: true };
export const leg: Positional = { name: 'LEG', describe: 'absolute path of a file or block device', required: true };
export const target: Positional = { name: 'NODE', describe: 'name of the target node', required: true };
export const wait: Option = { name: 'wait', value: 'DURATION', describe: 'show progress until in sync, at most this long, such as 10m' };
export const watch: Option = { name: 'watch', alias: 'w', describe: 'show it again and again until the daemon or you end it' };
export const failoverOptions: readonly Option[] = [
  { name: 'failover', value: 'MODE', describe: 'what follows the loss of the source', choices: failoverModes },
  { name: 'confirm-timeout', value: 'DURATION', describe: 'with failover confirm: how long an operator is asked; default: 60s' },
  { name: 'confirm-default', value: 'WHAT', describe: 'and what follows without an answer; default: stay', choices: confirmDefaults },
];
