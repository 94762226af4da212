/** Names for printing, generated from the constants: `commandName(1)` is `NBD_CMD_WRITE`. */
import * as constants from './constants.ts';

function table(prefix: string, except: readonly string[] = []): ReadonlyMap<number, string> {
  const names = new Map<number, string>();
  for (const [name, value] of Object.entries(constants)) {
    if (typeof value !== 'number' || !name.startsWith(prefix) || except.some((e) => name.startsWith(e))) continue;
    names.set(value, name);
  }
  return names;
}

const commands = table('NBD_CMD_', ['NBD_CMD_FLAG_']);
const commandFlags = table('NBD_CMD_FLAG_');
const options = table('NBD_OPT_');
const optionReplies = table('NBD_REP_', ['NBD_REP_FLAG_']);
const infos = table('NBD_INFO_');
const replyTypes = table('NBD_REPLY_TYPE_', ['NBD_REPLY_TYPE_FLAG_']);
const transmissionFlags = table('NBD_FLAG_', ['NBD_FLAG_FIXED_NEWSTYLE', 'NBD_FLAG_NO_ZEROES', 'NBD_FLAG_C_']);
const errors = table('NBD_E', ['NBD_EXTENDED_']);

function nameOf(names: ReadonlyMap<number, string>, n: number, prefix: string): string {
  return names.get(n) ?? `${prefix}${String(n)}`;
}
function flagNames(names: ReadonlyMap<number, string>, flags: number): string {
  const found: string[] = [];
  for (let bit = 1; bit <= 0x8000; bit *= 2) {
    if ((flags & bit) !== 0) found.push(names.get(bit) ?? `0x${bit.toString(16)}`);
  }
  return found.length === 0 ? '0' : found.join('|');
}

export function commandName(n: number): string {
  return nameOf(commands, n, 'NBD_CMD_');
}
export function commandFlagNames(flags: number): string {
  return flagNames(commandFlags, flags);
}
export function optionName(n: number): string {
  return nameOf(options, n, 'NBD_OPT_');
}
export function optionReplyName(n: number): string {
  return nameOf(optionReplies, n, 'NBD_REP_');
}
export function infoName(n: number): string {
  return nameOf(infos, n, 'NBD_INFO_');
}
export function replyTypeName(n: number): string {
  return nameOf(replyTypes, n, 'NBD_REPLY_TYPE_');
}
export function transmissionFlagNames(flags: number): string {
  return flagNames(transmissionFlags, flags);
}
export function errorName(n: number): string {
  return n === 0 ? 'NBD_SUCCESS' : nameOf(errors, n, 'NBD_E');
}
