/** `shardfetch get`: URLs in, files out, many at once. What one download does is `main/download.ts`'s. */

import { mkdirSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { Command } from 'commander';
import { type DownloadState, type DownloadTask, download, newDownloadState } from '../main/download.ts';
import { DownloadError, type DownloadErrorKind } from '../main/download-error.ts';
import { Pool } from '../main/pool.ts';
import { TransferError } from '../protocol/errors.ts';
import { CommandError, EXIT, type ExitCode, usageError } from './exit-codes.ts';
import { errorText } from './flag-names.ts';
import { addGetFlags, type GetFlags, type GetPlan, getPlanOf } from './get-flags.ts';
import { nameOf, openGetView, secondsText } from './get-progress.ts';
import { watchInterrupts } from './interrupt.ts';
import { readerHasGone } from './lost-terminal.ts';
import { checkWritable } from './reports/report-files.ts';
import { bytesText, countText } from './text.ts';

const STANDARD_OUTPUT = '-';
const MS_PER_SECOND = 1_000;
/** One thread moves a gigabyte a second; there is no use in one for each of two files. */
const SHARDS_MAX = 4;

const CODES: Readonly<Record<DownloadErrorKind, ExitCode>> = {
  target: EXIT.target,
  status: EXIT.status,
  transfer: EXIT.transfer,
  checksum: EXIT.checksum,
  file: EXIT.file,
  aborted: EXIT.interrupted,
};

const EXAMPLES = `
All are fetched at once (--parallel-max), each into NAME.part, which gets its name when it is whole: a file is never seen half. What
breaks off is tried again and goes on where it ended; --continue does so in a later run. Redirects are followed. Names that servers and
URLs give are only ever names: no folders, no hidden files, and nothing that is there is replaced without --force.

Examples:
  shardfetch get https://example.org/a.iso https://example.org/b.iso
  shardfetch get -C - --checksum sha256:9f86… https://example.org/a.iso
  shardfetch get --output-dir mirror --parallel-max 200 -i urls.txt
  sort -u urls.txt | shardfetch get -C - --limit-rate 2M -i -
  shardfetch get -o - https://example.org/data.csv | head

Exit codes:
    0  all are there, whole              8  answered with an error (400 or more)
    1  unexpected error                  9  another checksum
    2  bad arguments                    10  a file is there already, or cannot be written
    3  a host cannot be reached         11  broke off or timed out, after all retries
    7  --json could not be written     129  ended early: the terminal was closed
                                       130  ended early by a signal
Of several that failed the first on the command line decides. A reader of -o - that has seen enough (| head) is no failure.`;

export function getCommand(setExitCode: (code: ExitCode) => void): Command {
  const command = new Command('get')
    .summary('downloads many files at once')
    .description('Downloads many files at once.')
    .argument('[url...]', 'what to fetch')
    .addHelpText('after', EXAMPLES);
  return addGetFlags(command).action(async (urls: string[], flags: GetFlags) => {
    setExitCode(await runGet(urls, flags));
  });
}

/** Throws CommandError for whatever keeps it from taking place. */
async function runGet(urls: readonly string[], flags: GetFlags): Promise<ExitCode> {
  const plan = getPlanOf(urls, flags);
  if (flags.json !== undefined) checkWritable('--json', flags.json);
  if (flags.outputDir !== undefined) makeFolder(flags.outputDir);
  const pool = openPool(plan);
  const states = plan.tasks.map(({ url }) => newDownloadState(withoutCredentials(url)));
  const view = openGetView(process.stderr, states, flags.quiet === true, process.env);
  const interrupt = watchInterrupts(() => {});
  const output = plan.tasks.some(isToOutput) ? watchOutput() : null;
  /** Whoever read standard output had enough of it. */
  let cut: DownloadState | null = null;
  const beganMs = performance.now();
  try {
    await downloadAll(plan, flags, pool, states, interrupt.signal, output?.signal ?? null, (state, task) => {
      const fault =
        isToOutput(task) && !interrupt.signal.aborted
          ? (output?.signal.reason as NodeJS.ErrnoException | undefined)
          : undefined;
      if (fault !== undefined) Object.assign(state, { phase: 'failed', error: outputError(fault) });
      if (fault !== undefined && readerHasGone(fault)) cut = state;
      else view.ended(state);
    });
  } finally {
    view.end();
    interrupt.stop();
    await pool.destroy();
  }
  const failed = states.filter((state) => state.error !== null && state !== cut);
  if (!flags.quiet && states.length > 1) {
    process.stderr.write(`${summaryOf(states, failed.length, performance.now() - beganMs)}\n`);
  }
  if (flags.json !== undefined) writeJson(flags.json, states);
  if (interrupt.signal.aborted) return interrupt.exitCode;
  const [first] = failed;
  return first?.error == null ? EXIT.ok : CODES[first.error.kind];
}

function isToOutput({ target }: DownloadTask): boolean {
  return target.kind === 'stream';
}

/** Its signal is aborted, with the error as its reason, when standard output cannot be written to. */
function watchOutput(): { readonly signal: AbortSignal } {
  const controller = new AbortController();
  process.stdout.on('error', (error) => controller.abort(error));
  return controller;
}

function outputError(error: NodeJS.ErrnoException): DownloadError {
  return readerHasGone(error)
    ? new DownloadError('aborted', 'Whoever read standard output reads no more.')
    : new DownloadError('file', `standard output could not be written (${error.code ?? error.message}).`);
}

async function downloadAll(
  plan: GetPlan,
  flags: GetFlags,
  pool: Pool,
  states: readonly DownloadState[],
  signal: AbortSignal,
  outputGone: AbortSignal | null,
  onEnd: (state: DownloadState, task: DownloadTask) => void,
): Promise<void> {
  const options = {
    fetch: pool.fetch.bind(pool),
    init: plan.init,
    resume: flags.continue !== undefined,
    force: flags.force === true,
    fail: flags.fail !== false,
    retries: plan.retries,
    retryDelayMs: plan.retryDelayMs,
    claimed: new Set<string>(),
  };
  /** Standard output that has gone ends what goes there, and no other. */
  const toOutput = outputGone === null ? signal : AbortSignal.any([signal, outputGone]);
  let next = 0;
  const work = async (): Promise<void> => {
    while (next < plan.tasks.length && !signal.aborted) {
      const index = next++;
      const [task, state] = [plan.tasks[index], states[index]];
      if (task === undefined || state === undefined) return;
      await download(task, { ...options, signal: isToOutput(task) ? toOutput : signal }, state);
      onEnd(state, task);
    }
  };
  await Promise.all(Array.from({ length: Math.min(plan.parallelMax, plan.tasks.length) }, work));
}

function openPool({ pool, tasks, parallelMax }: GetPlan): Pool {
  const busy = Math.min(tasks.length, parallelMax);
  try {
    return new Pool({
      shards: Math.max(1, Math.min(availableParallelism() - 1, SHARDS_MAX, busy)),
      connections: { perOrigin: Math.max(parallelMax, SHARDS_MAX) },
      ...pool,
    });
  } catch (error) {
    if (TransferError.is(error)) throw usageError(errorText('get', error));
    throw error;
  }
}

function makeFolder(folder: string): void {
  try {
    mkdirSync(folder, { recursive: true });
  } catch (error) {
    throw usageError(
      `--output-dir: ${folder} cannot be made (${(error as NodeJS.ErrnoException).code ?? 'unknown reason'}).`,
    );
  }
}

function withoutCredentials(text: string): string {
  const url = new URL(text);
  url.username = '';
  url.password = '';
  return url.href;
}

function summaryOf(states: readonly DownloadState[], failed: number, ms: number): string {
  const received = states.reduce((sum, state) => sum + state.received, 0);
  const there = states.filter(({ phase }) => phase === 'done' || phase === 'there').length;
  return `${countText(there)} of ${countText(states.length)} there${failed > 0 ? `, ${countText(failed)} failed` : ''}; ${bytesText(received)} in ${secondsText(ms / MS_PER_SECOND)}, ${bytesText(Math.round((received * MS_PER_SECOND) / Math.max(ms, 1)))}/s`;
}

function writeJson(file: string, states: readonly DownloadState[]): void {
  const files = states.map((state) => ({
    url: state.url,
    path: state.path,
    name: nameOf(state),
    outcome: state.phase,
    status: state.status,
    bytes: state.bytes,
    received: state.received,
    resumedFrom: state.resumedFrom,
    attempts: state.attempts,
    durationMs: Math.max(0, state.endedMs - state.beganMs),
    error: state.error === null ? null : { kind: state.error.kind, message: errorText('get', state.error) },
  }));
  const text = `${JSON.stringify({ schema: 'shardfetch-get/1', files }, null, 2)}\n`;
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
