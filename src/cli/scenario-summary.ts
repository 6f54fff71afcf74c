/** What a summary says of a scenario: how often it was run, what failed in it, what was not as expected. */

import type { LoadResult } from '../main/load/index.ts';
import { inFlags } from './flag-names.ts';
import { countText, percentText, plainText, table, timeText } from './text.ts';

/** Empty where there was no scenario. */
export function scenarioLines({ iterations, checks }: LoadResult): string[] {
  if (iterations === null) return [];
  const { completed, failed, unfinished, lateStarts, notStarted, duration, errors } = iterations;
  const parts = [`${countText(completed)} completed`, `${countText(failed)} failed`];
  if (unfinished > 0) parts.push(`${countText(unfinished)} unfinished`);
  if (lateStarts > 0) parts.push(`${countText(lateStarts)} begun late`);
  if (notStarted > 0) parts.push(`${countText(notStarted)} not begun`);
  if (duration.count > 0) {
    const { '50': p50, '99': p99 } = duration.percentilesUs;
    parts.push(`took ${timeText(p50 as number)} (p50), ${timeText(p99 as number)} (p99)`);
  }
  const lines = ['', `  ${'Iterations'.padEnd(12)} ${parts.join('   ')}`];
  for (const [message, count] of Object.entries(errors))
    lines.push(`  ${'Threw'.padEnd(12)} ${countText(count)} ${plainText(inFlags('load', message))}`);
  if (checks.length === 0) return lines;
  const rows = checks.map((check) => [
    plainText(check.name),
    countText(check.passed),
    countText(check.failed),
    percentText(check.passed / (check.passed + check.failed)),
  ]);
  return [...lines, '', table([['Checks', 'passed', 'failed', ''], ...rows])];
}
