/** `shardfetch compare BEFORE AFTER`, and what `load --compare` prints: two results, read, compared and told. */

import { readFileSync, writeFileSync } from 'node:fs';
import { Command } from 'commander';
import { LOAD_SCHEMA, type LoadResult } from '../main/load/index.ts';
import {
  type Change,
  type ChangeUnit,
  type Comparison,
  compareResults,
  failuresOf,
  NOISE_P,
  PIECES_MIN,
} from './compare.ts';
import { CommandError, EXIT, type ExitCode, usageError } from './exit-codes.ts';
import { checkWritable } from './reports/report-files.ts';
import { percentText, rateText, screenText, table, timeText } from './text.ts';

const STANDARD_OUTPUT = '-';
const PERCENT = 100;

interface CompareFlags {
  failIfWorse?: string;
  json?: string;
}

const MORE_HELP = `
Each run is cut in up to 30 equal pieces of whole seconds, and the pieces of both are compared by their ranks (Mann-Whitney, exact). A
difference is more than noise when chance alone would do it less often than 1 time in 100; it is that of a typical second (the middle
of the pieces), while one bad second may move the figure of a whole run. That says that the two runs differ by more
than their own seconds do; how much runs differ from each other, only several runs say.

Examples:
  shardfetch load -d 30s --json before.json URL
  shardfetch load -d 30s --compare before.json --fail-if-worse 5% URL
  shardfetch compare before.json after.json --fail-if-worse 5%

Exit codes:
    0  compared                          2  bad arguments, or a file that is no result
   99  worse by more than --fail-if-worse`;

export function compareCommand(setExitCode: (code: ExitCode) => void): Command {
  return new Command('compare')
    .summary('says what changed between two results of load, and whether it is more than noise')
    .description('Says what changed between two results of load (--json), and whether it is more than noise.')
    .argument('<before>', 'a result')
    .argument('<after>', 'a result')
    .option('--fail-if-worse <share>', 'exit code 99 when a figure is worse by more than this and than noise: 5%')
    .option('--json <file>', 'the comparison as JSON; - for standard output')
    .addHelpText('after', MORE_HELP)
    .action((beforeFile: string, afterFile: string, flags: CompareFlags) => {
      const limit = parseLimit(flags.failIfWorse);
      if (flags.json !== undefined) checkWritable('--json', flags.json);
      const comparison = compareResults(readResult('BEFORE', beforeFile), readResult('AFTER', afterFile));
      if (flags.json !== STANDARD_OUTPUT) process.stdout.write(`${screenText(comparisonText(comparison, limit))}\n`);
      if (flags.json !== undefined) writeComparison(flags.json, comparison, limit);
      setExitCode(limit !== null && failuresOf(comparison, limit).length > 0 ? EXIT.threshold : EXIT.ok);
    });
}

/** `5%`, as a share; null: none was given. Throws CommandError. */
export function parseLimit(text: string | undefined): number | null {
  if (text === undefined) return null;
  const [, number] = /^(\d+(?:\.\d+)?)\s*%$/.exec(text.trim()) ?? [];
  if (number === undefined) throw usageError(`--fail-if-worse takes a share such as 5%, not "${text}".`);
  return Number(number) / PERCENT;
}

/** Throws CommandError for whatever is no result of this version's. */
export function readResult(flag: string, file: string): LoadResult {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw usageError(`${flag}: ${file} cannot be read (${(error as NodeJS.ErrnoException).code ?? 'unknown reason'}).`);
  }
  const result = parseJson(text);
  if (!isResult(result)) {
    throw usageError(`${flag}: ${file} is no result of shardfetch load (its schema must be ${LOAD_SCHEMA}).`);
  }
  return result;
}

/** Has all that a comparison looks at. */
function isResult(result: LoadResult | null): result is LoadResult {
  if (result?.schema !== LOAD_SCHEMA) return false;
  const { perSecond, latency, requests, statuses, generator, options, targets } = result;
  const parts = [latency?.corrected?.percentilesUs, requests, statuses, generator, options];
  return (
    parts.every((part) => typeof part === 'object' && part !== null) &&
    [perSecond, targets].every(
      (list) => Array.isArray(list) && list.every((item) => typeof item === 'object' && item),
    ) &&
    perSecond.every(({ statuses }) => typeof statuses === 'object' && statuses !== null)
  );
}

