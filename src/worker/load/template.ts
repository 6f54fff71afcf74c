/**
 * Fills in the templates of one shard: a request is the concatenation of texts, of which all but the places were made before the run.
 * Characters are bytes throughout, so nothing is encoded when it is sent. What templates mean is `protocol/load/template.ts`'s.
 *
 * Shards agree on nothing while they run: shard s of n takes the counter's numbers and the rows that are s modulo n.
 */

import { randomUUID } from 'node:crypto';
import type {
  LoadTable,
  RequestPiece,
  RequestTemplate,
  TemplatePiece,
  TemplatePlace,
  TemplateValue,
} from '../../protocol/load/template.ts';

/** The values that are the same everywhere in one request. */
export class TemplateRow {
  counter: number;
  /** By table: the row's number. */
  readonly rows: Int32Array;
  readonly #tables: readonly LoadTable[];
  readonly #shard: number;
  readonly #shards: number;

  constructor(tables: readonly LoadTable[], shard: number, shards: number) {
    this.#tables = tables;
    this.#shard = shard;
    this.#shards = shards;
    this.counter = 1 + shard - shards;
    this.rows = Int32Array.from(tables, () => shard - shards);
  }

  /** The next request begins. */
  next(): void {
    this.counter += this.#shards;
    for (let table = 0; table < this.rows.length; table++) this.rows[table] = this.#nextRow(table);
  }

  /** Tables of the order `once` are never asked for more rows than they have: the run ends with them. */
  #nextRow(table: number): number {
    const { rowCount, order } = this.#tables[table] as LoadTable;
    if (order === 'random') return Math.floor(Math.random() * rowCount);
    const row = (this.rows[table] as number) + this.#shards;
    // With fewer rows than shards some shards share one.
    return row < rowCount ? row : this.#shard % rowCount;
  }
}

/** One piece, ready: a text, or what is asked each time. */
type Filled = string | ((row: TemplateRow) => string);

export class FilledTemplate {
  readonly #head: readonly Filled[];
  readonly #body: readonly Filled[];
  #bodyBytes = 0;

  constructor({ head, body }: RequestTemplate, tables: readonly LoadTable[]) {
    this.#head = head.map((piece) => this.#fill(piece, tables));
    this.#body = body.map((piece) => this.#fill(piece, tables));
  }

  /** Head and body of the next request, in latin-1. `fields`: more header fields, each with its line end. */
  compose(row: TemplateRow, fields: string): string {
    const body = concatenate(this.#body, row);
    this.#bodyBytes = body.length;
    const head = concatenate(this.#head, row);
    return fields === '' ? head + body : `${head.slice(0, -2)}${fields}\r\n${body}`;
  }

  #fill(piece: RequestPiece, tables: readonly LoadTable[]): Filled {
    if (typeof piece === 'string') return piece;
    switch (piece.kind) {
      case 'value':
        return filledValue(piece.value, piece.place, tables);
      case 'basic':
        return basicOf(piece.pieces, tables);
      case 'length':
        return () => `${this.#bodyBytes}`;
    }
    return piece satisfies never;
  }
}

function concatenate(pieces: readonly Filled[], row: TemplateRow): string {
  let text = '';
  for (const piece of pieces) text += typeof piece === 'string' ? piece : piece(row);
  return text;
}

function filledValue(value: TemplateValue, place: TemplatePlace | null, tables: readonly LoadTable[]): Filled {
  switch (value.kind) {
    case 'counter':
      return ({ counter }) => `${counter}`;
    case 'uuid':
      return () => randomUUID();
    case 'time':
      return () => `${Date.now()}`;
    case 'random': {
      const { least } = value;
      const count = value.most - least + 1;
      return () => `${least + Math.floor(Math.random() * count)}`;
    }
    case 'pick': {
      const words = value.words.map((word) => written(word, place));
      return () => words[Math.floor(Math.random() * words.length)] as string;
    }
    case 'column': {
      const { table, column } = value;
      const values = (tables[table] as LoadTable).values[column] as readonly string[];
      const texts = values.map((text) => written(text, place));
      return ({ rows }) => texts[rows[table] as number] as string;
    }
  }
  return value satisfies never;
}

function basicOf(pieces: readonly TemplatePiece[], tables: readonly LoadTable[]): Filled {
  const filled = pieces.map((piece) => (typeof piece === 'string' ? piece : filledValue(piece, null, tables)));
  return (row) => Buffer.from(concatenate(filled, row), 'utf8').toString('base64');
}

/** `place` null: as it is. */
function written(text: string, place: TemplatePlace | null): string {
  if (place === 'url') return encodeURIComponent(text);
  return place === 'body' ? Buffer.from(text, 'utf8').toString('latin1') : text;
}
