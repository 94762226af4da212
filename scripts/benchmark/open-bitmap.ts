/** `open-bitmap.ts FILE`: what it takes a fresh process to open that bitmap file: milliseconds, and those of CPU, on standard output. */
import { openBitmap } from './dirty-regions.ts';

const [file] = process.argv.slice(2);
if (file === undefined) throw new Error('a bitmap file is needed');
const cpuBefore = process.cpuUsage();
const began = performance.now();
const bitmap = await openBitmap(file);
const ms = performance.now() - began;
const { user, system } = process.cpuUsage(cpuBefore);
process.stdout.write(`${String(ms)} ${String((user + system) / 1000)}\n`);
await bitmap.close();
