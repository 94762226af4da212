/** The options by which `create` and `set` say how the failover of a mirror shall go. */
import { formatDuration } from '../control/units.ts';
import { CONFIRM_TIMEOUT_MAX_SEC } from '../failover/limits.ts';
import type { ConfirmDefault, FailoverMode } from '../failover/types.ts';
import type { Args } from './args.ts';
import { confirmDefaults, failoverModes } from './choices.ts';
import { UsageError } from './exit.ts';

const SECOND_MS = 1000;

export interface FailoverWishes {
  failover?: FailoverMode;
  confirmTimeoutSec?: number;
  confirmDefault?: ConfirmDefault;
}

/** Only what was given. Throws UsageError. */
export function failoverWishes(args: Args): FailoverWishes {
  const failover = args.choice('failover', failoverModes);
  const timeoutMs = args.durationMs('confirm-timeout');
  const confirmDefault = args.choice('confirm-default', confirmDefaults);
  const fits = timeoutMs === undefined || (timeoutMs >= SECOND_MS && timeoutMs <= CONFIRM_TIMEOUT_MAX_SEC * SECOND_MS && timeoutMs % SECOND_MS === 0);
  if (timeoutMs !== undefined && !fits) {
    const range = `whole seconds from 1s to ${formatDuration(CONFIRM_TIMEOUT_MAX_SEC * SECOND_MS)}`;
    throw new UsageError(`--confirm-timeout ${formatDuration(timeoutMs)} is not allowed; allowed: ${range}`);
  }
  return {
    ...(failover === undefined ? {} : { failover }),
    ...(timeoutMs === undefined ? {} : { confirmTimeoutSec: timeoutMs / SECOND_MS }),
    ...(confirmDefault === undefined ? {} : { confirmDefault }),
  };
}
