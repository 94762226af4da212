/** Attaches as told by its arguments (socket, run folder, tag), says so, and stays until it is killed. */
import { attach } from '../../src/attach/attach.ts';

const [socketPath = '', runDir = '', tag = ''] = process.argv.slice(2);
setInterval(() => undefined, 1000);
process.stdout.write('attaching\n');
await attach({ socketPath, exportName: '', runDir, tag, method: 'fuse', timeoutMs: 60_000 });
process.stdout.write('attached\n');
