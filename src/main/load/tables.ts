/** Tables of text for templates and scenarios: from CSV files (RFC 4180, the first line names the columns) or from rows that are given. */

import { readFileSync } from 'node:fs';
import { parse } from 'csv-parse/sync';
import { invalidArgument } from '../../protocol/errors.ts';
import type { LoadTable, TableOrder } from '../../protocol/load/template.ts';
import { checkRecord, describe } from '../../protocol/options.ts';

/** A table whose rows fill in requests, and in which order they are taken. */
export interface LoadTableOptions {
  /** A CSV file in UTF-8; or `rows`. */
  file?: string;
  /** The first one names the columns. */
  rows?: readonly Readonly<Record<string, string | number>>[];
  /** Default 'turn'. */
  order?: TableOrder;
}

/** By the name under which templates know them. A text is a file. */
export type LoadTables = Readonly<Record<string, string | LoadTableOptions>>;

const ORDERS: readonly TableOrder[] = ['turn', 'random', 'once'];
const NAME = /^[A-Za-z_][\w-]*$/;

/** Throws TransferError INVALID_ARGUMENT. */
export function readTables(data: unknown): LoadTable[] {
  if (data === undefined) return [];
  if (typeof data !== 'object' || data === null || Array.isArray(data)) {
    throw invalidArgument('data', `data must be tables by their names, not ${describe(data)}.`);
  }
  return Object.entries(data).map(([name, given]) => {
    if (!NAME.test(name)) {
      throw invalidArgument('data', `data: ${describe(name)} cannot be the name of a table: letters, digits, _ and -.`);
    }
    const options = typeof given === 'string' ? { file: given } : given;
    return tableOf(name, checkRecord(`data.${name}`, options, ['file', 'rows', 'order']) as LoadTableOptions);
  });
}

function tableOf(name: string, { file, rows, order = 'turn' }: LoadTableOptions): LoadTable {
  if ((file === undefined) === (rows === undefined)) {
    throw invalidArgument(`data.${name}`, `data.${name} must be a file or rows; one of the two.`);
  }
  if (!ORDERS.includes(order)) {
    throw invalidArgument(
      `data.${name}.order`,
      `data.${name}.order must be turn, random or once, not ${describe(order)}.`,
    );
  }
  const records = file === undefined ? recordsOf(name, rows) : readCsv(name, file);
  const [columns = [], ...body] = records;
  const from = file === undefined ? `data.${name}` : file;
  if (body.length === 0) {
    throw invalidArgument(
      `data.${name}`,
      `${from} has no rows: its first line names the columns, each further one is a row.`,
    );
  }
  const bad = columns.findIndex((column, index) => column === '' || columns.indexOf(column) !== index);
  if (bad >= 0) throw invalidArgument(`data.${name}`, `${from}: column ${bad + 1} has no name of its own.`);
  const values = columns.map((_, column) => body.map((record) => record[column] as string));
  return { name, columns, values, rowCount: body.length, order };
}

function recordsOf(name: string, rows: unknown): string[][] {
  const bad = () => invalidArgument(`data.${name}.rows`, `data.${name}.rows must be a list of records of text.`);
  if (!Array.isArray(rows) || rows.some((row) => typeof row !== 'object' || row === null)) throw bad();
  const columns = Object.keys((rows[0] ?? {}) as object);
  return [columns, ...rows.map((row: Record<string, unknown>) => columns.map((column) => `${row[column] ?? ''}`))];
}

function readCsv(name: string, file: string): string[][] {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw invalidArgument(`data.${name}`, `The table ${file} cannot be read (${code ?? 'unknown reason'}).`);
  }
  try {
    return parse(text, {
      bom: true,
      skip_empty_lines: true,
      trim: true,
      record_delimiter: ['\r\n', '\n'],
    }) as string[][];
  } catch (error) {
    // Not the field itself: it may be a password.
    throw invalidArgument(
      `data.${name}`,
      `The table ${file} is no CSV: ${(error as Error).message.replace(/, value is .*$/s, '')}.`,
    );
  }
}
