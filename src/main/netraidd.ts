#!/usr/bin/env node
/**
 * The daemon's entry: keeps its memory small, before the modules that fill the heap are loaded, and then loads them.
 *
 * V8 doubles its young generation, from 1 MiB to 16 MiB a half, as soon as much survives in it, as it does while a program is
 * loaded, and hardly ever gives it back. Of a daemon that is memory for nothing: data passes through none of it, and next to
 * nothing survives of what a request leaves there. So it keeps the size it begins with. Its limit (--max-semi-space-size) can
 * only be told to `node`, when there is no heap yet; how fast it grows is asked at each growth.
 */
import { setFlagsFromString } from 'node:v8';

// Whoever starts `node` with a word on this is obeyed.
const told = [...process.execArgv, process.env['NODE_OPTIONS'] ?? ''].some((a) => /semi[-_]space/.test(a));
if (!told) setFlagsFromString('--semi-space-growth-factor=1');
await import('./run-daemon.ts');
