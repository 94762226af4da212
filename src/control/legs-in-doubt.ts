/**
 * `ROOT/legs_in_doubt`: in the boot that it names a mirror was forgotten here whose leg had seen a sync fail, or whose record could not
 * be read. The page cache may hold what such a sync gave up, and equal bytes read from it prove nothing until the next boot (M3). Whatever
 * leg is used next counts as doubtful: the record that knew which one it was is gone.
 *
 *   netraid-legs-in-doubt 1 crc32=0badcafe boot=6f5a…
 */
import { crc32 } from 'node:zlib';
import { legsInDoubtPath } from '../failover/paths.ts';
import { replaceFile } from '../io/atomic-file.ts';
import { Errno, type Files, IoError } from '../io/types.ts';

const LINE_MAX_BYTES = 512;

function lineOf(bootId: string): string {
  return `netraid-legs-in-doubt 1 crc32=${crc32(bootId).toString(16).padStart(8, '0')} boot=${bootId}\n`;
}

/** Durable once it resolves. Rejects with IoError. */
export async function doubtLegs(files: Files, root: string, bootId: string): Promise<void> {
  await replaceFile(files, legsInDoubtPath(root), new TextEncoder().encode(lineOf(bootId)));
}

/**
 * Why the legs of this node are in doubt in the boot `bootId`; null: they are not. A file that is damaged may have named this boot: it is
 * replaced by one that does, and that ends with it. Rejects with IoError.
 */
export async function legsInDoubt(files: Files, root: string, bootId: string): Promise<string | null> {
  const path = legsInDoubtPath(root);
  let text = '';
  try {
    text = new TextDecoder().decode(await files.readFile(path, LINE_MAX_BYTES));
  } catch (e: unknown) {
    if (e instanceof IoError && e.errno === Errno.ENOENT) return null;
    if (!(e instanceof IoError && e.errno === Errno.EFBIG)) throw e;
  }
  const boot = / boot=(.*)\n$/.exec(text)?.[1];
  if (boot === undefined || text !== lineOf(boot)) {
    await doubtLegs(files, root, bootId);
    return `${path} was damaged, and may have named this boot of the machine`;
  }
  if (boot !== bootId) return null;
  return 'in this boot of the machine a mirror was deleted here whose leg had seen a sync fail, or whose record could not be read';
}
