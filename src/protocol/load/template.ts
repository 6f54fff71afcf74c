/**
 * Templates: text with places in double braces that are filled anew for each request. Understands them; who fills them in is
 * `worker/load/template.ts`, and where they may stand is `main/load/request-template.ts`'s to say.
 *
 *     {{counter}}         1, 2, 3 … over the whole run, each number once; the same everywhere in one request
 *     {{random 1 100}}    a whole number, both ends included
 *     {{uuid}}            a random UUID (version 4)
 *     {{pick red green}}  one of the words
 *     {{time}}            milliseconds since 1970
 *     {{users.name}}      the column `name` of the table `users`; all columns in one request are of one row
 */

import { invalidArgument } from '../errors.ts';

export type TemplateValue =
  | { readonly kind: 'counter' | 'uuid' | 'time' }
  | { readonly kind: 'random'; readonly least: number; readonly most: number }
  | { readonly kind: 'pick'; readonly words: readonly string[] }
  | { readonly kind: 'column'; readonly table: number; readonly column: number };

/**
 * turn    one row after the other, and again from the first
 * random  any row, each time
 * once    each row once; the run ends when all were used
 */
export type TableOrder = 'turn' | 'random' | 'once';

/** Rows of text, by column. */
export interface LoadTable {
  readonly name: string;
  readonly columns: readonly string[];
  /** In the order of `columns`; all of one length. */
  readonly values: readonly (readonly string[])[];
  readonly rowCount: number;
  readonly order: TableOrder;
}

/** A place to fill in, or the text between two. */
export type TemplatePiece = string | TemplateValue;

const KNOWN = '{{counter}}, {{random 1 100}}, {{uuid}}, {{pick a b c}}, {{time}} or {{table.column}}';
/** Of a random value: what a double counts exactly. */
const RANDOM_MAX = Number.MAX_SAFE_INTEGER;

export function hasTemplate(text: string): boolean {
  return text.includes('{{');
}

/** Where places to fill in begin and end in it, their braces included. An open one is none. */
export function* placesIn(text: string): Iterable<readonly [start: number, end: number]> {
  for (let end = 0; ; ) {
    const start = text.indexOf('{{', end);
    const close = start < 0 ? -1 : text.indexOf('}}', start + 2);
    if (close < 0) return;
    end = close + 2;
    yield [start, end];
  }
}

/** The pieces in order. Throws TransferError INVALID_ARGUMENT that names `option` and the place. */
export function parseTemplate(option: string, text: string, tables: readonly LoadTable[]): TemplatePiece[] {
  const pieces: TemplatePiece[] = [];
  let end = 0;
  for (const [start, stop] of placesIn(text)) {
    const inside = text.slice(start + 2, stop - 2).trim();
    pieces.push(text.slice(end, start), parsePlace(option, text.slice(start, stop), inside, tables));
    end = stop;
  }
  const rest = text.slice(end);
  if (hasTemplate(rest)) {
    // Not what follows: it may be a password.
    const place = end + rest.indexOf('{{') + 1;
    throw invalidArgument(option, `${option}: the {{ at character ${place} is not closed with }}.`);
  }
  pieces.push(rest);
  return pieces;
}

function parsePlace(option: string, place: string, inside: string, tables: readonly LoadTable[]): TemplateValue {
  const [name = '', ...words] = inside.split(/\s+/);
  switch (name) {
    case 'counter':
    case 'uuid':
    case 'time':
      if (words.length > 0) throw invalidArgument(option, `${option}: ${place} takes no values; write {{${name}}}.`);
      return { kind: name };
    case 'random': {
      const [least, most] = words.map(Number);
      const are = words.length === 2 && Number.isSafeInteger(least) && Number.isSafeInteger(most);
      if (are && (least as number) <= (most as number) && (most as number) - (least as number) < RANDOM_MAX) {
        return { kind: 'random', least: least as number, most: most as number };
      }
      throw invalidArgument(
        option,
        `${option}: ${place} takes two whole numbers, the smaller one first, as in {{random 1 100}}.`,
      );
    }
    case 'pick':
      if (words.length > 0) return { kind: 'pick', words };
      throw invalidArgument(option, `${option}: ${place} has nothing to pick from; write {{pick a b c}}.`);
  }
  return columnOf(option, place, inside, tables);
}

/** `inside`: a table's name, a dot and a column's, which may have blanks. */
function columnOf(option: string, place: string, inside: string, tables: readonly LoadTable[]): TemplateValue {
  const [, tableName, columnName = ''] = /^([^\s.]+)\.(.+)$/s.exec(inside) ?? [];
  if (tableName === undefined) {
    throw invalidArgument(option, `${option}: ${place} is not understood; known are ${KNOWN}.`);
  }
  const table = tables.findIndex((known) => known.name === tableName);
  if (table < 0) {
    const names = tables.map((known) => known.name).join(', ');
    const known = names === '' ? 'there is none (data, --data)' : `there are ${names}`;
    throw invalidArgument(option, `${option}: ${place} names the table ${tableName}; ${known}.`);
  }
  const { columns } = tables[table] as LoadTable;
  const column = columns.indexOf(columnName);
  if (column >= 0) return { kind: 'column', table, column };
  throw invalidArgument(option, `${option}: ${place} names no column of ${tableName}; it has ${columns.join(', ')}.`);
}

/** Where a value stands, which says how it is written: escaped in a URL, as UTF-8 in a body, as it is in a header. */
export type TemplatePlace = 'url' | 'header' | 'body';

/** Text goes to the wire as it is: its characters are bytes. */
export type RequestPiece =
  | string
  | { readonly kind: 'value'; readonly value: TemplateValue; readonly place: TemplatePlace }
  /** `name:password` for basic authentication. */
  | { readonly kind: 'basic'; readonly pieces: readonly TemplatePiece[] }
  /** The length of the body. */
  | { readonly kind: 'length' };

/** A request that is composed anew each time it is sent: nothing is parsed or searched then. */
export interface RequestTemplate {
  /** Up to and with the empty line. */
  readonly head: readonly RequestPiece[];
  readonly body: readonly RequestPiece[];
}
