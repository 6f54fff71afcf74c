/** A hold in text: a line or a few while it goes on, and a summary at its end. */

import type { HoldProgress, HoldResult, HoldSecond } from '../protocol/load/hold.ts';
import { inFlags } from './flag-names.ts';
import { bytesText, countedText, countText, percentText, plainText, rateText, table, timeText } from './text.ts';

const MS_PER_SECOND = 1_000;
const ADDRESSES_SHOWN = 8;

export function holdProgressLine({ elapsedMs, phase, durationMs, wanted, second }: HoldProgress): string {
  const at = `${(elapsedMs / MS_PER_SECOND).toFixed(0)} s`;
  const states = `${countText(second.connecting)} connecting   ${countText(second.idle)} idle   ${countText(second.active)} active   ${countText(second.lost)} lost`;
  const failed = second.failed > 0 ? `   ${countText(second.failed)} not opened` : '';
  if (phase === 'opening')
    return `opening, ${at}   ${countText(second.opened)} of ${countText(wanted)}   ${states}${failed}`;
  const of = ` of ${(durationMs / MS_PER_SECOND).toFixed(0)} s`;
  const errors = second.requestsFailed > 0 ? `   ${countText(second.requestsFailed)} requests failed` : '';
  return `${at}${of}   ${states}${failed}   ${countText(answeredPerSecond(second))} answered/s   p99 ${timeText(second.p99Us)}   action ${actionText(second.actionUs)}   ${bytesText(second.residentBytes)}${errors}`;
}

/** The same on a terminal, where there is room below each other. */
export function holdFrame({ elapsedMs, phase, durationMs, wanted, second }: HoldProgress): string[] {
  const seconds = (elapsedMs / MS_PER_SECOND).toFixed(0);
  const connections = `${countText(second.connecting)} connecting   ${countText(second.idle)} idle   ${countText(second.active)} active   ${countText(second.lost)} lost`;
  const row = (name: string, text: string) => `  ${name.padEnd(12)} ${text}`;
  const perConnection = second.opened === 0 ? 0 : second.residentBytes / second.opened;
  return [
    phase === 'opening'
      ? `Opening, ${seconds} s: ${countText(second.opened)} of ${countText(wanted)}`
      : `Holding, ${seconds} s of ${(durationMs / MS_PER_SECOND).toFixed(0)} s`,
    row('Connections', `${connections}${second.failed > 0 ? `   ${countText(second.failed)} not opened` : ''}`),
    row(
      'Memory',
      `${bytesText(second.residentBytes)}, ${bytesText(second.heapBytes)} of it JavaScript; ${kib(perConnection)} for each`,
    ),
    row('Action', second.actionUs === 0 ? '-' : actionText(second.actionUs)),
    row(
      'Requests',
      `${countText(answeredPerSecond(second))}/s   p50 ${timeText(second.p50Us)}   p99 ${timeText(second.p99Us)}${second.requestsFailed > 0 ? `   ${countText(second.requestsFailed)} failed` : ''}`,
    ),
  ];
}

function answeredPerSecond({ completed, lengthMs }: HoldSecond): number {
  return (completed * MS_PER_SECOND) / lengthMs;
}

