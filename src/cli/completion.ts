/** A shell's completion script for all programs, from their specifications. Pure; it needs no daemon. */
import { type CommandSpec, optionsOf } from './spec.ts';

export type Shell = 'bash' | 'zsh';

/** Lines of a script to be read with `source`. */
export function completionScript(shell: Shell, commands: readonly CommandSpec[], programs: Readonly<Record<string, CommandSpec>>): string[] {
  const lines = [`# netraid completion for ${shell}: source <(netraid completion ${shell})`];
  // zsh reads bash's completions.
  if (shell === 'zsh') lines.push('autoload -Uz +X compinit bashcompinit', 'compinit', 'bashcompinit');
  const alone = commands.filter((c) => !c.name.includes(' '));
  const groups = new Map<string, [word: string, command: CommandSpec][]>();
  for (const c of commands) {
    const [group = '', word] = c.name.split(' ');
    if (word !== undefined) groups.set(group, [...(groups.get(group) ?? []), [word, c]]);
  }
  const first = [...new Set(commands.map((c) => c.name.split(' ')[0]))];
  lines.push(
    '_netraid_words() { COMPREPLY=($(compgen -W "$1" -- "$2")); }',
    '_netraid() {',
    '  local cur="${COMP_WORDS[COMP_CWORD]}"',
    `  if (( COMP_CWORD == 1 )); then _netraid_words '${first.join(' ')} --help --version' "$cur"; return; fi`,
    '  case "${COMP_WORDS[1]}" in',
    ...alone.map((c) => `    ${c.name}) _netraid_words '${wordsOf(c)}' "$cur" ;;`),
    ...[...groups].flatMap(([group, members]) => groupLines(group, members)),
    '  esac',
    '}',
    'complete -o default -F _netraid netraid',
  );
  for (const [name, spec] of Object.entries(programs)) lines.push(`complete -o default -W '${wordsOf(spec)}' ${name}`);
  return lines;
}

/** Of commands of two words: the second one, and behind it what the command takes. */
function groupLines(group: string, members: readonly (readonly [word: string, command: CommandSpec])[]): string[] {
  return [
    `    ${group})`,
    `      if (( COMP_CWORD == 2 )); then _netraid_words '${members.map(([word]) => word).join(' ')} --help' "$cur"; return; fi`,
    '      case "${COMP_WORDS[2]}" in',
    ...members.map(([word, c]) => `        ${word}) _netraid_words '${wordsOf(c)}' "$cur" ;;`),
    '      esac ;;',
  ];
}

/** Options, and the words that options and positionals choose from. */
function wordsOf(spec: CommandSpec): string {
  const options = optionsOf(spec);
  const choices = [...spec.positionals, ...options].flatMap((x) => x.choices ?? []);
  return [...choices, ...options.map((o) => `--${o.name}`)].join(' ');
}
