/** How figures read: times, counts and bytes in few characters, and tables in columns. */

const US_PER_MS = 1_000;
const US_PER_SECOND = 1_000_000;

export function timeText(us: number): string {
  if (us < US_PER_MS) return `${Math.round(us)} us`;
  if (us < US_PER_SECOND) return `${threeDigits(us / US_PER_MS)} ms`;
  return `${threeDigits(us / US_PER_SECOND)} s`;
}

/** A round time: `1 ms`, `1.5 ms`. */
export function borderText(us: number): string {
  return timeText(us)
    .replace(/(\.\d*?)0+ /, '$1 ')
    .replace('. ', ' ');
}

export function countText(count: number): string {
  return Math.round(count).toLocaleString('en-US');
}

/** Per second: of less than ten their fractions count. */
export function rateText(rate: number): string {
  return rate < 10 ? `${Number(rate.toPrecision(3))}` : countText(rate);
}

/** `1 connection`, `2 connections`. */
export function countedText(count: number, noun: string): string {
  return `${countText(count)} ${noun}${count === 1 ? '' : 's'}`;
}

export function bytesText(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let value = bytes;
  let unit = 0;
  for (; value >= 1_000 && unit < units.length - 1; unit++) value /= 1_000;
  return unit === 0 ? `${value} B` : `${threeDigits(value)} ${units[unit]}`;
}

export function percentText(share: number): string {
  const percent = share * 100;
  return `${percent !== 0 && percent < 10 ? threeDigits(percent) : Math.round(percent)} %`;
}

const ESCAPES = /[\p{Cc}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/gu;

/** What a server or a scenario said, for a terminal: a control character is told, and does nothing. */
export function plainText(text: string): string {
  return text.replace(ESCAPES, (character) => {
    const code = character.charCodeAt(0);
    return code < 0x100 ? `\\x${code.toString(16).padStart(2, '0')}` : `\\u${code.toString(16)}`;
  });
}

/** The same of a text of several lines. Everything that is written on a terminal and is not drawn there goes through it. */
export function screenText(text: string): string {
  return text.split('\n').map(plainText).join('\n');
}

/** Columns as wide as their widest cell; all but the first are flush right. */
export function table(rows: readonly (readonly string[])[], indent = '  '): string {
  const widths: number[] = [];
  for (const row of rows) for (const [at, cell] of row.entries()) widths[at] = Math.max(widths[at] ?? 0, cell.length);
  return rows
    .map((row) => {
      const cells = row.map((cell, at) => (at === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[at] ?? 0)));
      return (indent + cells.join('   ')).trimEnd();
    })
    .join('\n');
}

function threeDigits(value: number): string {
  if (value >= 100) return value.toFixed(0);
  return value >= 10 ? value.toFixed(1) : value.toFixed(2);
}
