/**
 * `shardfetch completion SHELL`: a script that completes commands, flags and file names, made of what commander knows, so that no
 * flag is forgotten. A flag whose value is a <file> or a <path> completes file names.
 */

import { Argument, Command, type Option } from 'commander';

export const SHELLS = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof SHELLS)[number];

const HELP = `
Examples:
  bash   shardfetch completion bash > ~/.local/share/bash-completion/completions/shardfetch
  zsh    shardfetch completion zsh > "\${fpath[1]}/_shardfetch"
  fish   shardfetch completion fish > ~/.config/fish/completions/shardfetch.fish`;

/** `programOf`: the whole program; asked when the command runs, because this command is a part of it. */
export function completionCommand(programOf: () => Command): Command {
  return new Command('completion')
    .summary('prints a script that completes commands and flags in a shell')
    .description('Prints a script that completes commands and flags in a shell.')
    .addArgument(new Argument('<shell>', 'which').choices(SHELLS))
    .addHelpText('after', HELP)
    .action((shell: Shell) => {
      process.stdout.write(completionScript(programOf(), shell));
    });
}

export function completionScript(program: Command, shell: Shell): string {
  const described = describe(program);
  switch (shell) {
    case 'bash':
      return bashScript(described);
    case 'zsh':
      return zshScript(described);
    case 'fish':
      return fishScript(described);
  }
  return shell satisfies never;
}

// ── What there is to complete ──────────────────────────────────────────────────────────────────────────────────────────

interface Flag {
  readonly names: readonly string[];
  readonly text: string;
  readonly value: 'none' | 'any' | 'file';
  readonly isRepeated: boolean;
}

interface Subcommand {
  readonly name: string;
  readonly text: string;
  readonly flags: readonly Flag[];
  /** What may stand behind it. */
  readonly words: readonly string[];
  readonly takesFiles: boolean;
}

interface Described {
  readonly name: string;
  readonly flags: readonly Flag[];
  readonly commands: readonly Subcommand[];
}

const HELP_FLAG: Flag = {
  names: ['-h', '--help'],
  text: 'what it does, with examples',
  value: 'none',
  isRepeated: false,
};

function describe(program: Command): Described {
  return {
    name: program.name(),
    flags: [...program.options.filter(({ hidden }) => !hidden).map(flagOf), HELP_FLAG],
    commands: program.commands.map((command) => ({
      name: command.name(),
      text: command.summary() || command.description(),
      flags: [...command.options.filter(({ hidden }) => !hidden).map(flagOf), HELP_FLAG],
      words: command.registeredArguments.flatMap(({ argChoices }) => argChoices ?? []),
      takesFiles: command.registeredArguments.some(({ description }) => /result|file/.test(description)),
    })),
  };
}

function flagOf(option: Option): Flag {
  const names = [option.short, option.long].flatMap((name) => name ?? []);
  const takesValue = option.required || option.optional;
  const isFile = /<(?:file|path)>/.test(option.flags);
  return {
    names,
    text: option.description,
    value: takesValue ? (isFile ? 'file' : 'any') : 'none',
    isRepeated: Array.isArray(option.defaultValue),
  };
}

// ── Scripts ────────────────────────────────────────────────────────────────────────────────────────────────────────────

function bashScript({ name, flags, commands }: Described): string {
  const namesOf = (list: readonly Flag[], value?: Flag['value']) =>
    list.filter((flag) => value === undefined || flag.value === value).flatMap((flag) => flag.names);
  const pattern = (list: readonly string[]) => (list.length === 0 ? "''" : list.join('|'));
  const cases = commands.map(
    (command) => `    ${command.name})
      flags='${namesOf(command.flags).join(' ')}'
      words='${command.words.join(' ')}'
      case "$before" in
        ${pattern(namesOf(command.flags, 'file'))}) COMPREPLY=($(compgen -f -- "$word")); return ;;
        ${pattern(namesOf(command.flags, 'any'))}) return ;;
      esac
      files=${command.takesFiles ? 'yes' : 'no'}
      ;;`,
  );
  return `# bash completion for ${name}
_${name}() {
  local word="\${COMP_WORDS[COMP_CWORD]}" before="\${COMP_WORDS[COMP_CWORD-1]}" command='' files=no
  local flags='${namesOf(flags).join(' ')}' words='${commands.map((command) => command.name).join(' ')}'
  [ "$COMP_CWORD" -gt 1 ] && command="\${COMP_WORDS[1]}"
  case "$command" in
${cases.join('\n')}
  esac
  if [[ "$word" == -* ]]; then
    COMPREPLY=($(compgen -W "$flags" -- "$word"))
  elif [ "$files" = yes ]; then
    COMPREPLY=($(compgen -f -- "$word"))
  else
    COMPREPLY=($(compgen -W "$words" -- "$word"))
  fi
}
complete -o filenames -F _${name} ${name}
`;
}

