/** The command line as a report may show it: without what would let a reader in. */

/** The value of each is a secret. */
const SECRET_FLAGS = new Set(['--user', '--bearer', '--pass']);
const HEADER_FLAGS = new Set(['--header']);
/** Headers whose names have one of these in them carry credentials. */
const SECRET_HEADER = /auth|cookie|token|secret|key|session|password/i;
const USERINFO = /((?:https?|wss?|socks5h?):[/\\]*)[^/?#\\]*@/gi;
const HIDDEN = '***';
/** A body need not be read whole. */
const ARGUMENT_MAX = 300;
const PLAIN = /^[\w@%+=:,./-]+$/;
/** A letter with a secret value, behind letters without a value: `-u`, `-qu`, `-uname:word`. */
const SECRET_LETTER = /^(-[qkLj46]*[uH])(.*)$/s;

/** `args`: what stands behind the name of the program. */
export function commandText(args: readonly string[]): string {
  const shown = ['shardfetch'];
  for (let at = 0; at < args.length; at++) {
    const [flag, value] = splitFlag(args[at] as string);
    const isSecret = SECRET_FLAGS.has(flag) || isLetter(flag, 'u');
    if (!isSecret && !HEADER_FLAGS.has(flag) && !isLetter(flag, 'H')) {
      shown.push(quoted(withoutCredentials(args[at] as string)));
      continue;
    }
    const given = value ?? args[++at] ?? '';
    shown.push(flag, quoted(isSecret ? HIDDEN : headerText(given)));
  }
  return shown.join(' ');
}

function isLetter(flag: string, letter: string): boolean {
  return flag.endsWith(letter) && SECRET_LETTER.test(flag);
}

/** `--user=x` and `-ux` have their value with them. */
function splitFlag(argument: string): [flag: string, value: string | undefined] {
  const at = argument.indexOf('=');
  if (argument.startsWith('--'))
    return at < 0 ? [argument, undefined] : [argument.slice(0, at), argument.slice(at + 1)];
  const [, letter, value] = SECRET_LETTER.exec(argument) ?? [];
  if (letter !== undefined) return [letter, value === '' ? undefined : value];
  return [argument, undefined];
}

function headerText(line: string): string {
  const at = line.indexOf(':');
  const name = at < 0 ? line : line.slice(0, at);
  return SECRET_HEADER.test(name) ? `${name}: ${HIDDEN}` : line;
}

/** Passwords may have an "@", or a blank: all up to the last "@" before the path. */
export function withoutCredentials(argument: string): string {
  return argument.replace(USERINFO, `$1${HIDDEN}@`);
}

/** As a shell would read it back. */
function quoted(argument: string): string {
  const short = argument.length > ARGUMENT_MAX ? `${argument.slice(0, ARGUMENT_MAX)}…` : argument;
  return PLAIN.test(short) ? short : `'${short.replaceAll("'", "'\\''")}'`;
}
