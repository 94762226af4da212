/** What is wrong with text that is no YAML, in the words of who writes scenarios and not of who writes parsers. Pure. */
import type { ErrorCode } from 'yaml';
import { shown } from '../control/config-error.ts';

/** As the parser tells of it. */
export interface YamlFault {
  code: ErrorCode;
  message: string;
  /** Begin and end in the text. */
  pos: readonly [number, number];
}

/** `field`: the name before the value in the same line; empty where none is. */
export function faultOf(source: string, fault: YamlFault): { field: string; what: string } {
  const { field, text } = valueAt(source, fault.pos[0]);
  return { field, what: whatOf(fault, text) };
}

function whatOf({ code, message }: YamlFault, text: string): string {
  switch (code) {
    case 'BLOCK_AS_IMPLICIT_KEY':
    case 'BLOCK_IN_FLOW':
      if (!/^[^"'[{-].*:\s/.test(text)) return message;
      return `text with ": " in it stands without quotes; allowed: in quotes, as ${shown(text)}`;
    case 'BAD_SCALAR_START':
    case 'UNEXPECTED_TOKEN': {
      // Where YAML sees the begin of a folded text.
      if (/^>=?\s*\d/.test(text)) return `a comparison stands without quotes; allowed: in quotes, as ${shown(text)}`;
      return code === 'BAD_SCALAR_START'
        ? `text that begins with ${text.charAt(0)} stands without quotes; allowed: in quotes, as ${shown(text)}`
        : message;
    }
    case 'BAD_DQ_ESCAPE':
      return `${message}; allowed: ${message.split(' ').at(-1) ?? ''} with its backslash twice, or the text in single quotes`;
    case 'TAB_AS_INDENT':
      return `${message}; allowed: spaces`;
    case 'MULTIPLE_DOCS':
      return 'a second document begins here; allowed: one scenario in a file';
    case 'RESOURCE_EXHAUSTION':
      return 'lists and fields stand too deep in each other; allowed: as deep as a scenario needs';
    default:
      return message;
  }
}

/** The plain value around `at`, to the end of its line, or of its place in a list or in braces. */
function valueAt(source: string, at: number): { field: string; text: string } {
  const begin = source.lastIndexOf('\n', at - 1) + 1;
  const end = source.indexOf('\n', at);
  const line = source.slice(begin, end < 0 ? undefined : end);
  const before = line.slice(0, at - begin);
  const name = /(?:^|[\s{[,])([A-Za-z_][\w.-]*)\s*:\s+([>|]\S*\s*)?$/.exec(before);
  const from = name === null ? before.length : before.length - (name[2]?.length ?? 0);
  const inFlow = (before.match(/[{[]/g)?.length ?? 0) > (before.match(/[}\]]/g)?.length ?? 0);
  const rest = line.slice(from).replace(/\s#.*$/, '');
  return { field: name?.[1] ?? '', text: (inFlow ? rest.replace(/[,}\]].*$/, '') : rest).trim() };
}