function zshScript({ name, flags, commands }: Described): string {
  const argumentsOf = (list: readonly Flag[]) => list.map((flag) => `      ${zshFlag(flag)}`).join(' \\\n');
  const cases = commands.map((command) => {
    const rest = command.takesFiles
      ? "'*:file:_files'"
      : command.words.length > 0
        ? `'1:which:(${command.words.join(' ')})'`
        : "'*:url:_urls'";
    return `    ${command.name})
      _arguments -s \\
${argumentsOf(command.flags)} \\
      ${rest}
      ;;`;
  });
  return `#compdef ${name}
_${name}() {
  local -a commands
  commands=(
${commands.map((command) => `    ${quoted(`${command.name}:${command.text}`)}`).join('\n')}
  )
  if (( CURRENT == 2 )); then
    if [[ "$words[2]" == -* ]]; then
      _arguments -s \\
${argumentsOf(flags)}
    else
      _describe command commands
    fi
    return
  fi
  shift words
  (( CURRENT-- ))
  case "$words[1]" in
${cases.join('\n')}
  esac
}
if [ "$funcstack[1]" = "_${name}" ]; then _${name} "$@"; else compdef _${name} ${name}; fi
`;
}

/** `'(-c --connections)'{-c,--connections}'[text]:n:'`. */
function zshFlag({ names, text, value, isRepeated }: Flag): string {
  const described = `[${text.replace(/[[\]\\:]/g, (sign) => `\\${sign}`)}]`;
  const action = value === 'file' ? ':file:_files' : value === 'any' ? ':value:' : '';
  const before = isRepeated ? '*' : names.length > 1 ? `(${names.join(' ')})` : '';
  if (names.length === 1) return quoted(`${before}${names[0]}${described}${action}`);
  return `${before === '' ? '' : quoted(before)}{${names.join(',')}}${quoted(described + action)}`;
}

function fishScript({ name, flags, commands }: Described): string {
  const lines = [`# fish completion for ${name}`, `complete -c ${name} -f`];
  for (const flag of flags) lines.push(fishFlag(name, '__fish_use_subcommand', flag));
  for (const command of commands) {
    const inside = `__fish_seen_subcommand_from ${command.name}`;
    lines.push(`complete -c ${name} -n __fish_use_subcommand -a ${command.name} -d ${quoted(command.text)}`);
    for (const flag of command.flags) lines.push(fishFlag(name, inside, flag));
    if (command.words.length > 0) lines.push(`complete -c ${name} -n '${inside}' -a '${command.words.join(' ')}'`);
    if (command.takesFiles) lines.push(`complete -c ${name} -n '${inside}' -F`);
  }
  return `${lines.join('\n')}\n`;
}

function fishFlag(program: string, condition: string, { names, text, value }: Flag): string {
  const options = names.map((name) => (name.startsWith('--') ? `-l ${name.slice(2)}` : `-s ${name.slice(1)}`));
  const takes = value === 'none' ? '' : value === 'file' ? ' -r -F' : ' -x';
  return `complete -c ${program} -n ${quoted(condition)} ${options.join(' ')}${takes} -d ${fishQuoted(text)}`;
}

/** As bash and zsh read it; fish has other rules for what is in quotes. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

function fishQuoted(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
}
