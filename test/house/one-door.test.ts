import { describe, expect, it } from 'vitest';
import { breaches } from './one-door.ts';
import { sourcesBelow } from './sources.ts';

const at = (path: string, text: string) => breaches({ path, text });

describe('one door to the world', () => {
  it('no file outside src/io and the named exceptions reaches disk, network, clock or chance', () => {
    expect(sourcesBelow('src').flatMap(breaches)).toEqual([]);
  });

  it.each([
    ["import { readFile } from 'node:fs/promises';", 'src/mirror/x.ts:1 imports node:fs/promises'],
    ["export { connect } from 'node:net';", 'src/mirror/x.ts:1 imports node:net'],
    ["const fs = await import('node:fs');", 'src/mirror/x.ts:1 imports node:fs'],
    ["import { randomBytes } from 'node:crypto';", 'src/mirror/x.ts:1 takes randomBytes from node:crypto'],
    ["import { flockSync } from 'fs-ext';", 'src/mirror/x.ts:1 imports fs-ext'],
    ["import { setTimeout } from 'node:timers';", 'src/mirror/x.ts:1 imports node:timers'],
    ['export const t = Date.now();', 'src/mirror/x.ts:1 uses Date.now'],
    ['export const t = new Date();', 'src/mirror/x.ts:1 uses Date'],
    ['\nsetTimeout(() => 1, 5);', 'src/mirror/x.ts:2 uses setTimeout'],
    ['export const r = Math.random();', 'src/mirror/x.ts:1 uses Math.random'],
    ['export const r = process.hrtime.bigint();', 'src/mirror/x.ts:1 uses process.hrtime'],
    ['export const o = { later: setImmediate };', 'src/mirror/x.ts:1 uses setImmediate'],
  ])('notices %s', (text, breach) => {
    expect(at('src/mirror/x.ts', text)).toEqual([breach]);
  });

  it('takes no offence at types, at properties of that name, at names the file declares, and at plain arithmetic', () => {
    const text = [
      "import type { Socket } from 'node:net';",
      "import { createHash } from 'node:crypto';",
      'interface Timer { Date: number }',
      'export function f(performance: number, s: Socket, d: Date): number { return performance + s.bytesRead + Math.max(1, d.x.fetch); }',
      'export const o = { process: 1 };',
    ].join('\n');
    expect(at('src/mirror/x.ts', text)).toEqual([]);
  });

  it('lets the exceptions do what they are for, and the command line no more than that', () => {
    const text = "import { spawn } from 'node:child_process'; setTimeout(spawn, 1);";
    for (const path of ['src/io/a.ts', 'src/main/a.ts', 'src/attach/a.ts', 'src/control/http-server.ts', 'src/scenario/process-runner.ts']) {
      expect(at(path, text)).toEqual([]);
    }
    expect(at('src/scenario/steps.ts', text)).toHaveLength(2);
    expect(at('src/cli/terminal.ts', 'process.stdout.write(process.argv.join());')).toEqual([]);
    expect(at('src/cli/terminal.ts', text)).toHaveLength(2);
  });
});