export function holdSummary(result: HoldResult): string {
  const { urls, options, connections, requests, latency, action, memory, processes, heldMs, openingMs } = result;
  const seconds = (ms: number) => `${(ms / MS_PER_SECOND).toFixed(1)} s`;
  const what = urls.length === 1 ? urls[0] : `${urls.length} targets`;
  const share =
    options.rate > 0 ? `${rateText(options.rate)} requests/s in turn` : `${countText(options.active)} of them active`;
  const resident = processes.reduce((sum, { residentBytes }) => sum + residentBytes, 0);
  const cpu = Math.max(0, ...processes.map(({ health }) => health.cpu));
  const turn = Math.max(0, ...processes.map(({ health }) => health.longestTurnMs));
  const rows = [
    ['Connections', connectionsText(result)],
    [
      'Opening',
      `${seconds(openingMs)}, ${countText(openingMs > 0 ? (connections.opened * MS_PER_SECOND) / openingMs : 0)}/s`,
    ],
    [
      'Memory',
      memory === null
        ? `${bytesText(resident)}; too few connections to tell what one takes`
        : `per connection ${kib(memory.heapBytes)} JavaScript, ${kib(memory.residentBytes)} of the process; ${bytesText(resident)} in all`,
    ],
    [
      'Action',
      action.count === 0
        ? 'none'
        : `${actionText(action.meanUs)} on average, p50 ${actionText(action.p50Us)}, p99 ${actionText(action.p99Us)}, longest ${actionText(action.maxUs)}; ${countText(action.count)} of them`,
    ],
    [
      'Requests',
      `${countText(requests.completed)} answered, ${rateText(requests.rate)}/s, ${countText(requests.failed)} failed${requests.notStarted > 0 ? `, ${countText(requests.notStarted)} not started` : ''}`,
    ],
    [
      'Answers',
      Object.entries(result.statuses)
        .map(([status, count]) => `${status}: ${countText(count)}`)
        .join('   ') || 'none',
    ],
    ['Processes', `${percentText(cpu)} of a core at most, longest turn ${timeText(turn * 1_000)}`],
    ...addressRow('From', connections.perLocalAddress),
    ...addressRow('To', connections.perRemoteAddress),
    ...Object.entries(result.errors).map(([code, count]) => [
      'Failed',
      `${countText(count)} ${code}: ${plainText(inFlags('hold', result.errorExamples[code] ?? ''))}`,
    ]),
  ];
  const { percentilesUs, maxUs, meanUs } = latency;
  const shown = ['50', '90', '99', '99.9'];
  return [
    `${what}\n${countedText(options.connections, 'connection')} held for ${seconds(heldMs)}, ${share}, ${options.processes === 1 ? '1 process' : `${options.processes} processes`}`,
    '',
    ...rows.map(([name = '', text = '']) => `  ${name.padEnd(12)} ${text}`),
    ...(latency.count === 0
      ? []
      : [
          '',
          table([
            ['Latency', ...shown.map((percentile) => `p${percentile}`), 'max', 'mean'],
            [
              '',
              ...shown.map((percentile) => timeText(percentilesUs[percentile] ?? 0)),
              timeText(maxUs),
              timeText(meanUs),
            ],
          ]),
        ]),
    ...result.notes.map((note) => `\nNote: ${note}`),
    ...(result.thresholds.length === 0 ? [] : ['', ...result.thresholds.map(thresholdLine)]),
    ...(result.verdict === 'interrupted' ? ['', 'Ended early by a signal; this is what was done.'] : []),
  ].join('\n');
}

function connectionsText({ connections }: HoldResult): string {
  const { opened, reopened, failed, retried, lost, closed, held, heldLeast, peak } = connections;
  const parts = [`${countText(held)} held at the end (${countText(heldLeast)} at least, ${countText(peak)} at most)`];
  parts.push(`${countText(opened)} opened`, `${countText(lost)} lost`);
  if (failed > 0) parts.push(`${countText(failed)} could not be opened`);
  if (retried > 0) parts.push(`${countText(retried)} attempts made again`);
  if (reopened > 0) parts.push(`${countText(reopened)} opened again`);
  if (closed > 0) parts.push(`${countText(closed)} closed after an answer`);
  return parts.join(', ');
}

function addressRow(name: string, counts: Readonly<Record<string, number>>): string[][] {
  const entries = Object.entries(counts);
  if (entries.length < 2) return [];
  const shown = entries.slice(0, ADDRESSES_SHOWN).map(([address, count]) => `${address}: ${countText(count)}`);
  if (entries.length > ADDRESSES_SHOWN) shown.push(`and ${entries.length - ADDRESSES_SHOWN} more`);
  return [[name, shown.join('   ')]];
}

function thresholdLine({ text, actual, crossed }: HoldResult['thresholds'][number]): string {
  const found =
    actual === null
      ? 'nothing was measured'
      : text.includes('%')
        ? percentText(actual)
        : String(Math.round(actual * 100) / 100);
  return `  ${crossed ? 'FAILED' : 'passed'}  ${text}  (${found})`;
}

/** Actions take a few microseconds: their fractions count. */
function actionText(us: number): string {
  return us < 1_000 ? `${us.toFixed(us < 10 ? 2 : 1)} us` : timeText(us);
}

function kib(bytes: number): string {
  return `${(bytes / 1024).toFixed(2)} KiB`;
}
