/** Which bytes of a file a damage strikes. Pure. */
import { StepFailure } from './errors.ts';

export interface Damage {
  file: 'bitmap' | 'state' | 'leg';
  at: number;
  length: number;
}

/**
 * How long the product's own files are, no writer of scenarios can know: where a damage reaches beyond the end of one, its
 * last bytes are struck instead. The leg's length stands in the scenario, so there it is a mistake.
 *
 * `sizeBytes`: of the file as it is; undefined when there is none. Throws StepFailure.
 */
export function struckBytes(a: Damage, where: string, sizeBytes: number | undefined): { at: number; length: number } {
  if (sizeBytes === undefined) throw new StepFailure(`${where} does not exist`);
  if (sizeBytes === 0) throw new StepFailure(`${where} is empty; there is nothing to damage`);
  const { at, length } = a;
  if (at + length <= sizeBytes) return { at, length };
  if (a.file === 'leg') {
    const there = Math.max(0, sizeBytes - at);
    throw new StepFailure(`${where} ends before what is to be damaged`, [{ field: 'bytes there', expected: String(length), seen: String(there) }]);
  }
  const struck = Math.min(length, sizeBytes);
  return { at: sizeBytes - struck, length: struck };
}
