/**
 * Kernel and first file system of a guest, from Debian's packages, which are not installed here: nothing of this machine's boot changes.
 *
 *   apt-get download -> CACHE/netraid-tests/*.deb -> kernel, modules, busybox  \
 *   programs of this machine, their libraries by ldd, guest-init                > initramfs
 *
 * CACHE is XDG_CACHE_HOME or /var/cache; ~/.cache for an ordinary user. It holds the newest of each package, which apt checks each time.
 */
import { chmodSync, copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, realpathSync, rmSync } from 'node:fs';
import { homedir } from 'node:os';
import path from 'node:path';
import { findProgram, run, runOk } from './programs.ts';

/** Depends on the newest kernel for virtual machines, which has nbd. */
const KERNEL = 'linux-image-cloud-amd64';
const BUSYBOX = 'busybox-static';
const DOWNLOAD_MAX_MS = 60_000;
const HASTE = ['-q', '-o', 'Acquire::http::Timeout=15', '-o', 'Acquire::https::Timeout=15', '-o', 'Acquire::Retries=0'];
/** Loaded in this order, each after what it depends on. Not a file: built in. */
const MODULES = ['virtio_pci', 'virtio_net'];
/** For a client of NBD with filesystems. */
export const BLOCK_MODULES = ['nbd', 'crc32c_generic', 'ext4', 'xfs'];

/** What keeps this machine from running guests with these programs of its own; undefined: nothing, if there are packages. */
export function lackingForGuests(programs: readonly string[]): string | undefined {
  if (process.arch !== 'x64') return 'an x86-64 machine';
  const needed = ['qemu-system-x86_64', 'apt-get', 'apt-cache', 'dpkg-deb', 'ldd', 'setpriv', ...programs];
  const absent = needed.filter((p) => findProgram(p) === undefined);
  return absent.length === 0 ? undefined : absent.join(', ');
}

function cacheFolder(): string {
  const caches = process.env['XDG_CACHE_HOME'] ?? (process.getuid?.() === 0 ? '/var/cache' : path.join(homedir(), '.cache'));
  return path.join(caches, 'netraid-tests');
}

/** Package files of kernel and busybox, downloaded unless they are there. A text: why there are none. */
export async function guestPackages(): Promise<readonly [kernel: string, busybox: string] | string> {
  const folder = cacheFolder();
  mkdirSync(folder, { recursive: true });
  let why = await download(folder);
  // A machine that has not asked for long, or never, names packages that are no more, or none.
  if (why !== undefined && (await run('apt-get', ['update', ...HASTE], { timeoutMs: DOWNLOAD_MAX_MS })).code === 0) why = await download(folder);
  // Without network, what was newest once serves.
  const has = (package_: RegExp): string | undefined => readdirSync(folder).find((n) => package_.test(n));
  const [kernel, busybox] = [has(/^linux-image-[^_]*-cloud-amd64_[^_]*_amd64\.deb$/), has(/^busybox-static_[^_]*_amd64\.deb$/)];
  if (kernel === undefined || busybox === undefined) return `the packages ${KERNEL} and ${BUSYBOX} (${why ?? 'not downloaded'})`;
  return [path.join(folder, kernel), path.join(folder, busybox)];
}

/** What is there already, apt compares and does not fetch. Gives the reason when it did not go. */
async function download(folder: string): Promise<string | undefined> {
  const depends = await run('apt-cache', ['depends', KERNEL]);
  const kernel = /^ *Depends: (linux-image-\S+)$/m.exec(depends.stdout)?.[1];
  if (kernel === undefined) return `apt knows no ${KERNEL}`;
  const names = await run('apt-get', ['download', '--print-uris', kernel, BUSYBOX]);
  const files = [...names.stdout.matchAll(/^'\S+' (\S+\.deb) /gm)].map((m) => m[1]);
  const got = await run('apt-get', ['download', ...HASTE, kernel, BUSYBOX], { cwd: folder, timeoutMs: DOWNLOAD_MAX_MS });
  if (got.code !== 0) return /^E: .*/m.exec(got.stderr)?.[0] ?? 'apt-get download failed';
  for (const old of readdirSync(folder)) if (!files.includes(old)) rmSync(path.join(folder, old));
  return undefined;
}

export interface GuestImage {
  kernel: string;
  initramfs: string;
}

export interface GuestContents {
  /** Of this machine, besides busybox. */
  programs: readonly string[];
  modules: readonly string[];
  /** By their place in the guest. */
  files?: ReadonlyMap<string, string>;
}

/** Made in `folder`. */
export async function makeGuestImage(folder: string, packages: readonly string[], o: GuestContents): Promise<GuestImage> {
  const unpacked = path.join(folder, 'unpacked');
  const root = path.join(folder, 'initramfs.d');
  for (const p of packages) await runOk('dpkg-deb', ['-x', p, unpacked]);
  const put = (from: string, to: string): void => {
    mkdirSync(path.dirname(path.join(root, to)), { recursive: true });
    copyFileSync(from, path.join(root, to));
  };
  const busybox = path.join(unpacked, 'bin', 'busybox');
  put(busybox, 'bin/busybox');
  put(path.join(import.meta.dirname, 'guest-init'), 'init');
  chmodSync(path.join(root, 'init'), 0o755);
  for (const [i, m] of (await modulesInOrder(unpacked, [...MODULES, ...o.modules])).entries())
    put(m, `modules/${String(i).padStart(2, '0')}-${path.basename(m)}`);
  const files = o.programs.map((p) => findProgram(p) ?? p);
  const libraries = await Promise.all(files.map((f) => runOk('ldd', [f])));
  for (const f of files) put(realpathSync(f), `bin/${path.basename(f)}`);
  for (const l of new Set(libraries.join('\n').match(/\/\S+(?= \(0x)/g))) put(l, l);
  for (const [to, from] of o.files ?? []) put(from, to);
  const made = { kernel: kernelFile(unpacked), initramfs: path.join(folder, 'initramfs') };
  await runOk('sh', ['-euc', 'cd "$1"; find . | "$2" cpio -o -H newc >"$3"', 'sh', root, busybox, made.initramfs]);
  rmSync(root, { recursive: true });
  return made;
}

function kernelFile(unpacked: string): string {
  const name = readdirSync(path.join(unpacked, 'boot')).find((n) => n.startsWith('vmlinuz-'));
  if (name === undefined) throw new Error(`no kernel in the package ${KERNEL}`);
  return path.join(unpacked, 'boot', name);
}

/** These and all that they depend on, as they say it themselves; whatever is depended on comes first. */
async function modulesInOrder(unpacked: string, modules: readonly string[]): Promise<string[]> {
  const found = (await runOk('find', [unpacked, '-name', '*.ko', '-o', '-name', '*.ko.xz'])).trim().split('\n');
  const byName = new Map(
    found.map((f) => [
      path
        .basename(f)
        .replace(/\.ko(\.xz)?$/, '')
        .replaceAll('-', '_'),
      f,
    ]),
  );
  const ordered = new Set<string>();
  const add = async (name: string): Promise<void> => {
    const packed = byName.get(name);
    if (packed === undefined || ordered.has(packed.replace(/\.xz$/, ''))) return;
    if (packed.endsWith('.xz') && existsSync(packed)) await runOk('xz', ['-d', packed]);
    const file = packed.replace(/\.xz$/, '');
    const depends = /\0depends=([^\0]*)\0/.exec(readFileSync(file, 'latin1'))?.[1] ?? '';
    for (const d of depends.split(',')) await add(d);
    ordered.add(file);
  };
  for (const m of modules) await add(m);
  return [...ordered];
}
