/** What a mirror device is made of. */
import type { EngineHub } from '../io/hub.ts';
import type { Log } from '../io/log.ts';
import type { Clock } from '../io/types.ts';
import type { MirrorHost } from './host.ts';
import type { LocalLeg } from './legs.ts';
import type { Marks } from './marks.ts';
import type { MirrorSettings } from './settings.ts';

export interface MirrorDeviceOptions {
  hub: EngineHub;
  clock: Clock;
  log: Log;
  local: LocalLeg;
  marks: Marks;
  host: MirrorHost;
  settings: MirrorSettings;
  sizeBytes: number;
  /** The mirror's sector size, which no leg exceeds: told to clients as the smallest block. */
  sectorBytes: number;
  /** failureTimeout: a process that stood still for longer answers nothing until its host says so (M9). */
  stallLimitMs: number;
}
