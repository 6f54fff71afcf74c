/** The files that a run leaves: which were asked for, whether they can be written before it begins, and their writing afterwards. */

import { accessSync, constants, existsSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import type { LoadResult } from '../../main/load/index.ts';
import { CommandError, EXIT, usageError } from '../exit-codes.ts';
import { csvOf } from './csv.ts';
import { hdrLogOf } from './hdr-log.ts';
import { htmlOf } from './html.ts';
import { prometheusOf } from './prometheus.ts';

const STANDARD_OUTPUT = '-';

/** A file name, or `-` for standard output. */
export interface ReportFlags {
  json?: string;
  csv?: string;
  hdr?: string;
  prometheus?: string;
  html?: string;
}

/** The same names as the flags'. `command`: the command line as it may be shown. */
const WRITERS: { readonly [Kind in keyof Required<ReportFlags>]: (result: LoadResult, command: string) => string } = {
  json: (result) => `${JSON.stringify(result, null, 2)}\n`,
  csv: csvOf,
  hdr: hdrLogOf,
  prometheus: prometheusOf,
  html: htmlOf,
};
const KINDS = Object.keys(WRITERS) as (keyof ReportFlags)[];

/**
 * Before the run: a report that could not be written after an hour would be a pity. Answers whether one of them goes to standard
 * output, which is then its alone. Throws CommandError.
 */
export function checkReportFiles(flags: ReportFlags): boolean {
  const files = KINDS.flatMap((kind) => (flags[kind] === undefined ? [] : [[kind, flags[kind]] as const]));
  for (const [kind, file] of files) checkWritable(`--${kind}`, file);
  const [first, second] = files.filter(([, file]) => file === STANDARD_OUTPUT);
  if (first !== undefined && second !== undefined) {
    throw usageError(`--${first[0]} and --${second[0]} cannot both go to standard output.`);
  }
  const named = files.filter(([, file]) => file !== STANDARD_OUTPUT).map(([kind, file]) => [kind, path.resolve(file)]);
  for (const [at, [kind, file]] of named.entries()) {
    const [other] = named.slice(at + 1).find(([, name]) => name === file) ?? [];
    if (other !== undefined) throw usageError(`--${kind} and --${other} name the same file.`);
  }
  return first !== undefined;
}

/** Each is written though another could not be; throws one CommandError for all that could not. */
export function writeReports(flags: ReportFlags, result: LoadResult, command: string): void {
  const failures: string[] = [];
  for (const kind of KINDS) {
    const file = flags[kind];
    if (file === undefined) continue;
    try {
      const text = WRITERS[kind](result, command);
      if (file === STANDARD_OUTPUT) process.stdout.write(text);
      else writeFileSync(file, text);
    } catch (error) {
      failures.push(`--${kind}: ${file} could not be written: ${(error as Error).message}.`);
    }
  }
  if (failures.length > 0) throw new CommandError(EXIT.report, failures.join(' '));
}

/** Throws CommandError. */
export function checkWritable(flag: string, file: string): void {
  if (file === STANDARD_OUTPUT) return;
  if (file === '') throw usageError(`${flag} takes the name of a file, or - for standard output.`);
  try {
    const exists = existsSync(file);
    if (exists && statSync(file).isDirectory()) throw Object.assign(new Error(), { code: 'EISDIR' });
    accessSync(exists ? file : path.dirname(path.resolve(file)), constants.W_OK);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw usageError(`${flag}: ${file} cannot be written (${code ?? 'unknown reason'}).`);
  }
}
