/** How a mirror in service becomes a block device and a mounted filesystem, and how it stops being one. */
import { nodePaths } from '../../failover/paths.ts';
import { attachMethods, filesystems } from '../choices.ts';
import { confirm, say } from '../confirm.ts';
import { ExitCode, RefusedError, UsageError } from '../exit.ts';
import { answer } from '../output.ts';
import type { AttachMethod, BlockDevices, CommandContext } from '../world.ts';

async function devicesOf(ctx: CommandContext): Promise<BlockDevices> {
  if (ctx.devices === null) throw new RefusedError('block devices can not be made in this world');
  return await ctx.devices();
}

const runDirOf = (ctx: CommandContext): string => nodePaths(ctx.place.root).run;

export async function attach(ctx: CommandContext): Promise<number> {
  const tag = ctx.args.tag();
  const done = await attachTag(ctx, await devicesOf(ctx), tag, ctx.args.choice('method', attachMethods));
  answer(ctx, { tag, ...done }, [`${tag} is ${done.device} (${done.method})`]);
  return ExitCode.OK;
}

async function attachTag(
  ctx: CommandContext,
  devices: BlockDevices,
  tag: string,
  method: AttachMethod | undefined,
): Promise<{ device: string; method: AttachMethod }> {
  const s = await ctx.client.call('status', { tag });
  if (s.export === null)
    throw new RefusedError(
      `${tag} is not in service on ${s.node}${s.source === null ? '' : `; its source is ${s.source}`}: there is nothing to attach`,
    );
  const { socketPath, name } = s.export;
  return await devices.attach({
    socketPath,
    exportName: name,
    sectorBytes: s.sectorBytes,
    runDir: runDirOf(ctx),
    tag,
    // For a person who looks on; the daemon's log has said it of itself, and a program takes any word here for a failure.
    onLack: (what) => {
      if (ctx.terminal.isTTY) ctx.terminal.error(`${tag} is attached, but ${what}`);
    },
    ...(method === undefined ? {} : { method }),
  });
}

export async function detach(ctx: CommandContext): Promise<number> {
  const tag = ctx.args.tag();
  const devices = await devicesOf(ctx);
  const done = await devices.detach({ runDir: runDirOf(ctx), tag, unmount: ctx.args.flag('unmount') });
  answer(ctx, { tag, ...done }, [done.wasAttached ? `${tag} is detached` : `${tag} was not attached`, ...done.forced.map((f) => `by force: ${f}`)]);
  return ExitCode.OK;
}

export async function mount(ctx: CommandContext): Promise<number> {
  const { args } = ctx;
  const tag = args.tag();
  const dir = args.absolutePath('DIR');
  const mkfs = args.choice('mkfs', filesystems);
  const force = args.flag('force');
  if (force && mkfs === undefined) throw new UsageError('--force means nothing without --mkfs');
  const devices = await devicesOf(ctx);
  if (mkfs !== undefined && force) {
    say(ctx, [`an ${mkfs} filesystem is made on ${tag}, whatever is on it now`]);
    await confirm(ctx, `Overwrite ${tag}?`);
  }
  const known = (await devices.status({ runDir: runDirOf(ctx) })).find((a) => a.tag === tag && a.condition === 'attached');
  const device = known?.devices[0] ?? (await attachTag(ctx, devices, tag, args.choice('method', attachMethods))).device;
  const options = args.optional('options');
  const done = await devices.mount({
    device,
    dir,
    check: args.flag('check'),
    ...(mkfs === undefined ? {} : { mkfs, force }),
    ...(options === undefined ? {} : { options }),
  });
  answer(ctx, { tag, device, ...done }, [`${tag} is mounted on ${done.mountPoint} (${done.type} on ${device})`]);
  return ExitCode.OK;
}

export async function umount(ctx: CommandContext): Promise<number> {
  const tag = ctx.args.tag();
  const devices = await devicesOf(ctx);
  const known = (await devices.status({ runDir: runDirOf(ctx) })).find((a) => a.tag === tag);
  const unmounted: string[] = [];
  // The newest first: it may lie upon an older one.
  for (const dir of [...(known?.mountPoints ?? [])].reverse()) {
    if ((await devices.unmount({ dir })).wasMounted) unmounted.push(dir);
  }
  const lines = unmounted.length === 0 ? [`${tag} was not mounted`] : unmounted.map((d) => `${tag} is unmounted from ${d}`);
  let detached = false;
  if (ctx.args.flag('detach')) {
    detached = (await devices.detach({ runDir: runDirOf(ctx), tag })).wasAttached;
    lines.push(detached ? `${tag} is detached` : `${tag} was not attached`);
  }
  answer(ctx, { tag, unmounted, detached }, lines);
  return ExitCode.OK;
}