function parseJson(text: string): LoadResult | null {
  try {
    return JSON.parse(text) as LoadResult;
  } catch {
    return null;
  }
}

function writeComparison(file: string, comparison: Comparison, limit: number | null): void {
  const failures = limit === null ? [] : failuresOf(comparison, limit).map(({ name }) => name);
  // JSON has no infinity: a change from 0 has no relative size there.
  const text = `${JSON.stringify({ schema: 'shardfetch-compare/1', ...comparison, failures }, null, 2)}\n`;
  if (file === STANDARD_OUTPUT) {
    process.stdout.write(text);
    return;
  }
  try {
    writeFileSync(file, text);
  } catch (error) {
    throw new CommandError(EXIT.report, `--json: ${file} could not be written: ${(error as Error).message}.`);
  }
}

// ── What is printed ────────────────────────────────────────────────────────────────────────────────────────────────────

/** The first line says it all. */
export function comparisonText(comparison: Comparison, limit: number | null): string {
  const failures = limit === null ? [] : failuresOf(comparison, limit);
  const rows = comparison.changes.map((change) => [
    change.name,
    figureText(change.unit, change.before),
    figureText(change.unit, change.after),
    changeText(change, change.relative),
    changeText(change, change.typical),
  ]);
  const verdicts = ['', ...comparison.changes.map(verdictText)];
  const [before, after] = comparison.pieces;
  return [
    ...(failures.length > 0 ? [`FAILED: worse by more than ${percentText(limit ?? 0)}: ${listText(failures)}.`] : []),
    headline(comparison),
    '',
    ...table([['', 'before', 'after', 'change', 'typical second'], ...rows])
      .split('\n')
      .map((row, index) => `${row}   ${verdicts[index]}`.trimEnd()),
    '',
    `  Method: Mann-Whitney test, exact, two-sided, of ${piecesText(before)} before and ${piecesText(after)} after; chance: p >= ${NOISE_P}.`,
    ...(comparison.warnings.length === 0 ? [] : ['', ...comparison.warnings.map((warning) => `Note: ${warning}`)]),
  ].join('\n');
}

function headline({ changes, pieces }: Comparison): string {
  const of = (verdict: Change['verdict']) => changes.filter((change) => change.verdict === verdict);
  const [worse, better] = [of('worse'), of('better')];
  const parts = [
    ...(worse.length > 0 ? [`worse: ${listText(worse)}`] : []),
    ...(better.length > 0 ? [`better: ${listText(better)}`] : []),
  ];
  if (parts.length > 0) return `More than noise: ${parts.join('; ')}.`;
  const counts = pieces.map(({ count }) => count);
  if (Math.min(...counts) < PIECES_MIN) {
    return `Too short to tell a change from noise: ${PIECES_MIN} whole seconds each are needed, and there are ${counts.join(' and ')}.`;
  }
  return 'No difference beyond noise.';
}

function listText(changes: readonly Change[]): string {
  return changes.map((change) => `${change.name} ${changeText(change, change.typical ?? change.relative)}`).join(', ');
}

function figureText(unit: ChangeUnit, value: number | null): string {
  if (value === null) return '-';
  switch (unit) {
    case 'rate':
      return `${rateText(value)}/s`;
    case 'us':
      return timeText(value);
    case 'share':
      return percentText(value);
  }
  return unit satisfies never;
}

function changeText({ after, unit }: Change, change: number | null): string {
  if (change === null) return '-';
  if (change === Number.POSITIVE_INFINITY) return `none to ${figureText(unit, after)}`;
  const percent = change * PERCENT;
  return `${percent > 0 ? '+' : ''}${percent.toFixed(Math.abs(percent) < 10 ? 1 : 0)} %`;
}

function verdictText({ verdict, p }: Change): string {
  const chance = p === null ? '' : ` (p ${p < 0.001 ? '< 0.001' : `= ${p.toFixed(3)}`})`;
  switch (verdict) {
    case 'better':
      return `better${chance}`;
    case 'worse':
      return `WORSE${chance}`;
    case 'noise':
      return `may be chance${chance}`;
    case 'untested':
      return 'not tested: one figure per run';
    case 'short':
      return 'too short to tell';
  }
  return verdict satisfies never;
}

function piecesText({ count, seconds }: { readonly count: number; readonly seconds: number }): string {
  return `${count} ${count === 1 ? 'piece' : 'pieces'} of ${seconds} s`;
}
