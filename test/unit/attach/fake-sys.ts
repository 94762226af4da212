import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { BlockRoots } from '../../../src/attach/block-devices.ts';

/** A /sys/block and a /dev made of plain files. */
export class FakeSys {
  readonly roots: BlockRoots;

  constructor(dir: string) {
    this.roots = { sysBlockDir: path.join(dir, 'sys'), devDir: path.join(dir, 'dev') };
    mkdirSync(this.roots.sysBlockDir);
    mkdirSync(this.roots.devDir);
  }

  device(name: string): string {
    return path.join(this.roots.devDir, name);
  }

  attribute(name: string, attr: string): string {
    return path.join(this.roots.sysBlockDir, name, attr);
  }

  loop(name: string, backingFile?: string): void {
    this.#put(name, 'dev', '7:0');
    if (backingFile !== undefined) this.#put(name, 'loop/backing_file', backingFile);
  }

  nbd(name: string, pid?: number, sectors = 0): void {
    this.#put(name, 'dev', '43:0');
    this.#put(name, 'size', String(sectors));
    if (pid === undefined) rmSync(this.attribute(name, 'pid'), { force: true });
    else this.#put(name, 'pid', String(pid));
    writeFileSync(this.device(name), '');
  }

  #put(name: string, attr: string, value: string): void {
    const file = this.attribute(name, attr);
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, `${value}\n`);
  }
}
