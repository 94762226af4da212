/**
 * Another size for a mirror. Larger: in service or out of it. Smaller: only out of service, and only where a filesystem is found on
 * the leg that ends before the cut, unless it is forced: what lies behind the new end is lost.
 */
import type { MirrorNode } from '../failover/node.ts';
import { sectorSizeOf } from '../failover/sectors.ts';
import { IoError } from '../io/types.ts';
import { servingElsewhere } from './elsewhere.ts';
import { FILESYSTEM_HEAD_BYTES, filesystemOf, type FoundFilesystem, RECOGNISED } from './filesystem-size.ts';
import { checkSize } from './leg-size.ts';
import { type Actions, ControlError } from './types.ts';
import { formatSize } from './units.ts';

type Preview = Actions['preview']['result'];
type Wish = Pick<Actions['resize']['params'], 'sizeBytes' | 'force'>;

export async function resizeMirror(m: MirrorNode, wish: Wish): Promise<void> {
  checkSize(wish.sizeBytes, sectorSizeOf(m.record().definition));
  if (wish.sizeBytes === m.record().definition.sizeBytes) return;
  const elsewhere = m.inService ? undefined : await servingElsewhere(m);
  if (elsewhere !== undefined) throw new ControlError('refused', `${m.tag} is in service on ${elsewhere}; run this there`);
  // Asked where nothing can come between the answer and the cut.
  await m.resize(wish.sizeBytes, async () => {
    const { sizeBytes } = m.record().definition;
    if (wish.sizeBytes >= sizeBytes) return;
    if (m.inService) throw new ControlError('refused', onlyOutOfService(m.tag));
    if (wish.force) return;
    const why = whyNotCut(m.tag, await filesystemOnLeg(m), { from: sizeBytes, to: wish.sizeBytes });
    if (why !== null) throw new ControlError('refused', why);
  });
}

/** What a smaller size would cut off, and what the action would be refused for. */
export async function previewOfResize(m: MirrorNode, wish: Wish | undefined): Promise<Preview> {
  const { sizeBytes } = m.record().definition;
  const lines = [`${m.tag} has ${String(sizeBytes)} bytes now; whatever lies behind a smaller size is cut off`];
  const answer = (refused: string | null): Preview => ({
    lines,
    bytesOverwritten: 0,
    lastOwnerHere: m.flags.flags.lastOwner,
    refused,
    confirms: [],
    by: m.env.self,
  });
  if (m.inService) return answer(onlyOutOfService(m.tag));
  const source = m.views().find((v) => v.inService && m.silentForMs(v.node) < m.record().definition.failureTimeoutMs)?.node;
  if (source !== undefined) return answer(`${m.tag} is in service on ${source}; run this there`);
  if (wish === undefined || wish.sizeBytes >= sizeBytes) return answer(null);
  let found: FoundFilesystem | null;
  try {
    found = await m.whileRoleStays(() => filesystemOnLeg(m));
  } catch (e: unknown) {
    // A force needs no filesystem, and a leg whose beginning can not be read may be cut all the same.
    if (!wish.force || !(e instanceof IoError)) throw e;
    lines.push(`what filesystem ${m.tag} holds can not be read: ${e.message}`);
    return answer(null);
  }
  lines.push(foundLine(m.tag, found, wish.sizeBytes));
  return answer(wish.force ? null : whyNotCut(m.tag, found, { from: sizeBytes, to: wish.sizeBytes }));
}

/** Why a mirror that holds this must not be made smaller without force; null: it may. */
export function whyNotCut(tag: string, found: FoundFilesystem | null, size: { from: number; to: number }): string | null {
  if (found === null) {
    const cut = `making ${tag} smaller cuts off ${String(size.from - size.to)} bytes at its end`;
    return `${cut}, and no filesystem that ends before them is recognised (${RECOGNISED}): what lies there is lost; say --force if that is meant`;
  }
  if (found.sizeBytes <= size.to) return null;
  return `${tag} holds ${described(found)}, which does not fit into ${exactly(size.to)}: shrink the filesystem first; --force cuts it`;
}

function foundLine(tag: string, found: FoundFilesystem | null, toBytes: number): string {
  if (found === null) return `no filesystem is recognised on ${tag} (${RECOGNISED})`;
  const verdict = found.sizeBytes <= toBytes ? `it fits into ${exactly(toBytes)}` : `${exactly(toBytes)} cut it, and it will be damaged`;
  return `${tag} holds ${described(found)}: ${verdict}`;
}

function described(f: FoundFilesystem): string {
  return `an ${f.kind} filesystem of ${exactly(f.sizeBytes)}`.replace('an btrfs', 'a btrfs');
}

/** Rounded sizes may look alike where one does not fit into the other. */
function exactly(bytes: number): string {
  return `${formatSize(bytes)} (${String(bytes)} bytes)`;
}

function onlyOutOfService(tag: string): string {
  return `${tag} is in service: it can grow now, and shrink only out of service`;
}

async function filesystemOnLeg(m: MirrorNode): Promise<FoundFilesystem | null> {
  return filesystemOf(await m.replica.head(Math.min(FILESYSTEM_HEAD_BYTES, m.record().definition.sizeBytes)));
}
