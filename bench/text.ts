/** Figures as people read them: aligned columns, thousands, microseconds; colour where the terminal wants it. */

const COLOUR = process.stdout.isTTY === true && !process.env.NO_COLOR;

export function bold(text: string): string {
  return COLOUR ? `\x1b[1m${text}\x1b[22m` : text;
}

export function dim(text: string): string {
  return COLOUR ? `\x1b[2m${text}\x1b[22m` : text;
}

/** The first column is flush left, the others right; the first row is the header. */
export function table(rows: readonly (readonly string[])[], indent = '  '): string {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [column, text] of row.entries()) widths[column] = Math.max(widths[column] ?? 0, text.length);
  }
  const lines = rows.map((row) => {
    const cells = row.map((text, column) => {
      const width = widths[column] as number;
      return column === 0 ? text.padEnd(width) : text.padStart(width);
    });
    return indent + cells.join('   ').trimEnd();
  });
  const [header, ...rest] = lines;
  return [dim(header ?? ''), ...rest].join('\n');
}

export function count(value: number): string {
  return Math.round(value).toLocaleString('en-US');
}

/** Three digits that count: 8.42, 47.6, 291. */
export function figure(value: number): string {
  if (!Number.isFinite(value)) return '-';
  return value >= 100 ? count(value) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

/** A latency in milliseconds. */
export function latency(us: number): string {
  return us === 0 ? '-' : `${figure(us / 1000)} ms`;
}

export function failureList(failures: Readonly<Record<string, number>>): string {
  return Object.entries(failures)
    .map(([code, times]) => `${code} ${count(times)}x`)
    .join(', ');
}

/** The middle one; of an even number the mean of both in the middle. NaN of none. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  if (sorted.length % 2 === 1) return sorted[middle] as number;
  return ((sorted[middle - 1] ?? Number.NaN) + (sorted[middle] ?? Number.NaN)) / 2;
}

/** `0.29 (0.27-0.31)`: median and extremes. */
export function spread(values: readonly number[]): string {
  if (values.length === 0) return '-';
  const middle = median(values).toFixed(2);
  if (values.length === 1) return middle;
  return `${middle} (${Math.min(...values).toFixed(2)}-${Math.max(...values).toFixed(2)})`;
}

const BARS_COLUMNS = 40;

/** One bar for each value, for whoever looks and does not read; the longest is the greatest. */
export function bars(rows: readonly { readonly label: string; readonly value: number }[], indent = '  '): string {
  const known = rows.filter(({ value }) => Number.isFinite(value) && value >= 0);
  const labelColumns = Math.max(...known.map(({ label }) => label.length));
  const greatest = Math.max(...known.map(({ value }) => value));
  return known
    .map(({ label, value }) => {
      const full = greatest === 0 ? 0 : Math.round((value / greatest) * BARS_COLUMNS);
      return `${indent}${label.padEnd(labelColumns)}  ${dim('█'.repeat(Math.max(full, 1)))} ${figure(value)}`;
    })
    .join('\n');
}
