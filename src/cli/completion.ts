/** A shell's completion script for all programs, from their specifications. Pure; it needs no daemon. */
import { type CommandSpec, optionsOf } from './spec.ts';

export type Shell = 'bash' | 'zsh';

/** Lines of a script to be read with `source`. */
export function completionScript(shell: Shell, commands: readonly CommandSpec[], programs: Readonly<Record<string, CommandSpec>>): string[] {
  const lines = [`# netraid completion for ${shell}: source <(netraid completion ${shell})`];
  // zsh reads bash's completions.
  if (shell === 'zsh') lines.push('autoload -Uz +X compinit bashcompinit', 'compinit', 'bashcompinit');
  lines.push(
    '_netraid_words() { COMPREPLY=($(compgen -W "$1" -- "$2")); }',
    '_netraid() {',
    '  local cur="${COMP_WORDS[COMP_CWORD]}"',
    `  if (( COMP_CWORD == 1 )); then _netraid_words '${commands.map((c) => c.name).join(' ')} --help --version' "$cur"; return; fi`,
    '  case "${COMP_WORDS[1]}" in',
    ...commands.map((c) => `    ${c.name}) _netraid_words '${wordsOf(c)}' "$cur" ;;`),
    '  esac',
    '}',
    'complete -o default -F _netraid netraid',
  );
  for (const [name, spec] of Object.entries(programs)) lines.push(`complete -o default -W '${wordsOf(spec)}' ${name}`);
  return lines;
}

/** Options, and the words that options and positionals choose from. */
function wordsOf(spec: CommandSpec): string {
  const options = optionsOf(spec);
  const choices = [...spec.positionals, ...options].flatMap((x) => x.choices ?? []);
  return [...choices, ...options.map((o) => `--${o.name}`)].join(' ');
}
