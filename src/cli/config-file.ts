/**
 * `--config FILE`: flags of a long run, kept in a file. JSON, one object; its names are the long names of the flags without the dashes,
 * and `url` for what is put under load. Values are texts as on the command line, numbers or booleans; flags that may be given often
 * take a list. What the command line says wins, and so it does where the two say the same thing in different ways (`EXCLUSIVE`, `SAID_BY`).
 *
 *     { "url": "http://127.0.0.1:8080/", "rate": "5k", "duration": "1h", "header": ["accept: text/plain"], "fail-if": ["p99>250ms"] }
 */

import { readFileSync } from 'node:fs';
import type { Command, Option } from 'commander';
import { usageError } from './exit-codes.ts';

const URL_KEY = 'url';
/** Flags of which one stands for all: where the command line has one, the file's others count for nothing. */
const EXCLUSIVE: readonly (readonly string[])[] = [
  ['rate', 'rate-per-connection', 'stages', 'connection-stages', 'ramp-connections'],
  ['requests', 'iterations'],
  ['method', 'X'],
  ['body', 'body-file'],
  ['user', 'bearer'],
  ['unix-socket', 'connect-to'],
  ['ipv4', 'ipv6'],
  ['json', 'j'],
];
/** What says a flag of the file besides, where the command line has it: stages have their own times. */
const SAID_BY: Readonly<Record<string, readonly string[]>> = {
  duration: ['z', 'stages', 'connection-stages'],
  z: ['duration', 'stages', 'connection-stages'],
};
/** A file that names another would be a language. */
const NOT_IN_FILE = new Set(['config', 'help', 'version']);

/** Sets the command's options from the file. Answers the file's URLs. Throws CommandError. */
export function applyConfig(command: Command, file: string): string[] {
  const given = readConfig(file);
  const options = new Map(command.options.map((option) => [nameOf(option), option]));
  const fromCommandLine = (name: string) => {
    const option = options.get(name);
    return option !== undefined && command.getOptionValueSource(option.attributeName()) === 'cli';
  };
  let urls: string[] = [];
  for (const [name, value] of Object.entries(given)) {
    if (name === URL_KEY) {
      urls = textsOf(file, name, value);
      continue;
    }
    const option = options.get(name);
    if (option === undefined || NOT_IN_FILE.has(name)) throw unknownKey(file, name, [...options.keys()]);
    const checked = settingOf(file, name, option, value);
    const same = EXCLUSIVE.find((names) => names.includes(name)) ?? SAID_BY[name] ?? [];
    if ([name, ...same].some(fromCommandLine)) continue;
    command.setOptionValueWithSource(option.attributeName(), checked, 'config');
  }
  return urls;
}

function readConfig(file: string): Record<string, unknown> {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw usageError(
      `--config: ${file} cannot be read (${(error as NodeJS.ErrnoException).code ?? 'unknown reason'}).`,
    );
  }
  let given: unknown;
  try {
    given = JSON.parse(text);
  } catch (error) {
    throw usageError(`--config: ${file} is no JSON: ${withoutExcerpt((error as Error).message)}.`);
  }
  if (typeof given === 'object' && given !== null && !Array.isArray(given)) return given as Record<string, unknown>;
  throw usageError(`--config: ${file} must hold one object, such as { "rate": "5k", "duration": "1h" }.`);
}

/** `--no-keepalive` is `keepalive` here, true or false. */
function nameOf(option: Option): string {
  return (option.long ?? option.short ?? '').replace(/^--?(?:no-)?/, '');
}

function settingOf(file: string, name: string, option: Option, value: unknown): string | boolean | string[] {
  if (Array.isArray(option.defaultValue)) return textsOf(file, name, value);
  if (option.required) {
    const [text] = textsOf(file, name, Array.isArray(value) ? null : value);
    return text as string;
  }
  if (typeof value === 'boolean') return value;
  throw usageError(`--config: ${file}: "${name}" must be true or false.`);
}

function textsOf(file: string, name: string, value: unknown): string[] {
  return (Array.isArray(value) ? value : [value]).map((text: unknown) => {
    if (typeof text === 'string' || typeof text === 'number') return `${text}`;
    throw usageError(`--config: ${file}: "${name}" must be a text or a number.`);
  });
}

function unknownKey(file: string, name: string, known: readonly string[]): Error {
  const plain = (text: string) => text.replaceAll('-', '').toLowerCase();
  const meant = known.find((candidate) => plain(candidate) === plain(name) && !NOT_IN_FILE.has(candidate));
  return usageError(
    `--config: ${file}: there is no "${name}"${meant === undefined ? '; the names are those of the flags, see --help' : `; it is "${meant}"`}.`,
  );
}

/** Node quotes what stands around the fault, which may be a password. */
function withoutExcerpt(message: string): string {
  return message.replace(/, (?:\.\.\.)?".*is not valid JSON$/s, '');
}
