/** What a server offers, by name. */
import type { Device } from './device.ts';

export interface ExportDirectory {
  /** Shown to anybody who asks and may use them (NBD_OPT_LIST). */
  list(): { name: string; description: string }[];
  /** The empty name is the default export. Undefined: no such export, or none that may be served now. */
  find(name: string): Promise<Device | undefined> | Device | undefined;
  /** What the default export is called; undefined: there is none now. */
  defaultName?(): string | undefined;
}
