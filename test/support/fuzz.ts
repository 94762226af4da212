/** For `scripts/fuzz`: every property of fast-check begins at a seed that the script chooses, and a failure can be repeated by it. */
import fc from 'fast-check';

const seed = process.env['NETRAID_FUZZ_SEED'];
if (seed !== undefined) fc.configureGlobal({ seed: Number(seed) });
