/**
 * Says which sources a shim, or a program that is to use it, was made from: the digest of all C files of this folder. What is
 * shared between the two (native-shims/engine.h, src/io/node/native-memory.ts) has no version of its own that could be forgotten.
 */
const { createHash } = require('node:crypto');
const { readFileSync, readdirSync } = require('node:fs');
const { join } = require('node:path');

const digest = createHash('sha256');
for (const name of readdirSync(__dirname).sort()) {
  if (/\.[ch]$/.test(name)) digest.update(`${name}\0`).update(readFileSync(join(__dirname, name)));
}
const sources = digest.digest('hex').slice(0, 16);

module.exports = { sources };
if (require.main === module) process.stdout.write(sources);
